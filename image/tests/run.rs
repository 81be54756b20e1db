//! From an image to a running container, by the real program and the real runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::{finish, needs};

use self::place::{DEADLINE, Place};

mod place;

#[test]
fn an_images_command_runs_with_all_that_the_image_says() {
    needs!(Root);
    let place = Place::new("imgrun");
    let changes = [
        "ENTRYPOINT [\"/bin/sh\", \"-c\"]",
        "CMD [\"echo $A $PWD $(id -u):$(id -g) $HOME; cat /etc/hostname; exit 3\"]",
        "ENV A=image PATH=/bin",
        "WORKDIR /var/../tmp",
        "USER 5:6",
        "LABEL fine=1 org.systemd.property.ExecStart=/evil",
    ];
    place.import_busybox("busybox", &changes);
    let finished = place.run(&["busybox"]);
    assert_eq!(finished.code, 3, "{finished}");
    let expected = format!("image /tmp 5:6 /\n{}\n", place.id());
    assert_eq!(finished.stdout, expected, "{finished}");
    assert!(
        finished.stderr.contains("org.systemd.property.ExecStart"),
        "{finished}"
    );
    let words = [
        "-e",
        "A=own",
        "-u",
        "0",
        "-w",
        "/",
        "--hostname",
        "h",
        "busybox",
    ];
    let finished = place.run(&[&words[..], &["echo $A $PWD $(id -u)"]].concat());
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "own / 0\n"),
        "{finished}"
    );
    let finished = place.run(&["--entrypoint", "/bin/echo", "busybox", "-n", "--", "x"]);
    assert_eq!(finished.stdout, "-- x", "{finished}");
    place.finish();
}

#[test]
fn a_containers_changes_go_with_it_and_its_image_stays_as_it_is() {
    needs!(Root);
    let place = Place::new("imgchange");
    place.import_busybox("b", &[]);
    let script = "rm /bin/ls && echo x > /etc/passwd && mkdir /new && ls / 2>&1; true";
    place.run(&["b", "sh", "-c", script]).succeeded();
    let finished = place.run(&[
        "b",
        "sh",
        "-c",
        "ls /bin/ls; ls -d /new; cat /etc/passwd | head -1",
    ]);
    assert!(finished.stdout.contains("/bin/ls"), "{finished}");
    assert!(!finished.stdout.contains("/new\n"), "{finished}");
    let finished = place.run(&["--read-only", "b", "touch", "/x"]);
    assert_ne!(finished.code, 0, "{finished}");
    place.finish();
}

#[test]
fn its_end_is_heard_though_the_caller_ignores_the_ends_of_children() {
    needs!(Root);
    let place = Place::new("imgdeaf");
    place.import_busybox("b", &[]);
    let run = place.run_command(&["b", "sh", "-c", "exit 7"]);
    let mut deaf = std::process::Command::new("env");
    deaf.arg("--ignore-signal").arg(run.get_program());
    let finished = finish(deaf.args(run.get_args()), DEADLINE);
    assert_eq!(finished.code, 7, "{finished}");
    place.finish();
}

#[test]
fn it_is_isolated_as_dockers_containers_are() {
    needs!(Root);
    let place = Place::new("imgiso");
    place.import_busybox("b", &[]);
    let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
                  ls /sys/class/net; cat /proc/keys | wc -c; \
                  mount -t tmpfs t /mnt 2>&1; unshare -m true 2>&1; \
                  echo 1 > /proc/sys/kernel/domainname; echo end";
    let finished = place.run(&["b", "sh", "-c", script]).success();
    let text = &finished.stdout;
    assert!(text.contains("CapEff:\t00000000a80425fb"), "{finished}");
    assert!(text.contains("CapBnd:\t00000000a80425fb"), "{finished}");
    assert!(text.contains("Seccomp:\t2"), "{finished}");
    assert!(text.contains("\nlo\n0\n"), "{finished}");
    assert!(
        text.contains("mount: permission denied") || text.contains("mounting t on /mnt failed"),
        "{finished}"
    );
    assert!(text.contains("unshare"), "{finished}");
    assert!(text.ends_with("end\n"), "{finished}");
    assert!(
        finished.stderr.contains("Read-only file system"),
        "{finished}"
    );
    let finished = place.run(&[
        "--cap-drop",
        "all",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "no-new-privileges",
        "b",
        "cat",
        "/proc/self/status",
    ]);
    for line in ["CapEff:\t0000000000000000", "Seccomp:\t0", "NoNewPrivs:\t1"] {
        assert!(finished.stdout.contains(line), "{line}: {finished}");
    }
    place.finish();
}

#[test]
fn volumes_begin_with_the_images_content_and_binds_come_over_them() {
    needs!(Root);
    let place = Place::new("imgvol");
    place.import_busybox("b", &["VOLUME [\"/etc\", \"/../../bin/../data\", \"/\"]"]);
    let host = place.path("host");
    fs::create_dir(&host).expect("it is ours");
    fs::write(host.join("file"), "from the host").expect("it is ours");
    let bind = format!("{}:/data:ro", host.display());
    let script = "cat /data/file; touch /data/x 2>&1; grep -c ' /etc ' /proc/self/mountinfo; \
                  test -e /etc/passwd && echo copied; stat -c %a /etc";
    let finished = place.run(&["-v", &bind, "b", "sh", "-c", script]).success();
    assert!(finished.stdout.starts_with("from the host"), "{finished}");
    assert!(
        finished.stdout.contains("Read-only file system"),
        "{finished}"
    );
    assert!(finished.stdout.contains("\n1\ncopied\n755\n"), "{finished}");
    place.finish();
}

#[test]
fn limits_and_networks_are_the_callers() {
    needs!(Root);
    let place = Place::new("imglimit");
    place.import_busybox("b", &[]);
    let words = [
        "-m",
        "64m",
        "--pids-limit",
        "20",
        "--net",
        "host",
        "b",
        "sh",
        "-c",
    ];
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max \
                  2>/dev/null; ls /sys/class/net | sort";
    let finished = place.run(&[&words[..], &[script]].concat()).success();
    let mut devices: Vec<String> = fs::read_dir("/sys/class/net")
        .expect("it is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    devices.sort();
    assert!(
        finished.stdout.ends_with(&(devices.join("\n") + "\n")),
        "{finished}"
    );
    if std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
        assert!(finished.stdout.starts_with("67108864\n20\n"), "{finished}");
    }
    place.finish();
}

#[test]
fn a_user_namespace_maps_the_owners_of_the_layers() {
    needs!(Root);
    let place = Place::new("imguserns");
    // The container's root is nobody on the host: it needs a way to its root filesystem.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.directory.path(), open).expect("it is ours");
    place.import_busybox("b", &[]);
    let script = "cat /proc/self/uid_map; stat -c %u /bin/busybox; touch /new && stat -c %u /new";
    let finished = place
        .run(&["--userns", "200000:65536", "b", "sh", "-c", script])
        .success();
    let words: Vec<&str> = finished.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "65536", "0", "0"], "{finished}");
    place.finish();
}

#[test]
fn a_copy_does_where_no_overlay_can() {
    needs!(Root);
    let place = Place::new("imgnative");
    place.import_busybox("b", &[]);
    let script = "grep -c ' / / .* overlay ' /proc/self/mountinfo; echo x > /new; cat /new";
    let finished = place.run(&["--native", "b", "sh", "-c", script]);
    assert_eq!(finished.stdout, "0\nx\n", "{finished}");
    place.finish();
}

#[test]
fn a_detached_container_lives_on_and_what_it_had_is_pruned_after_it() {
    needs!(Root);
    let place = Place::new("imgdetach");
    place.import_busybox("b", &[]);
    let printed = place.run(&["-d", "b", "sleep", "1000"]).success().stdout;
    assert_eq!(printed.trim_end(), place.id());
    let tare = |words: &[&str]| {
        let mut command = std::process::Command::new(place::tare());
        finish(command.args(words), Duration::from_secs(60))
    };
    let state: Value =
        serde_json::from_str(&tare(&["state", &place.id()]).success().stdout).expect("it is JSON");
    assert_eq!(state["status"], "running");
    // It is in use: neither a pruning nor another of its name may touch it.
    place.must(&["prune", "--all"]);
    let finished = place.run(&["b", "true"]);
    assert!(finished.stderr.contains("in use"), "{finished}");
    let inside = tare(&["exec", &place.id(), "cat", "/etc/hostname"]).success();
    assert_eq!(inside.stdout.trim_end(), place.id());
    tare(&["delete", "--force", &place.id()]).succeeded();
    let said = place.must(&["prune"]);
    assert!(said.contains("1 root filesystems"), "{said}");
    place.finish();
}

#[test]
fn signals_reach_the_container_and_nothing_remains() {
    needs!(Root);
    let place = Place::new("imgsignal");
    place.import_busybox("b", &[]);
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = place.run_command(&["b", "sh", "-c", script]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("a pipe"),
    ));
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    assert_eq!(lines.next().expect("a line").expect("text"), "got it");
    assert_eq!(child.wait().expect("it ends").code(), Some(9));
    place.finish();
}

#[test]
fn one_that_was_killed_leaves_nothing_that_is_in_the_way() {
    needs!(Root);
    let place = Place::new("imgkill");
    place.import_busybox("b", &[]);
    let mut command = place.run_command(&["b", "sh", "-c", "echo ready; sleep 1000"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("a pipe"),
    ));
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    child.kill().expect("it is ours");
    assert_eq!(child.wait().expect("it ends").signal(), Some(9));
    let mut delete = std::process::Command::new(place::tare());
    finish(
        delete.args(["delete", "--force", &place.id()]),
        Duration::from_secs(60),
    )
    .succeeded();
    // The name can be taken again at once, and what the dead one had is cleared by that.
    let finished = place.run(&["b", "echo", "again"]);
    assert_eq!(finished.stdout, "again\n", "{finished}");
    place.finish();
}

#[test]
fn what_cant_run_is_said_in_one_line() {
    needs!(Root);
    let place = Place::new("imgbad");
    place.import_busybox("b", &["USER nobody-here"]);
    place.import_busybox("empty", &[]);
    for (words, why) in [
        (vec!["b", "true"], "/etc/passwd has no such user"),
        (vec!["empty"], "give one"),
        (vec!["--pull", "never", "nowhere:1"], "nowhere"),
        (
            vec![
                "--platform",
                "linux/s390x",
                "--pull",
                "never",
                "empty",
                "true",
            ],
            "s390x",
        ),
        (vec!["-v", "relative", "empty", "true"], "--volume"),
        (vec!["-m", "lots", "empty", "true"], "--memory"),
        (vec!["--cap-add", "all", "empty", "true"], "ALL"),
        (vec!["--cap-add", "cap_fly", "empty", "true"], "CAP_FLY"),
    ] {
        let finished = place.run(&words);
        assert_ne!(finished.code, 0, "{finished}");
        assert!(finished.stderr.contains(why), "{why}: {finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    }
    place.finish();
}

//! A program stops being here, and goes on.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use testkit::{finish, finish_with_input, needs, under_terminal};

use crate::place::{COUNTER, LIMIT, Place, text};

#[test]
fn a_counter_goes_on_where_it_was() {
    needs!(Root, Criu);
    let place = Place::new("cpcounter", |bundle| bundle);
    place.start();
    place.checkpoint(&[]).succeeded();
    let state = place.call(&["state", place.id()]);
    assert!(state.stderr.contains("does not exist"), "{state}");
    let reached = place.count();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(place.count(), reached, "it counts and should be gone");

    let pid_file = place.directory("pid");
    let restored = place.restore(&["--pid-file", text(&pid_file)]).success();
    let next = place.wait_beyond(reached);
    assert!(next < reached + 50, "{reached} was followed by {next}");

    // It is a container like any other.
    let state = place.runtime.state(place.id());
    assert_eq!(state["status"], "running");
    assert_eq!(
        std::fs::read_to_string(pid_file).unwrap(),
        state["pid"].to_string()
    );
    assert!(place.exec(&["cat", "/proc/1/cmdline"]).contains("count"));
    assert_eq!(place.exec(&["hostname"]), "container\n");
    // Its keyring is its own, not the caller's.
    let keys = std::fs::read_to_string("/proc/keys").unwrap();
    assert!(keys.contains(&format!("_ses.{}", place.id())), "{keys}");
    // What was the old standard output is the new one.
    place.wait_beyond(next + 3);
    assert!(
        restored
            .stdout_now()
            .contains(&format!("number {}", next + 1))
    );
    place.call(&["pause", place.id()]).succeeded();
    place.call(&["resume", place.id()]).succeeded();
    place.call(&["kill", place.id(), "KILL"]).succeeded();
    place.runtime.wait_for_status(place.id(), "stopped");
    place.call(&["delete", place.id()]).succeeded();
    place.finish();
}

#[test]
fn a_stream_that_a_shell_has_put_aside_comes_back() {
    needs!(Root, Criu);
    let script = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i >/tmp/new; \
         mv /tmp/new /tmp/count; echo number $i; sleep 0.1; done >/tmp/log; echo the loop is over";
    let place = Place::new("cpaside", |bundle| bundle.script(script));
    place.start();
    place.checkpoint(&[]).succeeded();
    let restored = place.restore(&[]);
    restored.succeeded();
    place.wait_beyond(place.count());
    std::fs::write(place.bundle.rootfs().join("tmp/stop"), "").unwrap();
    place.runtime.wait_for_status(place.id(), "stopped");
    assert_eq!(restored.stdout_now(), "the loop is over\n");
    place.finish();
}

#[test]
fn a_restore_in_the_foreground_ends_as_the_program_does() {
    needs!(Root, Criu);
    let place = Place::new("cpforeground", |bundle| bundle);
    place.start();
    place.checkpoint(&[]).succeeded();
    let reached = place.count();
    std::fs::write(place.bundle.rootfs().join("tmp/stop"), "").unwrap();
    let images = place.directory("cp");
    let bundle = place.bundle.path();
    let words = [
        "restore",
        "--bundle",
        text(bundle),
        "--image-path",
        text(&images),
        place.id(),
    ];
    let ended = place.call(&words);
    assert_eq!(ended.code, 7, "{ended}");
    assert!(place.count() <= reached + 1);
    let state = place.call(&["state", place.id()]);
    assert!(state.stderr.contains("does not exist"), "{state}");
    place.finish();
}

#[test]
fn a_container_that_is_left_running_goes_on_and_its_images_are_good() {
    needs!(Root, Criu);
    let place = Place::new("cpleave", |bundle| bundle);
    place.start();
    place
        .checkpoint(&[
            "--leave-running",
            "--work-path",
            text(&place.directory("work")),
        ])
        .succeeded();
    assert!(place.directory("work/dump.log").exists());
    assert!(!place.directory("cp/dump.log").exists());
    let saved = place.count();
    place.wait_beyond(saved + 20);
    place.call(&["delete", "--force", place.id()]).succeeded();
    place.restore(&[]).succeeded();
    // From where it was saved, not from where it had come since.
    let started = std::time::Instant::now();
    while place.count() > saved + 20 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it did not go back to {saved}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    place.finish();
}

#[test]
fn memory_may_be_saved_before_the_rest() {
    needs!(Root, Criu);
    let place = Place::new("cppre", |bundle| bundle);
    place.start();
    place.checkpoint_into("pre", &["--pre-dump"]).succeeded();
    place.wait_beyond(place.count());
    place.checkpoint(&["--parent-path", "../pre"]).succeeded();
    let reached = place.count();
    assert!(place.directory("cp/parent").is_symlink());
    place.restore(&[]).succeeded();
    place.wait_beyond(reached);
    place.finish();
}

#[test]
fn a_paused_container_can_be_saved() {
    needs!(Root, Criu);
    let place = Place::new("cppaused", |bundle| bundle);
    place.start();
    place.call(&["pause", place.id()]).succeeded();
    let reached = place.count();
    place.checkpoint(&[]).succeeded();
    place.restore(&[]).succeeded();
    place.wait_beyond(reached);
    place.finish();
}

#[test]
fn a_terminal_comes_back() {
    needs!(Root, Criu, Program("script"));
    // An end of input, which script(1) types at times, is not the container's end.
    let script = "echo it-runs; while :; do read line || { sleep 0.1; continue; }; \
                  echo got $line; test $line != end || exit 3; done";
    let place = Place::new("cptty", |bundle| {
        bundle.script(script).set("/process/terminal", true.into())
    });
    let run = place
        .runtime
        .command(&["run", "--bundle", text(place.bundle.path()), place.id()]);
    let mut first = under_terminal(&run)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(place.directory("first")).unwrap())
        .spawn()
        .unwrap();
    place.wait_for_word("it-runs", &place.directory("first"));
    std::thread::sleep(Duration::from_millis(200));
    let checkpoint = place.checkpoint(&[]);
    let said = std::fs::read_to_string(place.directory("first")).unwrap();
    assert_eq!(checkpoint.code, 0, "{checkpoint}\nit has said: {said}");
    drop(first.stdin.take());
    first.wait().unwrap();

    let images = place.directory("cp");
    let words = [
        "restore",
        "--bundle",
        text(place.bundle.path()),
        "--image-path",
        text(&images),
        place.id(),
    ];
    let restore = place.runtime.command(&words);
    let ended = finish_with_input(&mut under_terminal(&restore), b"hello\nend\n", LIMIT);
    assert_eq!(ended.code, 3, "{ended}");
    assert!(ended.stdout.contains("got hello"), "{ended}");
    place.finish();
}

#[test]
fn a_user_namespace_comes_back_with_its_mappings() {
    needs!(Root, Criu);
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let place = Place::new("cpuserns", |bundle| {
        let rootfs = bundle.rootfs();
        let chown = finish(
            std::process::Command::new("chown")
                .args(["-R", "100000:100000"])
                .arg(rootfs),
            LIMIT,
        );
        chown.succeeded();
        bundle
            .push("/linux/namespaces", json!({"type": "user"}))
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping.clone())
    });
    place.start();
    place.checkpoint(&[]).succeeded();
    let reached = place.count();
    place.restore(&[]).succeeded();
    place.wait_beyond(reached);
    let map = place.exec(&["cat", "/proc/self/uid_map"]);
    assert!(map.split_whitespace().eq(["0", "100000", "1000"]), "{map}");
    place.finish();
}

#[test]
fn a_joined_network_namespace_is_joined_again() {
    needs!(Root, Criu, Program("unshare"));
    let mut keeper = std::process::Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", keeper.id());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    while std::fs::read_link(&path).unwrap() == own {
        std::thread::sleep(Duration::from_millis(10));
    }
    let place = Place::new("cpjoined", |bundle| {
        bundle.set(
            "/linux/namespaces/1",
            json!({"type": "network", "path": path}),
        )
    });
    place.start();
    place.checkpoint(&[]).succeeded();
    let reached = place.count();
    place.restore(&[]).succeeded();
    place.wait_beyond(reached);
    let pid = place.runtime.state(place.id())["pid"].clone();
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(theirs, std::fs::read_link(&path).unwrap());
    place.call(&["delete", "--force", place.id()]).succeeded();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    place.finish();
}

#[test]
fn hooks_of_the_runtime_run_at_a_restore() {
    needs!(Root, Criu);
    let place = Place::new("cphooks", |bundle| bundle);
    place.start();
    place.checkpoint(&[]).succeeded();
    let log = place.directory("hooks");
    let hook = |word: &str| {
        let script = format!(
            "echo {word} $(cat | tr -d ' \\n' | grep -o '\"pid\":[0-9]*') >>{}",
            text(&log)
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    let place = place.change(|bundle| {
        bundle
            .set("/hooks/createRuntime", hook("createRuntime"))
            .set("/hooks/poststart", hook("poststart"))
            .set("/hooks/poststop", hook("poststop"))
    });
    place.restore(&[]).succeeded();
    let pid = place.runtime.state(place.id())["pid"].clone();
    place.call(&["delete", "--force", place.id()]).succeeded();
    let log = std::fs::read_to_string(place.directory("hooks")).unwrap();
    let expected =
        format!("createRuntime \"pid\":{pid}\npoststart \"pid\":{pid}\npoststop \"pid\":0\n");
    assert_eq!(log, expected);
    place.finish();
}

#[test]
fn a_dump_that_criu_refuses_quotes_its_log_and_the_container_goes_on() {
    needs!(Root, Criu);
    // A large file without a name, which criu does not put into images.
    let script = format!(
        "dd if=/dev/zero of=/tmp/big bs=1M count=2 2>/dev/null; exec 9</tmp/big; rm /tmp/big; {COUNTER}"
    );
    let place = Place::new("cpghost", |bundle| bundle.script(&script));
    place.start();
    let failed = place.checkpoint(&[]);
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stderr.contains("criu dump failed"), "{failed}");
    assert!(failed.stderr.contains("Error (criu/"), "{failed}");
    assert!(failed.stderr.contains("cp/dump.log"), "{failed}");
    assert_eq!(place.runtime.state(place.id())["status"], "running");
    place.wait_beyond(place.count());
    place.finish();
}

/// criu mounts the hierarchy without options, which takes them from the whole host.
#[test]
fn the_hosts_cgroups_keep_their_options() {
    needs!(Root, Criu);
    let options = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        line.and_then(|line| line.split(' ').next_back())
            .map(str::to_owned)
    };
    let before = options();
    let place = Place::new("cpoptions", |bundle| bundle);
    place.start();
    place.checkpoint(&["--leave-running"]).succeeded();
    assert_eq!(options(), before, "after a checkpoint");
    place.call(&["delete", "--force", place.id()]).succeeded();
    place.restore(&[]).succeeded();
    assert_eq!(options(), before, "after a restore");
    place.finish();
}

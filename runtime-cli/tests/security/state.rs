//! The state directory, what the runtime writes on the host, delete and kill.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::stat::Mode;
use serde_json::json;
use testkit::{Finished, finish, needs};

use crate::ground::{Ground, assert_none, describe, text, tree, without_namespace};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o777
}

#[test]
fn state_is_the_callers_alone_whatever_its_umask() {
    needs!(Root);
    let ground = Ground::new("modes");
    for umask in ["000", "077", "022"] {
        let bundle = ground.bundle().args(&["true"]);
        bundle.save();
        let root = ground.runtime.root().join("new/root");
        let script = format!("umask {umask}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]);
        command.arg(crate::ground::binary());
        command.args([
            "--root",
            text(&root),
            "create",
            "--bundle",
            text(bundle.path()),
            bundle.id(),
        ]);
        finish(&mut command, Duration::from_secs(60)).succeeded();
        assert_eq!(mode(&root), 0o700, "umask {umask}");
        let open: Vec<_> = tree(&root.join(bundle.id()))
            .into_iter()
            .map(|path| (mode(&path), path))
            .filter(|(mode, path)| mode & 0o077 != 0 || (!path.is_dir() && *mode != 0o600))
            .collect();
        assert_none(&open, &format!("open to others with umask {umask}"));
        let mut command = Command::new(crate::ground::binary());
        command.args(["--root", text(&root), "delete", "--force", bundle.id()]);
        finish(&mut command, Duration::from_secs(60)).succeeded();
        fs::remove_dir_all(ground.runtime.root().join("new")).expect("it is ours");
    }
    ground.finish(vec![]);
}

/// `create` with a pid file and a log at these paths, within a deadline.
fn create_with_files(
    ground: &Ground,
    bundle: &testkit::TestBundle,
    pid: &Path,
    log: &Path,
) -> Finished {
    bundle.save();
    let mut command = Command::new(crate::ground::binary());
    command.args(["--root", text(ground.runtime.root()), "--log", text(log)]);
    command.args([
        "create",
        "--bundle",
        text(bundle.path()),
        "--pid-file",
        text(pid),
        bundle.id(),
    ]);
    finish(&mut command, Duration::from_secs(20))
}

#[test]
fn a_pid_file_replaces_what_has_its_name_and_writes_through_nothing() {
    needs!(Root);
    let ground = Ground::new("pidfile");
    let secret = ground.canary().join("secret");
    let before = describe(&secret);
    for (index, name) in ["pid", ".pid"].into_iter().enumerate() {
        for kind in ["link", "hardlink", "fifo", "dangling"] {
            let bundle = ground.bundle().args(&["true"]);
            let directory = bundle.path().join(format!("files-{index}"));
            fs::create_dir_all(&directory).expect("it is ours");
            let place = directory.join(name);
            let all = Mode::from_bits_truncate(0o666);
            match kind {
                "link" => symlink(&secret, &place).expect("it is ours"),
                "hardlink" => fs::hard_link(&secret, &place).expect("they are on one filesystem"),
                "fifo" => nix::unistd::mkfifo(&place, all).expect("it is ours"),
                _ => symlink(ground.canary().join("new"), &place).expect("it is ours"),
            }
            let log = directory.join("log");
            create_with_files(&ground, &bundle, &directory.join("pid"), &log);
            ground.delete(&bundle);
            drop(bundle);
            assert_eq!(before, describe(&secret), "{kind} as {name}");
            ground.check();
        }
    }
    ground.finish(vec![]);
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    needs!(Root);
    let ground = Ground::new("logfifo");
    let bundle = ground.bundle().args(&["true"]);
    let log = bundle.path().join("log");
    nix::unistd::mkfifo(&log, Mode::from_bits_truncate(0o600)).expect("it is ours");
    let finished = create_with_files(&ground, &bundle, &bundle.path().join("pid"), &log);
    assert!(
        finished.code != 0 && finished.stderr.contains("--log"),
        "{finished}"
    );
    ground.finish(vec![bundle]);
}

#[test]
fn a_state_directory_that_is_a_link_is_not_followed() {
    needs!(Root);
    let ground = Ground::new("statelink");
    let bundle = ground.bundle().args(&["true"]);
    symlink(
        ground.canary().join("directory"),
        ground.runtime.root().join(bundle.id()),
    )
    .expect("it is ours");
    for words in [
        &["state"][..],
        &["delete"],
        &["delete", "--force"],
        &["kill"],
        &["start"],
    ] {
        let finished = ground.runtime.call(&[words, &[bundle.id()]].concat());
        assert!(finished.code != 0, "{finished}");
        ground.check();
    }
    assert!(ground.runtime.create(&bundle).code != 0);
    ground.check();
    fs::remove_file(ground.runtime.root().join(bundle.id())).expect("it is ours");
    ground.finish(vec![bundle]);
}

#[test]
fn delete_follows_no_link_in_what_it_removes() {
    needs!(Root);
    let ground = Ground::new("deletelink");
    let bundle = ground.bundle().args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    // Somebody has put something strange there, and swapped the rootfs for a link.
    let strange = ground.runtime.root().join(bundle.id()).join("strange");
    symlink(ground.canary(), &strange).expect("it is ours");
    let away = bundle.path().join("away");
    fs::rename(bundle.rootfs(), &away).expect("it is ours");
    symlink(ground.canary(), bundle.rootfs()).expect("it is ours");
    ground.delete(&bundle);
    ground.check();
    assert!(away.join("bin/busybox").exists());
    fs::remove_file(bundle.rootfs()).expect("it is ours");
    ground.finish(vec![bundle]);
}

#[test]
fn a_pid_that_was_given_to_another_process_is_never_signalled() {
    needs!(Root);
    let ground = Ground::new("reused");
    let bundle = ground.bundle().args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    // A number is given again after all others, so never in the hundredth of a second that the
    // kernel tells starts by.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut victim = Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("sleep is there");
    let directory = ground.runtime.root().join(bundle.id());
    let pid = ground.runtime.state(bundle.id())["pid"].to_string();
    // The container's process ends, and its number is another process's now: as the record
    // says it, for a number can't be waited for.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.parse().expect("a number")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("it runs");
    ground.runtime.wait_for_status(bundle.id(), "stopped");
    let mut changed = 0;
    for path in tree(&directory) {
        let Ok(bytes) = fs::read_to_string(&path) else {
            continue;
        };
        let new = bytes.replace(
            &format!("\"initProcessPid\":{pid}"),
            &format!("\"initProcessPid\":{}", victim.id()),
        );
        let new = new.replace(
            &format!("\"init_process_pid\":{pid}"),
            &format!("\"init_process_pid\":{}", victim.id()),
        );
        if new != bytes {
            fs::write(&path, new).expect("it is ours");
            changed += 1;
        }
    }
    assert!(changed > 0, "the record names the process");
    ground.runtime.call(&["kill", bundle.id(), "KILL"]);
    ground.runtime.call(&["kill", "--all", bundle.id(), "KILL"]);
    assert_eq!(ground.runtime.state(bundle.id())["status"], "stopped");
    ground.delete(&bundle);
    assert!(
        victim.try_wait().expect("it is ours").is_none(),
        "the victim was killed"
    );
    victim.kill().expect("it is ours");
    victim.wait().expect("it is ours");
    ground.finish(vec![bundle]);
}

#[test]
fn a_container_in_the_hosts_mount_namespace_leaves_propagation_alone() {
    needs!(Root);
    let ground = Ground::new("hostmnt");
    let propagation = || {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        let lines = text
            .lines()
            .map(|line| line.split(" - ").next().unwrap_or_default().to_owned());
        lines.collect::<Vec<_>>()
    };
    let before = propagation();
    for rootfs_propagation in [None, Some("private"), Some("slave"), Some("shared")] {
        let bundle = without_namespace(ground.bundle(), "mount")
            .set("/mounts", json!([]))
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]))
            .args(&["/bin/true"]);
        let bundle = match rootfs_propagation {
            Some(word) => bundle.set("/linux/rootfsPropagation", word.into()),
            None => bundle,
        };
        ground.runtime.run(&bundle);
        ground.delete(&bundle);
        assert_eq!(before, propagation(), "{rootfs_propagation:?}");
    }
    ground.finish(vec![]);
}

#[test]
fn what_the_runtime_leaves_in_a_rootfs_belongs_there() {
    needs!(Root);
    let ground = Ground::new("rootfs");
    let bundle = ground.bundle().args(&["true"]);
    let before = tree(&bundle.rootfs());
    ground.runtime.run(&bundle).succeeded();
    let new: Vec<_> = tree(&bundle.rootfs())
        .into_iter()
        .filter(|path| !before.contains(path))
        .filter(|path| !path.is_dir())
        .collect();
    assert_none(&new, "files that were made in the rootfs");
    let writable: Vec<_> = tree(&bundle.rootfs())
        .into_iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
        .filter(|path| {
            fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o022
                != 0
        })
        .collect();
    assert_none(&writable, "directories that everyone may write to");
    ground.finish(vec![bundle]);
}

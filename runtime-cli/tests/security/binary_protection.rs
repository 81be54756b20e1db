//! The runtime's binary is out of every container's reach (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{TestBundle, needs};

use crate::ground::{
    Ground, PRIVILEGED, arm, assert_none, binary, compiler, describe, long_or, lure, privileged,
    results, stop_attacker, text, wait_until, with_capabilities, without_namespace,
};

/// `HELD`'s numbers for the binary: device and inode, as the attacker's stat(2) gives them.
fn identity(binary: &Path) -> [String; 2] {
    let status = fs::metadata(binary).expect("the binary is there");
    [status.dev().to_string(), status.ino().to_string()]
}

/// What must not change: inode, mode, owner, size, time, and every byte.
fn state_of(binary: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(binary).expect("the binary can be read");
    (describe(binary), bytes)
}

/// Whether the attacker has got hold of the binary through `/proc/PID/exe`.
fn has_held(bundle: &TestBundle) -> bool {
    results(bundle).iter().any(|line| line[0] == "HELD")
}

/// Attempts that succeeded on the binary after the runtime had ended, or on a map of it.
fn successes(lines: &[Vec<String>]) -> Vec<&str> {
    let mut is_after = false;
    let mut bad = Vec::new();
    for line in lines {
        is_after |= line[0] == "AFTER";
        let counts = line[0] == "TRY" && (is_after || line[1] == "map_files");
        if counts && line[2] == "0" {
            bad.push(line[1].as_str());
        }
    }
    bad
}

/// The attacker with whatever it needs to find the binary.
fn hostile(bundle: TestBundle, binary: &Path) -> TestBundle {
    arm(&bundle);
    lure(&bundle);
    let [device, inode] = identity(binary);
    bundle.args(&["/attacker", "exe", &device, &inode])
}

/// Enters the container until the attacker holds the binary; then the runtime is gone, and it
/// tries to write.
fn enter_and_be_attacked(ground: &Ground, bundle: &TestBundle, binary: &Path) {
    let before = state_of(binary);
    let at_least = long_or(200, 20);
    let mut rounds = 0;
    wait_until("the attacker holds the binary", || {
        ground.exec(bundle, &["/bin/true"]).succeeded();
        // What they do is theirs; that the binary stays what it is is the point.
        ground.exec(bundle, &["/script"]);
        ground.exec(bundle, &["/proc/self/exe", "list"]);
        rounds += 1;
        rounds >= at_least && has_held(bundle)
    });
    let lines = stop_attacker(bundle);
    assert!(
        lines.iter().any(|line| line[0] == "AFTER"),
        "nothing was tried: {lines:?}"
    );
    assert_none(&successes(&lines), "ways to write to the binary");
    assert!(before == state_of(binary), "the binary has changed");
}

#[test]
fn a_privileged_container_cannot_write_to_the_binary_that_enters_it() {
    needs!(Root, compiler());
    let (ground, binary) = Ground::with_copied_binary("exe");
    let bundle = hostile(privileged(ground.bundle()), &binary);
    ground.runtime.run_detached(&bundle).succeeded();
    enter_and_be_attacked(&ground, &bundle, &binary);
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

/// With CAP_SYS_PTRACE it would be root on the host by `/proc/1/root`, which no runtime can
/// prevent: any process of the host is its own to change, the runtime's among them.
#[test]
fn in_the_hosts_pid_namespace_a_container_that_may_not_ptrace_gets_no_hold_of_it() {
    needs!(Root, compiler());
    let (ground, binary) = Ground::with_copied_binary("exepid");
    let before = state_of(&binary);
    let bundle = without_namespace(privileged(ground.bundle()), "pid");
    let fewer: Vec<&str> = PRIVILEGED
        .into_iter()
        .filter(|name| *name != "CAP_SYS_PTRACE")
        .collect();
    let bundle = hostile(with_capabilities(bundle, &fewer), &binary);
    ground.runtime.run_detached(&bundle).succeeded();
    for _ in 0..long_or(200, 20) {
        ground.exec(&bundle, &["/bin/true"]).succeeded();
    }
    let lines = stop_attacker(&bundle);
    assert!(!has_held(&bundle), "{lines:?}");
    assert!(before == state_of(&binary), "the binary has changed");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn a_container_in_the_hosts_mount_namespace_cannot_write_to_it_either() {
    needs!(Root, compiler());
    let (ground, binary) = Ground::with_copied_binary("exemnt");
    // Its root is a chroot; the mount namespace is the caller's, here a private one.
    let bundle = without_namespace(privileged(ground.bundle()), "mount").set("/mounts", json!([]));
    let bundle = hostile(bundle, &binary);
    let [device, inode] = identity(&binary);
    let script = format!("mount -t proc proc /proc && exec /attacker exe {device} {inode}");
    let bundle = bundle
        .script(&script)
        .set("/process/env", json!(["PATH=/bin"]));
    bundle.save();
    let run = ["run", "-d", "--bundle", text(bundle.path()), bundle.id()];
    let tare = ground.runtime.command(&run);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(tare.get_program()).args(tare.get_args());
    testkit::finish(&mut command, Duration::from_secs(60)).succeeded();
    enter_and_be_attacked(&ground, &bundle, &binary);
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn an_entrypoint_that_is_the_runtime_runs_it_inside_and_changes_nothing() {
    needs!(Root);
    let (ground, binary) = Ground::with_copied_binary("entry");
    let before = state_of(&binary);
    for args in [
        &["/proc/self/exe", "--version"][..],
        &["/script"],
        &["/link", "list"],
    ] {
        let bundle = privileged(ground.bundle()).args(args);
        lure(&bundle);
        std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("link"))
            .expect("the rootfs can be written");
        for _ in 0..long_or(50, 3) {
            ground.runtime.run(&bundle);
            ground.delete(&bundle);
        }
    }
    assert!(before == state_of(&binary), "the binary has changed");
    ground.finish(vec![]);
}

#[test]
fn a_waiting_init_executes_a_read_only_clone_and_no_copy() {
    needs!(Root);
    let ground = Ground::new("clone");
    let bundle = ground.bundle().args(&["true"]);
    ground.runtime.create(&bundle).succeeded();
    let pid = ground.runtime.state(bundle.id())["pid"].clone();
    let exe = format!("/proc/{pid}/exe");
    let link = fs::read_link(&exe).expect("it lives");
    assert!(
        !text(&link).contains("memfd:"),
        "a copy for each container costs memory: {link:?}"
    );
    let status = fs::metadata(&exe).expect("it lives");
    assert_eq!(
        [status.dev().to_string(), status.ino().to_string()],
        identity(&binary())
    );
    let write = fs::OpenOptions::new().write(true).open(&exe);
    let errno = write
        .expect_err("the host's root can't write either")
        .raw_os_error();
    assert!(
        matches!(errno, Some(30 | 26)),
        "EROFS or ETXTBSY, not {errno:?}"
    );
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn a_path_that_looks_protected_is_checked() {
    needs!(Root);
    // Executed by a descriptor's name, as the protected binary is, but from a writable mount.
    let ground = Ground::new("devfd");
    let tare = binary();
    let script = format!(
        "exec 9<{}; exec /dev/fd/9 --root {} list",
        text(&tare),
        text(ground.runtime.root())
    );
    let finished = testkit::finish(
        Command::new("sh").args(["-c", &script]),
        Duration::from_secs(20),
    );
    // `list` enters no container, so it may go on; `run` may not.
    finished.succeeded();
    let bundle = ground.bundle().args(&["true"]);
    bundle.save();
    let script = format!(
        "exec 9<{}; exec /dev/fd/9 --root {} run --bundle {} {}",
        text(&tare),
        text(ground.runtime.root()),
        text(bundle.path()),
        bundle.id()
    );
    let finished = testkit::finish(
        Command::new("sh").args(["-c", &script]),
        Duration::from_secs(20),
    );
    crate::ground::assert_refused(&finished, "could not be protected");
    assert!(!Path::new(&ground.runtime.root().join(bundle.id())).exists());
    ground.finish(vec![bundle]);
}

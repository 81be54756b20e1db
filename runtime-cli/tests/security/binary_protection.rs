//! The runtime's binary is out of every container's reach (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::json;
use testkit::{TestBundle, needs};

use crate::ground::{
    Ground, arm, assert_none, binary, describe, long_or, privileged, results, stop_attacker, text,
    wait_until, without_namespace,
};

/// `HELD`'s numbers for the binary: device and inode, as the attacker's stat(2) gives them.
fn identity() -> [String; 2] {
    let status = fs::metadata(binary()).expect("the binary is there");
    [status.dev().to_string(), status.ino().to_string()]
}

/// What must not change: inode, mode, owner, size, time, and every byte.
fn state_of_binary() -> (String, Vec<u8>) {
    let bytes = fs::read(binary()).expect("the binary can be read");
    (describe(&binary()), bytes)
}

/// Whether the attacker has got hold of the binary through `/proc/PID/exe`.
fn has_held(bundle: &TestBundle) -> bool {
    let identity = identity();
    results(bundle)
        .iter()
        .any(|line| line[0] == "HELD" && line[1..] == identity)
}

/// Attempts that succeeded, by where they were made.
fn successes(lines: &[Vec<String>]) -> Vec<String> {
    let identity = identity();
    let mut of_binary = false;
    let mut bad = Vec::new();
    for line in lines {
        match line[0].as_str() {
            "AFTER" => of_binary = line[1..] == identity,
            "TRY" if line[2] == "0" && (of_binary || line[1] == "map_files") => {
                bad.push(line[1].clone());
            }
            _ => {}
        }
    }
    bad
}

/// Runs the attacker while the runtime comes and goes; then the runtime is gone, and it tries.
fn attack(ground: Ground, bundle: TestBundle) {
    let before = state_of_binary();
    arm(&bundle);
    let script = bundle.rootfs().join("script");
    fs::write(&script, "#!/proc/self/exe\n").expect("the rootfs can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let [device, inode] = identity();
    let bundle = bundle.args(&["/attacker", "exe", &device, &inode]);
    ground.runtime.run_detached(&bundle).succeeded();

    let at_least = long_or(200, 20);
    let mut rounds = 0;
    wait_until("the attacker holds the binary", || {
        ground.exec(&bundle, &["true"]).succeeded();
        // What they do is theirs; that the binary stays what it is is the point.
        ground.exec(&bundle, &["/script"]);
        ground.exec(&bundle, &["/proc/self/exe", "list"]);
        rounds += 1;
        rounds >= at_least && has_held(&bundle)
    });
    let lines = stop_attacker(&bundle);
    assert!(
        lines.iter().any(|line| line[0] == "AFTER"),
        "nothing was tried: {lines:?}"
    );
    assert_none(&successes(&lines), "ways to write to the binary");
    assert!(before == state_of_binary(), "the binary has changed");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn a_privileged_container_cannot_write_to_the_binary_that_enters_it() {
    needs!(Root, Program("gcc"));
    let ground = Ground::new("exe");
    let bundle = privileged(ground.bundle());
    attack(ground, bundle);
}

#[test]
fn nor_can_one_in_the_hosts_pid_namespace() {
    needs!(Root, Program("gcc"));
    let ground = Ground::new("exepid");
    let bundle = without_namespace(privileged(ground.bundle()), "pid");
    attack(ground, bundle);
}

#[test]
fn nor_can_one_in_the_hosts_mount_namespace() {
    needs!(Root, Program("gcc"));
    let ground = Ground::new("exemnt");
    // Its root is a chroot, and a procfs has to be in there already.
    let bundle = without_namespace(privileged(ground.bundle()), "mount").set("/mounts", json!([]));
    let bundle = without_namespace(bundle, "pid");
    let rootfs = bundle.rootfs();
    let script = format!(
        "mount --make-rprivate / && mount -t proc proc {0}/proc && exec \"$@\"",
        text(&rootfs)
    );
    // The runtime and the container live in a private mount namespace with that procfs.
    let before = state_of_binary();
    arm(&bundle);
    let [device, inode] = identity();
    let bundle = bundle.args(&["/attacker", "exe", &device, &inode]);
    bundle.save();
    let inside = |words: &[&str]| {
        let tare = ground.runtime.command(words);
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        command.arg(tare.get_program()).args(tare.get_args());
        testkit::finish(&mut command, std::time::Duration::from_secs(60))
    };
    inside(&["run", "-d", "--bundle", text(bundle.path()), bundle.id()]).succeeded();
    let mut rounds = 0;
    wait_until("the attacker holds the binary", || {
        ground.exec(&bundle, &["/bin/true"]);
        rounds += 1;
        rounds >= 10 && has_held(&bundle)
    });
    let lines = stop_attacker(&bundle);
    assert_none(&successes(&lines), "ways to write to the binary");
    assert!(before == state_of_binary(), "the binary has changed");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn an_entrypoint_that_is_the_runtime_runs_it_inside_and_changes_nothing() {
    needs!(Root);
    let ground = Ground::new("entry");
    let before = state_of_binary();
    let script = "#!/proc/self/exe\n";
    for args in [
        &["/proc/self/exe", "--version"][..],
        &["/script"],
        &["/link", "list"],
    ] {
        let bundle = privileged(ground.bundle()).args(args);
        fs::write(bundle.rootfs().join("script"), script).expect("the rootfs can be written");
        fs::set_permissions(
            bundle.rootfs().join("script"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("it is ours");
        std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("link"))
            .expect("the rootfs can be written");
        for _ in 0..long_or(50, 3) {
            ground.runtime.run(&bundle);
            ground.delete(&bundle);
        }
    }
    assert!(before == state_of_binary(), "the binary has changed");
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
        identity()
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
        std::process::Command::new("sh").args(["-c", &script]),
        std::time::Duration::from_secs(20),
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
        std::process::Command::new("sh").args(["-c", &script]),
        std::time::Duration::from_secs(20),
    );
    crate::ground::assert_refused(&finished, "could not be protected");
    assert!(!Path::new(&ground.runtime.root().join(bundle.id())).exists());
    ground.finish(vec![bundle]);
}

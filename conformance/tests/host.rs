//! What a runtime breaks on the host is seen by the cases, and gone afterwards; what a person is told
//! of a failure.
//!
//! A runtime that does all of it, whatever it is called for; the host is looked at before and after.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use testkit::{Residue, needs};

mod program;

/// What hostile containers of weak runtimes have done to hosts. A parameter that no namespace has is
/// one whose value does no harm.
const DAMAGE: &str = "#!/bin/sh
chown 12345:6 /dev/null
mkdir -p /nowhere/at/all /conformance-made-by-a-test
touch /inside
hostname broken-by-a-test
echo 4321 > /proc/sys/kernel/shmmax
echo 17 > /proc/sys/net/ipv4/ip_default_ttl
mount -t tmpfs tmpfs /mnt
echo 3 > /proc/sys/kernel/core_pipe_limit
exit 1
";

/// One test at a time: what one changes of the host another one's cases would put back.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime that is this script, in a directory whose name has a space.
fn runtime(directory: &Path, script: &str) -> PathBuf {
    let runtime = directory.join("a runtime");
    std::fs::write(&runtime, script).expect("a file can be written");
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755))
        .expect("its mode can be set");
    runtime
}

fn results(names: &[&str], options: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = runtime(directory.path(), DAMAGE);
    let mut command = Command::new(program::program());
    command.arg("--runtime").arg(&runtime).args(options);
    command.args(["--format", "json"]);
    for name in names {
        command.args(["--case", name]);
    }
    let output = command.output().expect("the program starts");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn parameter(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default()
}

#[test]
fn a_host_is_as_before_whatever_a_runtime_has_broken() {
    needs!(Root, Program("hostname"));
    let _turn = turn();
    let residue = Residue::watch_host();
    let before = parameter("kernel/core_pipe_limit");
    let results = results(
        &["large-annotation", "link-at-run-x", "user-that-is-a-number"],
        &["--suite", "security"],
    );
    // Cgroups come and go while other tests run.
    let difference = residue.difference();
    let left: Vec<&str> = difference
        .lines()
        .filter(|line| !line.starts_with("left cgroup: "))
        .collect();
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(parameter("kernel/core_pipe_limit"), before);
    assert_eq!(results.len(), 3);
    for result in &results {
        assert_eq!(result["outcome"], "fail", "{result:#}");
        let detail = result["detail"].as_str().unwrap_or_default();
        // What the case sees on its own host, and what was put back on the real one.
        for words in ["broken-by-a-test", "4321", "\"17", " /mnt "] {
            assert!(detail.contains(words), "{words}: {detail}");
        }
    }
    // Several cases run at once: the first one that is over tells.
    let is_told = |result: &Value| {
        let detail = result["detail"].as_str().unwrap_or_default();
        detail.contains("core_pipe_limit: 3, was 0 (put back)")
    };
    assert!(results.iter().any(is_told), "{results:#?}");
}

#[test]
fn a_case_of_that_name_is_run_alone() {
    needs!(Root);
    let _turn = turn();
    // Others begin so, too.
    let results = results(&["features"], &["--suite", "cli"]);
    let names: Vec<&Value> = results.iter().map(|result| &result["case"]).collect();
    assert_eq!(names, ["features"]);
}

#[test]
fn the_command_that_is_shown_repeats_just_that_case() {
    needs!(Root, Program("runc"));
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = runtime(directory.path(), "#!/bin/sh\nexit 1\n");
    // Of each suite one whose name others begin with, if there is one.
    for (suite, case) in [
        ("spec", "hostname"),
        ("cli", "features"),
        ("security", "passwd-lines"),
        ("differential", "generated-mounts"),
    ] {
        let mut command = Command::new(program::program());
        command
            .arg("--runtime")
            .arg(&runtime)
            .args(["--long", "--count", "2"]);
        let output = command.args(["--suite", suite, "--case", case]).output();
        let first = String::from_utf8_lossy(&output.expect("it starts").stdout).into_owned();
        let again = first
            .lines()
            .find_map(|line| line.strip_prefix("  again: "));
        let again = again.unwrap_or_else(|| panic!("no command: {first}"));
        assert!(again.contains(" --long "), "{again}");
        let output = Command::new("sh").args(["-c", again]).output();
        let output = output.expect("a shell");
        let second = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{again}: {second}");
        let failed: Vec<&str> = second
            .lines()
            .filter(|line| line.starts_with("FAILED "))
            .collect();
        assert_eq!(failed, [format!("FAILED {suite}/{case}")], "{again}");
        for words in ["expected: ", "seen: "] {
            assert!(second.contains(words), "{words}: {second}");
        }
    }
}

//! What a runtime breaks on the host is seen by the cases, and gone afterwards.
//!
//! A runtime that does all of it, whatever it is called for; the host is looked at before and after.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

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

fn results(names: &[&str], options: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = directory.path().join("damage");
    std::fs::write(&runtime, DAMAGE).expect("a file can be written");
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755))
        .expect("its mode can be set");
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
    let residue = Residue::watch_host();
    let before = parameter("kernel/core_pipe_limit");
    let results = results(
        &["large-annotation", "link-at-run-x", "user-that-is-a-number"],
        &["--suite", "security"],
    );
    assert_eq!(residue.difference(), "");
    assert_eq!(parameter("kernel/core_pipe_limit"), before);
    assert_eq!(results.len(), 3);
    for result in &results {
        assert_eq!(result["outcome"], "fail", "{result:#}");
        let detail = result["detail"].as_str().unwrap_or_default();
        // What the case sees on its own host, and what was put back on the real one.
        for words in ["broken-by-a-test", "4321", "\"17", " /mnt "] {
            assert!(detail.contains(words), "{words}: {detail}");
        }
        let is_told = detail.contains("core_pipe_limit: 3, was 0 (put back)");
        assert!(is_told, "{detail}");
    }
}

#[test]
fn a_case_of_that_name_is_run_alone() {
    needs!(Root);
    // Others begin so, too.
    let results = results(&["features"], &["--suite", "cli"]);
    let names: Vec<&Value> = results.iter().map(|result| &result["case"]).collect();
    assert_eq!(names, ["features"]);
}

//! A runtime that ignores config.json: it starts the program, in a container that is always the
//! same. What passes there is about what such a container has, or about what is seen without it;
//! `inert.txt` lists all of it. A case that joins them can't fail and has to be made better.

use std::collections::BTreeSet;

use testkit::needs;

use crate::kit;

/// The program's arguments and the cgroup stay; all else is what a bundle of a case starts with.
const FILTER: &str = r#"{
    ociVersion: "1.0.2",
    process: { user: { uid: 0, gid: 0 }, args: .process.args, env: ["PATH=/"], cwd: "/" },
    root: { path: "rootfs" },
    mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755"] },
        { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
        { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] }
    ],
    linux: {
        cgroupsPath: .linux.cgroupsPath,
        namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }, { type: "network" }]
    }
}"#;

#[test]
fn only_what_is_known_to_passes_when_the_configuration_is_ignored() {
    needs!(Root, Program("runc"), Program("jq"));
    let known: BTreeSet<String> = include_str!("inert.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let passed = kit::passed_without(FILTER);
    let new: Vec<&String> = passed.difference(&known).collect();
    assert!(
        new.is_empty(),
        "these pass whatever config.json says: {new:#?}"
    );
    assert!(
        passed.len() > known.len() / 2,
        "too few pass to tell: {passed:?}"
    );
}

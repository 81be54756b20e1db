//! Runtimes that are broken in what runtime-tools set and read.

use std::path::Path;

use crate::kit::{Broken, check_in, config};

const ROWS: &[Broken] = &[
    config(
        "another-limit",
        "if .linux.resources.memory.limit then .linux.resources.memory.limit += 4096 else . end",
        &["cgroups-memory", "cgroups-relative-memory"],
        &["cgroups-pids", "default"],
    ),
    config(
        "another-cgroup",
        r#".linux.cgroupsPath = (.linux.cgroupsPath | gsub("inner"; "elsewhere"))"#,
        &["cgroups-relative-pids", "cgroups-relative-cpus"],
        &["cgroups-pids"],
    ),
    config(
        "no-rules",
        "del(.linux.resources.devices)",
        &["cgroups-devices", "cgroups-relative-devices"],
        &["cgroups-cpus"],
    ),
    config(
        "another-hostname",
        r#".hostname = "another""#,
        &["default"],
        &["cgroups-cpus"],
    ),
    config(
        "no-shm",
        r#".mounts |= map(select(.destination != "/dev/shm"))"#,
        &["default"],
        &["cgroups-relative-memory"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    testkit::needs!(Program("go"));
    let libraries = Path::new("/usr/share/gocode/src/github.com/opencontainers/runtime-tools");
    assert!(
        libraries.is_dir(),
        "beside Go, golang-github-opencontainers-runtime-tools-dev has to be there"
    );
    check_in("runtime-tools", ROWS);
}

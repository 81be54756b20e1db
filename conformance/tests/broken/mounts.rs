//! Runtimes that are broken in `mounts`.

use crate::kit::{Broken, check, config};

const ROWS: &[Broken] = &[
    config(
        "order",
        ".mounts = .mounts[:4] + (.mounts[4:] | reverse)",
        &["mount-order"],
        &["mount-destination"],
    ),
    config(
        "no-nosuid",
        r#".mounts |= map(if .destination == "/seen" then .options -= ["nosuid"] else . end)"#,
        &["mount-word-nosuid"],
        &["mount-word-nodev", "mount-word-suid"],
    ),
    config(
        "no-sync",
        r#".mounts |= map(if .options then .options -= ["sync"] else . end)"#,
        &["mount-word-sync"],
        &["mount-word-async"],
    ),
    config(
        "no-ro",
        r#".mounts |= map(if .options then .options -= ["ro", "rro"] else . end)"#,
        &["mount-word-ro", "mount-word-rro", "mount-of-a-file"],
        &["mount-word-rw"],
    ),
    config(
        "no-shared",
        r#".mounts |= map(if .options then .options -= ["shared", "rshared"] else . end)"#,
        &["mount-word-shared", "mount-word-rshared"],
        &["mount-word-private"],
    ),
    config(
        "bind-only",
        r#".mounts |= map(if .options then .options |= map(if . == "rbind" then "bind" else . end) else . end)"#,
        &["mount-word-rbind", "mount-word-rnosuid"],
        &["mount-word-bind"],
    ),
    config(
        "rbind-always",
        r#".mounts |= map(if .options then .options |= map(if . == "bind" then "rbind" else . end) else . end)"#,
        &["mount-word-bind"],
        &["mount-word-rbind"],
    ),
    config(
        "no-copy",
        r#".mounts |= map(if .options then .options -= ["tmpcopyup"] else . end)"#,
        &["mount-word-tmpcopyup"],
        &["mount-word-ro"],
    ),
    config(
        "source",
        r#".mounts |= map(if .destination == "/tmp" then .source = "other" else . end)"#,
        &["mount-source-is-a-dummy"],
        &["mount-destination"],
    ),
    config(
        "no-proc",
        r#".mounts |= map(select(.destination != "/dev/shm"))"#,
        &["default-filesystem-dev-shm"],
        &["default-filesystem-dev-pts"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

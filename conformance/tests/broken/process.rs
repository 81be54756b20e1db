//! Runtimes that are broken in `process`, `root`, `hostname`.

use crate::kit::{Broken, check, config};

const ROWS: &[Broken] = &[
    config("env", r#".process.env = ["PATH=/"]"#, &["env"], &["args"]),
    config(
        "cwd",
        r#".process.cwd = "/""#,
        &["cwd", "cwd-relative", "cwd-is-required"],
        &["env"],
    ),
    config(
        "argv0",
        r#".process.args[0] = "/probe""#,
        &["args-searched-in-path"],
        &["cwd"],
    ),
    config(
        "uid",
        ".process.user.uid = 0",
        &["uid", "uid-that-is-too-large"],
        &["gid"],
    ),
    config(
        "gid",
        ".process.user.gid = 0",
        &["gid", "gid-that-is-a-name"],
        &["uid"],
    ),
    config(
        "groups",
        "del(.process.user.additionalGids)",
        &["additional-gids"],
        &["additional-gids-unset"],
    ),
    config("umask", ".process.user.umask = 18", &["umask"], &["uid"]),
    config(
        "privileges",
        ".process.noNewPrivileges = false",
        &["no-new-privileges"],
        &["no-new-privileges-false"],
    ),
    config(
        "oom",
        ".process.oomScoreAdj = 77",
        &["oom-score-adj", "oom-score-adj-unset"],
        &["uid"],
    ),
    config(
        "limits",
        "del(.process.rlimits)",
        &["rlimit-core", "rlimit-nofile", "rlimit-unknown"],
        &["rlimit-not-listed"],
    ),
    config(
        "more-in-bounding",
        r#"if .process.capabilities then .process.capabilities.bounding += ["CAP_KILL"] else . end"#,
        &["capability-chown", "capabilities-none"],
        &["capability-set-bounding"],
    ),
    config(
        "no-ambient",
        "del(.process.capabilities.ambient)",
        &["capability-set-ambient", "capabilities-of-an-ordinary-user"],
        &["capabilities-none"],
    ),
    config(
        "no-inheritable",
        "del(.process.capabilities.inheritable, .process.capabilities.ambient)",
        &["capability-set-inheritable"],
        &["capabilities-none"],
    ),
    config(
        "no-terminal-size",
        "del(.process.consoleSize)",
        &["console-size"],
        &["terminal"],
    ),
    config(
        "hostname",
        r#".hostname = "another""#,
        &["hostname"],
        &["uid"],
    ),
    config(
        "readonly",
        ".root.readonly = false",
        &["root-readonly"],
        &["root-writable"],
    ),
    config(
        "writable",
        ".root.readonly = true",
        &["root-writable"],
        &["root-readonly"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

//! Runtimes that are broken in limits, filters, paths, sysctls, annotations.

use crate::kit::{Broken, check, config};

const ROWS: &[Broken] = &[
    config(
        "no-memory",
        "del(.linux.resources.memory)",
        &["memory-limit", "memory-reservation", "memory-swappiness"],
        &["pids-limit"],
    ),
    config(
        "no-pids",
        "del(.linux.resources.pids)",
        &["pids-limit", "limit-holds"],
        &["memory-limit"],
    ),
    config(
        "other-shares",
        "if .linux.resources.cpu then .linux.resources.cpu.shares = 1024 else . end",
        &["cpu-shares"],
        &["cpu-quota"],
    ),
    config(
        "no-block",
        "del(.linux.resources.blockIO)",
        &["block-read-bytes", "block-write-operations"],
        &["pids-limit"],
    ),
    config(
        "no-filter",
        "del(.linux.seccomp)",
        &[
            "seccomp-action-errno",
            "seccomp-action-kill",
            "seccomp-action-log",
            "seccomp-action-allow",
            "seccomp-listener-path-ignored",
            "seccomp-action-trap",
            "seccomp-operator-eq",
            "seccomp-filter-is-there",
            "seccomp-default-action",
            "seccomp-unknown-action",
        ],
        &["masked-file"],
    ),
    config(
        "no-arguments",
        "if .linux.seccomp.syscalls then .linux.seccomp.syscalls |= map(del(.args)) else . end",
        &[
            "seccomp-operator-eq",
            "seccomp-operator-ne",
            "seccomp-operator-masked-eq",
            "seccomp-several-arguments",
        ],
        &["seccomp-action-errno"],
    ),
    config(
        "no-errno",
        "if .linux.seccomp.syscalls then .linux.seccomp.syscalls |= map(del(.errnoRet)) else . end",
        &["seccomp-action-errno", "seccomp-errno-zero"],
        &["seccomp-errno-default"],
    ),
    config(
        "other-metadata",
        r#"if .linux.seccomp.listenerMetadata then .linux.seccomp.listenerMetadata = "other" else . end"#,
        &["seccomp-notify-metadata"],
        &["seccomp-notify-descriptor"],
    ),
    config(
        "not-masked",
        "del(.linux.maskedPaths)",
        &["masked-file", "masked-directory", "masked-file-of-proc"],
        &["readonly-file"],
    ),
    config(
        "not-readonly",
        "del(.linux.readonlyPaths)",
        &[
            "readonly-file",
            "readonly-directory",
            "readonly-path-of-proc",
        ],
        &["masked-file"],
    ),
    config(
        "no-sysctl",
        "del(.linux.sysctl)",
        &[
            "sysctl-ipc-messages",
            "sysctl-net-ping",
            "sysctl-several",
            "sysctl-unknown",
        ],
        &["uid"],
    ),
    config(
        "no-annotations",
        "del(.annotations)",
        &["annotations", "state-annotations"],
        &["state-id"],
    ),
    config(
        "no-hugepages",
        "del(.linux.resources.hugepageLimits)",
        &["schema-bad-linux-hugepage"],
        &["schema-bad-linux-rdma"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

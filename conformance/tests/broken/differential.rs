//! Runtimes that make something else of a bundle than runc does, in one kind of fact each.

use crate::kit::{Broken, always, answer, check_in, command, config};

const ROWS: &[Broken] = &[
    config(
        "privileges",
        ".process.noNewPrivileges = false",
        &["process-of-a-user"],
        &["exit-code"],
    ),
    config(
        "no-nosuid",
        r#".mounts |= map(if .destination == "/tmp" then .options -= ["nosuid"] else . end)"#,
        &["tmpfs-without-a-mode"],
        &["tmpfs-with-a-mode"],
    ),
    config(
        "no-cgroup-namespace",
        r#".linux.namespaces |= map(select(.type != "cgroup"))"#,
        &["every-namespace"],
        &["plain"],
    ),
    config(
        "one-more-process",
        "if .linux.resources.pids.limit then .linux.resources.pids.limit += 1 else . end",
        &["limits"],
        &["masks"],
    ),
    config(
        "one-mask-less",
        r#"if .linux.maskedPaths then .linux.maskedPaths -= ["/etc/hidden"] else . end"#,
        &["masks"],
        &["plain"],
    ),
    config(
        "no-limits",
        "del(.process.rlimits)",
        &["generated-process"],
        &["exit-code"],
    ),
    config(
        "no-device-modes",
        "if .linux.devices then .linux.devices |= map(del(.fileMode)) else . end",
        &["generated-devices"],
        &["exit-code"],
    ),
    always(
        "a-limit-of-its-own",
        "ulimit -S -s 4096",
        &["plain"],
        &["rootfs-that-is-missing"],
    ),
    answer(
        "no-owner",
        "state",
        "del(.owner)",
        &["plain"],
        &["rootfs-that-is-missing"],
    ),
    command(
        "another-exit-code",
        "run",
        r#""$R" "$@"; code=$?; [ $code = 7 ] && exit 8; exit $code"#,
        &["exit-code"],
        &["program-that-is-missing"],
    ),
    command(
        "another-error",
        "run",
        r#"{ "$R" "$@" 2>&1 >&3 | sed "s/no such file or directory/permission denied/" >&2; } 3>&1; exit 1"#,
        &["program-that-is-missing", "mount-source-that-is-missing"],
        &["program-that-is-not-executable"],
    ),
    command(
        "another-process",
        "exec",
        r#"jq '.cwd = "/etc"' "$5" > "$5.new" && mv "$5.new" "$5""#,
        &["plain"],
        &["rootfs-that-is-missing"],
    ),
    command(
        "delete-fails",
        "delete",
        r#""$R" "$@"; exit 1"#,
        &["plain"],
        &["rootfs-that-is-missing"],
    ),
    command(
        "leaves-a-cgroup",
        "delete",
        r#""$R" "$@"; [ "$4" = --force ] || mkdir "/sys/fs/cgroup/$(ls /sys/fs/cgroup | grep -x pids)/$LAST"; exit 0"#,
        &["plain"],
        &["rootfs-that-is-missing"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check_in("differential", ROWS);
}

//! Runtimes that are broken in what commands do.

use crate::kit::{Broken, check, command};

const ROWS: &[Broken] = &[
    command(
        "state-of-nothing",
        "state",
        r#""$R" "$@" || exit 0; exit 0"#,
        &["state-of-what-is-missing", "state-after-delete"],
        &["state-id"],
    ),
    command(
        "another-signal",
        "kill",
        r#"exec "$R" "$1" "$2" kill "$4" USR2"#,
        &["kill-term", "kill-usr1"],
        &["state-id"],
    ),
    command(
        "kill-of-nothing",
        "kill",
        r#""$R" "$@"; exit 0"#,
        &["kill-of-a-stopped-one-fails", "kill-of-what-is-missing"],
        &["kill-term"],
    ),
    command(
        "delete-nothing",
        "delete",
        r#"[ "$4" = --force ] || exit 0; exec "$R" "$@""#,
        &[
            "delete-of-a-stopped-one",
            "delete-of-a-running-one-fails",
            "delete-frees-the-id",
            "cgroup-is-removed",
        ],
        &["state-id"],
    ),
    command(
        "delete-always",
        "delete",
        r#"exec "$R" "$1" "$2" delete --force "$4""#,
        &["delete-of-a-running-one-fails"],
        &["delete-of-a-stopped-one"],
    ),
    command(
        "start-of-anything",
        "start",
        r#""$R" "$@"; exit 0"#,
        &[
            "start-of-a-running-one-fails",
            "start-of-a-stopped-one-fails",
            "start-of-what-is-missing",
        ],
        &["start-once"],
    ),
    command(
        "create-starts",
        "create",
        r#""$R" "$@" && exec "$R" "$1" "$2" start "$LAST""#,
        &[
            "create-then-start",
            "state-created",
            "create-takes-a-snapshot",
        ],
        &["create-without-an-id"],
    ),
    command(
        "create-leaves-a-cgroup",
        "create",
        r#""$R" "$@" || { mkdir "/sys/fs/cgroup/$(ls /sys/fs/cgroup | grep -x pids)/$LAST"; exit 1; }; exit 0"#,
        &["create-failure-leaves-nothing"],
        &["create-failure-frees-the-id"],
    ),
    command(
        "open-descriptor",
        "run",
        r#"exec "$R" "$1" "$2" run --preserve-fds 1 "$4" "$5" "$6" 3</dev/null"#,
        &["only-the-standard-streams-are-open"],
        &["links-to-the-streams"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

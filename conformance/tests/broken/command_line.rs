//! Runtimes that are broken in one place of the command line: a flag, an exit status, a text, a
//! record, a file, a descriptor.

use crate::kit::{Broken, always, answer, check_in, command};

/// A command without one of its flags: the rest of the words is executed.
macro_rules! without {
    ($flag:literal) => {
        concat!(
            "for word in \"$@\"; do shift; [ \"$word\" = ",
            $flag,
            " ] || set -- \"$@\" \"$word\"; done"
        )
    };
}

const ROWS: &[Broken] = &[
    // Flags.
    always(
        "no-keep",
        r#"case " $* " in *" --keep "*) echo "flag provided but not defined: --keep" >&2; exit 1;; esac"#,
        &["run-keep"],
        &["run-detach-short"],
    ),
    always(
        "no-one-dash",
        r#"[ "$1" != -root ] || exit 1"#,
        &["flag-with-one-dash"],
        &["flag-with-equals"],
    ),
    always(
        "checkpoint-without-a-flag",
        r#"case " $* " in *" --lazy-pages "*) echo "Incorrect Usage: flag provided but not defined: -lazy-pages"; exit 1;; esac"#,
        &["checkpoint-knows-lazy-pages", "restore-knows-lazy-pages"],
        &["checkpoint-knows-pre-dump"],
    ),
    always(
        "any-flag",
        r#"case " $* " in *" --no-such-flag "*) echo "container does not exist" >&2; exit 1;; esac"#,
        &["flag-unknown", "checkpoint-knows-file-locks"],
        &["checkpoint-help"],
    ),
    always(
        "no-new-keyring-ignored",
        without!("--no-new-keyring"),
        &["create-no-new-keyring", "run-no-new-keyring"],
        &["create-new-keyring"],
    ),
    always(
        "never-a-new-keyring",
        r#"case "$3" in create|run) c=$3; r=$2; shift 3; exec "$R" --root "$r" "$c" --no-new-keyring "$@";; esac"#,
        &["run-new-keyring"],
        &["run-no-new-keyring"],
    ),
    always(
        "subreaper-always",
        without!("--no-subreaper"),
        &["run-no-subreaper"],
        &["run-subreaper"],
    ),
    command(
        "exec-as-root",
        "exec",
        without!("--no-new-privs"),
        &["exec-no-new-privs"],
        &["exec-user-short"],
    ),
    command(
        "update-nothing",
        "update",
        r#"exec "$R" "$1" "$2" state "$LAST""#,
        &[
            "update-memory",
            "update-pids-limit",
            "update-cpu-quota",
            "update-resources",
            "update-with-nonsense",
        ],
        &["update-keeps-other-limits"],
    ),
    command(
        "quota-gone",
        "update",
        r#""$R" "$@" || exit; set -- "$1" "$2" "$LAST"; "$R" "$1" "$2" update --cpu-quota -1 "$3"; exit"#,
        &["update-keeps-the-quota", "update-cpu-quota"],
        &["update-memory-reservation"],
    ),
    // Exit statuses.
    command(
        "exec-fails-with-1",
        "exec",
        r#""$R" "$@"; c=$?; [ $c != 255 ] || c=1; exit $c"#,
        &[
            "exit-of-a-failed-exec",
            "exec-in-a-stopped-one",
            "exec-of-a-program-missing",
        ],
        &["exit-of-a-further-process"],
    ),
    always(
        "signals-as-they-are",
        r#""$R" "$@"; c=$?; [ $c != 137 ] || c=9; exit $c"#,
        &["exit-of-a-killed-process", "exit-of-a-killed-init"],
        &["exit-of-the-process"],
    ),
    always(
        "usage-on-standard-error",
        r#"[ $# -gt 3 ] || { "$R" "$@" >&2; exit; }"#,
        &["start-with-none", "state-with-none", "list-table"],
        &["exec-env-short"],
    ),
    always(
        "unknown-commands-are-1",
        r#"[ "$1" != nosuch ] || exit 1"#,
        &["exit-of-an-unknown-command"],
        &["start-with-none"],
    ),
    // Texts and records.
    always(
        "another-text",
        r#"{ "$R" "$@" 2>&1 >&3 | sed 's/does not exist/is unknown/; s/container not running/has ended/; s/executable file not found/no program/' >&2; } 3>&1; exit 1"#,
        &[
            "kill-of-nobody",
            "state-of-nobody-says-so",
            "exec-of-a-program-not-in-path",
        ],
        &["id-with-a-slash"],
    ),
    always(
        "loud-levels",
        r#"if [ "$3" = --log ]; then "$R" "$@"; c=$?; sed -i 's/"error"/"ERROR"/' "$4"; exit $c; fi"#,
        &["log-json"],
        &["log-without-a-file", "log-mode"],
    ),
    always(
        "a-warning-first",
        r#"if [ "$3" = --log ]; then echo '{"level":"warning","msg":"beware","time":"2026-01-01T00:00:00Z"}' > "$4"; fi"#,
        &["log-one-record", "log-appends", "log-text"],
        &["log-json"],
    ),
    always("no-debug", without!("--debug"), &["debug"], &["debug-off"]),
    // What is printed.
    answer(
        "a-local-time",
        "state",
        r#".created = "yesterday" | .pid = 1 | del(.rootfs)"#,
        &[
            "state-created",
            "state-pid",
            "state-rootfs",
            "state-status-stopped",
        ],
        &["state-id"],
    ),
    always(
        "a-longer-version",
        r#""$R" "$@"; [ "$1" != --version ] || echo "version of Go: 1"; exit"#,
        &["version", "version-short"],
        &["version-commit"],
    ),
    answer(
        "no-rro",
        "features",
        r#".mountOptions -= ["rro"] | del(.linux.seccomp.operators)"#,
        &["features-rro", "features-linux-seccomp-operators"],
        &["features-hooks"],
    ),
    command(
        "an-empty-list",
        "list",
        r#"[ "$4" != --format ] || { echo '[]'; exit; }; "$R" "$@" | sed 's/OWNER/USER/'; exit"#,
        &["list-empty", "list-id", "list-table", "list-format-unknown"],
        &["list-quiet"],
    ),
    command(
        "pids-as-texts",
        "ps",
        r#"[ "$4" = --format ] && { "$R" "$@" | sed 's/[0-9][0-9]*/"&"/g'; exit; }"#,
        &["ps-json"],
        &["ps-table"],
    ),
    command(
        "one-record",
        "events",
        r#"[ "$4" = --stats ] && { "$R" "$@" | sed 's/"id":"/"id":"x/; s/"pids":{[^}]*}/"pids":{}/'; exit; }; exec "$R" "$1" "$2" events --stats "$LAST""#,
        &["events-id", "events-pids", "events-interval"],
        &["events-stats", "events-cpu-usage"],
    ),
    command(
        "spec-anew",
        "spec",
        r#"rm -f config.json"#,
        &["spec-twice"],
        &["spec-runs"],
    ),
    // Files, descriptors, environment.
    always(
        "a-line-in-the-pid-file",
        r#"was=; file=; for word in "$@"; do [ "$was" = --pid-file ] && file=$word; was=$word; done
           [ -n "$file" ] && { "$R" "$@"; c=$?; echo >> "$file"; exit $c; }"#,
        &[
            "create-pid-file",
            "run-pid-file-without-a-newline",
            "exec-pid-file",
        ],
        &["create-bundle-short"],
    ),
    command(
        "one-descriptor",
        "run",
        "exec 4<&-",
        &["run-preserve-fds"],
        &["exit-success"],
    ),
    always(
        "no-sockets",
        "unset LISTEN_FDS NOTIFY_SOCKET",
        &["socket-activation", "readiness"],
        &["exit-success"],
    ),
    always(
        "no-console",
        r#"case " $* " in *" --console-socket "*) exit 1;; esac"#,
        &["create-console-socket", "exec-console-socket"],
        &["create-terminal-without-a-socket"],
    ),
    // What commands do.
    command(
        "pause-nothing",
        "pause",
        "exit 0",
        &["pause"],
        &["resume-of-a-running-one"],
    ),
    command(
        "signal-names",
        "kill",
        r#"case "$5" in sig*|Usr*) exit 1;; esac"#,
        &["kill-small-letters", "kill-mixed-letters"],
        &["kill-name"],
    ),
    command(
        "delete-created",
        "delete",
        r#""$R" "$1" "$2" state "$LAST" 2>/dev/null | grep -q '"status": "created"' && [ "$4" != --force ] && exit 1"#,
        &["delete-of-a-created-one"],
        &["delete-force-short"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check_in("cli", ROWS);
}

//! Runtimes that let something out, or change something of the host.

use crate::kit::{Broken, always, check_in, command, config};

const ROWS: &[Broken] = &[
    // The host as it was.
    command(
        "touches-the-canary",
        "run",
        r#"chmod 0600 "$(dirname "$5")/canary/secret""#,
        &["link-at-run-x", "cgroup-that-can-not-be-left"],
        &["capabilities-of-exec-of-another-user"],
    ),
    command(
        "leaves-a-mount",
        "run",
        r#"mount -t tmpfs tmpfs "$5/rootfs/tmp""#,
        &["mount-below-a-link"],
        &["user-that-is-a-number"],
    ),
    command(
        "changes-a-sysctl",
        "run",
        "echo broken > /proc/sys/kernel/hostname",
        &["large-annotation"],
        &["values-land"],
    ),
    command(
        "changes-itself",
        "run",
        r#"touch "$0""#,
        &["large-annotation"],
        &["values-land"],
    ),
    command(
        "makes-a-directory-in-the-hosts-root",
        "run",
        r#"mkdir -p "/$LAST""#,
        &["large-annotation"],
        &["values-land"],
    ),
    command(
        "gives-null-away",
        "create",
        "chown 12345 /dev/null",
        &["null-of-the-host"],
        &["capabilities-one-of-user-7"],
    ),
    command(
        "follows-links",
        "exec",
        r#"mkdir "$2/../volume/d/$$" 2>/dev/null"#,
        &["race-of-a-directory-of-exec"],
        &["capabilities-of-exec-of-another-user"],
    ),
    // Attackers in a container.
    command(
        "enters-from-the-host",
        "exec",
        r#"pid=$("$R" "$1" "$2" state "$4" | jq .pid); nsenter -t "$pid" -p sleep 0.02"#,
        &[
            "enter-a-container-that-may-ptrace",
            "enter-a-container-that-seizes",
        ],
        &["capabilities-of-exec-of-another-user"],
    ),
    command(
        "enters-dumpable",
        "exec",
        r#"pid=$("$R" "$1" "$2" state "$4" | jq .pid)
           nsenter -t "$pid" -p setpriv --inh-caps=-all --bounding-set=-all sleep 0.02"#,
        &["enter-undumpable"],
        &["capabilities-of-exec-of-another-user"],
    ),
    command(
        "shows-a-writable-program",
        "exec",
        r#"pid=$("$R" "$1" "$2" state "$4" | jq .pid); [ -e "$2/sleep" ] || cp /bin/sleep "$2/sleep"
           nsenter -t "$pid" -p "$2/sleep" 0.1"#,
        &["binary-of-who-enters"],
        &["capabilities-of-exec-of-another-user"],
    ),
    command(
        "is-written-to",
        "exec",
        r#"echo ": more" >> "$0""#,
        &["binary-of-who-enters"],
        &["binary-of-a-waiting-init"],
    ),
    command(
        "leaks",
        "run",
        r#"exec "$R" "$1" "$2" run --preserve-fds 2 "$4" "$5" "$6" 3</ 4</"#,
        &["descriptors-of-run"],
        &["descriptors-of-exec"],
    ),
    command(
        "works-in-the-hosts-directory",
        "run",
        r#"cat "$(dirname "$5")/canary/secret""#,
        &[
            "directory-behind-a-descriptor-of-run",
            "directory-that-is-a-link",
        ],
        &["directory-behind-a-descriptor-of-exec"],
    ),
    // What is to be refused.
    always(
        "refuses-nothing",
        r#"case "$3" in run|exec) "$R" "$@"; exit 0;; esac"#,
        &[
            "mount-inside-proc-3",
            "sysctl-of-the-host-0",
            "user-that-is-none-0",
            "filter-of-flags",
            "program-behind-a-descriptor",
            "label-of-selinux",
        ],
        &["values-land"],
    ),
    // What is to be in force.
    config(
        "no-masks",
        "del(.linux.maskedPaths)",
        &["mask-of-an-image-missing"],
        &["values-land"],
    ),
    config(
        "no-sysctls",
        "del(.linux.sysctl)",
        &["values-land"],
        &["large-annotation"],
    ),
    config(
        "inheritable",
        "if .process.capabilities then .process.capabilities.inheritable = .process.capabilities.permitted else . end",
        &[
            "capabilities-one-of-user-0",
            "capabilities-of-exec-of-another-user",
        ],
        &["capabilities-none-of-user-7"],
    ),
    config(
        "no-filter",
        "del(.linux.seccomp)",
        &[
            "filter-with-architectures-all",
            "filter-of-exec",
            "filter-of-arguments",
            "annotations-command-nothing",
        ],
        &["filter-is-a-filter"],
    ),
    config(
        "all-devices",
        r#".linux.resources.devices = [{"allow": true, "access": "rwm"}]"#,
        &["devices-without-rules", "devices-of-exec"],
        &["values-land"],
    ),
    config(
        "another-cgroup",
        r#".linux.cgroupsPath |= "\(.)/below""#,
        &["cgroup-of-a-container-with-users"],
        &["values-land"],
    ),
    config(
        "no-limits",
        "del(.linux.resources)",
        &["cgroup-limits-memory", "cgroup-limits-processes"],
        &["values-land"],
    ),
    config(
        "the-hosts-groups",
        ".process.user.additionalGids += [4]",
        &["groups-of-the-config", "groups-of-exec"],
        &["values-land"],
    ),
    config(
        "the-hosts-environment",
        r#".process.env += ["HOST_SECRET=swordfish"]"#,
        &["environment-of-the-config"],
        &["environment-of-two"],
    ),
    config(
        "cut-short",
        ".process.env |= map(.[0:1000]) | .process.args |= .[0:1000]",
        &["long-variable", "many-arguments"],
        &["large-annotation"],
    ),
    config(
        "writable",
        r#".root.readonly = false | .mounts |= map(if .options then .options -= ["ro"] else . end)"#,
        &[
            "read-only-root-is-read-only",
            "read-only-at-every-moment",
            "read-only-source-gets-no-mount-point",
        ],
        &["values-land"],
    ),
    always(
        "the-callers-keyring",
        r#"case "$3" in create|run) c=$3; r=$2; shift 3; exec "$R" --root "$r" "$c" --no-new-keyring "$@";; esac"#,
        &["keyrings-that-run-out"],
        &["values-land"],
    ),
    // State.
    command(
        "open-state",
        "create",
        r#""$R" "$@" || exit; chmod 0755 "$2/$LAST"; exit"#,
        &["modes-with-umask-022", "modes-with-umask-077"],
        &["values-land"],
    ),
    command(
        "kills-a-number",
        "kill",
        r#"kill -9 "$(jq .init_process_pid "$2/$LAST/state.json" 2>/dev/null || jq .init_process_pid "$2/$4/state.json")"; exit 0"#,
        &["pid-of-another-process"],
        &["links-in-the-state"],
    ),
    command(
        "removes-through-links",
        "delete",
        r#"rm -rf "$2/$LAST/strange/directory" 2>/dev/null"#,
        &["links-in-the-state"],
        &["cgroup-names-that-are-links"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check_in("security", ROWS);
}

//! Runtimes that are broken in namespaces, ids, devices and cgroups.

use crate::kit::{Broken, check, config};

const ROWS: &[Broken] = &[
    config(
        "no-uts",
        r#".linux.namespaces |= map(select(.type != "uts"))"#,
        &["namespace-uts-new", "namespace-uts-joined"],
        &["namespace-ipc-new", "namespace-uts-inherited"],
    ),
    config(
        "no-paths",
        ".linux.namespaces |= map(del(.path))",
        &[
            "namespace-ipc-joined",
            "namespace-network-joined",
            "namespace-path-relative",
            "namespace-ipc-of-the-wrong-kind",
        ],
        &["namespace-ipc-new"],
    ),
    config(
        "once",
        ".linux.namespaces |= unique_by(.type)",
        &["namespace-ipc-duplicate"],
        &["namespace-ipc-new"],
    ),
    config(
        "all-namespaces",
        r#".linux.namespaces |= (. + [{"type": "ipc"}] | unique_by(.type))"#,
        &["namespace-ipc-inherited"],
        &["namespace-ipc-new"],
    ),
    config(
        "fewer-uids",
        "if .linux.uidMappings then .linux.uidMappings[0].size = 999 else . end",
        &["ids-of-users"],
        &["ids-of-groups"],
    ),
    config(
        "other-uids",
        "if .linux.uidMappings then .linux.uidMappings[1].hostID += 1 else . end",
        &["ids-of-users", "ids-as-seen-outside"],
        &["ids-of-groups"],
    ),
    config(
        "no-devices",
        "del(.linux.devices)",
        &[
            "device-c",
            "device-b",
            "device-file-mode",
            "device-unknown-type",
        ],
        &["device-null"],
    ),
    config(
        "device-owner",
        "if .linux.devices then .linux.devices[0].uid = 5 else . end",
        &["device-uid"],
        &["device-c"],
    ),
    // Without rules runc denies all but its own.
    config(
        "no-rules",
        "del(.linux.resources.devices)",
        &["device-rule-allow", "device-rule-minor-unset"],
        &["device-rule-deny"],
    ),
    config(
        "rules-reversed",
        "if .linux.resources.devices then .linux.resources.devices |= reverse else . end",
        &["device-rule-allow", "device-rule-order"],
        &["device-rule-deny"],
    ),
    config(
        "cgroups-path",
        r#".linux.cgroupsPath = "/conformance-elsewhere""#,
        &["cgroups-path-absolute", "cgroups-path-deep"],
        &["uid"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

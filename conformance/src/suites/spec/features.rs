//! features.md and features-linux.md.

use serde_json::Value;

use super::{Area, has};
use crate::case::{Case, Trouble, Verdict, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("features");
const PLACE: &str = "features.md";
const LINUX: &str = "features-linux.md";

/// Lists, where they are, and what a runtime for Linux that keeps to the specification has there.
const LISTS: [(&str, &str, &str, &[&str]); 7] = [
    (
        "hooks",
        "/hooks",
        "features.md#hooks",
        &[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
    ),
    (
        "mount-options",
        "/mountOptions",
        "features.md#mount-options",
        &[
            "bind", "defaults", "lazytime", "nosuid", "rbind", "ro", "rslave", "silent", "sync",
            "iversion",
        ],
    ),
    (
        "namespaces",
        "/linux/namespaces",
        "features-linux.md#namespaces",
        &[
            "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time",
        ],
    ),
    (
        "capabilities",
        "/linux/capabilities",
        "features-linux.md#capabilities",
        &[
            "CAP_CHOWN",
            "CAP_SYS_ADMIN",
            "CAP_BPF",
            "CAP_CHECKPOINT_RESTORE",
        ],
    ),
    (
        "seccomp-actions",
        "/linux/seccomp/actions",
        "features-linux.md#seccomp",
        &[
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_LOG",
            "SCMP_ACT_TRACE",
            "SCMP_ACT_TRAP",
        ],
    ),
    (
        "seccomp-operators",
        "/linux/seccomp/operators",
        "features-linux.md#seccomp",
        &[
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_MASKED_EQ",
        ],
    ),
    (
        "seccomp-architectures",
        "/linux/seccomp/archs",
        "features-linux.md#seccomp",
        &["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
    ),
];

/// Words that say whether something is there.
const FLAGS: [(&str, &str, &str); 9] = [
    ("cgroup-v1", "/linux/cgroup/v1", "cgroup"),
    ("cgroup-v2", "/linux/cgroup/v2", "cgroup"),
    ("cgroup-rdma", "/linux/cgroup/rdma", "cgroup"),
    ("seccomp", "/linux/seccomp/enabled", "seccomp"),
    ("apparmor", "/linux/apparmor/enabled", "apparmor"),
    ("selinux", "/linux/selinux/enabled", "selinux"),
    ("intel-rdt", "/linux/intelRdt/enabled", "intel-rdt"),
    (
        "idmapped-mounts",
        "/linux/mountExtensions/idmap/enabled",
        "mount-extensions",
    ),
    ("net-devices", "/linux/netDevices/enabled", "net-devices"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = LISTS
        .into_iter()
        .map(|row| list(row.0, row.1, row.2, row.3))
        .collect();
    cases.extend(FLAGS.map(|(name, pointer, heading)| {
        AREA.case(
            format!("features-{name}"),
            &format!("{LINUX}#{heading}"),
            "enabled says whether the runtime is compiled with it: it is said.",
            move |scene| {
                let features = features(scene)?;
                let seen = features.pointer(pointer).cloned().unwrap_or_default();
                if seen.is_null() {
                    return skipped(format!("{pointer} is optional, and not said"));
                }
                holds(
                    seen.is_boolean(),
                    &format!("{pointer} is true or false"),
                    seen,
                )
            },
        )
    }));
    cases.push(AREA.case(
        "features-versions",
        PLACE,
        "ociVersionMin and ociVersionMax are the minimal and maximal recognized versions.",
        versions,
    ));
    cases
}

fn features(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let finished = scene.runtime().call(&["features"]);
    match serde_json::from_str(&finished.stdout) {
        Ok(features) if finished.code == 0 => Ok(features),
        _ => skipped("the runtime has no `features`, which are optional"),
    }
}

fn list(
    name: &'static str,
    pointer: &'static str,
    place: &'static str,
    words: &'static [&'static str],
) -> Case {
    AREA.case(
        format!("features-{name}"),
        place,
        &format!("{pointer} lists what the runtime recognizes."),
        move |scene| {
            let features = features(scene)?;
            let list = features.pointer(pointer).cloned().unwrap_or_default();
            let missing: Vec<&&str> = words.iter().filter(|word| !has(&list, word)).collect();
            holds(
                missing.is_empty(),
                &format!("{words:?} in {pointer}"),
                format!("without {missing:?}"),
            )
        },
    )
}

fn versions(scene: &Scene<'_>) -> Verdict {
    let features = features(scene)?;
    let version = |name: &str| features[name].as_str().unwrap_or_default().to_owned();
    holds(
        version("ociVersionMin").starts_with("1."),
        "ociVersionMin 1.x",
        version("ociVersionMin"),
    )?;
    holds(
        version("ociVersionMax").starts_with("1."),
        "ociVersionMax 1.x",
        version("ociVersionMax"),
    )
}

//! config-linux.md#sysctl.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("sysctl");
const PLACE: &str = "config-linux.md#sysctl";

/// Name, parameter, a value that is no kernel's default and that no host has, file.
const ALL: [(&str, &str, &str, &str); 6] = [
    (
        "ipc-shared-memory",
        "kernel.shmmni",
        "1234",
        "/proc/sys/kernel/shmmni",
    ),
    (
        "ipc-messages",
        "kernel.msgmax",
        "4097",
        "/proc/sys/kernel/msgmax",
    ),
    (
        "ipc-semaphores",
        "kernel.sem",
        "250\t32000\t32\t100",
        "/proc/sys/kernel/sem",
    ),
    (
        "ipc-queues",
        "fs.mqueue.msg_max",
        "7",
        "/proc/sys/fs/mqueue/msg_max",
    ),
    (
        "net-ping",
        "net.ipv4.ping_group_range",
        "7\t9",
        "/proc/sys/net/ipv4/ping_group_range",
    ),
    (
        "net-backlog",
        "net.core.somaxconn",
        "257",
        "/proc/sys/net/core/somaxconn",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ALL
        .into_iter()
        .map(|row| one(row.0, row.1, row.2, row.3))
        .collect();
    cases.extend([
        AREA.case(
            "sysctl-several",
            PLACE,
            "sysctl is a map of kernel parameters.",
            several,
        ),
        AREA.refuses(
            "sysctl-unknown",
            "runtime.md#create",
            "If the runtime cannot apply a property it must generate an error.",
            "/linux/sysctl",
            json!({ "net.no.such.parameter": "1" }),
        ),
        AREA.refuses(
            "sysctl-impossible",
            "runtime.md#create",
            "If the runtime cannot apply a property it must generate an error.",
            "/linux/sysctl",
            json!({ "net.ipv4.ip_forward": "maybe" }),
        ),
        AREA.refuses(
            "sysctl-of-a-wrong-type",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/linux/sysctl",
            json!({ "net.ipv4.ip_forward": 1 }),
        ),
    ]);
    cases
}

fn one(
    name: &'static str,
    parameter: &'static str,
    value: &'static str,
    file: &'static str,
) -> Case {
    AREA.case(
        format!("sysctl-{name}"),
        PLACE,
        &format!("sysctl allows kernel parameters to be modified for the container: {parameter}."),
        move |scene| {
            let before = std::fs::read_to_string(file).unwrap_or_default();
            let word = format!("read:{file}");
            let tried = scene.tries(
                scene
                    .bundle()
                    .set("/linux/sysctl", json!({ parameter: value })),
                &[&word],
            )?;
            is(
                parameter,
                &json!(tried[&word].as_str().unwrap_or_default().trim_end()),
                value,
            )?;
            let after = std::fs::read_to_string(file).unwrap_or_default();
            holds(before == after, "the host's value as it was", after)
        },
    )
    .of("linux.sysctl")
    .of("linux.sysctl.*")
}

fn several(scene: &Scene<'_>) -> Verdict {
    let sysctl = json!({ "net.core.somaxconn": "77", "kernel.shmmni": "78" });
    let words = [
        "read:/proc/sys/net/core/somaxconn",
        "read:/proc/sys/kernel/shmmni",
    ];
    let tried = scene.tries(scene.bundle().set("/linux/sysctl", sysctl), &words)?;
    is("somaxconn", &tried[words[0]], "77\n")?;
    is("shmmni", &tried[words[1]], "78\n")
}

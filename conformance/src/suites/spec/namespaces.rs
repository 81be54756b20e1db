//! config-linux.md#namespaces.

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("namespaces");
const PLACE: &str = "config-linux.md#namespaces";

/// Kinds of namespaces_(7): config.json's word and /proc's.
const ALL: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(ALL.map(|(kind, file)| new(kind, file)));
    cases.extend(ALL.map(|(kind, file)| inherited(kind, file)));
    cases.extend(ALL.map(|(kind, file)| joined(kind, file)));
    cases.extend(ALL.map(|(kind, _)| of_the_wrong_kind(kind)));
    cases.extend(ALL.map(|(kind, _)| duplicate(kind)));
    cases.extend([
        AREA.refuses("namespace-unknown", "config.md#valid-values", "Runtimes must generate an error when invalid values are encountered.", "/linux/namespaces/-", json!({ "type": "universe" })),
        AREA.refuses("namespace-without-a-type", PLACE, "type is required.", "/linux/namespaces/-", json!({ "path": "/proc/self/ns/net" })),
        AREA.refuses("namespace-path-relative", PLACE, "path must be absolute.", "/linux/namespaces", json!([{ "type": "mount" }, { "type": "network", "path": "proc/self/ns/net" }])),
        AREA.refuses("namespace-path-missing", PLACE, "The runtime must place the process in the namespace of path.", "/linux/namespaces", json!([{ "type": "mount" }, { "type": "network", "path": "/proc/self/ns/nothing" }])),
        AREA.refuses("namespace-path-of-a-file", PLACE, "The runtime must generate an error if path is not associated with a namespace of type.", "/linux/namespaces", json!([{ "type": "mount" }, { "type": "network", "path": "/proc/version" }])),
        AREA.case("namespace-pid-is-one", PLACE, "In a pid namespace the processes inside see only those inside: the first has the pid 1.", |scene| {
            is("pid", &scene.report(&scene.bundle())?["pid"], 1)
        }),
        AREA.case("namespace-network-is-its-own", PLACE, "With network the container has its own network stack.", own_network),
        AREA.case("namespace-cgroup-hides-the-path", PLACE, "With cgroup the container has an isolated view of the cgroup hierarchy.", own_cgroup_root),
    ]);
    cases
}

fn own(file: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{file}"))
        .map(|link| link.display().to_string())
        .unwrap_or_default()
}

/// A bundle that is in new namespaces of these kinds and of no others, and asks for nothing that
/// would need others.
fn bundle(scene: &Scene<'_>, namespaces: Value) -> Bundle {
    let has = |kind: &str| {
        namespaces
            .as_array()
            .is_some_and(|all| all.iter().any(|entry| entry["type"] == kind))
    };
    let with_ids = has("user");
    let mut bundle = scene.bundle().set("/linux/namespaces", namespaces);
    if with_ids {
        for name in ["", "proc", "dev", "sys", "tmp", "etc"] {
            std::os::unix::fs::chown(bundle.rootfs().join(name), Some(100_000), Some(100_000))
                .expect("a directory can be given away");
        }
        let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        bundle = bundle
            .set("/linux/uidMappings", ids.clone())
            .set("/linux/gidMappings", ids);
    }
    // sysfs belongs to the network namespace, and proc to the pid namespace.
    bundle.set(
        "/mounts",
        json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]),
    )
}

/// The least with which a container of this kind can be: a mount namespace, and this one. A user
/// namespace can only mount proc in a pid namespace of its own.
fn with(kind: &str, path: Option<&str>) -> Value {
    let mut entry = json!({ "type": kind });
    if let Some(path) = path {
        entry["path"] = json!(path);
    }
    let mut all = vec![entry];
    for other in ["mount", "pid"] {
        if other != kind {
            all.push(json!({ "type": other }));
        }
    }
    json!(all)
}

fn new(kind: &'static str, file: &'static str) -> Case {
    AREA.case(
        format!("namespace-{kind}-new"),
        PLACE,
        &format!("Without path the runtime must create a new {kind} namespace."),
        move |scene| {
            let report = scene.report(&bundle(scene, with(kind, None)))?;
            let inside = report["namespaces"][file]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            holds(
                !inside.is_empty() && inside != own(file),
                &format!("another one than {}", own(file)),
                inside,
            )
        },
    )
    .of("linux.namespaces")
    .of("linux.namespaces[]")
    .of("linux.namespaces[].type")
}

fn inherited(kind: &'static str, file: &'static str) -> Case {
    AREA.case(
        format!("namespace-{kind}-inherited"),
        PLACE,
        "A namespace that is not listed is inherited from the runtime.",
        move |scene| {
            let listed: Vec<Value> = ["pid", "mount", "ipc", "uts"]
                .iter()
                .filter(|other| **other != kind)
                .map(|other| json!({ "type": other }))
                .collect();
            let mut bundle = bundle(scene, json!(listed));
            if kind == "mount" {
                // Whatever it mounted would stay around the runtime; some look into /proc there.
                bundle = bundle.set("/mounts", json!([]));
                scene.bind("/proc", &bundle.rootfs().join("proc"))?;
            }
            bundle = bundle.does(&["wait"]);
            scene.start(&bundle)?;
            let pid = scene.runtime().pid(bundle.id());
            let inside = std::fs::read_link(format!("/proc/{pid}/ns/{file}"))
                .map(|link| link.display().to_string())
                .unwrap_or_default();
            crate::case::equal(kind, &inside, &own(file))
        },
    )
}

fn joined(kind: &'static str, file: &'static str) -> Case {
    AREA.case(
        format!("namespace-{kind}-joined"),
        PLACE,
        "The runtime must place the container process in the namespace of path.",
        move |scene| {
            let holder = scene.holder(&[kind])?;
            let mut bundle = bundle(
                scene,
                with(kind, Some(&holder.file(file).display().to_string())),
            );
            if kind == "user" {
                holder.map_ids(100_000)?;
                bundle = bundle
                    .without("/linux/uidMappings")
                    .without("/linux/gidMappings");
            }
            let report = scene.report(&bundle)?;
            is(kind, &report["namespaces"][file], holder.link(file))
        },
    )
    .of("linux.namespaces[].path")
}

/// A file of a namespace of another kind.
fn of_the_wrong_kind(kind: &'static str) -> Case {
    AREA.case(
        format!("namespace-{kind}-of-the-wrong-kind"),
        PLACE,
        "The runtime must generate an error if path is not associated with a namespace of type.",
        move |scene| {
            let other = if kind == "ipc" { "uts" } else { "ipc" };
            let holder = scene.holder(&[other])?;
            let bundle = bundle(
                scene,
                with(kind, Some(&holder.file(other).display().to_string())),
            )
            .without("/linux/uidMappings")
            .without("/linux/gidMappings");
            scene.is_refused(&bundle).map(drop)
        },
    )
}

fn duplicate(kind: &'static str) -> Case {
    AREA.case(
        format!("namespace-{kind}-duplicate"),
        PLACE,
        "If namespaces has duplicates of the same type, the runtime must generate an error.",
        move |scene| {
            let bundle =
                bundle(scene, with(kind, None)).set("/linux/namespaces/-", json!({ "type": kind }));
            scene.is_refused(&bundle).map(drop)
        },
    )
}

fn own_network(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle())?;
    let names: Vec<&String> = report["interfaces"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    let known = |name: &&&String| {
        !matches!(
            name.as_str(),
            "lo" | "tunl0"
                | "sit0"
                | "ip6tnl0"
                | "gre0"
                | "gretap0"
                | "erspan0"
                | "ip_vti0"
                | "ip6_vti0"
                | "ip6gre0"
                | "bonding_masters"
        )
    };
    let foreign: Vec<_> = names.iter().filter(known).collect();
    holds(
        foreign.is_empty() && !names.is_empty(),
        "lo, and nothing of the host",
        names,
    )
}

fn own_cgroup_root(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&bundle(scene, with("cgroup", None)))?;
    let text = report["cgroup"].as_str().unwrap_or_default();
    let deep: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(scene.marker()))
        .collect();
    holds(
        !text.is_empty() && deep.is_empty(),
        "no path of the host in /proc/self/cgroup",
        text,
    )
}

//! config-linux.md#memory-policy.

use serde_json::{Value, json};

use super::Area;
use crate::case::{Case, Verdict, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("memory-policy");
const PLACE: &str = "config-linux.md#memory-policy";

/// Mode, nodes, and the beginning of what numa_maps says of the process's pages.
const MODES: [(&str, &str, &str); 7] = [
    ("MPOL_DEFAULT", "", "default"),
    ("MPOL_BIND", "0", "bind:0"),
    ("MPOL_INTERLEAVE", "0", "interleave:0"),
    ("MPOL_WEIGHTED_INTERLEAVE", "0", "weighted interleave:0"),
    ("MPOL_PREFERRED", "0", "prefer:0"),
    ("MPOL_PREFERRED_MANY", "0", "prefer (many):0"),
    ("MPOL_LOCAL", "", "local"),
];

/// Flag, and what numa_maps says with a bind to node 0.
const FLAGS: [(&str, &str); 3] = [
    ("MPOL_F_STATIC_NODES", "bind=static:0"),
    ("MPOL_F_RELATIVE_NODES", "bind=relative:0"),
    // It changes nothing in these words.
    ("MPOL_F_NUMA_BALANCING", "bind"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = MODES
        .into_iter()
        .map(|(mode, nodes, seen)| {
            let name = mode
                .trim_start_matches("MPOL_")
                .to_lowercase()
                .replace('_', "-");
            let policy = if nodes.is_empty() {
                json!({ "mode": mode })
            } else {
                json!({ "mode": mode, "nodes": nodes })
            };
            one(&format!("memory-policy-{name}"), policy, seen)
                .of("linux.memoryPolicy")
                .of("linux.memoryPolicy.mode")
                .of("linux.memoryPolicy.nodes")
        })
        .collect();
    cases.extend(FLAGS.map(|(flag, seen)| {
        let name = flag
            .trim_start_matches("MPOL_F_")
            .to_lowercase()
            .replace('_', "-");
        one(
            &format!("memory-policy-flag-{name}"),
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] }),
            seen,
        )
        .of("linux.memoryPolicy.flags")
        .of("linux.memoryPolicy.flags[]")
    }));
    cases.extend([
        AREA.refuses(
            "memory-policy-unknown-mode",
            PLACE,
            "mode is one of a list.",
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_RANDOM" }),
        ),
        AREA.refuses(
            "memory-policy-unknown-flag",
            PLACE,
            "flags are of a list.",
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_FAST"] }),
        ),
        AREA.refuses(
            "memory-policy-without-nodes",
            PLACE,
            "nodes are required for a mode that binds.",
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND" }),
        ),
    ]);
    cases
}

fn one(name: &str, policy: Value, seen: &'static str) -> Case {
    AREA.case(
        name,
        PLACE,
        "memoryPolicy is the memory policy of the container's process.",
        move |scene| is_seen(scene, &policy, seen),
    )
}

fn is_seen(scene: &Scene<'_>, policy: &Value, seen: &str) -> Verdict {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        return skipped(
            "this kernel has no /proc/PID/numa_maps, and so no memory policies to be seen",
        );
    }
    let report = scene.report(&scene.bundle().set("/linux/memoryPolicy", policy.clone()))?;
    let maps = report["memory_policy"].as_str().unwrap_or_default();
    holds(
        maps.starts_with(seen),
        &format!("pages with the policy {seen}"),
        maps,
    )
}

//! config-linux.md#intelrdt.
//!
//! No machine that this has run on has resctrl: what is told there is that each property is an
//! error without it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Area;
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("intel-rdt");
const PLACE: &str = "config-linux.md#intelrdt";

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("closID", "clos-id", json!({ "closID": "of-this-case" })),
        (
            "l3CacheSchema",
            "l3-cache-schema",
            json!({ "l3CacheSchema": "L3:0=1" }),
        ),
        (
            "memBwSchema",
            "mem-bw-schema",
            json!({ "memBwSchema": "MB:0=50" }),
        ),
        (
            "schemata",
            "schemata",
            json!({ "schemata": ["L3:0=1", "MB:0=50"] }),
        ),
        (
            "schemata[]",
            "schemata-lines",
            json!({ "schemata": ["MB:0=50"] }),
        ),
        (
            "enableMonitoring",
            "enable-monitoring",
            json!({ "enableMonitoring": true }),
        ),
    ]
    .into_iter()
    .map(|(property, name, value)| one(property, name, value))
    .collect();
    cases.push(AREA.refuses(
        "intel-rdt-mem-bw-schema-invalid",
        PLACE,
        "memBwSchema must start with MB:.",
        "/linux/intelRdt",
        json!({ "memBwSchema": "L3:0=1" }),
    ));
    cases
}

fn one(property: &str, name: &str, value: Value) -> Case {
    let sentence = format!(
        "{property}: the process is put into the sub-directory of resctrl; without a mounted resctrl the runtime must generate an error."
    );
    AREA.case(
        format!("intel-rdt-{name}"),
        PLACE,
        &sentence,
        move |scene| {
            let bundle = scene
                .bundle()
                .does(&["wait"])
                .set("/linux/intelRdt", value.clone());
            match resctrl() {
                None => scene.is_refused(&bundle).map(drop),
                Some(top) => is_applied(scene, &bundle, &top, &value),
            }
        },
    )
    .of("linux.intelRdt")
    .of(&format!("linux.intelRdt.{property}"))
}

fn resctrl() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = mounts.lines().find(|line| line.contains(" - resctrl "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

fn is_applied(
    scene: &Scene<'_>,
    bundle: &crate::bundle::Bundle,
    top: &Path,
    value: &Value,
) -> Verdict {
    if value.get("closID").is_some() {
        // Without schemata it must have been there before.
        return scene.is_refused(bundle).map(drop);
    }
    scene.start(bundle)?;
    let directory = top.join(bundle.id());
    let tasks = std::fs::read_to_string(directory.join("tasks")).unwrap_or_default();
    let pid = scene.runtime().pid(bundle.id()).to_string();
    holds(
        tasks.lines().any(|line| line == pid),
        &format!("{pid} among the tasks of {}", directory.display()),
        tasks,
    )?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    holds(!directory.exists(), "no directory after delete", directory)
}

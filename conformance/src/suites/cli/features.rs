//! runc-features(8): each member that runc 1.5 prints.

use serde_json::Value;

use super::{Area, rows};
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("features");
const PLACE: &str = "runc-features(8)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = rows::FEATURES
        .into_iter()
        .map(|pointer| {
            let name = pointer.to_lowercase().replace('/', "-");
            let row = format!("features{pointer}");
            AREA.case(
                format!("features{name}"),
                PLACE,
                &format!("features says {pointer}."),
                &[&row],
                move |scene| {
                    let features = features(scene)?;
                    let seen = features.pointer(pointer).cloned().unwrap_or_default();
                    holds(
                        is_said(pointer, &seen),
                        &format!("{pointer} with a value"),
                        seen,
                    )
                },
            )
        })
        .collect();
    cases.extend([
        AREA.case("features", PLACE, "features prints one JSON object.", &["features"], |scene| features(scene).map(drop)),
        AREA.case("features-rro", "moby looks for it", "rro is in mountOptions: without it docker makes read-only mounts that are not so below.", &["features/mountOptions"], |scene| {
            has(&features(scene)?["mountOptions"], "rro")
        }),
        AREA.case("features-time", "moby puts one into every config.json", "time is in linux.namespaces.", &["features/linux/namespaces"], |scene| {
            has(&features(scene)?["linux"]["namespaces"], "time")
        }),
        AREA.case("features-mount-options-sorted", PLACE, "mountOptions are sorted.", &["features/mountOptions"], |scene| {
            let features = features(scene)?;
            let options: Vec<&str> = features["mountOptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            holds(!options.is_empty() && options.is_sorted(), "sorted", options)
        }),
    ]);
    cases
}

/// Lists have entries (of schemata, flags and monitoring a machine may have none), texts letters,
/// words are true or false.
fn is_said(pointer: &str, seen: &Value) -> bool {
    let may_be_false = pointer.ends_with("/enabled")
        || pointer.contains("/cgroup/")
        || pointer.contains("/intelRdt/");
    if may_be_false {
        return seen.is_boolean();
    }
    match seen {
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_string),
        Value::String(text) => !text.is_empty(),
        _ => false,
    }
}

fn features(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let finished = scene.succeeds(&["features"])?;
    match serde_json::from_str::<Value>(&finished.stdout) {
        Ok(features) if features.is_object() => Ok(features),
        _ => failed("a JSON object", finished.brief()),
    }
}

fn has(list: &Value, word: &str) -> Verdict {
    let is_there = list
        .as_array()
        .is_some_and(|list| list.iter().any(|entry| entry == word));
    holds(is_there, word, list)
}

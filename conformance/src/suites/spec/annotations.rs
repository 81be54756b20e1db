//! config.md#annotations.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict};
use crate::scene::Scene;

const AREA: Area = Area("annotations");
const PLACE: &str = "config.md#annotations";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("annotations", PLACE, "annotations contains arbitrary metadata for the container.", arbitrary)
            .of("annotations").of("annotations.*"),
        AREA.case("annotations-unknown", PLACE, "Implementations that read annotations must not generate an error if they encounter an unknown key.", |scene| {
            scene.report(&scene.bundle().set("/annotations", json!({ "org.opencontainers.unknown": "x" }))).map(drop)
        }),
        AREA.case("annotations-empty-value", PLACE, "Values may be an empty string.", |scene| {
            scene.report(&scene.bundle().set("/annotations", json!({ "org.example.empty": "" }))).map(drop)
        }),
        AREA.refuses("annotations-empty-key", PLACE, "Keys must not be an empty string.", "/annotations", json!({ "": "value" })),
        AREA.refuses("annotations-of-numbers", PLACE, "Values must be strings.", "/annotations", json!({ "org.example.number": 7 })),
    ]
}

fn arbitrary(scene: &Scene<'_>) -> Verdict {
    let all = json!({ "org.example.one": "1", "org.example.two": "a \"b\" ü", "org.example.three": "{\"k\": []}" });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/annotations", all.clone());
    scene.create(&bundle)?;
    let state = scene.runtime().state(bundle.id()).unwrap_or_default();
    all.as_object()
        .into_iter()
        .flatten()
        .try_for_each(|(key, value)| is(key, &state["annotations"][key], value.clone()))
}

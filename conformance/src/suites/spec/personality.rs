//! config-linux.md#personality.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict};
use crate::scene::Scene;

const AREA: Area = Area("personality");
const PLACE: &str = "config-linux.md#personality";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "personality-linux",
            PLACE,
            "domain is the execution domain: LINUX.",
            |scene| domain(scene, "LINUX", "00000000"),
        )
        .of("linux.personality")
        .of("linux.personality.domain"),
        AREA.case(
            "personality-linux32",
            PLACE,
            "domain is the execution domain: LINUX32.",
            |scene| domain(scene, "LINUX32", "00000008"),
        )
        .of("linux.personality.domain"),
        AREA.case(
            "personality-no-flags",
            PLACE,
            "flags are optional, and an empty list is one.",
            |scene| {
                let bundle = scene.bundle().set(
                    "/linux/personality",
                    json!({ "domain": "LINUX32", "flags": [] }),
                );
                is(
                    "personality",
                    &scene.report(&bundle)?["personality"],
                    "00000008",
                )
            },
        )
        .of("linux.personality.flags"),
        AREA.refuses(
            "personality-unknown-domain",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/linux/personality",
            json!({ "domain": "HPUX" }),
        ),
        AREA.refuses(
            "personality-unknown-flag",
            PLACE,
            "Currently no flag values are supported.",
            "/linux/personality",
            json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }),
        )
        .of("linux.personality.flags[]"),
        AREA.refuses(
            "personality-without-a-domain",
            PLACE,
            "domain is required.",
            "/linux/personality",
            json!({ "flags": [] }),
        ),
    ]
}

fn domain(scene: &Scene<'_>, word: &str, expected: &str) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/linux/personality", json!({ "domain": word }));
    is(
        "personality",
        &scene.report(&bundle)?["personality"],
        expected,
    )
}

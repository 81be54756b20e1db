//! config-linux.md#default-devices.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("devices");
const PLACE: &str = "config-linux.md#default-devices";

/// Name, major, minor, and what comes of opening it.
const ALL: [(&str, u32, u32, &str); 6] = [
    ("null", 1, 3, "ok"),
    ("zero", 1, 5, "ok"),
    ("full", 1, 7, "ok"),
    ("random", 1, 8, "ok"),
    ("urandom", 1, 9, "ok"),
    // There is no controlling terminal.
    ("tty", 5, 0, "ENXIO"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ALL
        .into_iter()
        .map(|row| one(row.0, row.1, row.2, row.3))
        .collect();
    cases.push(AREA.case("device-ptmx", PLACE, "The runtime must also supply /dev/ptmx, a bind-mount or symlink of the container's /dev/pts/ptmx.", ptmx));
    cases
}

fn one(name: &'static str, major: u32, minor: u32, opening: &'static str) -> Case {
    AREA.case(
        format!("device-{name}"),
        PLACE,
        &format!("The runtime must also supply /dev/{name}."),
        move |scene| {
            let [stat, open] = ["stat", "open"].map(|verb| format!("{verb}:/dev/{name}"));
            let bundle = scene
                .bundle()
                .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            let tried = scene.tries(bundle, &[&stat, &open])?;
            is("kind", &tried[&stat]["kind"], "c")?;
            is("major", &tried[&stat]["major"], major)?;
            is("minor", &tried[&stat]["minor"], minor)?;
            is("opening it as an ordinary user", &tried[&open], opening)
        },
    )
}

fn ptmx(scene: &Scene<'_>) -> Verdict {
    let tried = scene.tries(scene.bundle(), &["stat:/dev/ptmx", "open:/dev/ptmx"])?;
    is("opening it", &tried["open:/dev/ptmx"], "ok")?;
    let file = &tried["stat:/dev/ptmx"];
    let is_link = file["kind"] == "l"
        && file["link"]
            .as_str()
            .is_some_and(|link| link.ends_with("pts/ptmx"));
    holds(
        is_link || file["kind"] == "c",
        "a link to pts/ptmx or that file",
        file,
    )
}

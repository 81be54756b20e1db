//! runtime.md#state and #query-state.

use serde_json::Value;

use super::{Area, is};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("state");
const PLACE: &str = "runtime.md#state";
const QUERY: &str = "runtime.md#query-state";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("state-version", PLACE, "ociVersion is the version of the specification with which the state complies.", |scene| {
            let version = of_a_running_one(scene)?.0["ociVersion"].clone();
            holds(version.as_str().is_some_and(|version| version.starts_with("1.")), "a version 1.x", version)
        }),
        AREA.case("state-id", PLACE, "id is the container's ID.", |scene| {
            let (state, bundle) = of_a_running_one(scene)?;
            is("id", &state["id"], bundle.id())
        }),
        AREA.case("state-bundle", PLACE, "bundle is the absolute path to the container's bundle directory.", |scene| {
            let (state, bundle) = of_a_running_one(scene)?;
            is("bundle", &state["bundle"], bundle.path().display().to_string())
        }),
        AREA.case("state-bundle-given-relative", PLACE, "bundle is the absolute path, however it was given.", relative_bundle),
        AREA.case("state-pid", PLACE, "pid is required when status is created or running, and is the process as seen by the host.", pid),
        AREA.case("state-annotations", PLACE, "annotations contains the annotations of the container.", |scene| {
            let (state, _) = of_a_running_one(scene)?;
            is("annotations", &state["annotations"]["org.example.key"], "value")
        }),
        AREA.case("state-annotations-absent", PLACE, "Without annotations it is absent or an empty map.", |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.create(&bundle)?;
            let annotations = scene.runtime().state(bundle.id()).unwrap_or_default()["annotations"].clone();
            let is_nothing = annotations.is_null() || annotations.as_object().is_some_and(|map| !map.keys().any(|key| !key.contains("systemd")));
            holds(is_nothing, "no annotations", annotations)
        }),
        AREA.case("state-created", PLACE, "created: the runtime has finished the create operation.", |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.create(&bundle)?;
            is("status", &scene.runtime().status(bundle.id()).into(), "created")
        }),
        AREA.case("state-running", PLACE, "running: the container process has executed the user-specified program but has not exited.", |scene| {
            is("status", &of_a_running_one(scene)?.0["status"], "running")
        }),
        AREA.case("state-stopped", PLACE, "stopped: the container process has exited.", |scene| {
            let bundle = scene.bundle().does(&["exit", "3"]);
            scene.start(&bundle)?;
            scene.until_status(&bundle, "stopped")
        }),
        AREA.case("state-without-an-id", QUERY, "This operation must generate an error if it is not provided the ID of a container.", |scene| {
            let finished = scene.runtime().call(&["state"]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("state-of-what-is-missing", QUERY, "Attempting to query a container that does not exist must generate an error.", |scene| {
            let finished = scene.runtime().call(&["state", &format!("{}-nothing", scene.marker())]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("state-after-delete", QUERY, "Attempting to query a container that does not exist must generate an error.", |scene| {
            let (_, bundle) = of_a_running_one(scene)?;
            scene.succeeds(&["delete", "--force", bundle.id()])?;
            let finished = scene.runtime().call(&["state", bundle.id()]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
    ]
}

fn of_a_running_one(scene: &Scene<'_>) -> Result<(Value, Bundle), Trouble> {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/annotations/org.example.key", "value");
    scene.start(&bundle)?;
    match scene.runtime().state(bundle.id()) {
        Some(state) => Ok((state, bundle)),
        None => failed("`state` succeeds", "it does not"),
    }
}

fn pid(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    scene.create(&bundle)?;
    let created = scene.runtime().pid(bundle.id());
    holds(created > 0, "a pid of the created container", created)?;
    scene.succeeds(&["start", bundle.id()])?;
    let running = scene.runtime().pid(bundle.id());
    scene.until("the pid is the program's", || {
        let command = std::fs::read(format!("/proc/{running}/cmdline")).unwrap_or_default();
        command.starts_with(PROBE.as_bytes())
    })
}

fn relative_bundle(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let arguments = ["create", "--bundle", "bundle0", bundle.id()];
    let created = scene.detached_from(scene.directory(), &arguments);
    holds(created.code == 0, "`create` succeeds", created.brief())?;
    let state = scene.runtime().state(bundle.id()).unwrap_or_default();
    is(
        "bundle",
        &state["bundle"],
        bundle.path().display().to_string(),
    )
}

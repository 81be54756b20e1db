//! runtime.md: state, create, start, kill, delete.

use super::SPECIFICATION;
use crate::case::{Case, Verdict, equal, failed, holds};
use crate::scene::Scene;

fn case(name: &str, place: &str, sentence: &str, check: fn(&Scene<'_>) -> Verdict) -> Case {
    let sentence = format!("{sentence} ({SPECIFICATION}/runtime.md#{place})");
    Case::new("spec", "lifecycle", name, sentence, check)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "create-then-start",
            "create",
            "Create must not run the user-specified program; start runs it.",
            create_then_start,
        ),
        case(
            "state-has-its-members",
            "state",
            "The state includes ociVersion, id, status, pid (when created or running), bundle and annotations.",
            state_has_its_members,
        ),
        case(
            "delete-of-a-running-one-fails",
            "delete",
            "Attempting to delete a container that is not stopped must have no effect on it and must generate an error.",
            delete_of_a_running_one_fails,
        ),
    ]
}

fn create_then_start(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["print", "it runs"]);
    scene.create(&bundle)?;
    equal(
        "status",
        &scene.runtime().status(bundle.id()),
        &"created".to_owned(),
    )?;
    equal("output before start", &scene.output(), &String::new())?;
    scene.succeeds(&["start", bundle.id()])?;
    scene.until_status(&bundle, "stopped")?;
    equal("output after start", &scene.output(), &"it runs".to_owned())
}

fn state_has_its_members(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/annotations/org.example.key", "value");
    scene.start(&bundle)?;
    let Some(state) = scene.runtime().state(bundle.id()) else {
        return failed("`state` succeeds", "it does not");
    };
    equal("id", &state["id"].as_str(), &Some(bundle.id()))?;
    equal("status", &state["status"].as_str(), &Some("running"))?;
    let path = bundle.path().display().to_string();
    equal("bundle", &state["bundle"].as_str(), &Some(path.as_str()))?;
    equal(
        "annotations",
        &state["annotations"]["org.example.key"].as_str(),
        &Some("value"),
    )?;
    let pid = state["pid"].as_i64().unwrap_or(0);
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    holds(
        command.starts_with(crate::bundle::PROBE.as_bytes()),
        "pid is the container's process as seen by the runtime",
        String::from_utf8_lossy(&command),
    )
}

fn delete_of_a_running_one_fails(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    let deleted = scene.runtime().call(&["delete", bundle.id()]);
    holds(deleted.code != 0, "an error", deleted.brief())?;
    equal(
        "status",
        &scene.runtime().status(bundle.id()),
        &"running".to_owned(),
    )
}

//! runc-state(8): what programs read from `state`.

use serde_json::{Value, json};

use super::{Area, is, is_rfc3339, paused, stopped, text};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("state");
const PLACE: &str = "runc-state(8)";
const GO_RUNC: &str = "go-runc decodes it";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "state-is-one-object",
            PLACE,
            "state prints one JSON object.",
            &["state"],
            |scene| {
                let (state, _) = seen(scene)?;
                holds(state.is_object(), "an object", state)
            },
        ),
        member("ociVersion", PLACE, |state, _| {
            holds(
                state["ociVersion"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("1.")),
                "a version",
                &state["ociVersion"],
            )
        }),
        member("id", GO_RUNC, |state, bundle| {
            is("id", &state["id"], bundle.id())
        }),
        member("pid", GO_RUNC, |state, bundle| {
            let pid = state["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok())
                .unwrap_or(0);
            holds(
                super::pids(bundle).contains(&pid),
                "a process in the container's cgroup",
                pid,
            )
        }),
        member("bundle", GO_RUNC, |state, bundle| {
            is("bundle", &state["bundle"], text(bundle.path()))
        }),
        member("rootfs", GO_RUNC, |state, bundle| {
            is("rootfs", &state["rootfs"], text(&bundle.rootfs()))
        }),
        member("created", "go-runc parses it as RFC 3339", |state, _| {
            holds(
                state["created"].as_str().is_some_and(is_rfc3339),
                "a time of RFC 3339",
                &state["created"],
            )
        }),
        member("annotations", GO_RUNC, |state, _| {
            is(
                "annotations",
                &state["annotations"],
                json!({ "org.example.key": "value" }),
            )
        }),
        member("owner", PLACE, |state, _| {
            holds(
                state["owner"].is_string(),
                "a text, which may be empty",
                &state["owner"],
            )
        }),
        AREA.case(
            "state-without-annotations",
            PLACE,
            "annotations are left out when there are none.",
            &["state.annotations"],
            |scene| {
                let bundle = scene.bundle().does(&["wait"]);
                scene.create(&bundle)?;
                let state = scene.runtime().state(bundle.id()).unwrap_or_default();
                holds(
                    state.is_object() && state.get("annotations").is_none(),
                    "no annotations",
                    state,
                )
            },
        ),
        AREA.case(
            "state-status-created",
            PLACE,
            "status is created after create.",
            &["state.status"],
            |scene| {
                let bundle = scene.bundle().does(&["wait"]);
                scene.create(&bundle)?;
                is(
                    "status",
                    &scene.runtime().status(bundle.id()).into(),
                    "created",
                )
            },
        ),
        member("status", PLACE, |state, _| {
            is("status", &state["status"], "running")
        }),
        AREA.case(
            "state-status-paused",
            "podman and CRI-O know the word",
            "status is paused after pause.",
            &["state.status", "pause"],
            |scene| {
                let bundle = paused(scene)?;
                let status = scene.runtime().status(bundle.id());
                scene.succeeds(&["resume", bundle.id()])?;
                is("status", &status.into(), "paused")
            },
        ),
        AREA.case(
            "state-status-stopped",
            PLACE,
            "status is stopped after the end of init, and pid is 0.",
            &["state.status", "state.pid"],
            |scene| {
                let bundle = stopped(scene)?;
                let state = scene.runtime().state(bundle.id()).unwrap_or_default();
                is("status", &state["status"], "stopped")?;
                is("pid", &state["pid"], 0)
            },
        ),
    ]
}

/// A case about one member of the state of a running container.
fn member(name: &'static str, place: &str, check: fn(&Value, &Bundle) -> Verdict) -> Case {
    let row = format!("state.{name}");
    let sentence = format!("{name} is as callers expect it.");
    AREA.case(
        format!("state-{}", name.to_lowercase()),
        place,
        &sentence,
        &[&row],
        move |scene| {
            let (state, bundle) = seen(scene)?;
            check(&state, &bundle)
        },
    )
}

fn seen(scene: &Scene<'_>) -> Result<(Value, Bundle), Trouble> {
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

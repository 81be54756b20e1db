//! runc-pause(8) and runc-resume(8).

use super::{Area, fails, paused, running, stopped};
use crate::case::{Case, equal, holds};

const AREA: Area = Area("pause");
const PAUSE: &str = "runc-pause(8)";
const RESUME: &str = "runc-resume(8)";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "pause",
            PAUSE,
            "pause suspends all processes of a container.",
            &["pause"],
            |scene| {
                let bundle = scene.bundle().does(&["signalled", "/log"]);
                scene.start(&bundle)?;
                let log =
                    || std::fs::read_to_string(bundle.rootfs().join("log")).unwrap_or_default();
                scene.until("the program listens", || log() == "ready\n")?;
                scene.succeeds(&["pause", bundle.id()])?;
                scene.succeeds(&["kill", bundle.id(), "USR1"])?;
                std::thread::sleep(std::time::Duration::from_millis(100));
                let frozen = log();
                scene.succeeds(&["resume", bundle.id()])?;
                equal(
                    "what it does while it is paused",
                    &frozen.as_str(),
                    &"ready\n",
                )?;
                scene.until("the signal arrives then", || log() == "ready\n10\n")
            },
        ),
        AREA.case(
            "resume",
            RESUME,
            "resume resumes what was paused.",
            &["resume"],
            |scene| {
                let bundle = paused(scene)?;
                scene.succeeds(&["resume", bundle.id()])?;
                equal(
                    "status",
                    &scene.runtime().status(bundle.id()),
                    &"running".to_owned(),
                )
            },
        ),
        AREA.case(
            "resume-of-a-running-one",
            RESUME,
            "resume of what is not paused is an error that says so.",
            &["text container not paused", "resume"],
            |scene| {
                let bundle = running(scene)?;
                fails(
                    &scene.runtime().call(&["resume", bundle.id()]),
                    1,
                    "not paused",
                )
            },
        ),
        AREA.case(
            "pause-of-a-stopped-one",
            PAUSE,
            "pause of what does not run is an error.",
            &["pause"],
            |scene| {
                let bundle = stopped(scene)?;
                let finished = scene.runtime().call(&["pause", bundle.id()]);
                holds(finished.code == 1, "exit 1", finished.brief())
            },
        ),
    ]
}

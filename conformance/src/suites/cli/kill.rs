//! runc-kill(8).

use super::{
    Area, fails, in_the_hosts_pid_namespace, is_usage_error, nobody, paused, running, stopped,
};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("kill");
const PLACE: &str = "runc-kill(8)";

/// Words for signals, and their numbers; without a word it is SIGTERM.
const SIGNALS: [(&str, Option<&str>, i32); 7] = [
    ("default", None, 15),
    ("number", Some("12"), 12),
    ("name", Some("USR1"), 10),
    ("whole-name", Some("SIGUSR1"), 10),
    ("small-letters", Some("sigusr1"), 10),
    ("mixed-letters", Some("Usr1"), 10),
    ("realtime-number", Some("40"), 40),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = SIGNALS
        .into_iter()
        .map(|(name, word, number)| {
            AREA.case(format!("kill-{name}"), PLACE, "The signal is a number or a name, with or without SIG, in any case; SIGTERM by default.", &["kill", "kill signal names"], move |scene| {
                let bundle = listening(scene)?;
                let words = [&["kill", bundle.id()][..], word.as_slice()].concat();
                scene.succeeds(&words)?;
                is_signalled(scene, &bundle, number)
            })
        })
        .collect();
    cases.extend([
        AREA.case(
            "kill-unknown-signal",
            PLACE,
            "Another word is an error.",
            &["kill signal names"],
            |scene| {
                let bundle = running(scene)?;
                for word in ["NOSUCH", "99", "-1"] {
                    let finished = scene.runtime().call(&["kill", bundle.id(), word]);
                    holds(
                        finished.code == 1,
                        &format!("exit 1 for {word}"),
                        finished.brief(),
                    )?;
                }
                equal(
                    "status",
                    &scene.runtime().status(bundle.id()),
                    &"running".to_owned(),
                )
            },
        ),
        AREA.case(
            "kill-all",
            PLACE,
            "--all is accepted, as containerd and podman send it.",
            &["kill --all"],
            |scene| kills_all(scene, "--all"),
        ),
        AREA.case(
            "kill-all-short",
            PLACE,
            "-a is --all.",
            &["kill -a"],
            |scene| kills_all(scene, "-a"),
        ),
        AREA.case(
            "kill-all-of-a-stopped-one",
            "containerd and podman send it",
            "kill --all of a stopped container is no error.",
            &["kill --all"],
            |scene| {
                let bundle = stopped(scene)?;
                scene
                    .succeeds(&["kill", "--all", bundle.id(), "KILL"])
                    .map(drop)
            },
        ),
        AREA.case(
            "kill-of-a-stopped-one",
            "containerd and CRI-O look for it",
            "kill of a stopped container says that it is not running.",
            &["text container not running"],
            |scene| {
                let bundle = stopped(scene)?;
                fails(
                    &scene.runtime().call(&["kill", bundle.id(), "KILL"]),
                    1,
                    "container not running",
                )
            },
        ),
        AREA.case(
            "kill-of-nobody",
            "containerd looks for it",
            "kill of a container that is not there says that it does not exist.",
            &["text does not exist"],
            |scene| {
                fails(
                    &scene.runtime().call(&["kill", &nobody(scene), "KILL"]),
                    1,
                    "does not exist",
                )
            },
        ),
        AREA.case(
            "kill-in-a-shared-pid-namespace",
            PLACE,
            "SIGKILL of a container without a pid namespace of its own kills all of its processes.",
            &["kill of all in a shared pid namespace"],
            |scene| {
                let bundle = in_the_hosts_pid_namespace(scene).does(&["adopt"]);
                scene.start(&bundle)?;
                scene.until("two processes", || super::pids(&bundle).len() >= 2)?;
                scene.succeeds(&["kill", bundle.id(), "KILL"])?;
                scene.until("no process", || super::pids(&bundle).is_empty())
            },
        ),
        AREA.case(
            "kill-of-a-frozen-one",
            PLACE,
            "SIGKILL ends a container that is paused.",
            &["kill of a frozen container"],
            |scene| {
                let bundle = paused(scene)?;
                scene.succeeds(&["kill", bundle.id(), "KILL"])?;
                scene.until_status(&bundle, "stopped")
            },
        ),
        AREA.case(
            "kill-of-too-many",
            PLACE,
            "kill takes an id and at most one signal.",
            &["exit wrong number of arguments"],
            |scene| {
                let bundle = running(scene)?;
                let finished = scene.runtime().call(&["kill", bundle.id(), "9", "9"]);
                holds(
                    finished.code != 0 && !finished.is_late,
                    "an error",
                    finished.brief(),
                )
            },
        ),
    ]);
    cases
}

/// A container whose program notes signals.
fn listening(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle().does(&["signalled", "/log"]);
    scene.start(&bundle)?;
    scene.until("the program listens", || log(&bundle).starts_with("ready"))?;
    Ok(bundle)
}

fn log(bundle: &Bundle) -> String {
    std::fs::read_to_string(bundle.rootfs().join("log")).unwrap_or_default()
}

fn is_signalled(scene: &Scene<'_>, bundle: &Bundle, number: i32) -> Verdict {
    scene.until(&format!("signal {number} arrives"), || {
        log(bundle).lines().nth(1).is_some()
    })?;
    equal("the signal", &log(bundle), &format!("ready\n{number}\n"))
}

fn kills_all(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    let finished = scene.runtime().call(&["kill", flag, bundle.id(), "KILL"]);
    holds(
        finished.code == 0 && !is_usage_error(&finished),
        "exit 0",
        finished.brief(),
    )?;
    scene.until_status(&bundle, "stopped")
}

//! R02: whoever enters a container shows it nothing of the host.

use std::process::Command;

use super::{Area, Ground, attacks, with_capabilities};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Verdict, equal};
use crate::run::{LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("entering");
const ORIGIN: &str = "CVE-2016-9962";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("enter-a-container-that-may-ptrace", "R02", "A container with CAP_SYS_PTRACE finds nothing of the host in a process that enters it.", ORIGIN, |scene, ground| {
            let bundle = with_capabilities(scene.bundle(), &["CAP_SYS_PTRACE", "CAP_KILL"]);
            let bundle = attacks::start(scene, bundle, &["pry", &ground.file("secret")])?;
            enter_often(scene, ground, &bundle)
        }),
        AREA.case("enter-a-container-that-seizes", "R02", "Nor when it stops that process by ptrace(2) and looks then.", ORIGIN, |scene, ground| {
            let bundle = with_capabilities(scene.bundle(), &["CAP_SYS_PTRACE", "CAP_KILL"]);
            let bundle = attacks::start(scene, bundle, &["pry", &ground.file("secret"), "seize"])?;
            enter_often(scene, ground, &bundle)
        }),
        AREA.case("enter-undumpable", "R02", "A process that enters can't be looked into by one that may not ptrace, before it executes the container's program.", ORIGIN, |scene, ground| {
            let bundle = attacks::start(scene, scene.bundle(), &["undumpable"])?;
            enter_often(scene, ground, &bundle)
        }),
    ]
}

/// `exec` from a directory of the host, with descriptors of it.
fn enter_often(scene: &Scene<'_>, ground: &Ground, bundle: &Bundle) -> Verdict {
    for _ in 0..if scene.stage().is_long { 500 } else { 25 } {
        let runtime = scene
            .runtime()
            .command(&["exec", bundle.id(), PROBE, "inside", "exit", "0"]);
        let canary = ground.canary().display();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("exec 5<{canary} 7<{canary} 9</; exec \"$@\""),
            "sh",
        ]);
        command.arg(runtime.get_program()).args(runtime.get_args());
        scene.runtime().under_filter(&mut command);
        let finished = finish(command.current_dir(ground.canary()), b"", LIMIT);
        equal(
            "exit status of exec",
            &(finished.code, finished.stderr),
            &(0, String::new()),
        )?;
    }
    let told = attacks::stop(scene, bundle)?;
    // One that never met anybody has shown nothing.
    let has_met = told["met"].as_u64().is_some_and(|met| met > 0);
    crate::case::holds(has_met, "an attacker that meets who enters", &told)?;
    attacks::was_in_vain(&told)
}

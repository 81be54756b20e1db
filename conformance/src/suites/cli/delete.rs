//! runc-delete(8).

use super::{Area, fails, nobody, running, stopped};
use crate::case::{Case, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("delete");
const PLACE: &str = "runc-delete(8)";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "delete",
            PLACE,
            "delete of a stopped container removes it, and prints nothing.",
            &["delete"],
            |scene| {
                let bundle = stopped(scene)?;
                let finished = scene.succeeds(&["delete", bundle.id()])?;
                equal(
                    "what is printed",
                    &(finished.stdout, finished.stderr),
                    &(String::new(), String::new()),
                )?;
                holds(
                    scene.runtime().state(bundle.id()).is_none(),
                    "no container",
                    "there is one",
                )
            },
        ),
        AREA.case(
            "delete-of-a-running-one",
            PLACE,
            "delete of a running container is an error that says so.",
            &["text that is not stopped"],
            |scene| {
                let bundle = running(scene)?;
                let expected = format!(
                    "cannot delete container {} that is not stopped: running",
                    bundle.id()
                );
                fails(
                    &scene.runtime().call(&["delete", bundle.id()]),
                    1,
                    &expected,
                )
            },
        ),
        AREA.case(
            "delete-of-a-created-one",
            PLACE,
            "delete of a container that is created kills init and removes it.",
            &["delete of a created container"],
            |scene| {
                let bundle = scene.bundle().does(&["wait"]);
                scene.create(&bundle)?;
                scene.succeeds(&["delete", bundle.id()])?;
                is_gone(scene, &bundle)
            },
        ),
        AREA.case(
            "delete-force",
            PLACE,
            "--force kills a running container first.",
            &["delete --force"],
            |scene| forces(scene, "--force"),
        ),
        AREA.case(
            "delete-force-short",
            PLACE,
            "-f is --force.",
            &["delete -f"],
            |scene| forces(scene, "-f"),
        ),
        AREA.case(
            "delete-force-of-nobody",
            PLACE,
            "With --force there is no error for a container that is not there.",
            &["delete --force"],
            |scene| {
                scene
                    .succeeds(&["delete", "--force", &nobody(scene)])
                    .map(drop)
            },
        ),
        AREA.case(
            "delete-of-nobody",
            "containerd's shim looks for it",
            "delete of a container that is not there says that it does not exist.",
            &["text does not exist"],
            |scene| {
                fails(
                    &scene.runtime().call(&["delete", &nobody(scene)]),
                    1,
                    "does not exist",
                )
            },
        ),
        AREA.case(
            "delete-without-a-state-file",
            PLACE,
            "A state directory without a state is removed: an error, none with --force.",
            &["delete without a state file"],
            without_a_state_file,
        ),
    ]
}

fn is_gone(scene: &Scene<'_>, bundle: &crate::bundle::Bundle) -> Verdict {
    holds(
        scene.runtime().state(bundle.id()).is_none(),
        "no container",
        "there is one",
    )?;
    let cgroups = crate::residue::cgroups(bundle.cgroup());
    holds(cgroups.is_empty(), "no cgroup of it", cgroups)
}

fn forces(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    let pid = scene.runtime().pid(bundle.id());
    scene.succeeds(&["delete", flag, bundle.id()])?;
    is_gone(scene, &bundle)?;
    // A zombie of the host's is none of the runtime's.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let lives = !status.is_empty() && !status.contains("State:\tZ");
    holds(!lives, "no process of it", status)
}

fn without_a_state_file(scene: &Scene<'_>) -> Verdict {
    for (flags, code) in [(&[][..], 1), (&["--force"], 0)] {
        let id = nobody(scene);
        let directory = scene.runtime().root().join(&id);
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let finished = scene
            .runtime()
            .call(&[&["delete"], flags, &[id.as_str()]].concat());
        equal(
            &format!("exit status with {flags:?}"),
            &finished.code,
            &code,
        )?;
        holds(!directory.exists(), "no directory", &directory)?;
    }
    Ok(())
}

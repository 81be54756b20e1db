//! runtime.md: create, start, kill, delete, errors.

use super::Area;
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("lifecycle");
const CREATE: &str = "runtime.md#create";
const START: &str = "runtime.md#start";
const KILL: &str = "runtime.md#kill";
const DELETE: &str = "runtime.md#delete";
const MISSING: &str = "must generate an error if it is not provided the container ID, or if there is no such container.";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(of_create());
    cases.extend(of_start());
    cases.extend(of_kill());
    cases.extend(of_delete());
    for operation in ["start", "kill", "delete"] {
        let place = format!("runtime.md#{operation}");
        let sentence = format!("{operation} {MISSING}");
        cases.push(AREA.case(
            format!("{operation}-without-an-id"),
            &place,
            &sentence,
            move |scene| {
                let finished = scene.runtime().call(&[operation]);
                holds(finished.code != 0, "an error", finished.brief())
            },
        ));
        cases.push(AREA.case(
            format!("{operation}-of-what-is-missing"),
            &place,
            &sentence,
            move |scene| {
                let finished = scene
                    .runtime()
                    .call(&[operation, &format!("{}-nothing", scene.marker())]);
                holds(finished.code != 0, "an error", finished.brief())
            },
        ));
    }
    cases
}

fn of_create() -> Vec<Case> {
    vec![
        AREA.case("create-then-start", CREATE, "Create must not run the user-specified program; start runs it.", create_then_start),
        AREA.case("create-without-an-id", CREATE, "This operation must generate an error if it is not provided a container ID.", |scene| {
            let bundle = scene.bundle();
            bundle.save();
            let finished = scene.detached(&["create", "--bundle", &bundle.path().display().to_string()]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("create-with-an-id-that-is-taken", CREATE, "If the ID is not unique the runtime must generate an error, and must not create a container.", taken),
        AREA.case("create-with-a-path-as-id", CREATE, "If the ID is not valid in any other way the runtime must generate an error.", path_as_id),
        AREA.case("create-takes-a-snapshot", CREATE, "Any changes made to config.json after this operation will not have an effect on the container.", snapshot),
        AREA.case("create-failure-leaves-nothing", "runtime.md#errors", "Generating an error must leave the environment as if the operation were never attempted.", nothing_left),
        AREA.case("create-failure-frees-the-id", "runtime.md#errors", "Generating an error must leave the environment as if the operation were never attempted.", id_is_free),
    ]
}

fn of_start() -> Vec<Case> {
    vec![
        AREA.case("start-of-a-running-one-fails", START, "Attempting to start a container that is not created must have no effect and must generate an error.", |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.start(&bundle)?;
            let pid = scene.runtime().pid(bundle.id());
            holds(pid > 0, "a pid", pid)?;
            let again = scene.runtime().call(&["start", bundle.id()]);
            holds(again.code != 0, "an error", again.brief())?;
            status(scene, &bundle, "running")?;
            equal("pid", &scene.runtime().pid(bundle.id()), &pid)
        }),
        AREA.case("start-of-a-stopped-one-fails", START, "Attempting to start a container that is not created must have no effect and must generate an error.", |scene| {
            let bundle = stopped(scene)?;
            let again = scene.runtime().call(&["start", bundle.id()]);
            holds(again.code != 0, "an error", again.brief())?;
            status(scene, &bundle, "stopped")
        }),
        AREA.case("start-once", START, "This operation must run the user-specified program.", |scene| {
            let bundle = scene.bundle().does(&["note", "/log", "program"]);
            scene.start(&bundle)?;
            scene.until_status(&bundle, "stopped")?;
            let notes = std::fs::read_to_string(bundle.rootfs().join("log")).unwrap_or_default();
            equal("runs of the program", &notes.lines().count(), &1)
        }),
    ]
}

fn of_kill() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("kill-of-a-stopped-one-fails", KILL, "Attempting to send a signal to a container that is neither created nor running must generate an error.", |scene| {
            let bundle = stopped(scene)?;
            let killed = scene.runtime().call(&["kill", bundle.id(), "KILL"]);
            holds(killed.code != 0, "an error", killed.brief())?;
            status(scene, &bundle, "stopped")
        }),
        AREA.case("kill-of-a-created-one", KILL, "A signal can be sent to a container that is created.", |scene| {
            let bundle = scene.bundle().does(&["print", "it runs"]);
            scene.create(&bundle)?;
            scene.succeeds(&["kill", bundle.id(), "KILL"])?;
            scene.until_status(&bundle, "stopped")?;
            equal("output", &scene.output(), &String::new())
        }),
    ];
    cases.extend(
        [
            ("TERM", 15),
            ("HUP", 1),
            ("USR1", 10),
            ("WINCH", 28),
            ("40", 40),
        ]
        .map(|(word, number)| signal(word, number)),
    );
    cases
}

fn of_delete() -> Vec<Case> {
    vec![
        AREA.case("delete-of-a-running-one-fails", DELETE, "Attempting to delete a container that is not stopped must have no effect on it and must generate an error.", |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.start(&bundle)?;
            let deleted = scene.runtime().call(&["delete", bundle.id()]);
            holds(deleted.code != 0, "an error", deleted.brief())?;
            status(scene, &bundle, "running")
        }),
        AREA.case("delete-of-a-stopped-one", DELETE, "Deleting a container must delete the resources that were created during the create step.", |scene| {
            let bundle = stopped(scene)?;
            scene.succeeds(&["delete", bundle.id()])?;
            holds(scene.runtime().state(bundle.id()).is_none(), "no container", "there is one")?;
            let left = of_this_case(scene, &bundle);
            holds(left.is_empty(), "nothing of it", left)
        }),
        AREA.case("delete-leaves-the-bundle", DELETE, "Resources not created by this container must not be deleted.", |scene| {
            let bundle = stopped(scene)?;
            scene.succeeds(&["delete", bundle.id()])?;
            holds(bundle.rootfs().join("probe").is_file(), "the bundle's files", bundle.rootfs())
        }),
        AREA.case("delete-frees-the-id", DELETE, "Once a container is deleted its ID may be used by a subsequent container.", |scene| {
            let bundle = stopped(scene)?;
            scene.succeeds(&["delete", bundle.id()])?;
            scene.create(&bundle)
        }),
        AREA.case("delete-twice-fails", DELETE, "Attempting to delete a container that does not exist must generate an error.", |scene| {
            let bundle = stopped(scene)?;
            scene.succeeds(&["delete", bundle.id()])?;
            let again = scene.runtime().call(&["delete", bundle.id()]);
            holds(again.code != 0, "an error", again.brief())
        }),
    ]
}

fn status(scene: &Scene<'_>, bundle: &Bundle, expected: &str) -> Verdict {
    equal(
        "status",
        &scene.runtime().status(bundle.id()),
        &expected.to_owned(),
    )
}

fn stopped(scene: &Scene<'_>) -> Result<Bundle, crate::case::Trouble> {
    let bundle = scene.bundle().does(&["exit", "0"]);
    scene.start(&bundle)?;
    scene.until_status(&bundle, "stopped")?;
    Ok(bundle)
}

fn create_then_start(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["print", "it runs"]);
    scene.create(&bundle)?;
    status(scene, &bundle, "created")?;
    equal("output before start", &scene.output(), &String::new())?;
    scene.succeeds(&["start", bundle.id()])?;
    scene.until_status(&bundle, "stopped")?;
    equal("output after start", &scene.output(), &"it runs".to_owned())
}

fn taken(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    let pid = scene.runtime().pid(bundle.id());
    holds(pid > 0, "a pid", pid)?;
    let other = scene.bundle();
    other.save();
    let path = other.path().display().to_string();
    let again = scene
        .runtime()
        .call(&["create", "--bundle", &path, bundle.id()]);
    holds(again.code != 0, "an error", again.brief())?;
    status(scene, &bundle, "running")?;
    equal("pid", &scene.runtime().pid(bundle.id()), &pid)
}

fn path_as_id(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    bundle.save();
    let path = bundle.path().display().to_string();
    for id in ["", "../escaped", "a/b", "."] {
        let finished = scene.detached(&["create", "--bundle", &path, id]);
        holds(
            finished.code != 0,
            &format!("an error for the id {id:?}"),
            finished.brief(),
        )?;
    }
    Ok(())
}

fn snapshot(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["print", "as created"]);
    scene.create(&bundle)?;
    bundle.clone().does(&["print", "as changed"]).save();
    scene.succeeds(&["start", bundle.id()])?;
    scene.until_status(&bundle, "stopped")?;
    equal("output", &scene.output(), &"as created".to_owned())
}

/// What there is of a container on this host: cgroups, mounts, processes, files of state.
fn of_this_case(scene: &Scene<'_>, bundle: &Bundle) -> Vec<String> {
    let mut left: Vec<String> = crate::residue::cgroups(bundle.cgroup())
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = format!("{}/", bundle.path().display());
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&below))
            .map(str::to_owned),
    );
    let state = scene.runtime().root().join(bundle.id());
    left.extend(state.exists().then(|| state.display().to_string()));
    left
}

/// Errors at one point after another of the work: in the middle of mounts, in the last of them,
/// at sysctls, at limits, at a hook.
fn nothing_left(scene: &Scene<'_>) -> Verdict {
    let failing = [
        (
            "/mounts/-",
            serde_json::json!({ "destination": "/tmp", "type": "nosuchfs", "source": "none" }),
        ),
        (
            "/linux/sysctl",
            serde_json::json!({ "net.no.such.parameter": "1" }),
        ),
        (
            "/process/rlimits",
            serde_json::json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]),
        ),
        (
            "/hooks/createRuntime",
            serde_json::json!([{ "path": "/bin/false" }]),
        ),
        (
            "/hooks/createContainer",
            serde_json::json!([{ "path": "/bin/false" }]),
        ),
    ];
    for (pointer, value) in failing {
        let bundle = scene.bundle().set(pointer, value);
        scene.is_refused(&bundle)?;
        let left = of_this_case(scene, &bundle);
        holds(
            left.is_empty(),
            &format!("nothing left by the failure of {pointer}"),
            left,
        )?;
    }
    Ok(())
}

fn id_is_free(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    scene.is_refused(&bundle.clone().mount("/tmp", "nosuchfs", "none", &[]))?;
    scene.report(&bundle).map(drop)
}

fn signal(word: &'static str, number: i32) -> Case {
    AREA.case(
        format!("kill-{}", word.to_lowercase()),
        KILL,
        &format!("This operation must send the specified signal to the container process: {word}."),
        move |scene| {
            let bundle = scene.bundle().does(&["signalled", "/log"]);
            scene.start(&bundle)?;
            let log = || std::fs::read_to_string(bundle.rootfs().join("log")).unwrap_or_default();
            scene.until("the program listens", || log().starts_with("ready"))?;
            scene.succeeds(&["kill", bundle.id(), word])?;
            scene.until(&format!("signal {number} arrives"), || {
                log().lines().nth(1).is_some()
            })?;
            equal("the signal", &log(), &format!("ready\n{number}\n"))
        },
    )
}

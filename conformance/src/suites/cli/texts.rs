//! Texts of failures that callers of runtimes look for.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Area, fails, nobody, raw, running, stopped, text};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds, skipped};
use crate::host;
use crate::run::Finished;
use crate::scene::Scene;

const AREA: Area = Area("texts");

/// Programs that can't be executed, and what is said of them: one of these.
const PROGRAMS: [(&str, &str, &str, &str, &[&str]); 5] = [
    (
        "not-in-path",
        "nosuchprogram",
        "text executable file not found in $PATH",
        "moby and podman make 127 of it",
        &["executable file not found in $PATH"],
    ),
    (
        "missing",
        "/nowhere/program",
        "text no such file or directory",
        "moby and podman make 127 of it",
        &["no such file or directory"],
    ),
    (
        "not-executable",
        "/plain",
        "text permission denied",
        "moby and podman make 126 of it",
        &["permission denied"],
    ),
    (
        "a-directory",
        "/tmp",
        "text is a directory",
        "moby makes 126 of it",
        &["is a directory", "permission denied"],
    ),
    (
        "below-a-file",
        "/plain/program",
        "text not a directory",
        "moby makes 127 of it",
        &["not a directory"],
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, program, row, place, words) in PROGRAMS {
        cases.push(AREA.case(
            format!("run-of-a-program-{name}"),
            place,
            "run says why the program can't be executed.",
            &[row],
            move |scene| {
                says_one_of(
                    &scene.run(&with_plain_file(scene).set("/process/args", json!([program]))),
                    1,
                    words,
                )
            },
        ));
        cases.push(AREA.case(
            format!("exec-of-a-program-{name}"),
            place,
            "exec says why the program can't be executed.",
            &[row],
            move |scene| {
                let bundle = with_plain_file(scene).does(&["wait"]);
                scene.start(&bundle)?;
                says_one_of(
                    &scene.runtime().call(&["exec", bundle.id(), program]),
                    255,
                    words,
                )
            },
        ));
    }
    for command in [
        "state", "start", "delete", "pause", "resume", "ps", "update", "events",
    ] {
        cases.push(AREA.case(
            format!("{command}-of-nobody-says-so"),
            "containerd's shim looks for it",
            "A container that is not there does not exist.",
            &["text does not exist", command],
            move |scene| {
                // An empty update is about nobody all the same.
                fails(
                    &scene.runtime().call(&[command, &nobody(scene)]),
                    1,
                    "does not exist",
                )
            },
        ));
    }
    cases.extend(of_containers());
    cases.extend(of_cgroups());
    cases
}

fn of_containers() -> Vec<Case> {
    vec![
        AREA.case(
            "exec-of-nobody-says-so",
            "containerd's shim looks for it",
            "A container that is not there does not exist.",
            &["text does not exist"],
            |scene| {
                fails(
                    &scene.runtime().call(&["exec", &nobody(scene), "/probe"]),
                    255,
                    "does not exist",
                )
            },
        ),
        AREA.case(
            "mount-of-a-directory-on-a-file",
            "moby explains it",
            "A directory can't be mounted on a file: not a directory.",
            &["text not a directory"],
            |scene| {
                let source = scene.directory().join("source");
                std::fs::create_dir(&source).expect("a directory can be made");
                let bundle =
                    with_plain_file(scene).mount("/plain", "bind", &text(&source), &["bind"]);
                fails(&scene.run(&bundle), 1, "not a directory")
            },
        ),
        AREA.case(
            "create-twice",
            "runc's ErrExist",
            "An id that is taken: container with given ID already exists.",
            &["text container with given ID already exists"],
            |scene| {
                let bundle = running(scene)?;
                fails(
                    &scene.create_saved(&bundle),
                    1,
                    "container with given ID already exists",
                )
            },
        ),
        AREA.case(
            "id-with-a-slash",
            "runc's ErrInvalidID",
            "Ids are letters, digits and _ + - . : invalid container ID format.",
            &["text invalid container ID format", "container ids"],
            |scene| {
                let bundle = scene.bundle();
                bundle.save();
                for id in ["a/b", "..", ".", "a b", "a:b", "ü"] {
                    let finished =
                        scene.detached(&["create", "--bundle", &text(bundle.path()), id]);
                    fails(&finished, 1, "invalid container ID format")?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "id-with-everything",
            "runc's ErrInvalidID",
            "Letters, digits, _, +, - and . are all fine.",
            &["container ids"],
            |scene| {
                let bundle = scene.bundle().does(&["print", "it runs"]);
                bundle.save();
                let id = format!("{}_A+b-c.D9", bundle.id());
                let finished =
                    scene
                        .runtime()
                        .call(&["run", "--bundle", &text(bundle.path()), &id]);
                super::equal_output(&finished, "it runs")
            },
        ),
        AREA.case(
            "start-twice",
            "runc-start(8)",
            "A running container can't be started.",
            &["text cannot start an already running container"],
            |scene| {
                let bundle = running(scene)?;
                fails(
                    &scene.runtime().call(&["start", bundle.id()]),
                    1,
                    "cannot start an already running container",
                )
            },
        ),
        AREA.case(
            "start-of-a-stopped-one",
            "runc-start(8)",
            "A container that has stopped can't be started.",
            &["text cannot start a container that has stopped"],
            |scene| {
                let bundle = stopped(scene)?;
                fails(
                    &scene.runtime().call(&["start", bundle.id()]),
                    1,
                    "cannot start a container that has stopped",
                )
            },
        ),
        AREA.case(
            "create-without-a-config",
            "runc-create(8)",
            "A bundle without config.json: JSON specification file config.json not found.",
            &["text config.json not found"],
            |scene| {
                let directory = scene.directory().join("empty");
                std::fs::create_dir(&directory).expect("a directory can be made");
                let finished =
                    scene.detached(&["create", "--bundle", &text(&directory), scene.bundle().id()]);
                fails(&finished, 1, "config.json not found")
            },
        ),
        AREA.case(
            "flag-without-its-value",
            "podman probes `restore --lsm-mount-context`",
            "A flag without its value: flag needs an argument.",
            &["text flag needs an argument", "restore --lsm-mount-context"],
            |scene| {
                let finished = raw(scene, &["restore", "--lsm-mount-context"]);
                fails(&finished, 1, "flag needs an argument")
            },
        ),
        AREA.case(
            "init-that-is-killed-for-memory",
            "runc's hint",
            "When init is killed for want of memory at its start, the error says so.",
            &["text OOM-killed"],
            |scene| {
                if host::hierarchy("memory").is_none() {
                    return skipped("this host has no memory controller");
                }
                let bundle = scene.bundle().set(
                    "/linux/resources/memory",
                    json!({ "limit": 65_536, "swap": 65_536 }),
                );
                let finished = scene.run(&bundle);
                holds(
                    finished.code != 0 && !finished.is_late,
                    "an error",
                    finished.brief(),
                )?;
                holds(
                    finished.stderr.to_lowercase().contains("memory"),
                    "memory as the cause",
                    finished.brief(),
                )
            },
        ),
    ]
}

fn of_cgroups() -> Vec<Case> {
    vec![
        AREA.case(
            "create-in-a-cgroup-with-processes",
            "runc-create(8)",
            "A cgroup with processes in it is refused.",
            &["text cgroup is not empty"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "0"]);
                let mut guest = Guest::new(&bundle)?;
                bundle.save();
                let finished = scene.create_saved(&bundle);
                let lives = matches!(guest.child.try_wait(), Ok(None));
                drop(guest);
                holds(lives, "the process that was in it lives", "it does not")?;
                fails(&finished, 1, "cgroup is not empty")
            },
        ),
        AREA.case(
            "create-in-a-frozen-cgroup",
            "runc-create(8)",
            "A cgroup that is frozen is refused.",
            &["text cgroup unexpectedly frozen"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "0"]);
                let Some(cgroup) = frozen(&bundle) else {
                    return skipped("this host has no freezer");
                };
                bundle.save();
                let path = text(bundle.path());
                let words = ["create", "--bundle", &path, bundle.id()];
                let finished = scene.runtime().call_within(&words, Duration::from_secs(5));
                std::fs::write(cgroup.join("freezer.state"), "THAWED").ok();
                std::fs::write(cgroup.join("cgroup.freeze"), "0").ok();
                fails(&finished, 1, "frozen")
            },
        ),
    ]
}

fn says_one_of(finished: &Finished, code: i32, words: &[&str]) -> Verdict {
    equal("exit status", &finished.code, &code)?;
    // They look for it in any case of letters.
    let said = finished.stderr.to_lowercase();
    holds(
        words.iter().any(|word| said.contains(&word.to_lowercase())),
        &words.join(" or "),
        finished.brief(),
    )
}

/// A bundle with a file that nobody may execute.
fn with_plain_file(scene: &Scene<'_>) -> Bundle {
    let bundle = scene.bundle();
    std::fs::write(bundle.rootfs().join("plain"), "text").expect("a file can be written");
    bundle
}

/// A process in the cgroup that a container is to have.
struct Guest {
    child: Child,
    cgroup: PathBuf,
}

impl Guest {
    fn new(bundle: &Bundle) -> Result<Self, Trouble> {
        let Some(cgroup) = host::hierarchy("pids").map(|top| top.join(bundle.cgroup())) else {
            return skipped("this host has no pids controller");
        };
        let made = std::fs::create_dir(&cgroup);
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn();
        match (made, child) {
            (Ok(()), Ok(child))
                if std::fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).is_ok() =>
            {
                Ok(Self { child, cgroup })
            }
            (_, Ok(mut child)) => {
                child.kill().ok();
                child.wait().ok();
                failed("a process in a cgroup", cgroup.display().to_string())
            }
            (_, Err(error)) => skipped(format!("sleep(1): {error}")),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have been killed: then the case has failed.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir(&self.cgroup).ok();
    }
}

/// The cgroup that a container is to have, frozen.
fn frozen(bundle: &Bundle) -> Option<PathBuf> {
    let v1 = host::hierarchy("freezer").map(|top| (top, "freezer.state", "FROZEN"));
    let (top, file, word) =
        v1.or_else(|| host::hierarchy("").map(|top| (top, "cgroup.freeze", "1")))?;
    let cgroup = top.join(bundle.cgroup());
    std::fs::create_dir(&cgroup).ok()?;
    std::fs::write(cgroup.join(file), word).ok()?;
    Some(cgroup)
}

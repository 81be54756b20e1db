//! runc-checkpoint(8) and runc-restore(8). What their flags do can be seen where criu works; that
//! they are known, everywhere.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::{Area, is_usage_error, nobody, rows, running, text};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds, skipped};
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("checkpoint");
const CHECKPOINT: &str = "runc-checkpoint(8)";
const RESTORE: &str = "runc-restore(8)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (command, flags) in rows::COMMANDS
        .into_iter()
        .filter(|(command, _)| matches!(*command, "checkpoint" | "restore"))
    {
        cases.extend(flags.iter().map(|flag| known(command, flag)));
    }
    cases.extend(["bundle -b", "detach -d"].map(|words| {
        let (flag, short) = words.split_once(' ').unwrap_or_default();
        AREA.case(
            format!("restore-knows-{flag}-short"),
            RESTORE,
            &format!("{short} is --{flag}."),
            &[&format!("restore {short}")],
            move |scene| is_known(scene, "restore", short, flag),
        )
    }));
    let with_criu = [
        AREA.case("checkpoint-then-restore", CHECKPOINT, "A container that was checkpointed goes on where it was when it is restored.", &["checkpoint", "restore"], |scene| {
            let bundle = checkpointed(scene, &[])?;
            equal("status after checkpoint", &scene.runtime().status(bundle.id()).as_str(), &"")?;
            restored(scene, &bundle, &[])?;
            equal("status after restore", &scene.runtime().status(bundle.id()), &"running".to_owned())
        }),
        AREA.case("checkpoint-leaves-running", CHECKPOINT, "With --leave-running the container runs on.", &["checkpoint --leave-running"], |scene| {
            let bundle = checkpointed(scene, &["--leave-running"])?;
            equal("status", &scene.runtime().status(bundle.id()), &"running".to_owned())
        }),
        AREA.case("checkpoint-pre-dump", CHECKPOINT, "--pre-dump saves memory alone, and the container runs on; --parent-path names it for the dump.", &["checkpoint --pre-dump", "checkpoint --parent-path"], |scene| {
            needs_criu()?;
            let bundle = running(scene)?;
            let [parent, image] = ["parent", "image"].map(|name| scene.directory().join(name));
            scene.succeeds(&["checkpoint", "--pre-dump", "--image-path", &text(&parent), bundle.id()])?;
            equal("status", &scene.runtime().status(bundle.id()), &"running".to_owned())?;
            scene.succeeds(&["checkpoint", "--parent-path", "../parent", "--image-path", &text(&image), bundle.id()])?;
            restored(scene, &bundle, &[])
        }),
        AREA.case("checkpoint-work-path", CHECKPOINT, "--work-path has criu's log.", &["checkpoint --work-path"], |scene| {
            let work = scene.directory().join("work");
            checkpointed(scene, &["--work-path", &text(&work)])?;
            holds(work.join("dump.log").is_file(), "dump.log", &work)
        }),
        AREA.case("checkpoint-parent-path-absolute", CHECKPOINT, "--parent-path is relative to --image-path.", &["checkpoint --parent-path"], |scene| {
            needs_criu()?;
            let bundle = running(scene)?;
            let image = text(&scene.directory().join("image"));
            let finished = scene.runtime().call(&["checkpoint", "--image-path", &image, "--parent-path", "/absolute", bundle.id()]);
            holds(finished.code == 1, "exit 1", finished.brief())?;
            equal("status", &scene.runtime().status(bundle.id()), &"running".to_owned())
        }),
        AREA.case("restore-pid-file", RESTORE, "--pid-file is written with the pid of init.", &["restore --pid-file"], |scene| {
            let bundle = checkpointed(scene, &[])?;
            let file = scene.directory().join("pid");
            restored(scene, &bundle, &["--pid-file", &text(&file)])?;
            let pid = scene.runtime().pid(bundle.id()).to_string();
            equal("the file", &std::fs::read_to_string(file).ok(), &Some(pid))
        }),
        AREA.case("restore-of-nothing", RESTORE, "Without an image there is nothing to restore, and nothing is left.", &["restore"], |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            bundle.save();
            let image = text(&scene.directory().join("missing"));
            let finished = scene.runtime().call(&["restore", "--bundle", &text(bundle.path()), "--image-path", &image, "--detach", bundle.id()]);
            let is_it = finished.code == 1 && !is_usage_error(&finished);
            holds(is_it, "exit 1, and not about the flags", finished.brief())?;
            holds(scene.runtime().state(bundle.id()).is_none(), "no container", "there is one")
        }),
    ];
    // While criu runs, the host's cgroup v2 may be without its options.
    cases.extend(with_criu.map(Case::alone));
    cases
}

/// A value that a flag takes; none for a switch.
fn value(flag: &str) -> Option<&'static str> {
    match flag {
        "image-path" | "work-path" | "bundle" | "console-socket" | "pid-file" => {
            Some("/dev/null/nowhere")
        }
        "parent-path" => Some("../parent"),
        "status-fd" => Some("1"),
        "page-server" => Some("127.0.0.1:1"),
        "manage-cgroups-mode" => Some("soft"),
        "empty-ns" => Some("network"),
        "lsm-profile" => Some("apparmor:none"),
        "lsm-mount-context" => Some("context"),
        _ => None,
    }
}

fn known(command: &'static str, flag: &'static str) -> Case {
    let place = format!("runc-{command}(8)");
    let sentence = format!("--{flag} is a flag of {command}.");
    let row = format!("{command} --{flag}");
    AREA.case(
        format!("{command}-knows-{flag}"),
        &place,
        &sentence,
        &[&row],
        move |scene| is_known(scene, command, &format!("--{flag}"), flag),
    )
}

/// The flag is no usage error; one that there is not is one.
fn is_known(scene: &Scene<'_>, command: &str, spelled: &str, flag: &str) -> Verdict {
    let call = |spelled: &str| -> Finished {
        let id = nobody(scene);
        let mut words = vec![command, spelled];
        words.extend(value(flag));
        words.push(&id);
        scene.runtime().call(&words)
    };
    let finished = call(spelled);
    holds(
        finished.code != 0 && !is_usage_error(&finished),
        "an error that is not about the flag",
        finished.brief(),
    )?;
    let other = call("--no-such-flag");
    holds(
        is_usage_error(&other),
        "an error about a flag that there is not",
        other.brief(),
    )
}

/// Whether criu can dump on this kernel.
fn needs_criu() -> Verdict {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| {
        let finished = finish(Command::new("criu").arg("check"), b"", LIMIT);
        match finished.code {
            0 => Ok(()),
            _ => Err(format!(
                "criu can't dump on this kernel: {}",
                finished.brief()
            )),
        }
    });
    answer.clone().or_else(skipped)
}

fn checkpointed(scene: &Scene<'_>, flags: &[&str]) -> Result<Bundle, Trouble> {
    needs_criu()?;
    let bundle = running(scene)?;
    let image = text(&scene.directory().join("image"));
    scene.succeeds(
        &[
            &["checkpoint", "--image-path", &image],
            flags,
            &[bundle.id()],
        ]
        .concat(),
    )?;
    holds(
        Path::new(&image).join("inventory.img").is_file(),
        "an image",
        &image,
    )?;
    Ok(bundle)
}

fn restored(scene: &Scene<'_>, bundle: &Bundle, flags: &[&str]) -> Verdict {
    let image = text(&scene.directory().join("image"));
    let path = text(bundle.path());
    let words = [
        &[
            "restore",
            "--detach",
            "--image-path",
            &image,
            "--bundle",
            &path,
        ],
        flags,
        &[bundle.id()],
    ]
    .concat();
    let finished = scene.detached(&words);
    holds(finished.code == 0, "exit 0", finished.brief())
}

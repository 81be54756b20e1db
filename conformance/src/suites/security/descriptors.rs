//! R03: what the caller left open never reaches a container.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::{Area, Ground, exec, exec_report, is_refused, run_and_look};
use crate::case::{Case, Verdict, equal, holds};
use crate::run::Finished;
use crate::scene::Scene;

const AREA: Area = Area("descriptors");
const ORIGIN: &str = "CVE-2024-21626";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "descriptors-of-run",
            "R03",
            "A program has its standard streams and nothing that the runtime's caller left open.",
            ORIGIN,
            |scene, ground| {
                let open = Open::new(ground);
                let report = scene.report(&scene.bundle());
                drop(open);
                are_three(&report?["files"])
            },
        ),
        AREA.case(
            "descriptors-of-exec",
            "R03",
            "So has a further process.",
            ORIGIN,
            |scene, ground| {
                let bundle = scene.bundle().does(&["wait"]);
                scene.start(&bundle)?;
                let open = Open::new(ground);
                let report = exec_report(scene, &[], &bundle);
                drop(open);
                are_three(&report?["files"])
            },
        ),
        AREA.case(
            "descriptors-of-a-waiting-init",
            "R03",
            "An init that waits for start holds nothing of the host's directories.",
            ORIGIN,
            |scene, ground| {
                let open = Open::new(ground);
                let created = scene.create(&{
                    let bundle = scene.bundle();
                    bundle.save();
                    bundle
                });
                drop(open);
                created?;
                holds_nothing(scene, ground)
            },
        ),
        AREA.case(
            "directory-behind-a-descriptor-of-run",
            "R03",
            "A working directory by way of a descriptor is refused, or inside.",
            ORIGIN,
            |scene, ground| {
                for number in numbers(scene) {
                    let open = Open::new(ground);
                    let bundle = scene
                        .bundle()
                        .set("/process/cwd", format!("/proc/self/fd/{number}"));
                    let finished = run_and_look(
                        scene,
                        ground,
                        &bundle.does(&["try", "read:secret", "read:../canary/secret"]),
                    );
                    drop(open);
                    shows_nothing(&finished?)?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "directory-behind-a-descriptor-of-exec",
            "R03",
            "The same for a further process.",
            ORIGIN,
            |scene, ground| {
                let bundle = scene.bundle().does(&["wait"]);
                scene.start(&bundle)?;
                for number in numbers(scene) {
                    let open = Open::new(ground);
                    let cwd = format!("/proc/self/fd/{number}");
                    let finished = exec(
                        scene,
                        &["--cwd", &cwd],
                        &bundle,
                        &["try", "read:secret", "read:../canary/secret"],
                    );
                    drop(open);
                    shows_nothing(&finished)?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "program-behind-a-descriptor",
            "R03",
            "A program by way of a descriptor of the host is not executed.",
            ORIGIN,
            |scene, ground| {
                let running = scene.bundle().does(&["wait"]);
                scene.start(&running)?;
                for number in numbers(scene) {
                    let open = Open::new(ground);
                    let program = format!("/proc/self/fd/{number}/program");
                    let bundle = scene
                        .bundle()
                        .set("/process/args", json!([program, "inside", "exit", "0"]));
                    let finished = run_and_look(scene, ground, &bundle);
                    let entered = scene.runtime().call(&[
                        "exec",
                        running.id(),
                        &program,
                        "inside",
                        "exit",
                        "0",
                    ]);
                    drop(open);
                    is_refused(&finished?, &program)?;
                    is_refused(&entered, &program)?;
                }
                Ok(())
            },
        ),
    ]
}

/// Descriptors 3 to 64 or so, inherited by whatever is started: the canary's and the host's root.
struct Open {
    #[allow(dead_code, reason = "they are open as long as it is")]
    descriptors: Vec<OwnedFd>,
}

impl Open {
    fn new(ground: &Ground) -> Self {
        let mut descriptors = Vec::new();
        for place in [ground.canary(), std::path::Path::new("/")]
            .into_iter()
            .cycle()
            .take(60)
        {
            let opened = open(place, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty());
            let opened = opened.expect("a directory can be opened");
            fcntl(&opened, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
                .expect("a flag can be set");
            let is_last = opened.as_raw_fd() >= 64;
            descriptors.push(opened);
            if is_last {
                break;
            }
        }
        Self { descriptors }
    }
}

fn numbers(scene: &Scene<'_>) -> std::ops::RangeInclusive<u32> {
    3..=if scene.stage().is_long { 64 } else { 14 }
}

fn are_three(files: &Value) -> Verdict {
    let numbers: Vec<&String> = files
        .as_object()
        .map(|files| files.keys().collect())
        .unwrap_or_default();
    let is_it = numbers
        .iter()
        .map(|number| number.as_str())
        .eq(["0", "1", "2"]);
    holds(is_it, "descriptors 0, 1, 2", files)
}

/// The files of the host are not there: what ran found nothing, or nothing ran.
fn shows_nothing(finished: &Finished) -> Verdict {
    holds(!finished.is_late, "an end", finished.brief())?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    holds(
        !said.contains("canary secret"),
        "nothing of the host's file",
        finished.brief(),
    )
}

fn holds_nothing(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let id = format!("{}-0", scene.marker());
    let pid = scene.runtime().pid(&id);
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let own: Vec<_> = links
        .filter(|link| link.starts_with(ground.canary()) || *link == std::path::Path::new("/"))
        .collect();
    equal("directories of the host", &own, &Vec::new())
}

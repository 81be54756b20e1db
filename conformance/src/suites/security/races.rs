//! R04, R20, R22: places that change between a look and a use.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::swapper::{Swapper, for_a_while};
use super::{Area, Ground, exec, run_and_look, text};
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("races");
const ORIGIN: &str = "CVE-2021-30465, CVE-2024-45310, CVE-2019-19921, CVE-2023-27561";

/// Where the link of the race leads; `{}` is the canary tree.
const TARGETS: [(&str, &str); 4] = [
    ("absolute", "{}"),
    ("relative", "../../../../../../../../..{}"),
    ("through-proc", "/proc/self/root{}"),
    ("the-root", "/"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = TARGETS
        .into_iter()
        .map(|(name, target)| {
            AREA.case(format!("race-of-mounts-{name}"), "R04", "Mounts, and files and directories made for them, land in the root filesystem though a part of their path becomes a link meanwhile.", ORIGIN, move |scene, ground| {
                mounts(scene, ground, target)
            })
        })
        .collect();
    cases.extend([
        AREA.case("race-of-a-directory", "R22", "A working directory whose path becomes a link meanwhile is inside, or refused.", ORIGIN, directory),
        AREA.case("race-of-a-directory-of-exec", "R22", "So is that of a further process.", ORIGIN, directory_of_exec),
        AREA.case("race-of-the-root", "R04", "A root filesystem that becomes a link meanwhile is one of both, and nothing is made in the host's root.", ORIGIN, root),
        AREA.case("race-of-delete", "R20", "delete unmounts and removes nothing by a path that becomes a link meanwhile.", "CVE-2020-2024", delete),
    ]);
    cases
}

fn mounts(scene: &Scene<'_>, ground: &Ground, target: &str) -> Verdict {
    let volume = scene.directory().join("volume");
    let swapper = Swapper::in_a_volume(&volume, &target.replace("{}", &text(ground.canary())));
    let sources = ["source-file", "source"].map(|name| scene.directory().join(name));
    std::fs::write(&sources[0], "file").expect("a file can be written");
    std::fs::create_dir(&sources[1]).expect("a directory can be made");
    let marked = |name: &str| format!("/vol/d/{}-{name}", scene.marker());
    let bundle = scene
        .bundle()
        .does(&["exit", "0"])
        .mount("/vol", "bind", &text(&volume), &["rbind"])
        .mount(&marked("tmpfs"), "tmpfs", "tmpfs", &["nosuid"])
        .mount(&marked("bind"), "bind", &text(&sources[1]), &["bind", "ro"])
        .mount(
            &format!("{}/file", marked("directory")),
            "bind",
            &text(&sources[0]),
            &["bind", "ro"],
        )
        .mount(&marked("queue"), "mqueue", "mqueue", &["nosuid"]);
    for_a_while(scene, || run_and_look(scene, ground, &bundle).map(drop))?;
    swapper.has_run()
}

fn directory(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let volume = scene.directory().join("volume");
    let swapper = Swapper::in_a_volume(&volume, &text(ground.canary()));
    let bundle = scene
        .bundle()
        .does(&["try", "read:secret", "read:../../secret", "list:."])
        .mount("/vol", "bind", &text(&volume), &["rbind"])
        .set("/process/cwd", "/vol/d/new/directory");
    for_a_while(scene, || {
        let finished = run_and_look(scene, ground, &bundle)?;
        holds(
            !finished.stdout.contains("canary secret"),
            "nothing of the host's files",
            finished.brief(),
        )
    })?;
    swapper.has_run()
}

fn directory_of_exec(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let volume = scene.directory().join("volume");
    let swapper = Swapper::in_a_volume(&volume, &text(ground.canary()));
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .mount("/vol", "bind", &text(&volume), &["rbind"]);
    scene.start(&bundle)?;
    for_a_while(scene, || {
        let finished = exec(
            scene,
            &["--cwd", "/vol/d"],
            &bundle,
            &["try", "read:secret", "list:."],
        );
        holds(
            !finished.stdout.contains("canary secret"),
            "nothing of the host's files",
            finished.brief(),
        )?;
        ground.check()
    })?;
    swapper.has_run()
}

/// Two names for a root filesystem: one is it, one leads to the canary.
fn root(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let bundle = scene.bundle().does(&["try", "read:/secret"]);
    let bundle = bundle
        .set("/root/path", "swapped")
        .set("/process/cwd", "/made/for/it");
    let [swapped, link] = ["swapped", "link"].map(|name| bundle.path().join(name));
    std::fs::rename(bundle.rootfs(), &swapped).expect("a directory can be renamed");
    symlink(bundle.path().join("nowhere"), &link).expect("a link can be made");
    let swapper = Swapper::start(swapped, link);
    for_a_while(scene, || {
        let finished = run_and_look(scene, ground, &bundle)?;
        holds(
            !bundle.path().join("nowhere").exists(),
            "nothing where the link leads",
            finished.brief(),
        )
    })?;
    swapper.has_run()
}

fn delete(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let volume = scene.directory().join("volume");
    let swapper = Swapper::in_a_volume(&volume, &text(ground.canary()));
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .mount("/vol", "bind", &text(&volume), &["rbind"])
        .mount("/vol/d/below", "tmpfs", "tmpfs", &[])
        .set("/linux/maskedPaths", json!(["/vol/d"]));
    for_a_while(scene, || {
        bundle.save();
        // Whether it starts is the race's to decide.
        drop(scene.create_saved(&bundle));
        super::remove(scene, &bundle);
        ground.check()
    })?;
    swapper.has_run()
}

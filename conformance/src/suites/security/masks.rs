//! R06: what /dev/null is, when it is a mask.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::swapper::{Swapper, for_a_while};
use super::{Area, Ground, run_and_look, text, tried, without_mount};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("masks");
const ORIGIN: &str = "CVE-2025-31133, CVE-2025-62161, CVE-2026-88265";

/// What stands at /dev/null of a volume.
const KINDS: [&str; 6] = ["core-pattern", "canary", "file", "zero", "fifo", "missing"];

/// What the program tries at the places that are masked.
const TRIES: [&str; 6] = [
    "try",
    "read:/secret",
    "list:/secrets",
    "overwrite:/secret",
    "overwrite:/proc/sys/kernel/core_pattern",
    "stat:/dev/null",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = KINDS
        .into_iter()
        .flat_map(|kind| {
            [
                AREA.case(format!("mask-in-a-volume-{kind}"), "R06", "A volume on /dev decides nothing about masks: they read as empty, or the start is refused.", ORIGIN, move |scene, ground| {
                    let volume = scene.directory().join("volume");
                    std::fs::create_dir(&volume).expect("a directory can be made");
                    fake(&volume, ground, kind);
                    let bundle = masked(scene).mount("/dev", "bind", &text(&volume), &["bind"]);
                    hides(scene, ground, &bundle)
                }),
                AREA.case(format!("mask-of-an-image-{kind}"), "R06", "A /dev/null of the image decides nothing either.", ORIGIN, move |scene, ground| {
                    let bundle = masked(scene);
                    fake(&bundle.rootfs().join("dev"), ground, kind);
                    hides(scene, ground, &bundle)
                }),
            ]
        })
        .collect();
    cases.push(AREA.case(
        "null-of-the-host",
        "R06",
        "The host's /dev/null stays its root's, though it is a stream of a container's user.",
        ORIGIN,
        null_of_the_host,
    ));
    cases.push(AREA.case(
        "race-of-the-mask",
        "R06",
        "A /dev/null that becomes a link meanwhile never unmasks.",
        ORIGIN,
        |scene, ground| {
            let volume = scene.directory().join("volume");
            std::fs::create_dir(&volume).expect("a directory can be made");
            let [one, other] = ["null", "other"].map(|name| volume.join(name));
            symlink("/proc/sys/kernel/core_pattern", &one).expect("a link can be made");
            std::fs::write(&other, "").expect("a file can be written");
            let swapper = Swapper::start(one, other);
            let bundle = masked(scene).mount("/dev", "bind", &text(&volume), &["bind"]);
            for_a_while(scene, || hides(scene, ground, &bundle))?;
            swapper.has_run()
        },
    ));
    // What a mask does not hide there is written to, core_pattern of all that there is.
    cases.into_iter().map(Case::alone).collect()
}

/// Runtimes give streams to the container's user, but not this one, which all share.
fn null_of_the_host(scene: &Scene<'_>, _: &Ground) -> Verdict {
    use std::os::unix::fs::MetadataExt;
    let owner = || std::fs::metadata("/dev/null").map(|status| (status.uid(), status.gid()));
    let before = owner().unwrap_or_default();
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = scene
        .bundle()
        .does(&["exit", "0"])
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    scene.start(&bundle)?;
    super::remove(scene, &bundle);
    let after = owner().unwrap_or_default();
    // Put back: everybody on the host writes to it.
    std::os::unix::fs::chown("/dev/null", Some(before.0), Some(before.1)).ok();
    equal("the owner of /dev/null", &after, &before)
}

fn masked(scene: &Scene<'_>) -> Bundle {
    let bundle = without_mount(without_mount(scene.bundle(), "/dev/pts"), "/dev").does(&TRIES);
    let bundle = bundle
        .set(
            "/linux/maskedPaths",
            json!(["/secret", "/secrets", "/absent", "/proc/kcore"]),
        )
        .set("/linux/readonlyPaths", json!(["/proc/sys"]));
    std::fs::write(bundle.rootfs().join("secret"), "hidden").expect("a file can be written");
    std::fs::create_dir(bundle.rootfs().join("secrets")).expect("a directory can be made");
    std::fs::write(bundle.rootfs().join("secrets/one"), "hidden").expect("a file can be written");
    bundle
}

fn fake(directory: &Path, ground: &Ground, kind: &str) {
    let path = directory.join("null");
    let all = Mode::from_bits_truncate(0o666);
    match kind {
        "core-pattern" => {
            symlink("/proc/sys/kernel/core_pattern", path).expect("a link can be made")
        }
        "canary" => symlink(ground.file("null"), path).expect("a link can be made"),
        "file" => std::fs::write(path, "fake").expect("a file can be written"),
        "zero" => mknod(&path, SFlag::S_IFCHR, all, makedev(1, 5)).expect("root makes nodes"),
        "fifo" => nix::unistd::mkfifo(&path, all).expect("a fifo can be made"),
        _ => {}
    }
}

/// What is masked is empty, or there was an error.
fn hides(scene: &Scene<'_>, ground: &Ground, bundle: &Bundle) -> Verdict {
    let finished = run_and_look(scene, ground, bundle)?;
    let Some(seen) = tried(&finished) else {
        return Ok(());
    };
    let hidden = seen["read:/secret"] == "" && seen["list:/secrets"] == json!([]);
    holds(hidden, "empty masks, or an error", &seen)?;
    let pattern = &seen["overwrite:/proc/sys/kernel/core_pattern"];
    holds(
        pattern != "ok",
        "a core_pattern that can't be written to",
        &seen,
    )?;
    if bundle.config()["mounts"].to_string().contains("\"/dev\"") {
        // In a volume there is what there was.
        return Ok(());
    }
    let null = &seen["stat:/dev/null"];
    let is_null = null["kind"] == "c" && null["major"] == 1 && null["minor"] == 3;
    holds(is_null, "the device 1:3 at /dev/null, or an error", null)
}

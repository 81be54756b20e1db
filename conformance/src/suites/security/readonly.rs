//! R23, R26, R30: what is read-only is never writable; the host's mount namespace is left alone.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::swapper::for_a_while;
use super::{
    Area, Ground, attacks, is_refused, links, run_and_look, text, tried, tries_where,
    without_namespace,
};
use crate::case::{Case, Verdict, equal, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("read-only");

/// What a container tries on its read-only mounts.
const TRIES: [&str; 8] = [
    "overwrite:/shared/file",
    "overwrite:/plain/file",
    "write:/shared/new",
    "write:/plain/new",
    "write:/new",
    "remount:/plain",
    "remount:/shared",
    "overwrite:/shared/file",
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("read-only-at-every-moment", "R23", "A read-only mount is never writable, for nobody who has it and at no moment of another container's start.", "CVE-2020-28914, runc 1.5.3", at_every_moment),
        AREA.case("read-only-source-gets-no-mount-point", "R23", "No mount point is made in a source that is mounted read-only.", "crun 1.31", |scene, ground| {
            let shared = shared(scene);
            let before = links::tree(&shared);
            let bundle = scene
                .bundle()
                .does(&["exit", "0"])
                .mount("/shared", "bind", &text(&shared), &["bind", "ro"])
                .mount("/shared/missing", "tmpfs", "tmpfs", &[]);
            is_refused(&run_and_look(scene, ground, &bundle)?, "a target in a read-only mount")?;
            equal("the source", &links::tree(&shared), &before)
        }),
        AREA.case("read-only-root-of-a-hostile-image", "R26", "A read-only root is so, whatever the image has as /proc/self/fd.", "CVE-2026-115521", |scene, ground| {
            let bundle = scene.bundle().set("/root/readonly", true).does(&["try", "write:/new", "write:/tmp/new", "remount:/"]);
            let fake = bundle.rootfs().join("proc/self/fd");
            std::fs::create_dir_all(&fake).expect("a directory can be made");
            for number in 0..20 {
                symlink(ground.canary(), fake.join(number.to_string())).expect("a link can be made");
            }
            let finished = run_and_look(scene, ground, &bundle)?;
            match tried(&finished) {
                Some(seen) => equal("what could be done", &tries_where(&seen, |value| value == "ok"), &Vec::new()),
                None => is_refused(&finished, "the image"),
            }
        }),
        AREA.case("read-only-root-is-read-only", "R26", "A read-only root can't be written to.", "CVE-2026-115521", |scene, _| {
            let seen = scene.tries(scene.bundle().set("/root/readonly", true), &["write:/new", "mkdir:/tmp/new"])?;
            equal("what came of it", &seen, &json!({ "write:/new": "EROFS", "mkdir:/tmp/new": "EROFS" }))
        }),
        AREA.case("host-mount-namespace", "R30", "A container without a mount namespace of its own leaves the host's mounts and their propagation alone.", "runc 1.5.3", |scene, ground| {
            for propagation in [None, Some("private"), Some("slave"), Some("shared")] {
                let bundle = without_namespace(scene.bundle().does(&["exit", "0"]), "mount").set("/mounts", json!([]));
                let bundle = match propagation {
                    Some(word) => bundle.set("/linux/rootfsPropagation", word),
                    None => bundle,
                };
                // Whether it runs is the runtime's to say.
                run_and_look(scene, ground, &bundle)?;
            }
            Ok(())
        }),
        AREA.case("host-mounts-while-it-runs", "R30", "Nor does a container with one change them while it runs.", "house rules of hosts", |scene, ground| {
            let bundle = scene.bundle().does(&["wait"]).set("/linux/rootfsPropagation", "shared");
            let bundle = bundle.mount("/shared", "bind", &text(&shared(scene)), &["rbind", "rshared"]);
            scene.start(&bundle)?;
            ground.check()?;
            super::remove(scene, &bundle);
            ground.check()
        }),
    ]
}

fn shared(scene: &Scene<'_>) -> std::path::PathBuf {
    let shared = scene.directory().join("shared");
    std::fs::create_dir_all(shared.join("below")).expect("a directory can be made");
    std::fs::write(shared.join("file"), "text").expect("a file can be written");
    shared
}

/// One container writes to a file without end; others with the same source come and go.
fn at_every_moment(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let shared = shared(scene);
    let source = text(&shared);
    let watcher = scene
        .bundle()
        .mount("/shared", "bind", &source, &["rbind", "ro", "rslave"]);
    let watcher = attacks::start(scene, watcher, &["write", "/shared/file"])?;
    let bundle = scene
        .bundle()
        .does(&[&["try"], &TRIES[..]].concat())
        .set("/root/readonly", true)
        .mount("/shared", "bind", &source, &["rbind", "ro"])
        .mount("/plain", "bind", &source, &["bind", "ro"]);
    for name in ["shared", "plain"] {
        std::fs::create_dir(bundle.rootfs().join(name)).expect("a directory can be made");
    }
    let before = links::tree(&shared);
    for_a_while(scene, || {
        let finished = run_and_look(scene, ground, &bundle)?;
        let Some(seen) = tried(&finished) else {
            return failed("the container runs", finished.brief());
        };
        equal(
            "what could be done",
            &tries_where(&seen, |value: &Value| value == "ok"),
            &Vec::new(),
        )
    })?;
    let told = attacks::stop(scene, &watcher)?;
    holds(
        told["met"].as_u64().is_some_and(|tries| tries > 0),
        "tries of the watcher",
        &told,
    )?;
    attacks::was_in_vain(&told)?;
    equal("the source", &links::tree(&shared), &before)?;
    equal(
        "the file",
        &std::fs::read_to_string(shared.join("file")).ok(),
        &Some("text".to_owned()),
    )
}

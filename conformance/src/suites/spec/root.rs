//! config.md#root.

use serde_json::json;

use super::{Area, has, is, mount_at};
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("root");
const PLACE: &str = "config.md#root";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "root-relative",
            PLACE,
            "On POSIX platforms path is absolute or relative to the bundle.",
            relative,
        )
        .of("root")
        .of("root.path"),
        AREA.case(
            "root-absolute",
            PLACE,
            "On POSIX platforms path is absolute or relative to the bundle.",
            absolute,
        )
        .of("root.path"),
        AREA.case(
            "root-with-another-name",
            PLACE,
            "The value of path should be the conventional rootfs: it need not be.",
            another_name,
        )
        .of("root.path"),
        AREA.case(
            "root-readonly",
            PLACE,
            "If readonly is true the root filesystem must be read-only inside the container.",
            readonly,
        )
        .of("root.readonly"),
        AREA.case(
            "root-writable",
            PLACE,
            "readonly defaults to false.",
            writable,
        )
        .of("root.readonly"),
        AREA.refuses(
            "root-that-is-missing",
            PLACE,
            "A directory must exist at the path.",
            "/root/path",
            json!("nothing"),
        ),
        AREA.refuses(
            "root-that-is-a-file",
            PLACE,
            "A directory must exist at the path.",
            "/root/path",
            json!("rootfs/probe"),
        ),
        AREA.case(
            "root-is-required",
            PLACE,
            "On all other platforms than Windows root is required.",
            |scene| scene.is_refused(&scene.bundle().without("/root")).map(drop),
        ),
        AREA.case(
            "root-path-is-required",
            PLACE,
            "path is required.",
            |scene| {
                scene
                    .is_refused(&scene.bundle().without("/root/path"))
                    .map(drop)
            },
        ),
    ]
}

/// The names in the container's root are those of this directory on the host.
fn has_its_file(
    scene: &Scene<'_>,
    bundle: crate::bundle::Bundle,
    directory: &std::path::Path,
) -> Verdict {
    std::fs::write(directory.join("of-this-case"), "seen").expect("a file can be written");
    let tried = scene.tries(bundle, &["read:/of-this-case"])?;
    is("the file", &tried["read:/of-this-case"], "seen")
}

fn relative(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set("/root/path", "rootfs");
    let directory = bundle.rootfs();
    has_its_file(scene, bundle, &directory)
}

fn absolute(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    // Outside of the bundle, where no relative path leads.
    let directory = scene.directory().join("elsewhere");
    std::fs::rename(bundle.rootfs(), &directory).expect("a directory can be renamed");
    let bundle = bundle.set("/root/path", directory.display().to_string());
    has_its_file(scene, bundle, &directory)
}

fn another_name(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    let directory = bundle.path().join("other name");
    std::fs::rename(bundle.rootfs(), &directory).expect("a directory can be renamed");
    has_its_file(scene, bundle.set("/root/path", "other name"), &directory)
}

fn readonly(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set("/root/readonly", true);
    let tried = scene.tries(bundle.clone(), &["write:/new", "mkdir:/directory"])?;
    is("write", &tried["write:/new"], "EROFS")?;
    is("mkdir", &tried["mkdir:/directory"], "EROFS")?;
    let report = scene.report(&scene.bundle().set("/root/readonly", true))?;
    let root = mount_at(&report, "/")?;
    holds(
        has(&root["options"], "ro"),
        "ro among the root's options",
        &root["options"],
    )
}

fn writable(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    let file = bundle.rootfs().join("new");
    let tried = scene.tries(bundle, &["write:/new"])?;
    is("write", &tried["write:/new"], "ok")?;
    holds(file.is_file(), "the file on the host", file)
}

//! config.md#mounts: mounts with ids of their own.

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict};
use crate::scene::Scene;

const AREA: Area = Area("idmapped-mounts");
const PLACE: &str = "config.md#posix-platform-mounts";
const WORDS: &str = "config.md#linux-mount-options";

/// The owner of the files on the host.
const ON_DISK: u32 = 1000;
/// Who it is inside.
const INSIDE: u32 = 3000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("idmapped-uids", PLACE, "uidMappings is the mapping of UIDs for the mount.", |scene| {
            owner(scene, &["bind", "idmap"], "/seen/file", "uid")
        })
        .of("mounts[].uidMappings").of("mounts[].uidMappings[]"),
        AREA.case("idmapped-gids", PLACE, "gidMappings is the mapping of GIDs for the mount.", |scene| {
            owner(scene, &["bind", "idmap"], "/seen/file", "gid")
        })
        .of("mounts[].gidMappings").of("mounts[].gidMappings[]"),
        AREA.case("idmapped-without-the-word", PLACE, "Runtimes must fail if the mount can't be mapped; the option idmap should accompany the mappings.", |scene| {
            owner(scene, &["bind"], "/seen/file", "uid")
        }),
        AREA.case("mount-word-idmap", WORDS, "idmap: the mount is mapped, not those below.", |scene| {
            owner(scene, &["rbind", "idmap"], "/seen/file", "uid")
        })
        .of("mounts[].options[]"),
        AREA.case("mount-word-ridmap", WORDS, "ridmap: the mount and all below are mapped.", |scene| {
            owner(scene, &["rbind", "ridmap"], "/seen/below/file", "uid")
        })
        .of("mounts[].options[]"),
        AREA.case("idmapped-range", PLACE, "containerID, hostID and size are a mapping of user namespaces.", outside_of_the_range)
            .of("mounts[].uidMappings[].containerID").of("mounts[].uidMappings[].hostID").of("mounts[].uidMappings[].size")
            .of("mounts[].gidMappings[].containerID").of("mounts[].gidMappings[].hostID").of("mounts[].gidMappings[].size"),
    ];
    let pairs = [
        ("uidMappings", "gidMappings"),
        ("gidMappings", "uidMappings"),
    ];
    cases.extend(pairs.map(|(one, other)| {
        AREA.case(
            format!("idmapped-{}-alone", one.to_lowercase()),
            PLACE,
            &format!("If {one} is specified, {other} must be too."),
            move |scene| {
                let bundle =
                    bundle(scene, &["bind", "idmap"]).without(&format!("/mounts/4/{other}"));
                scene.is_refused(&bundle).map(drop)
            },
        )
    }));
    cases
}

fn mapping() -> Value {
    // In a mount the roles are those of the file system (container) and of who looks at it (host).
    json!([{ "containerID": ON_DISK, "hostID": INSIDE, "size": 10 }])
}

/// A bundle with a tree of two mounts, whose files belong to one user, mapped to another.
fn bundle(scene: &Scene<'_>, options: &[&str]) -> Bundle {
    let bundle = scene.bundle().mount("/seen", "bind", "tree", options);
    bundle
        .set("/mounts/4/uidMappings", mapping())
        .set("/mounts/4/gidMappings", mapping())
}

fn put(directory: &std::path::Path, name: &str, owner: u32) {
    let file = directory.join(name);
    std::fs::write(&file, "x").expect("a file can be written");
    std::os::unix::fs::chown(&file, Some(owner), Some(owner)).expect("a file can be given away");
}

fn owner(scene: &Scene<'_>, options: &[&str], file: &str, of: &str) -> Verdict {
    let bundle = bundle(scene, options);
    let top = bundle.path().join("tree");
    // Not every kernel maps a tmpfs: both are on the disk.
    std::fs::create_dir(&top).expect("a directory can be made");
    put(&top, "file", ON_DISK);
    if options.contains(&"rbind") {
        let other = bundle.path().join("other");
        for directory in [&other, &top.join("below")] {
            std::fs::create_dir(directory).expect("a directory can be made");
        }
        put(&other, "file", ON_DISK);
        scene.bind(&other, &top.join("below"))?;
    }
    let word = format!("stat:{file}");
    let tried = scene.tries(bundle, &[&word])?;
    is("the owner inside", &tried[&word][of], INSIDE)
}

/// Ids beside the range are nobody's.
fn outside_of_the_range(scene: &Scene<'_>) -> Verdict {
    const NOBODY: u32 = 65534;
    let bundle = bundle(scene, &["bind", "idmap"]);
    let top = bundle.path().join("tree");
    std::fs::create_dir(&top).expect("a directory can be made");
    put(&top, "last", ON_DISK + 9);
    put(&top, "beside", ON_DISK + 10);
    let tried = scene.tries(bundle, &["stat:/seen/last", "stat:/seen/beside"])?;
    is(
        "the last of the range",
        &tried["stat:/seen/last"]["uid"],
        INSIDE + 9,
    )?;
    is(
        "the group of the last",
        &tried["stat:/seen/last"]["gid"],
        INSIDE + 9,
    )?;
    is(
        "the one beside it",
        &tried["stat:/seen/beside"]["uid"],
        NOBODY,
    )?;
    is(
        "the group beside it",
        &tried["stat:/seen/beside"]["gid"],
        NOBODY,
    )
}

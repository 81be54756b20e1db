//! config-linux.md#cgroups-path and #cgroup-ownership.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::Area;
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds, skipped};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("cgroups");
const PLACE: &str = "config-linux.md#cgroups-path";
const OWNERSHIP: &str = "config-linux.md#cgroup-ownership";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("cgroups-path-absolute", PLACE, "An absolute path is taken to be relative to the cgroups mount point.", absolute)
            .of("linux.cgroupsPath"),
        AREA.case("cgroups-path-deep", PLACE, "The cgroups will be created if they don't exist.", deep),
        AREA.case("cgroups-path-twice", PLACE, "The runtime must consistently attach to the same place given the same value.", twice),
        AREA.case("cgroups-path-relative", PLACE, "The runtime may interpret a relative path relative to a place of its own, and consistently.", relative),
        AREA.case("cgroups-path-unset", PLACE, "If the value is not specified, the runtime may define the default path.", unset),
        AREA.case("cgroups-path-stays-below-the-root", PLACE, "The path is relative to the cgroups mount point: it does not lead out of it.", dots),
        AREA.case("cgroup-is-removed", "runtime.md#delete", "Deleting a container must delete the resources that were created during the create step.", removed),
        AREA.case("cgroup-of-others-stays", "runtime.md#delete", "Resources not created by this container must not be deleted.", parent_stays),
        AREA.case("cgroup-owner-of-a-writable-one", OWNERSHIP, "Runtimes should change the owner if the cgroup filesystem is mounted read/write, in a cgroup namespace.", |scene| owner(scene, &[], 100_000)),
        AREA.case("cgroup-owner-of-a-readonly-one", OWNERSHIP, "If the configuration has no writable cgroup mount, the runtime should not change the ownership.", |scene| owner(scene, &["ro"], 0)),
    ]
}

/// A started container's cgroups: the path in each hierarchy that runtimes use.
fn places(scene: &Scene<'_>, bundle: &Bundle) -> Result<Vec<String>, Trouble> {
    scene.start(bundle)?;
    let pid = scene.runtime().pid(bundle.id());
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let used: &[&str] = if host::has_cgroup2() {
        &["0::"]
    } else {
        &[":memory:", ":pids:", ":devices:"]
    };
    let lines = text
        .lines()
        .filter(|line| used.iter().any(|part| line.contains(part)));
    let paths: Vec<String> = lines
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .map(str::to_owned)
        .collect();
    holds(!paths.is_empty(), "cgroups", text)?;
    Ok(paths)
}

/// The one path that they have in all.
fn place(scene: &Scene<'_>, bundle: &Bundle) -> Result<String, Trouble> {
    let paths = places(scene, bundle)?;
    holds(
        paths.iter().all(|path| *path == paths[0]),
        "one path in all hierarchies",
        &paths,
    )?;
    Ok(paths[0].clone())
}

fn waiting(scene: &Scene<'_>) -> Bundle {
    scene.bundle().does(&["wait"])
}

fn absolute(scene: &Scene<'_>) -> Verdict {
    scene.needs_paths_of_cgroups()?;
    let bundle = waiting(scene);
    let expected = format!("/{}", bundle.id());
    equal("cgroup", &place(scene, &bundle)?, &expected)
}

fn deep(scene: &Scene<'_>) -> Verdict {
    scene.needs_paths_of_cgroups()?;
    let bundle = waiting(scene);
    let path = format!("/{}/one/two", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    equal("cgroup", &place(scene, &bundle)?, &path)
}

fn twice(scene: &Scene<'_>) -> Verdict {
    let bundle = waiting(scene);
    let first = place(scene, &bundle)?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    equal("cgroup of the second", &place(scene, &bundle)?, &first)
}

/// The runtime's own place may be another one in each hierarchy.
fn relative(scene: &Scene<'_>) -> Verdict {
    scene.needs_paths_of_cgroups()?;
    let bundle = waiting(scene);
    let name = format!("{}-relative", scene.marker());
    let bundle = bundle.set("/linux/cgroupsPath", name.as_str());
    let first = places(scene, &bundle)?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    let second = places(scene, &bundle)?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    equal("the cgroups of the second", &second, &first)?;
    holds(
        first.iter().all(|path| path.ends_with(&name)),
        &format!("paths that end in {name}"),
        first,
    )
}

fn unset(scene: &Scene<'_>) -> Verdict {
    let bundle = waiting(scene).without("/linux/cgroupsPath");
    let paths = places(scene, &bundle)?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    let own = paths.iter().filter(|path| path.contains(bundle.id()));
    let left: Vec<_> = own
        .flat_map(|path| crate::residue::cgroups(path.trim_start_matches('/')))
        .collect();
    holds(left.is_empty(), "nothing of it after delete", left)
}

fn dots(scene: &Scene<'_>) -> Verdict {
    let bundle = waiting(scene);
    let id = bundle.id().to_owned();
    let bundle = bundle.set(
        "/linux/cgroupsPath",
        format!("/{id}/../../../../../../{id}"),
    );
    bundle.save();
    let created = scene.create_saved(&bundle);
    if created.code != 0 {
        return Ok(());
    }
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", scene.runtime().pid(&id)))
        .unwrap_or_default();
    let wrong: Vec<&str> = text.lines().filter(|line| line.contains("..")).collect();
    holds(wrong.is_empty(), "a path below the root", wrong)
}

fn removed(scene: &Scene<'_>) -> Verdict {
    let bundle = waiting(scene);
    scene.start(&bundle)?;
    let before = crate::residue::cgroups(bundle.cgroup());
    holds(!before.is_empty(), "cgroups of its own", &before)?;
    scene.succeeds(&["kill", bundle.id(), "KILL"])?;
    scene.until_status(&bundle, "stopped")?;
    scene.succeeds(&["delete", bundle.id()])?;
    let after = crate::residue::cgroups(bundle.cgroup());
    holds(after.is_empty(), "no cgroup", after)
}

fn parent_stays(scene: &Scene<'_>) -> Verdict {
    scene.needs_paths_of_cgroups()?;
    let Some(hierarchy) = host::hierarchy(if host::has_cgroup2() { "" } else { "memory" }) else {
        return skipped("no memory cgroups");
    };
    let bundle = waiting(scene);
    let parent = hierarchy.join(bundle.id());
    std::fs::create_dir(&parent).expect("a cgroup can be made");
    let bundle = bundle
        .clone()
        .set("/linux/cgroupsPath", format!("/{}/inner", bundle.id()));
    scene.start(&bundle)?;
    scene.succeeds(&["delete", "--force", bundle.id()])?;
    holds(parent.is_dir(), "the parent that was there before", &parent)?;
    holds(!parent.join("inner").exists(), "its own is gone", parent)
}

fn owner(scene: &Scene<'_>, options: &[&str], expected: u32) -> Verdict {
    if !host::has_cgroup2() {
        return skipped("cgroups of v1 are not delegated: this needs cgroup v2 at /sys/fs/cgroup");
    }
    let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    let bundle = waiting(scene)
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/namespaces/-", json!({ "type": "cgroup" }))
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids)
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", options);
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(100_000))
        .expect("a directory can be given away");
    scene.start(&bundle)?;
    let cgroup = std::path::Path::new("/sys/fs/cgroup").join(bundle.cgroup());
    let uid = std::fs::metadata(cgroup.join("cgroup.procs")).map(|file| file.uid());
    equal("owner of cgroup.procs", &uid.ok(), &Some(expected))
}

//! config-linux.md#rootfs-mount-propagation.

use nix::mount::MsFlags;
use serde_json::json;

use super::{Area, has_beginning};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("rootfs-propagation");
const PLACE: &str = "config-linux.md#rootfs-mount-propagation";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("rootfs-shared", PLACE, "shared: the rootfs mount belongs to a new peer group.", |scene| marks(scene, "shared", &["shared:"], &["unbindable"]))
            .of("linux.rootfsPropagation"),
        AREA.case("rootfs-shared-stays-inside", PLACE, "shared does not mean that it is shared with the host.", shared_stays_inside),
        AREA.case("rootfs-slave", PLACE, "slave: the rootfs mount receives propagation events from the host, but not the other way around.", slave),
        AREA.case("rootfs-private", PLACE, "private: the rootfs mount doesn't receive propagation events from the host.", private),
        AREA.case("rootfs-unbindable", PLACE, "unbindable: the rootfs mount is a private mount that cannot be bind-mounted.", |scene| marks(scene, "unbindable", &["unbindable"], &["shared:"])),
        AREA.refuses("rootfs-propagation-unknown", "config.md#valid-values", "Runtimes must generate an error when invalid values are encountered.", "/linux/rootfsPropagation", json!("public")),
    ]
}

fn marks(scene: &Scene<'_>, word: &str, with: &[&str], without: &[&str]) -> Verdict {
    let report = scene.report(&scene.bundle().set("/linux/rootfsPropagation", word))?;
    let marks = &report["root_propagation"];
    for mark in with {
        holds(has_beginning(marks, mark), mark, marks)?;
    }
    for mark in without {
        holds(!has_beginning(marks, mark), &format!("no {mark}"), marks)?;
    }
    Ok(())
}

/// A container whose root filesystem is a shared mount of the host.
fn on_a_shared_mount(scene: &Scene<'_>, word: &str) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle().set("/linux/rootfsPropagation", word);
    let rootfs = bundle.rootfs();
    scene.bind(&rootfs, &rootfs)?;
    scene.change_mount(&rootfs, MsFlags::MS_SHARED)?;
    Ok(bundle)
}

/// A mount on the host, below the root filesystem, after start: whether it is seen inside.
fn arrives(scene: &Scene<'_>, bundle: &Bundle) -> Result<bool, Trouble> {
    let bundle = bundle.clone().does(&["wait"]);
    scene.start(&bundle)?;
    scene.tmpfs(&bundle.rootfs().join("tmp"))?;
    let pid = scene.runtime().pid(bundle.id());
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    holds(!mounts.is_empty(), "mounts inside", &mounts)?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/tmp")))
}

fn slave(scene: &Scene<'_>) -> Verdict {
    let bundle = on_a_shared_mount(scene, "slave")?;
    let has_come = arrives(scene, &bundle)?;
    holds(has_come, "the host's new mount, inside", has_come)
}

fn private(scene: &Scene<'_>) -> Verdict {
    let bundle = on_a_shared_mount(scene, "private")?;
    let has_come = arrives(scene, &bundle)?;
    holds(
        !has_come,
        "nothing of the host's new mount inside",
        has_come,
    )
}

fn shared_stays_inside(scene: &Scene<'_>) -> Verdict {
    let bundle = on_a_shared_mount(scene, "shared")?;
    let everything = json!(["CAP_SYS_ADMIN"]);
    let bundle = bundle.set(
        "/process/capabilities",
        json!({ "bounding": everything, "permitted": everything, "effective": everything }),
    );
    let tried = scene.tries(bundle.clone(), &["mount:/tmp"])?;
    super::is("mounting inside", &tried["mount:/tmp"], "ok")?;
    let target = bundle.rootfs().join("tmp").display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let seen: Vec<&str> = mounts
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some(&target))
        .collect();
    holds(seen.is_empty(), "nothing at it outside", seen)
}

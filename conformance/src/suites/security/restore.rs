//! R24, R25: checkpoints, which whoever made them may have written. They need a criu that can dump.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Area, Ground, exec_report, text, with_capabilities};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds, skipped};
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("restore");
const KEYS: &str = "CVE-2026-119101, CVE-2026-115520, CVE-2026-119614";
const ORIGIN: &str = "CVE-2026-94603, CVE-2024-8676, CVE-2026-92574";

/// Destinations of bind mounts that would confuse the keys of external mounts.
const DESTINATIONS: [(&str, &str); 5] = [
    ("brackets", "/a]:b"),
    ("line-break", "/a\nb"),
    ("quotes", "/a\"'b"),
    ("spaces", "/a b"),
    ("colons", "/a:/etc"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = DESTINATIONS
        .into_iter()
        .map(|(name, destination)| {
            AREA.case(format!("restore-of-a-mount-with-{name}"), "R24", "A mount whose destination has odd characters comes back as it was, or is refused; no other directory of the host comes.", KEYS, move |scene, ground| {
                let source = scene.directory().join("source");
                std::fs::create_dir(&source).expect("a directory can be made");
                let bundle = scene.bundle().does(&["wait"]).mount(destination, "bind", &text(&source), &["bind", "ro"]);
                let Some((bundle, before)) = checkpointed(scene, bundle)? else {
                    return Ok(());
                };
                let finished = restored(scene, &bundle);
                if finished.code != 0 {
                    return ground.check();
                }
                equal("mounts", &mounts(scene, &bundle), &before)
            })
        })
        .collect();
    cases.push(AREA.case("restore-under-a-stricter-config", "R25", "What is restored is confined as config.json says now, or refused; never as the checkpoint says.", ORIGIN, stricter));
    cases.push(AREA.case(
        "restore-follows-no-link",
        "R25",
        "A link in the image's directory is not followed to a file of the host.",
        "CVE-2026-53489",
        |scene, ground| {
            let Some((bundle, _)) = checkpointed(scene, scene.bundle().does(&["wait"]))? else {
                return Ok(());
            };
            for name in ["restore.log", "descriptors.json", "inventory.img"] {
                let path = image(scene).join(name);
                // Some runtimes have no such file.
                std::fs::remove_file(&path).ok();
                std::os::unix::fs::symlink(ground.file("secret"), &path)
                    .expect("a link can be made");
            }
            drop(restored(scene, &bundle));
            ground.check()
        },
    ));
    // While criu runs, the host's cgroup v2 may be without its options.
    cases.into_iter().map(Case::alone).collect()
}

fn needs_criu() -> Verdict {
    let finished = finish(Command::new("criu").arg("check"), b"", LIMIT);
    match finished.code {
        0 => Ok(()),
        _ => skipped(format!(
            "criu can't dump on this kernel: {}",
            finished.brief()
        )),
    }
}

fn image(scene: &Scene<'_>) -> PathBuf {
    scene.directory().join("image")
}

/// A container that was started and checkpointed, with the mounts that it had; none when the runtime
/// has refused either.
fn checkpointed(
    scene: &Scene<'_>,
    bundle: Bundle,
) -> Result<Option<(Bundle, Vec<Value>)>, Trouble> {
    needs_criu()?;
    bundle.save();
    if scene.create_saved(&bundle).code != 0 {
        return Ok(None);
    }
    scene.succeeds(&["start", bundle.id()])?;
    let before = mounts(scene, &bundle);
    holds(!before.is_empty(), "mounts", &before)?;
    let finished = scene.runtime().call(&[
        "checkpoint",
        "--image-path",
        &text(&image(scene)),
        bundle.id(),
    ]);
    holds(!finished.is_late, "an end of checkpoint", finished.brief())?;
    Ok((finished.code == 0).then_some((bundle, before)))
}

fn restored(scene: &Scene<'_>, bundle: &Bundle) -> Finished {
    let image = text(&image(scene));
    scene.detached(&[
        "restore",
        "--detach",
        "--image-path",
        &image,
        "--bundle",
        &text(bundle.path()),
        bundle.id(),
    ])
}

/// Targets and roots of a container's mounts, sorted.
fn mounts(scene: &Scene<'_>, bundle: &Bundle) -> Vec<Value> {
    let report = exec_report(scene, &[], bundle).unwrap_or_default();
    let all = report["mounts"].as_array().cloned().unwrap_or_default();
    let told = |mount: Value| json!([mount["target"], mount["root"]]);
    let mut mounts: Vec<Value> = all.into_iter().map(told).collect();
    mounts.sort_by_key(Value::to_string);
    mounts
}

fn stricter(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let permissive = with_capabilities(
        scene.bundle().does(&["wait"]),
        &["CAP_SYS_ADMIN", "CAP_NET_RAW"],
    );
    let Some((bundle, _)) = checkpointed(scene, permissive)? else {
        return skipped("the runtime makes no checkpoint");
    };
    let strict = with_capabilities(bundle, &[]).set("/process/noNewPrivileges", true);
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["unshare"], "action": "SCMP_ACT_ERRNO" }] });
    let strict = strict.set("/linux/seccomp", seccomp);
    strict.save();
    let finished = restored(scene, &strict);
    ground.check()?;
    if finished.code != 0 {
        return Ok(());
    }
    let pid = scene.runtime().pid(strict.id());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|text| text.trim().to_owned())
    };
    equal("CapBnd", &field("CapBnd:"), &Some("0".repeat(16)))?;
    equal("NoNewPrivs", &field("NoNewPrivs:"), &Some("1".to_owned()))?;
    equal("Seccomp", &field("Seccomp:"), &Some("2".to_owned()))
}

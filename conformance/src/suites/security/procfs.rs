//! R08: what is written to procfs lands in procfs.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::swapper::{Swapper, for_a_while};
use super::{Area, Ground, is_refused, run_and_look, tried};
use crate::case::{Case, Verdict, equal, failed, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("procfs");
const ORIGIN: &str = "CVE-2019-16884, CVE-2025-52881, CVE-2025-62596, CVE-2023-28642";

/// Targets below /proc, on which nothing may be mounted.
const TARGETS: [&str; 10] = [
    "/proc/self/attr",
    "/proc/sys",
    "/proc/self",
    "/proc/sys/kernel/core_pattern",
    "/proc/../proc/sys",
    "/proc/sysrq-trigger",
    "/proc/1/attr/exec",
    "/proc/thread-self",
    "//proc//self//attr",
    "/dev/../proc/fs",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = TARGETS
        .into_iter()
        .enumerate()
        .map(|(index, target)| {
            AREA.case(
                format!("mount-inside-proc-{index}"),
                "R08",
                &format!("Nothing is mounted on {target}."),
                ORIGIN,
                move |scene, ground| {
                    for (kind, options) in [("bind", &["bind"][..]), ("tmpfs", &[])] {
                        let bundle = scene.bundle().does(&["exit", "0"]).mount(
                            target,
                            kind,
                            &ground.file("directory"),
                            options,
                        );
                        is_refused(&run_and_look(scene, ground, &bundle)?, target)?;
                    }
                    Ok(())
                },
            )
        })
        .collect();
    cases.extend([
        AREA.case("mount-inside-proc-by-a-link", "R08", "Nor by a link of the image that leads there.", ORIGIN, |scene, ground| {
            for link in ["/proc/self/attr", "/proc/sys", "proc/sys/kernel"] {
                let bundle = scene.bundle().does(&["exit", "0"]).mount("/innocent", "bind", &ground.file("directory"), &["bind"]);
                symlink(link, bundle.rootfs().join("innocent")).expect("a link can be made");
                is_refused(&run_and_look(scene, ground, &bundle)?, link)?;
            }
            Ok(())
        }),
        AREA.case("no-proc-but-proc", "R08", "Nothing but a procfs is mounted on /proc, or values that need it are refused.", ORIGIN, |scene, ground| {
            for (kind, options) in [("bind", &["bind"][..]), ("tmpfs", &[])] {
                let bundle = super::without_mount(scene.bundle().does(&["exit", "0"]), "/proc");
                let bundle = bundle.mount("/proc", kind, &ground.file("directory"), options).set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
                is_refused(&run_and_look(scene, ground, &bundle)?, &format!("{kind} on /proc"))?;
            }
            Ok(())
        }),
        AREA.case("values-land", "R08", "Sysctls and oom_score_adj are in force, read by way of the host.", ORIGIN, values),
        AREA.case("race-of-proc", "R08", "A /proc of the root filesystem that becomes a link meanwhile: values land, or the start is refused.", ORIGIN, race),
        AREA.case("label-of-selinux", "R08", "An SELinux label that can't be set is an error.", ORIGIN, |scene, ground| {
            label(scene, ground, "/process/selinuxLabel", "/sys/fs/selinux/enforce")
        }),
        AREA.case("label-of-apparmor", "R08", "An AppArmor profile that can't be set is an error.", ORIGIN, |scene, ground| {
            label(scene, ground, "/process/apparmorProfile", "/sys/module/apparmor/parameters/enabled")
        }),
        AREA.case("mount-label", "R08", "A mount label that can't be set is an error.", ORIGIN, |scene, ground| {
            if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
                return skipped("SELinux is active: the policy decides");
            }
            let bundle = scene.bundle().does(&["exit", "0"]).set("/linux/mountLabel", "system_u:object_r:conformance_t:s0");
            is_refused(&run_and_look(scene, ground, &bundle)?, "linux.mountLabel")
        }),
    ]);
    cases
}

fn values(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let sysctls =
        json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "77777", "kernel.msgmax": "7777" });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/sysctl", sysctls)
        .set("/process/oomScoreAdj", 500);
    scene.start(&bundle)?;
    let pid = scene.runtime().pid(bundle.id());
    let adjustment =
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    equal("oom_score_adj", &adjustment.trim(), &"500")?;
    let finished = super::exec(
        scene,
        &[],
        &bundle,
        &[
            "try",
            "read:/proc/sys/net/ipv4/ip_forward",
            "read:/proc/sys/kernel/shmmax",
            "read:/proc/sys/kernel/msgmax",
        ],
    );
    let Some(seen) = tried(&finished) else {
        return failed("values", finished.brief());
    };
    let said: Vec<&str> = seen
        .as_object()
        .into_iter()
        .flat_map(|all| all.values())
        .filter_map(|value| value.as_str().map(str::trim))
        .collect();
    let mut said = said;
    said.sort_unstable();
    equal("sysctls", &said, &vec!["1", "7777", "77777"])
}

fn race(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let sysctls = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "77777" });
    let bundle = scene
        .bundle()
        .set("/linux/sysctl", sysctls)
        .set("/process/oomScoreAdj", 500);
    let bundle = bundle.does(&[
        "try",
        "read:/proc/sys/net/ipv4/ip_forward",
        "read:/proc/sys/kernel/shmmax",
        "read:/proc/self/oom_score_adj",
    ]);
    let [proc, fake] = ["proc", "fake"].map(|name| bundle.rootfs().join(name));
    symlink(ground.canary(), &fake).expect("a link can be made");
    let swapper = Swapper::start(proc, fake);
    for_a_while(scene, || {
        let finished = run_and_look(scene, ground, &bundle)?;
        let Some(seen) = tried(&finished) else {
            return Ok(());
        };
        let values = seen.as_object().into_iter().flat_map(|all| all.values());
        // By the time that it reads, /proc may be a link again.
        let right = |text: &str| ["1", "77777", "500", "ENOENT"].contains(&text.trim());
        holds(
            values
                .clone()
                .all(|value| value.as_str().is_some_and(right)),
            "values that are in force",
            &seen,
        )
    })?;
    swapper.has_run()
}

fn label(scene: &Scene<'_>, ground: &Ground, pointer: &'static str, sign: &str) -> Verdict {
    if std::path::Path::new(sign).exists() {
        let bundle = scene
            .bundle()
            .does(&["exit", "0"])
            .set(pointer, "conformance:no:such:label");
        return is_refused(
            &run_and_look(scene, ground, &bundle)?,
            "a label that there is not",
        );
    }
    let bundle = scene
        .bundle()
        .does(&["exit", "0"])
        .set(pointer, "system_u:system_r:conformance_t:s0");
    is_refused(&run_and_look(scene, ground, &bundle)?, pointer)
}

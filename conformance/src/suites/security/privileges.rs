//! R09: capabilities.

use serde_json::{Value, json};

use super::{Area, exec, exec_report, run_and_look, with_capabilities};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("privileges");
const ORIGIN: &str = "CVE-2022-29162, CVE-2022-27650, CVE-2025-27612";

/// Bits.
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

/// What a container is given, as names and as bits.
const GIVEN: [(&str, &[&str], u64); 3] = [
    ("none", &[], 0),
    ("one", &["CAP_KILL"], KILL),
    ("two", &["CAP_KILL", "CAP_NET_RAW"], KILL | NET_RAW),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = GIVEN
        .into_iter()
        .flat_map(|(name, names, bits)| {
            [0, 7].map(|uid| {
                AREA.case(format!("capabilities-{name}-of-user-{uid}"), "R09", "A program has the capabilities that were asked for, and none is inheritable or ambient.", ORIGIN, move |scene, _| {
                    let user = json!({ "uid": uid, "gid": uid });
                    let report = scene.report(&with_capabilities(scene.bundle(), names).set("/process/user", user))?;
                    // execve(2) of another user's process drops what is not ambient.
                    let effective = if uid == 0 { bits } else { 0 };
                    are(&report, [bits, effective, effective, 0, 0])
                })
            })
        })
        .collect();
    cases.extend([
        AREA.case(
            "capabilities-of-exec",
            "R09",
            "A further process has no more than the container.",
            ORIGIN,
            |scene, _| {
                let bundle = running(scene, &["CAP_KILL", "CAP_CHOWN"])?;
                let all = KILL | CHOWN;
                are(&exec_report(scene, &[], &bundle)?, [all, all, all, 0, 0])
            },
        ),
        AREA.case(
            "capabilities-of-exec-of-another-user",
            "R09",
            "A further process of another user has none in force.",
            ORIGIN,
            |scene, _| {
                let bundle = running(scene, &["CAP_KILL", "CAP_CHOWN"])?;
                are(
                    &exec_report(scene, &["--user", "7:7"], &bundle)?,
                    [KILL | CHOWN, 0, 0, 0, 0],
                )
            },
        ),
        AREA.case(
            "capabilities-added-by-exec",
            "R09",
            "exec --cap adds that one, and makes none inheritable.",
            ORIGIN,
            |scene, _| {
                let bundle = running(scene, &["CAP_KILL"])?;
                let all = KILL | NET_RAW;
                are(
                    &exec_report(scene, &["--cap", "CAP_NET_RAW"], &bundle)?,
                    [all, all, all, 0, 0],
                )
            },
        ),
        AREA.case(
            "capabilities-of-exec-in-a-container-without",
            "R09",
            "A container without capabilities gives its further processes none.",
            ORIGIN,
            |scene, _| {
                let bundle = running(scene, &[])?;
                are(&exec_report(scene, &[], &bundle)?, [0; 5])
            },
        ),
        AREA.case(
            "capabilities-of-files",
            "R09",
            "A file's capabilities give a program nothing that its container does not have.",
            ORIGIN,
            files,
        ),
        AREA.case(
            "capabilities-unknown",
            "R09",
            "A name that is no capability is an error or a warning that names it, never a silence.",
            ORIGIN,
            |scene, ground| {
                for bad in ["CAP_NOTHING", "cap_kill ", "CAP_41"] {
                    let finished = run_and_look(
                        scene,
                        ground,
                        &with_capabilities(scene.bundle().does(&["exit", "0"]), &[bad]),
                    )?;
                    let is_told = finished.code != 0 || finished.stderr.contains(bad.trim());
                    holds(
                        is_told,
                        &format!("an error or a warning about {bad:?}"),
                        finished.brief(),
                    )?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "capabilities-in-a-user-namespace",
            "R09",
            "In a user namespace, too, none is inheritable or ambient.",
            ORIGIN,
            |scene, _| {
                let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
                let bundle = with_capabilities(scene.bundle(), &["CAP_KILL"])
                    .set("/linux/namespaces/-", json!({ "type": "user" }))
                    .set("/linux/uidMappings", maps.clone())
                    .set("/linux/gidMappings", maps);
                are(&scene.report(&bundle)?, [KILL, KILL, KILL, 0, 0])
            },
        ),
        AREA.case(
            "no-new-privileges-of-exec",
            "R09",
            "no_new_privs of the container holds for further processes.",
            ORIGIN,
            |scene, _| {
                let bundle = scene
                    .bundle()
                    .does(&["wait"])
                    .set("/process/noNewPrivileges", true);
                scene.start(&bundle)?;
                for flags in [&[][..], &["--user", "7:7"]] {
                    let seen = exec_report(scene, flags, &bundle)?["status"]["NoNewPrivs"].clone();
                    equal("NoNewPrivs", &seen, &json!("1"))?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "capabilities-that-a-container-may-not-have",
            "R09",
            "exec --cap with a name that is no capability is an error or a warning.",
            ORIGIN,
            |scene, _| {
                let bundle = running(scene, &["CAP_KILL"])?;
                let words = ["--cap", "CAP_NOTHING"];
                let finished = exec(scene, &words, &bundle, &["exit", "0"]);
                let is_told = finished.code != 0 || finished.stderr.contains("CAP_NOTHING");
                holds(
                    is_told,
                    "an error or a warning that names it",
                    finished.brief(),
                )
            },
        ),
    ]);
    cases
}

fn running(scene: &Scene<'_>, names: &[&str]) -> Result<Bundle, Trouble> {
    let bundle = with_capabilities(scene.bundle().does(&["wait"]), names);
    scene.start(&bundle)?;
    Ok(bundle)
}

/// Bounding, effective, permitted, inheritable and ambient sets.
fn are(report: &Value, expected: [u64; 5]) -> Verdict {
    let set = |name: &str| u64::from_str_radix(report["status"][name].as_str().unwrap_or("?"), 16);
    let sets = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(set);
    match sets {
        [
            Ok(bounding),
            Ok(effective),
            Ok(permitted),
            Ok(inheritable),
            Ok(ambient),
        ] => {
            let seen = [bounding, effective, permitted, inheritable, ambient];
            equal(
                "bounding, effective, permitted, inheritable, ambient",
                &seen,
                &expected,
            )
        }
        _ => failed("sets of capabilities", report["status"].to_string()),
    }
}

/// A program with inheritable and permitted capabilities of its file: `security.capability`.
fn files(scene: &Scene<'_>, _: &super::Ground) -> Verdict {
    let bundle = with_capabilities(scene.bundle(), &["CAP_KILL"]);
    let bundle = bundle.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    let probe = bundle.rootfs().join("capable");
    std::fs::copy(bundle.rootfs().join("probe"), &probe).expect("a file can be copied");
    let setcap = std::process::Command::new("setcap")
        .arg("cap_chown,cap_net_raw+i")
        .arg(&probe)
        .status();
    if !setcap.is_ok_and(|status| status.success()) {
        return crate::case::skipped(
            "setcap(8) is not there, or the filesystem has no such attributes",
        );
    }
    let report =
        scene.report(&bundle.set("/process/args", json!(["/capable", "inside", "report"])))?;
    are(&report, [KILL, 0, 0, 0, 0])
}

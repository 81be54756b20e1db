//! R27: a seccomp filter covers every calling convention that the kernel has.

use serde_json::{Value, json};

use super::{Area, is_refused, run_and_look};
use crate::bundle::Bundle;
use crate::case::{Case, equal, failed, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("filters");
const ORIGIN: &str = "podman's CVE-2026-123876";

/// Lists of architectures in config.json.
const ARCHITECTURES: [(&str, &[&str]); 3] = [
    ("none", &[]),
    ("its-own", &["SCMP_ARCH_X86_64"]),
    (
        "all",
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ARCHITECTURES
        .into_iter()
        .map(|(name, architectures)| {
            AREA.case(format!("filter-with-architectures-{name}"), "R27", "A system call that is forbidden is forbidden by every convention: natively, as x32, by int 0x80, by socketcall(2).", ORIGIN, move |scene, ground| {
                if std::env::consts::ARCH != "x86_64" {
                    return skipped("this processor has one calling convention");
                }
                let finished = run_and_look(scene, ground, &without_sockets(scene, architectures))?;
                let told: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
                let Some(told) = told.as_object() else {
                    return failed("what came of each call", finished.brief());
                };
                equal("the native one", &told["native"], &json!("EAFNOSUPPORT"))?;
                let passed: Vec<&String> = told.iter().filter(|(_, value)| *value == "ok").map(|(name, _)| name).collect();
                equal("calls that passed", &passed, &Vec::new())
            })
        })
        .collect();
    cases.extend([
        AREA.case("filter-is-a-filter", "R27", "Without a filter the same calls pass: the case above can fail.", ORIGIN, |scene, ground| {
            let finished = run_and_look(scene, ground, &scene.bundle().does(&["calls"]))?;
            let told: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
            equal("the native one", &told["native"], &json!("ok"))
        }),
        AREA.case("filter-of-exec", "R27", "A further process has the container's filter.", ORIGIN, |scene, _| {
            let bundle = scene.bundle().does(&["wait"]).set("/linux/seccomp", filter(&[]));
            scene.start(&bundle)?;
            for flags in [&[][..], &["--user", "7:7"]] {
                let report = super::exec_report(scene, flags, &bundle)?;
                equal("Seccomp", &report["status"]["Seccomp"], &json!("2"))?;
            }
            Ok(())
        }),
        AREA.case("filter-of-flags", "R27", "What is no action, architecture, flag, operator or argument is an error.", ORIGIN, |scene, ground| {
            let rule = |arguments: Value| json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": arguments }]);
            for seccomp in [
                json!({ "defaultAction": "SCMP_ACT_MAYBE" }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"], "syscalls": rule(json!([])) }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"], "syscalls": rule(json!([])) }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule(json!([{ "index": 7, "value": 1, "op": "SCMP_CMP_EQ" }])) }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule(json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_NEAR" }])) }),
            ] {
                let bundle = scene.bundle().does(&["exit", "0"]).set("/linux/seccomp", seccomp.clone());
                is_refused(&run_and_look(scene, ground, &bundle)?, &seccomp.to_string())?;
            }
            Ok(())
        }),
        AREA.case("filter-of-arguments", "R27", "Arguments that go by memory (clone3) can't be filtered: such a call is refused as a whole where clone is.", "CVE-2026-123876", |scene, _| {
            let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }] });
            let seen = scene.tries(scene.bundle().set("/linux/seccomp", seccomp), &["call:435"])?;
            holds(seen["call:435"] == "ENOSYS", "ENOSYS", seen)
        }),
    ]);
    cases
}

fn filter(architectures: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures,
        "syscalls": [{ "names": ["socket", "socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97 }],
    })
}

fn without_sockets(scene: &Scene<'_>, architectures: &[&str]) -> Bundle {
    scene
        .bundle()
        .does(&["calls"])
        .set("/linux/seccomp", filter(architectures))
}

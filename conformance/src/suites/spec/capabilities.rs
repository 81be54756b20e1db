//! config.md#linux-process: capabilities.

use serde_json::{Value, json};

use super::{Area, is};
use crate::case::{Case, Verdict, holds, skipped};
use crate::host::has_capability;
use crate::scene::Scene;

const AREA: Area = Area("capabilities");
const PLACE: &str = "config.md#linux-process";

/// The capabilities of capabilities(7), in the order of their numbers.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The sets, and their lines in /proc/PID/status.
const SETS: [(&str, &str); 5] = [
    ("bounding", "CapBnd"),
    ("permitted", "CapPrm"),
    ("effective", "CapEff"),
    ("inheritable", "CapInh"),
    ("ambient", "CapAmb"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ALL
        .into_iter()
        .zip(0..)
        .map(|(name, number)| one(name, number))
        .collect();
    cases.extend(SETS.map(|(set, line)| in_set(set, line)));
    cases.extend([
        AREA.case("capabilities-none", PLACE, "What is not listed is not kept.", none)
            .of("process.capabilities"),
        AREA.case("capabilities-of-an-ordinary-user", PLACE, "ambient capabilities are kept for the process.", ordinary_user),
        AREA.case("capability-unknown", PLACE, "What can't be mapped to a kernel interface must be logged as a warning, and should not be a failure.", unknown),
        AREA.case("capability-that-cannot-be-granted", PLACE, "Runtimes should not fail if a capability cannot be granted, and must log a warning.", not_to_be_granted),
    ]);
    cases
}

fn sets(names: &[&str]) -> Value {
    let mut sets = json!({});
    for (set, _) in SETS {
        sets[set] = json!(names);
    }
    sets
}

fn mask(number: u32) -> String {
    format!("{:016x}", 1_u64 << number)
}

/// A capability alone, in all sets.
fn one(name: &'static str, number: u32) -> Case {
    let case = format!("capability-{}", name.to_lowercase().replace('_', "-"));
    let full = format!("CAP_{name}");
    let sentence = format!("{full} is a valid value: it alone is kept for the process.");
    AREA.case(case, PLACE, &sentence, move |scene| {
        if !has_capability(number) {
            return skipped(format!(
                "this program does not have {full}, which it would have to give"
            ));
        }
        let report = scene.report(&scene.bundle().set("/process/capabilities", sets(&[&full])))?;
        for (_, line) in SETS {
            is(line, &report["status"][line], mask(number))?;
        }
        Ok(())
    })
}

/// One set has one more than the others: it is that set's line that shows it.
fn in_set(set: &'static str, line: &'static str) -> Case {
    const KILL: u32 = 5;
    const CHOWN: u32 = 0;
    AREA.case(
        format!("capability-set-{set}"),
        PLACE,
        &format!("{set} is an array of capabilities of that set that are kept for the process."),
        move |scene| {
            let mut sets = sets(&["CAP_CHOWN"]);
            // A set can have nothing that those that it comes from lack (capabilities(7)).
            let with_more: &[&str] = match set {
                "bounding" => &["bounding"],
                "inheritable" => &["bounding", "inheritable"],
                "ambient" => &["bounding", "permitted", "inheritable", "ambient"],
                _ => &["bounding", "permitted", "effective"],
            };
            for more in with_more {
                sets[more] = json!(["CAP_CHOWN", "CAP_KILL"]);
            }
            let report = scene.report(&scene.bundle().set("/process/capabilities", sets))?;
            let status = &report["status"];
            is(
                line,
                &status[line],
                format!("{:016x}", 1_u64 << KILL | 1 << CHOWN),
            )?;
            // And where it is not listed it is not.
            match set {
                "ambient" => Ok(()),
                "inheritable" => is("CapAmb", &status["CapAmb"], mask(CHOWN)),
                _ => is("CapInh", &status["CapInh"], mask(CHOWN)),
            }
        },
    )
    .of(&format!("process.capabilities.{set}"))
    .of(&format!("process.capabilities.{set}[]"))
}

fn none(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle().set("/process/capabilities", sets(&[])))?;
    for (_, line) in SETS {
        is(line, &report["status"][line], "0000000000000000")?;
    }
    Ok(())
}

fn ordinary_user(scene: &Scene<'_>) -> Verdict {
    const NET_RAW: u32 = 13;
    let bundle = scene
        .bundle()
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/capabilities", sets(&["CAP_NET_RAW"]));
    let report = scene.report(&bundle)?;
    is("CapEff", &report["status"]["CapEff"], mask(NET_RAW))?;
    is("CapAmb", &report["status"]["CapAmb"], mask(NET_RAW))
}

fn warns(scene: &Scene<'_>, name: &str) -> Verdict {
    let bundle = scene.bundle().set("/process/capabilities", sets(&[name]));
    let finished = scene.run(&bundle);
    holds(finished.code == 0, "no failure", finished.brief())?;
    holds(
        finished.stderr.contains(name),
        "a warning that names it",
        finished.stderr,
    )
}

fn unknown(scene: &Scene<'_>) -> Verdict {
    warns(scene, "CAP_TO_FLY")
}

fn not_to_be_granted(scene: &Scene<'_>) -> Verdict {
    match (0..).zip(ALL).find(|(number, _)| !has_capability(*number)) {
        Some((_, name)) => warns(scene, &format!("CAP_{name}")),
        None => skipped("this program has every capability, and so the runtime can grant it"),
    }
}

//! config.md#posix-process: rlimits.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict, skipped};
use crate::host::{CAP_SYS_RESOURCE, has_capability};
use crate::scene::Scene;

const AREA: Area = Area("rlimits");
const PLACE: &str = "config.md#posix-process";

/// A kind of getrlimit(2), and a soft and a hard limit that this program and runtimes can live with.
const ALL: [(&str, Resource, u64, u64); 16] = [
    ("RLIMIT_AS", Resource::RLIMIT_AS, 1 << 40, 1 << 41),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE, 1024, 2048),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU, 1000, 2000),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA, 1 << 40, 1 << 41),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE, 1 << 30, 1 << 31),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS, 100, 200),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK, 32768, 49152),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE, 10000, 20000),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE, 5, 10),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 500, 600),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC, 5000, 6000),
    ("RLIMIT_RSS", Resource::RLIMIT_RSS, 1 << 30, 1 << 31),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO, 5, 10),
    ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME, 100_000, 200_000),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING, 1000, 2000),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK, 4 << 20, 16 << 20),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ALL
        .into_iter()
        .map(|row| one(row.0, row.1, row.2, row.3))
        .collect();
    cases.extend([
        AREA.case("rlimits-several", PLACE, "For each entry getrlimit gives the configured values.", several)
            .of("process.rlimits").of("process.rlimits[]"),
        AREA.case("rlimit-not-listed", PLACE, "Only what is listed is set.", not_listed),
        AREA.refuses("rlimit-unknown", PLACE, "The runtime must generate an error for values that can't be mapped to a kernel interface.",
            "/process/rlimits", json!([{ "type": "RLIMIT_HOPE", "soft": 1, "hard": 1 }])),
        AREA.refuses("rlimit-duplicate", PLACE, "If rlimits has duplicated entries with the same type, the runtime must generate an error.",
            "/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }, { "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }])),
        AREA.refuses("rlimit-soft-above-hard", PLACE, "getrlimit must give the configured values, and soft can't be above hard.",
            "/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }])),
        AREA.refuses("rlimit-negative", "config.md#valid-values", "soft and hard are unsigned.",
            "/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": -1, "hard": 1 }])),
    ]);
    cases
}

fn one(name: &'static str, kind: Resource, soft: u64, hard: u64) -> Case {
    let case = format!(
        "rlimit-{}",
        name.trim_start_matches("RLIMIT_").to_lowercase()
    );
    AREA.case(
        case,
        PLACE,
        &format!("{name}: rlim_cur and rlim_max must match soft and hard."),
        move |scene| {
            let (own_soft, own_hard) = getrlimit(kind).unwrap_or((0, 0));
            let can_raise = has_capability(CAP_SYS_RESOURCE);
            let hard = if can_raise { hard } else { hard.min(own_hard) };
            let soft = soft.min(hard);
            if [soft, hard] == [own_soft, own_hard] {
                return skipped(format!(
                    "{name} is {soft} already, and raising it needs CAP_SYS_RESOURCE"
                ));
            }
            let limit = json!([{ "type": name, "soft": soft, "hard": hard }]);
            let report = scene.report(&scene.bundle().set("/process/rlimits", limit))?;
            is(name, &report["rlimits"][name], json!([soft, hard]))
        },
    )
    .of("process.rlimits[].type")
    .of("process.rlimits[].soft")
    .of("process.rlimits[].hard")
}

fn several(scene: &Scene<'_>) -> Verdict {
    let limits = json!([
        { "type": "RLIMIT_CORE", "soft": 1, "hard": 2 },
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 101 },
        { "type": "RLIMIT_FSIZE", "soft": 1 << 30, "hard": 1_u64 << 31 },
    ]);
    let report = scene.report(&scene.bundle().set("/process/rlimits", limits))?;
    is("core", &report["rlimits"]["RLIMIT_CORE"], json!([1, 2]))?;
    is(
        "nofile",
        &report["rlimits"]["RLIMIT_NOFILE"],
        json!([100, 101]),
    )?;
    is(
        "fsize",
        &report["rlimits"]["RLIMIT_FSIZE"],
        json!([1 << 30, 1_u64 << 31]),
    )
}

fn not_listed(scene: &Scene<'_>) -> Verdict {
    let (soft, hard) = getrlimit(Resource::RLIMIT_SIGPENDING).unwrap_or((0, 0));
    let limit = json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }]);
    let report = scene.report(&scene.bundle().set("/process/rlimits", limit))?;
    is(
        "SIGPENDING",
        &report["rlimits"]["RLIMIT_SIGPENDING"],
        json!([soft, hard]),
    )
}

//! config.md#linux-process: scheduler, ioPriority, execCPUAffinity.

use serde_json::{Value, json};

use super::{Area, is};
use crate::case::{Case, Trouble, Verdict, failed, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("scheduling");
const PLACE: &str = "config.md#linux-process";
const VALID: &str = "config.md#valid-values";

/// Policies of sched(7): word, number, what goes with it, and what sched_getattr shows of that.
fn policies() -> [(&'static str, u32, Value, Value); 6] {
    [
        ("SCHED_OTHER", 0, json!({ "nice": 7 }), json!({ "nice": 7 })),
        (
            "SCHED_FIFO",
            1,
            json!({ "priority": 11 }),
            json!({ "priority": 11 }),
        ),
        (
            "SCHED_RR",
            2,
            json!({ "priority": 12 }),
            json!({ "priority": 12 }),
        ),
        ("SCHED_BATCH", 3, json!({ "nice": 8 }), json!({ "nice": 8 })),
        ("SCHED_IDLE", 5, json!({}), json!({})),
        (
            "SCHED_DEADLINE",
            6,
            json!({ "runtime": 1_000_000, "deadline": 20_000_000, "period": 50_000_000 }),
            json!({ "runtime": 1_000_000, "deadline": 20_000_000, "period": 50_000_000 }),
        ),
    ]
}

/// Flags of sched_setattr(2) that a policy shows, or whose effect it shows: word, the scheduler,
/// and what is seen.
fn flags() -> [(&'static str, Value, Value); 5] {
    // Whoever runs this may have a nice value, and so what it starts.
    let own_nice = crate::sys::scheduler().map_or(0, |own| own.nice);
    let deadline = json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 50_000_000 });
    [
        (
            "SCHED_FLAG_RESET_ON_FORK",
            json!({ "policy": "SCHED_BATCH", "nice": 3 }),
            json!({ "flags": 1, "policy": 3 }),
        ),
        (
            "SCHED_FLAG_RECLAIM",
            deadline.clone(),
            json!({ "flags": 2, "policy": 6 }),
        ),
        (
            "SCHED_FLAG_DL_OVERRUN",
            deadline,
            json!({ "flags": 4, "policy": 6 }),
        ),
        // The policy that was there is kept.
        (
            "SCHED_FLAG_KEEP_POLICY",
            json!({ "policy": "SCHED_BATCH", "nice": 4 }),
            json!({ "policy": 0, "nice": 4 }),
        ),
        // All that was there is kept, the policy too: it is a part of what the flag keeps.
        (
            "SCHED_FLAG_KEEP_PARAMS",
            json!({ "policy": "SCHED_BATCH", "nice": 4 }),
            json!({ "policy": 0, "nice": own_nice }),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = policies()
        .into_iter()
        .map(|(word, number, with, seen)| policy(word, number, with, seen))
        .collect();
    cases.extend(
        flags()
            .into_iter()
            .map(|(word, scheduler, seen)| flag(word, scheduler, seen)),
    );
    cases.extend(["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"].map(clamp));
    cases.extend([
        io_priority("IOPRIO_CLASS_RT", 1, Some(2)),
        io_priority("IOPRIO_CLASS_BE", 2, Some(6)),
        io_priority("IOPRIO_CLASS_IDLE", 3, None),
        AREA.case("scheduler-iso", PLACE, "Policies are those of sched_setattr; ISO is reserved, and no kernel has it.", |scene| {
            let bundle = scene.bundle().set("/process/scheduler", json!({ "policy": "SCHED_ISO" }));
            scene.is_refused(&bundle).map(drop)
        }),
        AREA.refuses("scheduler-without-a-policy", PLACE, "policy is required.", "/process/scheduler", json!({ "nice": 1 })),
        AREA.refuses("scheduler-unknown-policy", VALID, "Runtimes must generate an error when invalid values are encountered.", "/process/scheduler", json!({ "policy": "SCHED_FAIR" })),
        AREA.refuses("scheduler-unknown-flag", VALID, "Runtimes must generate an error when invalid values are encountered.", "/process/scheduler", json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FAST"] })),
        AREA.refuses("io-priority-unknown-class", VALID, "Runtimes must generate an error when invalid values are encountered.", "/process/ioPriority", json!({ "class": "IOPRIO_CLASS_NICE", "priority": 1 })),
        AREA.refuses("io-priority-without-a-class", PLACE, "class is required.", "/process/ioPriority", json!({ "priority": 1 })),
        AREA.refuses("io-priority-too-large", PLACE, "priority is from 0 to 7.", "/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 })),
        AREA.case("exec-affinity-initial", PLACE, "initial is the affinity of the runtime's parent while it is transitioned into the cgroup.", |scene| affinity(scene, &json!({ "initial": "0", "final": "0" })))
            .of("process.execCPUAffinity").of("process.execCPUAffinity.initial"),
        AREA.case("exec-affinity-final", PLACE, "final is the affinity of the process that exec runs.", |scene| affinity(scene, &json!({ "final": "0" })))
            .of("process.execCPUAffinity.final"),
        AREA.case("exec-affinity-invalid", PLACE, "Values are lists of CPUs.", invalid_affinity),
    ]);
    cases
}

fn scheduler(scene: &Scene<'_>, scheduler: &Value) -> Result<Value, Trouble> {
    let bundle = scene.bundle().set("/process/scheduler", scheduler.clone());
    Ok(scene.report(&bundle)?["scheduler"].clone())
}

fn shows(seen: &Value, expected: &Value) -> Verdict {
    let expected = expected.as_object().into_iter().flatten();
    expected
        .into_iter()
        .try_for_each(|(name, value)| is(name, &seen[name], value.clone()))
}

fn policy(word: &'static str, number: u32, with: Value, seen: Value) -> Case {
    let name = format!(
        "scheduler-{}",
        word.trim_start_matches("SCHED_").to_lowercase()
    );
    let properties: Vec<String> = with
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| format!("process.scheduler.{name}"))
        .collect();
    let case = AREA.case(
        name,
        PLACE,
        &format!("{word} is the policy of the process, with its values."),
        move |scene| {
            if let Some(why) = why_not_realtime(scene, number) {
                return skipped(why);
            }
            let mut asked = with.clone();
            asked["policy"] = json!(word);
            let report = scheduler(scene, &asked)?;
            is("policy", &report["policy"], number)?;
            shows(&report, &seen)
        },
    );
    let case = case.of("process.scheduler").of("process.scheduler.policy");
    properties
        .iter()
        .fold(case, |case, property| case.of(property))
}

/// With CONFIG_RT_GROUP_SCHED a new cgroup of the cpu controller has no realtime budget.
fn why_not_realtime(scene: &Scene<'_>, policy: u32) -> Option<String> {
    let is_realtime = matches!(policy, 1 | 2);
    let has_budgets = crate::host::has_cgroup_file("cpu", "cpu.rt_runtime_us", scene.marker());
    (is_realtime && has_budgets).then(|| {
        "the kernel has realtime budgets for cgroups, and a new cgroup has none".to_owned()
    })
}

fn flag(word: &'static str, asked: Value, seen: Value) -> Case {
    let name = word
        .trim_start_matches("SCHED_FLAG_")
        .to_lowercase()
        .replace('_', "-");
    AREA.case(
        format!("scheduler-flag-{name}"),
        PLACE,
        &format!("{word} is a flag of the process's scheduling."),
        move |scene| {
            let mut asked = asked.clone();
            asked["flags"] = json!([word]);
            shows(&scheduler(scene, &asked)?, &seen)
        },
    )
    .of("process.scheduler.flags")
    .of("process.scheduler.flags[]")
}

/// Utilization clamps are a kernel's option; where they are missing the flag can't be applied.
fn clamp(word: &'static str) -> Case {
    let name = word
        .trim_start_matches("SCHED_FLAG_")
        .to_lowercase()
        .replace('_', "-");
    AREA.case(
        format!("scheduler-flag-{name}"),
        PLACE,
        &format!("{word} is a flag; what can't be applied is an error."),
        move |scene| {
            let asked = json!({ "policy": "SCHED_OTHER", "flags": [word] });
            let bundle = scene.bundle().set("/process/scheduler", asked);
            if std::path::Path::new("/proc/sys/kernel/sched_util_clamp_min").exists() {
                return scene.report(&bundle).map(drop);
            }
            scene.is_refused(&bundle).map(drop)
        },
    )
}

fn io_priority(word: &'static str, class: i64, priority: Option<i64>) -> Case {
    let name = format!(
        "io-priority-{}",
        word.trim_start_matches("IOPRIO_CLASS_").to_lowercase()
    );
    AREA.case(
        name,
        PLACE,
        &format!("{word} is the class of the process's I/O, with its priority."),
        move |scene| {
            let mut asked = json!({ "class": word });
            if let Some(priority) = priority {
                asked["priority"] = json!(priority);
            }
            let report = scene.report(&scene.bundle().set("/process/ioPriority", asked))?;
            let seen = report["io_priority"].as_i64().unwrap_or(-1);
            holds(seen >> 13 == class, &format!("class {class}"), seen)?;
            match priority {
                Some(priority) => {
                    holds(seen & 7 == priority, &format!("priority {priority}"), seen)
                }
                None => Ok(()),
            }
        },
    )
    .of("process.ioPriority")
    .of("process.ioPriority.class")
    .of("process.ioPriority.priority")
}

fn exec_with(scene: &Scene<'_>, affinity: &Value) -> Result<crate::run::Finished, Trouble> {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    let mut process = scene.bundle().config()["process"].clone();
    process["execCPUAffinity"] = affinity.clone();
    Ok(scene.exec(&bundle, &process))
}

fn affinity(scene: &Scene<'_>, affinity: &Value) -> Verdict {
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if own.lines().any(|line| line == "Cpus_allowed_list:\t0") {
        return skipped("one CPU: every affinity looks the same");
    }
    let finished = exec_with(scene, affinity)?;
    let report: Value = match serde_json::from_str(&finished.stdout) {
        Ok(report) => report,
        Err(_) => return failed("exec runs and reports", finished.brief()),
    };
    is(
        "Cpus_allowed_list",
        &report["status"]["Cpus_allowed_list"],
        "0",
    )
}

fn invalid_affinity(scene: &Scene<'_>) -> Verdict {
    let finished = exec_with(scene, &json!({ "initial": "all of them" }))?;
    holds(finished.code != 0, "an error", finished.brief())
}

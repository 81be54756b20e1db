//! `process.scheduler` and `process.ioPriority`.

use super::SchedulerPlan;
use super::flags::flags;
use super::place::Place;
use super::text::unknown;
use crate::spec::{IoPriority, Scheduler};
use crate::violation::Violations;

const OTHER: u32 = 0;
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const BATCH: u32 = 3;
const DEADLINE: u32 = 6;

/// sched(7).
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_BATCH", BATCH),
    ("SCHED_DEADLINE", DEADLINE),
    ("SCHED_FIFO", FIFO),
    ("SCHED_IDLE", 5),
    ("SCHED_OTHER", OTHER),
    ("SCHED_RR", ROUND_ROBIN),
];

/// sched_setattr(2).
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// ioprio_set(2): the class is above these bits.
const CLASS_SHIFT: u16 = 13;
const CLASSES: [(&str, u16); 3] = [
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
    ("IOPRIO_CLASS_RT", 1),
];

/// Resolves the scheduler.
pub(super) fn scheduler(
    scheduler: &Scheduler<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<SchedulerPlan> {
    let policy = policy(scheduler.policy.as_deref(), place.key("policy"), violations)?;
    check_nice(scheduler, place, violations);
    check_priority(scheduler, policy, place, violations);
    check_deadline(scheduler, policy, place, violations);
    Some(SchedulerPlan {
        policy,
        flags: flags(
            scheduler.flags.as_deref(),
            &FLAGS,
            place.key("flags"),
            violations,
        ),
        nice: scheduler.nice.unwrap_or(0),
        priority: scheduler
            .priority
            .and_then(|level| u32::try_from(level).ok())
            .unwrap_or(0),
        runtime_ns: scheduler.runtime.unwrap_or(0),
        deadline_ns: scheduler.deadline.unwrap_or(0),
        period_ns: scheduler.period.unwrap_or(0),
    })
}

fn policy(name: Option<&str>, place: Place<'_>, violations: &mut Violations) -> Option<u32> {
    let name = name.unwrap_or_default();
    let found = POLICIES.iter().find(|(known, _)| *known == name);
    if name == "SCHED_ISO" {
        violations.add(place, "SCHED_ISO is reserved; no Linux kernel has it");
    } else if found.is_none() {
        let known = POLICIES.iter().map(|(name, _)| *name);
        violations.add(place, unknown("policy", name, known));
    }
    found.map(|&(_, policy)| policy)
}

fn check_nice(scheduler: &Scheduler<'_>, place: Place<'_>, violations: &mut Violations) {
    if let Some(nice) = scheduler.nice.filter(|nice| !(-20..=19).contains(nice)) {
        violations.add(
            place.key("nice"),
            format!("{nice} is not between -20 and 19"),
        );
    }
}

fn check_priority(
    scheduler: &Scheduler<'_>,
    policy: u32,
    place: Place<'_>,
    violations: &mut Violations,
) {
    let place = place.key("priority");
    let priority = scheduler.priority.unwrap_or(0);
    if [FIFO, ROUND_ROBIN].contains(&policy) {
        if !(1..=99).contains(&priority) {
            violations.add(place, format!("{priority} is not between 1 and 99"));
        }
    } else if priority != 0 {
        violations.add(place, "is only for SCHED_FIFO and SCHED_RR");
    }
}

fn check_deadline(
    scheduler: &Scheduler<'_>,
    policy: u32,
    place: Place<'_>,
    violations: &mut Violations,
) {
    let values = [
        ("runtime", scheduler.runtime),
        ("deadline", scheduler.deadline),
        ("period", scheduler.period),
    ];
    if policy != DEADLINE {
        for (key, value) in values {
            if value.is_some_and(|value| value != 0) {
                violations.add(place.key(key), "is only for SCHED_DEADLINE");
            }
        }
    } else if scheduler.runtime.unwrap_or(0) == 0 || scheduler.deadline.unwrap_or(0) == 0 {
        violations.add(place, "SCHED_DEADLINE needs runtime and deadline");
    }
}

/// Resolves the I/O priority: class and level in one value.
pub(super) fn io_priority(
    io_priority: &IoPriority<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<u16> {
    let class = io_priority.class.as_deref().unwrap_or_default();
    let level = io_priority.priority.unwrap_or(0);
    let found = CLASSES.iter().find(|(known, _)| *known == class);
    if found.is_none() {
        let known = CLASSES.iter().map(|(name, _)| *name);
        violations.add(place.key("class"), unknown("class", class, known));
    }
    let fits = u16::try_from(level).ok().filter(|level| *level <= 7);
    if fits.is_none() {
        violations.add(
            place.key("priority"),
            format!("{level} is not between 0 and 7"),
        );
    }
    Some(found?.1 << CLASS_SHIFT | fits?)
}

/// The name of a SCHED_* policy.
pub(super) fn policy_name(policy: u32) -> &'static str {
    POLICIES
        .iter()
        .find(|(_, known)| *known == policy)
        .map_or("unknown", |(name, _)| name)
}

/// The names of SCHED_FLAG_* bits.
pub(super) fn flag_names(flags: u64) -> impl Iterator<Item = &'static str> {
    FLAGS
        .into_iter()
        .filter(move |(_, flag)| flags & flag != 0)
        .map(|(name, _)| name)
}

/// Class and level of an ioprio_set(2) value.
pub(super) fn io_class(priority: u16) -> (&'static str, u16) {
    let class = priority >> CLASS_SHIFT;
    let name = CLASSES
        .iter()
        .find(|(_, known)| *known == class)
        .map_or("unknown", |(name, _)| name);
    (name, priority & 7)
}

//! `process.rlimits`.

use super::RlimitPlan;
use super::place::Place;
use super::text::unknown;
use crate::spec::Rlimit;
use crate::violation::Violations;

/// getrlimit(2), sorted by name; the numbers are asm-generic/resource.h's, which both machines
/// have, while their types differ between C libraries.
const RESOURCES: [(&str, u32); 16] = [
    ("RLIMIT_AS", 9),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_CPU", 0),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_STACK", 3),
];

/// Resolves the limits, in config.json's order.
pub(super) fn plan(
    rlimits: &[Rlimit<'_>],
    place: Place<'_>,
    violations: &mut Violations,
) -> Vec<RlimitPlan> {
    let mut plan: Vec<RlimitPlan> = Vec::with_capacity(rlimits.len().min(RESOURCES.len()));
    for (index, rlimit) in rlimits.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        let place = place.index(index);
        let Some(limit) = plan_one(rlimit, place, violations) else {
            continue;
        };
        if plan
            .iter()
            .any(|earlier| earlier.resource == limit.resource)
        {
            violations.add(
                place.key("type"),
                format!("{} is there already", limit.name),
            );
            continue;
        }
        plan.push(limit);
    }
    plan
}

fn plan_one(
    rlimit: &Rlimit<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<RlimitPlan> {
    let kind = rlimit.kind.as_deref().unwrap_or_default();
    let Some(&(name, resource)) = RESOURCES.iter().find(|(name, _)| *name == kind) else {
        let known = RESOURCES.iter().map(|(name, _)| *name);
        violations.add(place.key("type"), unknown("rlimit", kind, known));
        return None;
    };
    let (Some(soft), Some(hard)) = (rlimit.soft, rlimit.hard) else {
        violations.add(place, "needs both soft and hard");
        return None;
    };
    if soft > hard {
        violations.add(
            place.key("soft"),
            format!("{soft} is above the hard limit {hard}"),
        );
    }
    Some(RlimitPlan {
        resource,
        name,
        soft,
        hard,
    })
}

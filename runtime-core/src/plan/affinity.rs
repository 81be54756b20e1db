//! `process.execCPUAffinity`: config.md#linux-process.

use super::numbers::{NumberSet, number_set};
use super::place::Place;
use crate::spec::ExecCpuAffinity;
use crate::violation::Violations;

/// More CPUs than any kernel is built for (CONFIG_NR_CPUS).
const CPUS_MAX: u32 = 8192;

/// Where the process of an exec may run. A container's first process takes no notice of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AffinityPlan {
    /// What the process is born with, before it enters the container's cgroups.
    pub initial: Option<NumberSet>,
    /// What it gets when it is there; none: all CPUs that the cgroup has.
    pub last: Option<NumberSet>,
}

/// Resolves the affinity; none when nothing is asked for.
pub(super) fn plan(
    affinity: Option<&ExecCpuAffinity<'_>>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<AffinityPlan> {
    let affinity = affinity?;
    let mut list = |key, list| number_set(list, CPUS_MAX, place.key(key), violations);
    let plan = AffinityPlan {
        initial: list("initial", affinity.initial.as_deref()),
        last: list("final", affinity.last.as_deref()),
    };
    (plan != AffinityPlan::default()).then_some(plan)
}

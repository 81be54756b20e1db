//! Limits while one process more than the container's own is in its cgroup.

use super::systemd::StartedUnit;
use super::{Cgroup, CgroupError};
use crate::plan::CgroupPlan;
use crate::plan::cgroup::{Limit, Resources};

/// The file that is written by `pids.limit`, and may be in `unified` too.
const PIDS_MAX: &str = "pids.max";

impl Cgroup {
    /// Sets all limits, with room for the process that holds the place in a systemd unit: a
    /// container of one process could not be born beside it. [`settle`](Self::settle) takes
    /// the room away again.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub(crate) fn apply_before_birth(&self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        if self.unit.as_ref().and_then(StartedUnit::pid).is_none() {
            return self.apply(plan);
        }
        let roomy = CgroupPlan {
            resources: with_room_for_one(&plan.resources),
            ..plan.clone()
        };
        self.apply(&roomy)
    }

    /// Once the container's first process is there and before it runs a foreign program: sets the
    /// exact limit of processes, and ends the one that held the place.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub(crate) fn settle(&mut self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        if self.unit.as_ref().and_then(StartedUnit::pid).is_none() {
            return Ok(());
        }
        self.apply_resources(&of_processes(&plan.resources))?;
        if let Some(unit) = &mut self.unit {
            unit.let_resident_go();
        }
        Ok(())
    }
}

/// The limits, with the one of processes higher by one.
fn with_room_for_one(resources: &Resources) -> Resources {
    let mut roomy = resources.clone();
    if let Some(Limit::At(limit)) = &mut roomy.pids_limit {
        *limit = limit.saturating_add(1);
    }
    for setting in roomy.unified.iter_mut().filter(|s| s.file == PIDS_MAX) {
        if let Ok(limit) = setting.value.trim().parse::<u64>() {
            setting.value = limit.saturating_add(1).to_string();
        }
    }
    roomy
}

/// The limit of processes alone.
fn of_processes(resources: &Resources) -> Resources {
    let settings = resources.unified.iter().filter(|s| s.file == PIDS_MAX);
    Resources {
        pids_limit: resources.pids_limit,
        unified: settings.cloned().collect(),
        ..Resources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::Setting;

    #[test]
    fn only_the_limit_of_processes_has_room() {
        let setting = |file: &str, value: &str| Setting {
            file: file.into(),
            value: value.into(),
        };
        let exact = Resources {
            pids_limit: Some(Limit::At(1)),
            unified: vec![setting(PIDS_MAX, "1"), setting("memory.max", "1")],
            ..Resources::default()
        };
        let roomy = with_room_for_one(&exact);
        assert_eq!(roomy.pids_limit, Some(Limit::At(2)));
        assert_eq!(roomy.unified[0].value, "2");
        assert_eq!(roomy.unified[1].value, "1");
        let processes = of_processes(&exact);
        assert_eq!(processes.pids_limit, exact.pids_limit);
        assert_eq!(processes.unified, exact.unified[..1]);
        let unlimited = Resources {
            pids_limit: Some(Limit::Unlimited),
            ..Resources::default()
        };
        assert_eq!(with_room_for_one(&unlimited), unlimited);
    }
}

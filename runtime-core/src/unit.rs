//! A container's unit of systemd through its life: started by create and restore, told of
//! updates, stopped by delete.

use crate::cgroup::systemd::{StartedUnit, Systemd};
use crate::cgroup::{Cgroup, CgroupError};
use crate::container::Container;
use crate::error::Error;
use crate::host::Host;
use crate::plan::cgroup::{Property, Resources, unit};
use crate::plan::{CgroupPlan, Plan};
use crate::procfs::Procfs;
use crate::runtime::Runtime;
use crate::state::{Record, StateDirectory};
use crate::violation::Violations;

/// Connects to the systemd that the plan needs; none for a plan without a unit.
///
/// # Errors
///
/// Where it does not run; nothing has happened then.
pub(crate) fn connect(runtime: &Runtime, plan: &Plan) -> Result<Option<Systemd>, Error> {
    let unit = plan.cgroup.unit.as_ref();
    let systemd = unit.map(|unit| Systemd::connect(unit.manager, runtime.user_bus()));
    Ok(systemd.transpose().map_err(CgroupError::from)?)
}

/// Starts the unit of the plan and takes its cgroup, with all limits but one: there is room for
/// the process that holds the place. The record must be written as an intent.
///
/// A cgroup with processes is refused before there is a unit: when a unit stops, systemd kills
/// whoever is in its cgroup.
pub(crate) fn start(
    systemd: Systemd,
    (plan, host, procfs): (&CgroupPlan, &Host, &Procfs),
    runtime: &Runtime,
    record: &mut Record,
    directory: &StateDirectory,
) -> Result<Option<Cgroup>, Error> {
    let (Some(unit), Some(recorded)) = (&plan.unit, &record.systemd_unit) else {
        return Ok(None);
    };
    Cgroup::open(&record.cgroup_paths)?.refuse_processes()?;
    let place = (plan, &host.cgroups, procfs);
    let user = runtime.user_bus();
    let started = StartedUnit::start(systemd, unit, &recorded.description, place, user);
    let started = started.map_err(CgroupError::from)?;
    record.cgroups_owned = 1;
    directory.mark_cgroups_owned()?;
    let cgroup = Cgroup::create_in_unit(&host.cgroups, plan, started)?;
    cgroup.apply_before_birth(plan)?;
    Ok(Some(cgroup))
}

/// Changes the limits of a container's cgroup and of its unit: both, or none. Then a
/// daemon-reload, by which systemd writes its own values again, changes nothing.
pub(crate) fn update(
    container: &Container,
    host: &Host,
    resources: &Resources,
) -> Result<(), Error> {
    let cgroup = container.cgroup()?;
    let layout = &host.cgroups;
    let Some(unit) = &container.record().systemd_unit else {
        return Ok(cgroup.update_resources(layout, resources)?);
    };
    // Before anything is changed: what systemd can't be told, and whether it is there.
    properties(resources, host).map_err(Error::resources)?;
    let mut systemd = Systemd::connect(unit.manager, container.runtime().user_bus())
        .map_err(CgroupError::from)?;
    let tell = |cgroup: &Cgroup| {
        let told = cgroup.completed(resources)?;
        let properties = properties(&told, host).unwrap_or_default();
        if properties.is_empty() {
            return Ok(());
        }
        systemd.set_properties(&unit.name, &properties)?;
        // Where systemd's form is coarser, it has just written a coarser value.
        cgroup.apply_resources(&told)
    };
    Ok(cgroup.update_resources_and(layout, resources, tell)?)
}

fn properties(resources: &Resources, host: &Host) -> Result<Vec<Property>, Violations> {
    let mut violations = Violations::default();
    let properties = unit::of_resources(resources, &host.cgroups, "", &mut violations);
    match violations.is_empty() {
        true => Ok(properties),
        false => Err(violations),
    }
}

/// The unit of a container that is deleted, if it has one that may still be there.
pub(crate) struct LastUnit(Option<(Systemd, String)>);

impl LastUnit {
    /// A create that was interrupted may have started its unit without noting that: its
    /// description tells it from somebody else's of the same name.
    pub(crate) fn find(container: &mut Container) -> Result<Self, Error> {
        let Some(unit) = container.record().systemd_unit.clone() else {
            return Ok(Self(None));
        };
        let mut systemd = match Systemd::connect(unit.manager, container.runtime().user_bus()) {
            Ok(systemd) => systemd,
            // Its units are gone with it.
            Err(error) if error.is_not_running() => return Ok(Self(None)),
            Err(error) => return Err(CgroupError::from(error).into()),
        };
        if container.record().cgroups_owned == 0 {
            let described = systemd.is_described(&unit.name, &unit.description);
            if !described.map_err(CgroupError::from)? {
                return Ok(Self(None));
            }
            container.own_cgroups();
        }
        Ok(Self(Some((systemd, unit.name))))
    }

    /// Stops it, once all its processes are dead.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Some((systemd, name)) => Ok(systemd.stop(name).map_err(CgroupError::from)?),
            None => Ok(()),
        }
    }
}

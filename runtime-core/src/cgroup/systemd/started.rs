//! A unit that create has started, until it is the container's.

use std::path::{Path, PathBuf};

use super::{Resident, Systemd, SystemdError, UserBus};
use crate::host::CgroupLayout;
use crate::plan::CgroupPlan;
use crate::plan::cgroup::UnitPlan;
use crate::procfs::Procfs;

/// A unit that runs. Dropped before [`keep`](Self::keep), it is stopped.
#[derive(Debug)]
pub(crate) struct StartedUnit {
    unit: UnitPlan,
    user: UserBus,
    /// Holds the place in a scope.
    resident: Option<Resident>,
    stops: bool,
}

impl StartedUnit {
    /// Has systemd start the plan's unit. Afterwards its cgroup is there, and its first
    /// process is in it.
    ///
    /// The connection is closed then: on a direct one systemd would queue the news of all
    /// units for as long as nobody reads them.
    ///
    /// # Errors
    ///
    /// [`SystemdError`]; no unit is left then.
    pub(crate) fn start(
        mut systemd: Systemd,
        unit: &UnitPlan,
        description: &str,
        (plan, layout, procfs): (&CgroupPlan, &CgroupLayout, &Procfs),
        user: &UserBus,
    ) -> Result<Self, SystemdError> {
        let resident = match unit.is_scope() {
            true => Some(
                Resident::start(procfs).map_err(|source| SystemdError::Call {
                    peer: unit.name.clone(),
                    call: "clone3(2) of the unit's first process",
                    source,
                })?,
            ),
            false => None,
        };
        let mut started = Self {
            unit: unit.clone(),
            user: user.clone(),
            resident,
            stops: false,
        };
        let pid = started.pid().and_then(|pid| u32::try_from(pid).ok());
        systemd.start(unit, description, pid)?;
        started.stops = true;
        started.check_place(plan, layout, procfs)?;
        Ok(started)
    }

    /// The number of the process that holds the place.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.resident.as_ref().map(Resident::pid)
    }

    /// Ends the process that holds the place: the container's own is there now.
    pub(crate) fn let_resident_go(&mut self) {
        self.resident = None;
    }

    /// The unit is the container's from now on.
    pub(crate) fn keep(&mut self) {
        self.stops = false;
    }

    /// systemd counts from the root of its own cgroup tree; this process may see another one.
    fn check_place(
        &self,
        plan: &CgroupPlan,
        layout: &CgroupLayout,
        procfs: &Procfs,
    ) -> Result<(), SystemdError> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        let listed = procfs
            .read(format!("{pid}/cgroup"))
            .map_err(|source| SystemdError::Call {
                peer: self.unit.name.clone(),
                call: "read /proc/PID/cgroup of the unit's first process",
                source,
            })?;
        let found = place(&listed, layout).unwrap_or_default();
        let planned: PathBuf = ["/"].into_iter().chain(plan.path.components()).collect();
        if Path::new(found) == planned {
            return Ok(());
        }
        Err(SystemdError::Elsewhere {
            unit: self.unit.name.clone(),
            found: found.to_owned(),
            planned: planned.display().to_string(),
        })
    }
}

/// The path in the hierarchy that systemd counts by.
fn place<'a>(listed: &'a str, layout: &CgroupLayout) -> Option<&'a str> {
    let name = match layout {
        CgroupLayout::V1 { .. } => ":name=systemd:",
        CgroupLayout::V2(_) | CgroupLayout::None => "0::",
    };
    listed.lines().find_map(|line| {
        let at = line.find(name)?;
        Some(&line[at + name.len()..])
    })
}

/// An operation that failed: the unit goes, whoever is still in it.
impl Drop for StartedUnit {
    fn drop(&mut self) {
        self.resident = None;
        if !self.stops {
            return;
        }
        let systemd = Systemd::connect(self.unit.manager, &self.user);
        if systemd
            .and_then(|mut systemd| systemd.stop(&self.unit.name))
            .is_err()
        {
            // The operation's own error is the one to report. Without processes systemd takes
            // the unit away by itself.
        }
    }
}

//! `linux.cgroupsPath` and `linux.resources`: where the container is accounted, and its limits.

use serde::Serialize;

pub use self::block_io::{BlockIo, DeviceNumber, DeviceWeight, Throttle, ThrottleKind};
pub use self::devices::{Access, DeviceKind, DeviceList, DeviceRule, DeviceRules};
pub use self::path::CgroupPath;
pub use self::resources::{
    Cpu, HugepageLimit, InterfacePriority, Limit, Memory, Network, RdmaLimit, Resources, Setting,
};
pub use self::unit::{CgroupDriver, Manager, Property, UnitPlan, Value};
use crate::host::Host;
use crate::id::ContainerId;
use crate::spec;
use crate::violation::Violations;

mod block_io;
pub(crate) mod convert;
pub(crate) mod device_program;
mod devices;
mod home;
mod path;
mod planner;
mod resources;
pub(crate) mod unit;
mod words;

pub(crate) use self::home::{Home, home};

/// Where the container is accounted, and its limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CgroupPlan {
    /// The container's directory in every hierarchy.
    pub path: CgroupPath,
    /// Limits of every controller but `devices`.
    pub resources: Resources,
    /// Which device nodes may be used: config.json's rules and the built-in ones after them.
    /// None when the runtime is rootless: then the kernel refuses mknod(2) by itself, and
    /// device rules can't be set.
    pub devices: Option<DeviceRules>,
    /// The unit of systemd whose cgroup it is; none when tare makes it itself.
    pub unit: Option<UnitPlan>,
}

impl CgroupPlan {
    /// Whether config.json asks for any limit (device rules apart): then a cgroup is needed.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.resources != Resources::default()
    }

    /// What will be done, one clause a line, for a person.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        words::words(self)
    }
}

/// Resolves `cgroupsPath` and `resources`; notes every broken rule.
pub(super) fn plan(
    spec: &spec::Spec<'_>,
    id: &ContainerId,
    host: &Host,
    driver: CgroupDriver,
    violations: &mut Violations,
) -> CgroupPlan {
    let (nothing, absent) = (spec::Linux::default(), spec::Resources::default());
    let linux = spec.linux.as_ref().unwrap_or(&nothing);
    let said = linux.resources.as_ref().unwrap_or(&absent);
    let resources = plan_resources(said, host, "/linux/resources", violations);
    let devices = devices::plan(said, host, "/linux/resources/devices", violations);
    let (path, unit) = match driver {
        CgroupDriver::Filesystem => {
            let path = path::plan(linux.cgroups_path.as_deref(), id, violations);
            (path, None)
        }
        CgroupDriver::Systemd => {
            let limits = (&resources, devices.as_ref());
            let (path, unit) = unit::plan(spec, id, host, limits, violations);
            (path, Some(unit))
        }
    };
    CgroupPlan {
        path,
        resources,
        devices,
        unit,
    }
}

/// Resolves the limits of `resources`, which stands at the JSON pointer `at`, without the device
/// rules.
fn plan_resources(
    resources: &spec::Resources<'_>,
    host: &Host,
    at: &str,
    violations: &mut Violations,
) -> Resources {
    planner::Planner::new(host, at, violations).resources(resources)
}

/// Resolves the limits of a document of its own that changes those of a container: what it leaves
/// out stays as it is. Device rules are left out always: a container's devices don't change.
///
/// # Errors
///
/// Every broken rule, with its place in the document.
pub(crate) fn plan_update(
    resources: &spec::Resources<'_>,
    host: &Host,
) -> Result<Resources, Violations> {
    let mut violations = Violations::default();
    let mut planner = planner::Planner::new(host, "", &mut violations).for_update();
    let resources = planner.resources(resources);
    match violations.is_empty() {
        true => Ok(resources),
        false => Err(violations),
    }
}

/// The plan of a `linux` object that breaks no rule.
#[cfg(test)]
pub(crate) fn plan_from_json(linux: &str, host: &Host) -> CgroupPlan {
    let spec = spec::Spec {
        linux: Some(serde_json::from_str(linux).unwrap()),
        ..spec::Spec::default()
    };
    let mut violations = Violations::default();
    let driver = CgroupDriver::Filesystem;
    let plan = plan(
        &spec,
        &"box".parse().unwrap(),
        host,
        driver,
        &mut violations,
    );
    assert_eq!(violations, Violations::default());
    plan
}

#[cfg(test)]
mod tests;

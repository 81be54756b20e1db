//! `linux.cgroupsPath` and `linux.resources`.

use crate::host::Host;
use crate::id::ContainerId;
use crate::spec::Linux;
use crate::violation::Violations;

/// Where the container is accounted, and its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupPlan {}

impl CgroupPlan {
    /// What will be done, in words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        Vec::new()
    }
}

pub(super) fn plan(
    _linux: &Linux<'_>,
    _id: &ContainerId,
    _host: &Host,
    _violations: &mut Violations,
) -> CgroupPlan {
    CgroupPlan {}
}

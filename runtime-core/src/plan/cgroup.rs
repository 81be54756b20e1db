//! `linux.cgroupsPath` and `linux.resources`.

/// Where the container is accounted, and its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupPlan {}

//! `linux.seccomp`, assembled.

use crate::host::Machine;
use crate::spec::Seccomp;
use crate::violation::Violations;

/// A seccomp filter, ready for seccomp(2).
#[derive(Clone, Debug, PartialEq)]
pub struct SeccompPlan {
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
}

impl SeccompPlan {
    /// What will be done, in words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        Vec::new()
    }
}

pub(super) fn plan(
    _seccomp: Option<&Seccomp<'_>>,
    _machine: Machine,
    _violations: &mut Violations,
) -> Option<SeccompPlan> {
    None
}

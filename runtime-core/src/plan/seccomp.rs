//! `linux.seccomp`, assembled.

/// A seccomp filter, ready for seccomp(2).
#[derive(Clone, Debug, PartialEq)]
pub struct SeccompPlan {
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
}

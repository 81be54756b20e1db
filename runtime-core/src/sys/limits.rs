//! What is set on another process from outside: limits, scheduling.
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::c_int;

use super::{Result, check};

/// prlimit(2): sets one limit of another process.
pub(crate) fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let old = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` is live for the call, and a null old limit is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            std::ptr::from_ref(&limit),
            old,
        )
    })
    .map(|_| ())
}

/// prlimit(2): one limit of another process, soft and hard.
pub(crate) fn limits_of(pid: i32, resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = std::ptr::null::<libc::rlimit64>();
    // SAFETY: `limit` is live and exclusively borrowed, and a null new limit is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            new,
            std::ptr::from_mut(&mut limit),
        )
    })
    .map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// ioprio_set(2) of one process.
pub(crate) fn ioprio_set(pid: i32, value: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: takes three integers.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            pid,
            c_int::from(value),
        )
    })
    .map(|_| ())
}

/// The argument of sched_setattr(2), in its first published size.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct SchedulerAttributes {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime_ns: u64,
    pub(crate) deadline_ns: u64,
    pub(crate) period_ns: u64,
}

const _: () = assert!(size_of::<SchedulerAttributes>() == 48);

/// sched_setattr(2) of one process.
pub(crate) fn sched_setattr(pid: i32, attributes: &SchedulerAttributes) -> Result<()> {
    // SAFETY: `attributes` is live for the call and carries its own size.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            pid,
            std::ptr::from_ref(attributes),
            0,
        )
    })
    .map(|_| ())
}

/// As many CPUs as a kernel can be built for, 64 to a word.
const CPU_WORDS: usize = 128;

/// Holds the calling thread on some CPUs for as long as the guard lives.
///
/// Afterwards the thread has the CPUs that it had before.
#[derive(Debug)]
pub(crate) struct OnCpus {
    before: Vec<u64>,
}

impl OnCpus {
    /// sched_setaffinity(2) of this thread; EINVAL when none of the CPUs is possible.
    pub(crate) fn hold(cpus: &[u64]) -> Result<Self> {
        let before = own_cpus()?;
        set_own_cpus(cpus)?;
        Ok(Self { before })
    }
}

impl Drop for OnCpus {
    fn drop(&mut self) {
        // It had them a moment ago; if they are gone since, the kernel has chosen for it.
        let _restored = set_own_cpus(&self.before);
    }
}

fn own_cpus() -> Result<Vec<u64>> {
    let mut cpus = vec![0_u64; CPU_WORDS];
    // SAFETY: a live, exclusively borrowed buffer with its size in bytes; 0 is this thread.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            std::mem::size_of_val(cpus.as_slice()),
            cpus.as_mut_ptr(),
        )
    })?;
    Ok(cpus)
}

fn set_own_cpus(cpus: &[u64]) -> Result<()> {
    // SAFETY: a live buffer with its size in bytes; 0 is this thread.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            std::mem::size_of_val(cpus),
            cpus.as_ptr(),
        )
    })
    .map(|_| ())
}

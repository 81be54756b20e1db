//! clone3(2).

use core::ptr::{from_mut, from_ref};

use super::{CLONE_CLEAR_SIGHAND, CLONE_PIDFD, Errno, Fd, Result, syscall};

/// `struct clone_args` of clone3(2), version 2 (Linux 5.7).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CloneArgs {
    /// CLONE_*; never CLONE_VM or CLONE_VFORK.
    pub flags: u64,
    /// Address of a C int that gets the pidfd, with CLONE_PIDFD.
    pub pidfd: u64,
    /// Address of the child's thread id in the child; 0.
    pub child_tid: u64,
    /// Address of the child's thread id in the parent; 0.
    pub parent_tid: u64,
    /// What the parent is sent when the child ends.
    pub exit_signal: u64,
    /// Lowest byte of a new stack; 0: the child goes on with its copy of this one.
    pub stack: u64,
    /// Size of the new stack; 0.
    pub stack_size: u64,
    /// New thread-local storage; 0.
    pub tls: u64,
    /// Address of an array of chosen pids; 0.
    pub set_tid: u64,
    /// Elements of that array; 0.
    pub set_tid_size: u64,
    /// A cgroup v2 directory, with CLONE_INTO_CGROUP.
    pub cgroup: u64,
}

const _: () = assert!(size_of::<CloneArgs>() == 88);

/// Which side of clone3(2) goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller.
    Parent {
        /// Of the new process, in the caller's pid namespace.
        pid: i32,
    },
}

/// clone3(2) as the kernel has it: no handler of fork(2) runs, no lock is taken.
///
/// # Errors
///
/// errno; ENOSYS before Linux 5.3 and under a seccomp filter that hides the call.
///
/// # Safety
///
/// - `args` has neither CLONE_VM nor a stack, so the child has its own copy of all memory, and
///   the addresses in it (`pidfd`) are 0 or point to what may be written.
/// - If this process has other threads, the child may call nothing that needs a lock, thread-local
///   state or the allocator: it calls [`crate::run`] at once.
pub unsafe fn clone3(args: &CloneArgs) -> core::result::Result<Cloned, i32> {
    let call = [from_ref(args) as usize, size_of::<CloneArgs>(), 0, 0, 0, 0];
    // SAFETY: a structure, borrowed for the call, with its size; what it points to is the
    // caller's promise. Without CLONE_VM the child returns on its own copy of this stack.
    match unsafe { syscall(libc::SYS_clone3, call) } {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) => Ok(Cloned::Parent {
            pid: super::int(pid),
        }),
        Err(errno) => Err(errno.0),
    }
}

/// Which side of [`fork`] goes on.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The caller.
    Parent {
        /// Of the new process, in the caller's pid namespace.
        pid: i32,
        /// Of the new process.
        pidfd: Fd,
    },
}

/// clone3(2) of this process, which has one thread, with these further flags and the signals'
/// default handlers.
pub(crate) fn fork(flags: u64, exit_signal: i32) -> Result<Forked> {
    /// CLONE_VM | CLONE_VFORK.
    const SHARING: u64 = 0x4100;
    let mut pidfd = -1_i32;
    let args = CloneArgs {
        flags: (flags & !SHARING) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: from_mut(&mut pidfd) as u64,
        exit_signal: u64::from(exit_signal.unsigned_abs()),
        ..CloneArgs::default()
    };
    // SAFETY: memory is not shared, there is no new stack, and `pidfd` outlives the call. The
    // child is a copy of the init process, which has no locks and no allocator.
    match unsafe { clone3(&args) }.map_err(Errno)? {
        Cloned::Child => Ok(Forked::Child),
        Cloned::Parent { pid } => Ok(Forked::Parent {
            pid,
            pidfd: Fd(pidfd),
        }),
    }
}

/// clone(2), the older call, of this process, which has one thread: for a container whose
/// seccomp filter hides clone3(2). Gives the child's pid, nothing in the child.
pub(crate) fn fork_by_clone(flags: u64) -> Result<Option<i32>> {
    let flags = usize::try_from(flags).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: no pointer and no stack are passed, and `flags` shares no memory (the only caller
    // passes CLONE_PARENT): the child returns on its own copy of this stack.
    match unsafe { syscall(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) }? {
        0 => Ok(None),
        pid => Ok(Some(super::int(pid))),
    }
}

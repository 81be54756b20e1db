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

/// A copy of this process, which has one thread, with these further flags.
///
/// By clone3(2); under a container's seccomp filter, which may hide a call whose arguments it
/// can't see (ENOSYS, EPERM), by clone(2).
pub(crate) fn fork(flags: u64, exit_signal: i32) -> Result<Forked> {
    /// CLONE_VM | CLONE_VFORK.
    const SHARING: u64 = 0x4100;
    let flags = (flags & !SHARING) | CLONE_PIDFD;
    let signal = u64::from(exit_signal.unsigned_abs());
    let mut pidfd = -1_i32;
    let args = CloneArgs {
        flags: flags | CLONE_CLEAR_SIGHAND,
        pidfd: from_mut(&mut pidfd) as u64,
        exit_signal: signal,
        ..CloneArgs::default()
    };
    // SAFETY: memory is not shared, there is no new stack, and `pidfd` outlives the call. The
    // child is a copy of the init process, which has no locks and no allocator.
    let cloned = match unsafe { clone3(&args) } {
        Err(libc::ENOSYS | libc::EPERM) => clone(flags, signal, &mut pidfd)?,
        cloned => cloned.map_err(Errno)?,
    };
    Ok(match cloned {
        Cloned::Child => Forked::Child,
        Cloned::Parent { pid } => Forked::Parent {
            pid,
            pidfd: Fd(pidfd),
        },
    })
}

/// clone(2), the older call. Signal handlers stay, of which the init process has none.
fn clone(flags: u64, exit_signal: u64, pidfd: &mut i32) -> Result<Cloned> {
    /// CSIGNAL: where the newer call has a field for the signal, and CLONE_NEWTIME its bit.
    const SIGNAL: u64 = 0xff;
    if flags & SIGNAL != 0 {
        return Err(Errno(libc::ENOSYS));
    }
    let flags = usize::try_from(flags | exit_signal).map_err(|_| Errno(libc::EINVAL))?;
    let args = [flags, 0, from_mut(pidfd) as usize, 0, 0, 0];
    // SAFETY: memory is not shared (the only caller sees to it), so with no new stack the child
    // returns on its own copy of this one; the third argument is room for a C int, the pidfd.
    match unsafe { syscall(libc::SYS_clone, args) }? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: super::int(pid),
        }),
    }
}

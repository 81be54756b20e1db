//! Processes as descriptors: pidfd_open(2), pidfd_send_signal(2), waitid(2).
//!
//! # Safety
//!
//! The calls take numbers; a pointer is null, which the kernel defines, or to a live local.

#![allow(unsafe_code, reason = "nix has no pidfd calls")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

/// A descriptor of the process, close-on-exec.
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: two integer arguments; the kernel reads and writes no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).expect("the kernel's descriptors are ints");
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends the signal to exactly that process; ESRCH when it is gone.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null `siginfo_t` means that of kill(2); everything else is an integer.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// The same to no process: EBADF where the kernel has the call.
pub(crate) fn send_signal_to_nobody() -> Result<(), Errno> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null `siginfo_t` means that of kill(2); everything else is an integer.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, -1, 0, info, 0) };
    Errno::result(sent).map(drop)
}

/// What waitid(2) says of a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// waitid(2) for the child of a descriptor: blocks until it has ended, and reaps it.
pub(crate) fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended, Errno> {
    // SAFETY: siginfo_t is plain old data, for which zeroes are a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    loop {
        // SAFETY: `info` is live and exclusively borrowed for the call.
        match Errno::result(unsafe {
            libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED)
        }) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: waitid(2) has filled the SIGCHLD part of the union.
    let status = unsafe { info.si_status() };
    Ok(if info.si_code == libc::CLD_EXITED {
        Ended::Exited(status)
    } else {
        Ended::Signaled(status)
    })
}

/// Whether the process is a child of this one that has not been reaped.
pub(crate) fn is_child(pidfd: BorrowedFd<'_>) -> bool {
    let Ok(id) = libc::id_t::try_from(pidfd.as_raw_fd()) else {
        return false;
    };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: siginfo_t is plain old data, for which zeroes are a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is live and exclusively borrowed for the call.
    Errno::result(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) }).is_ok()
}

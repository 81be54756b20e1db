//! Processes as descriptors: pidfd_open(2), pidfd_send_signal(2).
//!
//! # Safety
//!
//! Both calls take numbers only; the one pointer is null, which the kernel defines.

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

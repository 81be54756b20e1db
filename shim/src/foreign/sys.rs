//! Calls that nix lacks in a safe form.
#![allow(
    unsafe_code,
    reason = "what runs between fork and execve, and received descriptors"
)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};

/// Makes the command end with the thread that runs it, and start with no signal blocked, since
/// the shim reads its own from a descriptor, and in a session of its own.
pub(super) fn prepare(command: &mut Command) {
    // SAFETY: the closure runs between fork and execve and makes three system calls on its own
    // stack: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(before_exec) };
}

fn before_exec() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    SigSet::empty().thread_set_mask()?;
    nix::unistd::setsid()?;
    Ok(())
}

/// Owns descriptors that recvmsg(2) has just received.
pub(super) fn own(numbers: Vec<RawFd>) -> Vec<OwnedFd> {
    let own = |number| {
        // SAFETY: the kernel has installed this descriptor for the message that it came with,
        // which is read once.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    numbers.into_iter().map(own).collect()
}

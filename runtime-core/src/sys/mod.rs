//! System calls that nix lacks, one function each: the only unsafe code of this crate.
//!
//! Every function takes borrowed values and gives owned descriptors or plain numbers; an errno
//! comes back as [`Errno`].
#![allow(unsafe_code, reason = "this is the room where unsafe lives")]

use std::ffi::{c_int, c_long};
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

pub(crate) mod bpf;
mod clone;
mod facts;
mod image;
mod limits;
mod message;
mod mount;
pub(crate) mod pidfd;

pub(crate) use self::clone::{
    clone_init, in_user_and_mount_namespace, start_as_part_of_this_thread,
};
pub(crate) use self::facts::{capability_bounds, namespace_type};
pub(crate) use self::image::{auxiliary_string, execveat, pointers};
pub(crate) use self::limits::{
    OnCpus, SchedulerAttributes, ioprio_set, limits_of, prlimit, sched_setattr,
};
pub(crate) use self::message::{duplicate_above_streams, receive};
pub(crate) use self::mount::{
    MountAttributes, fsconfig, fsconfig_create, fsconfig_reconfigure, fsmount, fsopen, fspick,
    mount_setattr, move_mount, open_tree,
};

type Result<T> = std::result::Result<T, Errno>;

/// Turns a raw result into a count or an errno.
fn check(result: c_long) -> Result<c_long> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Owns a descriptor that the kernel has just returned.
fn own(result: c_long) -> Result<OwnedFd> {
    let number = c_int::try_from(check(result)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for this call; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

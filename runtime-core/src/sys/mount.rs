//! Mounts by descriptor: open_tree(2), mount_setattr(2).
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{Result, check, own};

/// open_tree(2) below a directory.
pub(crate) fn open_tree(directory: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd> {
    // SAFETY: `path` is a live NUL-terminated string; the rest are integers.
    own(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    })
}

/// The argument of mount_setattr(2), in its first published size.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct MountAttributes {
    /// MOUNT_ATTR_* to set.
    pub(crate) set: u64,
    /// MOUNT_ATTR_* to clear.
    pub(crate) clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE; 0 for none.
    pub(crate) propagation: u64,
    /// For MOUNT_ATTR_IDMAP.
    pub(crate) user_namespace: u64,
}

const _: () = assert!(size_of::<MountAttributes>() == 32);

/// mount_setattr(2) on the mount of a descriptor.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    flags: c_int,
    attributes: &MountAttributes,
) -> Result<()> {
    // SAFETY: the path is a static empty string, `attributes` is live for the call, and its
    // size is passed along.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    })
    .map(|_| ())
}

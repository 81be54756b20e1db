//! Mounts by descriptor: open_tree(2), mount_setattr(2), fsopen(2), move_mount(2).
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::{CStr, c_int, c_uint};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

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

/// fsopen(2).
pub(crate) fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: c_uint = 1;
    // SAFETY: `kind` is a live NUL-terminated string.
    own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

/// fsconfig(2) of a parameter: with a string, or as a flag.
pub(crate) fn fsconfig(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    const FSCONFIG_SET_FLAG: c_uint = 0;
    const FSCONFIG_SET_STRING: c_uint = 1;
    let command = match value {
        Some(_) => FSCONFIG_SET_STRING,
        None => FSCONFIG_SET_FLAG,
    };
    // SAFETY: both strings are live and NUL-terminated; a flag has no value, for which the
    // kernel wants null.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            key.as_ptr(),
            value.map_or(std::ptr::null(), CStr::as_ptr),
            0,
        )
    })
    .map(|_| ())
}

/// fsconfig(2), FSCONFIG_CMD_CREATE: makes the filesystem, or finds it.
pub(crate) fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    const FSCONFIG_CMD_CREATE: c_uint = 6;
    fsconfig_command(context, FSCONFIG_CMD_CREATE)
}

fn fsconfig_command(context: BorrowedFd<'_>, command: c_uint) -> Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: these commands take neither key nor value: both are null.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            null,
            null,
            0,
        )
    })
    .map(|_| ())
}

/// fspick(2): the filesystem that is mounted here, to be altered.
pub(crate) fn fspick(path: &CStr) -> Result<OwnedFd> {
    const FSPICK_CLOEXEC: c_uint = 1;
    // SAFETY: `path` is a live NUL-terminated string.
    own(unsafe {
        libc::syscall(
            libc::SYS_fspick,
            libc::AT_FDCWD,
            path.as_ptr(),
            FSPICK_CLOEXEC,
        )
    })
}

/// fsconfig(2), FSCONFIG_CMD_RECONFIGURE: alters a filesystem as its parameters say.
pub(crate) fn fsconfig_reconfigure(context: BorrowedFd<'_>) -> Result<()> {
    const FSCONFIG_CMD_RECONFIGURE: c_uint = 7;
    fsconfig_command(context, FSCONFIG_CMD_RECONFIGURE)
}

/// fsmount(2) with MOUNT_ATTR_*.
pub(crate) fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: c_uint = 1;
    let attributes = c_uint::try_from(attributes).map_err(|_| Errno::EINVAL)?;
    // SAFETY: three numbers.
    own(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

/// move_mount(2) of the mount that `mount` is to the file that `target` is.
pub(crate) fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    const BOTH_BY_DESCRIPTOR: c_uint = 0x04 | 0x40;
    let empty = c"".as_ptr();
    // SAFETY: both paths are a static empty string.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            empty,
            target.as_raw_fd(),
            empty,
            BOTH_BY_DESCRIPTOR,
        )
    })
    .map(|_| ())
}

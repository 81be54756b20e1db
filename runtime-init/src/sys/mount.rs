//! Mounts and namespaces.

use core::ffi::CStr;
use core::ptr::from_ref;

use super::abi::{AT_EMPTY_PATH, MountAttr};
use super::{Fd, Result, arg, syscall};
use crate::program::RawFd;

/// mount(2). `None` is NULL.
pub(crate) fn mount(
    device: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<()> {
    let string = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as usize);
    let flags = usize::try_from(flags).map_err(|_| super::Errno(libc::EINVAL))?;
    let args = [
        string(device),
        target.as_ptr() as usize,
        string(kind),
        flags,
        string(data),
        0,
    ];
    // SAFETY: C strings or NULL. The kernel may copy a page from `data`, and stops at the end of
    // what is mapped.
    unsafe { syscall(libc::SYS_mount, args) }.map(drop)
}

/// umount2(2).
pub(crate) fn umount(target: &CStr, flags: i32) -> Result<()> {
    let args = [target.as_ptr() as usize, arg(flags), 0, 0, 0, 0];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_umount2, args) }.map(drop)
}

/// pivot_root(2).
pub(crate) fn pivot_root(new: &CStr, old: &CStr) -> Result<()> {
    let args = [new.as_ptr() as usize, old.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_pivot_root, args) }.map(drop)
}

/// open_tree(2), close-on-exec. `flags` is OPEN_TREE_CLONE and AT_*.
pub(crate) fn open_tree(directory: RawFd, path: &CStr, flags: u32) -> Result<Fd> {
    let flags = flags as usize | arg(libc::O_CLOEXEC);
    let args = [arg(directory), path.as_ptr() as usize, flags, 0, 0, 0];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_open_tree, args) }.map(Fd::from_return)
}

/// move_mount(2) of the mount that `tree` is to the file that `target` is.
pub(crate) fn move_mount(tree: RawFd, target: RawFd) -> Result<()> {
    /// MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH.
    const BOTH_BY_DESCRIPTOR: usize = 0x44;
    let empty = c"".as_ptr() as usize;
    let args = [arg(tree), empty, arg(target), empty, BOTH_BY_DESCRIPTOR, 0];
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_move_mount, args) }.map(drop)
}

/// mount_setattr(2) of the mount whose root `mount` is; `flags` is 0 or AT_RECURSIVE.
pub(crate) fn mount_setattr(mount: RawFd, flags: u32, attributes: &MountAttr) -> Result<()> {
    let args = [
        arg(mount),
        c"".as_ptr() as usize,
        (flags | AT_EMPTY_PATH) as usize,
        from_ref(attributes) as usize,
        size_of::<MountAttr>(),
        0,
    ];
    // SAFETY: a C string, and a structure with its size.
    unsafe { syscall(libc::SYS_mount_setattr, args) }.map(drop)
}

/// fsopen(2), close-on-exec.
pub(crate) fn fsopen(kind: &CStr) -> Result<Fd> {
    /// FSOPEN_CLOEXEC.
    const CLOEXEC: usize = 1;
    // SAFETY: a C string.
    unsafe {
        syscall(
            libc::SYS_fsopen,
            [kind.as_ptr() as usize, CLOEXEC, 0, 0, 0, 0],
        )
    }
    .map(Fd::from_return)
}

/// fsconfig(2) of a parameter, with a string or as a flag.
pub(crate) fn fsconfig(context: RawFd, key: &CStr, value: Option<&CStr>) -> Result<()> {
    let (command, value) = match value {
        Some(value) => (super::FSCONFIG_SET_STRING, value.as_ptr() as usize),
        None => (super::FSCONFIG_SET_FLAG, 0),
    };
    let args = [
        arg(context),
        command as usize,
        key.as_ptr() as usize,
        value,
        0,
        0,
    ];
    // SAFETY: C strings, or NULL where the command wants it.
    unsafe { syscall(libc::SYS_fsconfig, args) }.map(drop)
}

/// fsconfig(2), FSCONFIG_CMD_CREATE.
pub(crate) fn fsconfig_create(context: RawFd) -> Result<()> {
    let args = [
        arg(context),
        super::FSCONFIG_CMD_CREATE as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_fsconfig, args) }.map(drop)
}

/// fsmount(2), close-on-exec, with MOUNT_ATTR_*.
pub(crate) fn fsmount(context: RawFd, attributes: u64) -> Result<Fd> {
    /// FSMOUNT_CLOEXEC.
    const CLOEXEC: usize = 1;
    let attributes = usize::try_from(attributes).map_err(|_| super::Errno(libc::EINVAL))?;
    // SAFETY: numbers.
    unsafe {
        syscall(
            libc::SYS_fsmount,
            [arg(context), CLOEXEC, attributes, 0, 0, 0],
        )
    }
    .map(Fd::from_return)
}

/// unshare(2).
pub(crate) fn unshare(flags: u64) -> Result<()> {
    let flags = usize::try_from(flags).map_err(|_| super::Errno(libc::EINVAL))?;
    // SAFETY: a number.
    unsafe { syscall(libc::SYS_unshare, [flags, 0, 0, 0, 0, 0]) }.map(drop)
}

/// setns(2).
pub(crate) fn setns(namespace: RawFd, kind: u64) -> Result<()> {
    let kind = usize::try_from(kind).map_err(|_| super::Errno(libc::EINVAL))?;
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_setns, [arg(namespace), kind, 0, 0, 0, 0]) }.map(drop)
}

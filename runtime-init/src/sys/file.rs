//! Files, directories and descriptors.

use core::ffi::CStr;
use core::ptr::{from_mut, from_ref};

use super::abi::{FilesystemStatus, OpenHow, Status, Timestamp};
use super::{Fd, Result, arg, int, syscall};
use crate::program::RawFd;

/// openat2(2); `flags` is O_*, `resolve` RESOLVE_*.
pub(crate) fn openat2(
    directory: RawFd,
    path: &CStr,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> Result<Fd> {
    let flags = u64::from(flags.cast_unsigned()) | u64::from(libc::O_CLOEXEC.cast_unsigned());
    let how = OpenHow {
        flags,
        mode: u64::from(mode),
        resolve,
    };
    let args = [
        arg(directory),
        path.as_ptr() as usize,
        from_ref(&how) as usize,
        size_of::<OpenHow>(),
        0,
        0,
    ];
    // SAFETY: a C string, and a structure with its size.
    unsafe { syscall(libc::SYS_openat2, args) }.map(Fd::from_return)
}

/// close(2). Its error is of no use: the descriptor is gone in any case.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: a number; the owner gives the descriptor up.
    super::ignore(unsafe { syscall(libc::SYS_close, [arg(fd), 0, 0, 0, 0, 0]) });
}

/// statx(2) of what is below `directory`; with an empty path and AT_EMPTY_PATH of itself.
pub(crate) fn statx(directory: RawFd, path: &CStr, flags: u32) -> Result<Status> {
    /// STATX_BASIC_STATS.
    const MASK: usize = 0x7ff;
    let mut status = Status::default();
    let args = [
        arg(directory),
        path.as_ptr() as usize,
        flags as usize,
        MASK,
        from_mut(&mut status) as usize,
        0,
    ];
    // SAFETY: a C string, and a structure of the kernel's fixed size.
    unsafe { syscall(libc::SYS_statx, args) }.map(|_| status)
}

/// statx(2) of a descriptor.
pub(crate) fn fstat(fd: RawFd) -> Result<Status> {
    statx(fd, c"", super::AT_EMPTY_PATH)
}

/// fstatfs(2).
pub(crate) fn fstatfs(fd: RawFd) -> Result<FilesystemStatus> {
    let mut status = FilesystemStatus::default();
    let args = [arg(fd), from_mut(&mut status) as usize, 0, 0, 0, 0];
    // SAFETY: a structure of the kernel's fixed size.
    unsafe { syscall(libc::SYS_fstatfs, args) }.map(|_| status)
}

/// mkdirat(2).
pub(crate) fn mkdirat(directory: RawFd, name: &CStr, mode: u32) -> Result<()> {
    let args = [
        arg(directory),
        name.as_ptr() as usize,
        mode as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mkdirat, args) }.map(drop)
}

/// mknodat(2).
pub(crate) fn mknodat(
    directory: RawFd,
    name: &CStr,
    mode: u32,
    major: u32,
    minor: u32,
) -> Result<()> {
    let device = libc::makedev(major, minor);
    let device = usize::try_from(device).map_err(|_| super::Errno(libc::EINVAL))?;
    let args = [
        arg(directory),
        name.as_ptr() as usize,
        mode as usize,
        device,
        0,
        0,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_mknodat, args) }.map(drop)
}

/// symlinkat(2).
pub(crate) fn symlinkat(text: &CStr, directory: RawFd, name: &CStr) -> Result<()> {
    let args = [
        text.as_ptr() as usize,
        arg(directory),
        name.as_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: C strings.
    unsafe { syscall(libc::SYS_symlinkat, args) }.map(drop)
}

/// readlinkat(2): how many bytes of `buffer` the link's text fills. No NUL is added.
pub(crate) fn readlinkat(directory: RawFd, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let args = [
        arg(directory),
        name.as_ptr() as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        0,
        0,
    ];
    // SAFETY: a C string, and a buffer with its length.
    unsafe { syscall(libc::SYS_readlinkat, args) }
}

/// unlinkat(2) of what is no directory.
pub(crate) fn unlinkat(directory: RawFd, name: &CStr) -> Result<()> {
    let args = [arg(directory), name.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_unlinkat, args) }.map(drop)
}

/// fchownat(2) of a descriptor, O_PATH ones too. `u32::MAX` leaves an id as it is.
pub(crate) fn chown(fd: RawFd, uid: u32, gid: u32) -> Result<()> {
    let path = c"".as_ptr() as usize;
    let args = [
        arg(fd),
        path,
        uid as usize,
        gid as usize,
        super::AT_EMPTY_PATH as usize,
        0,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_fchownat, args) }.map(drop)
}

/// fchmod(2), of no O_PATH descriptor.
pub(crate) fn fchmod(fd: RawFd, mode: u32) -> Result<()> {
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_fchmod, [arg(fd), mode as usize, 0, 0, 0, 0]) }.map(drop)
}

/// fchmodat(2); follows a link.
pub(crate) fn fchmodat(directory: RawFd, name: &CStr, mode: u32) -> Result<()> {
    let args = [
        arg(directory),
        name.as_ptr() as usize,
        mode as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_fchmodat, args) }.map(drop)
}

/// utimensat(2) of an open file, or of `name` below a directory, not following a link.
pub(crate) fn utimens(
    directory: RawFd,
    name: Option<&CStr>,
    accessed: Timestamp,
    modified: Timestamp,
) -> Result<()> {
    let times = [
        accessed.sec,
        i64::from(accessed.nsec),
        modified.sec,
        i64::from(modified.nsec),
    ];
    let path = name.map_or(0, |name| name.as_ptr() as usize);
    let flags = if name.is_some() {
        arg(libc::AT_SYMLINK_NOFOLLOW)
    } else {
        0
    };
    let args = [arg(directory), path, times.as_ptr() as usize, flags, 0, 0];
    // SAFETY: a C string or NULL, and two timespecs of two 64-bit numbers each.
    unsafe { syscall(libc::SYS_utimensat, args) }.map(drop)
}

/// faccessat2(2) for the effective ids.
pub(crate) fn may_execute(path: &CStr) -> Result<()> {
    let args = [
        arg(libc::AT_FDCWD),
        path.as_ptr() as usize,
        arg(libc::X_OK),
        arg(libc::AT_EACCESS),
        0,
        0,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_faccessat2, args) }.map(drop)
}

/// getdents64(2).
pub(crate) fn getdents(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    let args = [arg(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_getdents64, args) }
}

/// read(2).
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    let args = [arg(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_read, args) }
}

/// write(2).
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    let args = [arg(fd), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_write, args) }
}

/// lseek(2) to the beginning.
pub(crate) fn rewind(fd: RawFd) -> Result<()> {
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_lseek, [arg(fd), 0, arg(libc::SEEK_SET), 0, 0, 0]) }.map(drop)
}

/// pipe2(2) with O_CLOEXEC: the end to read from, the end to write to.
pub(crate) fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0_i32; 2];
    let args = [ends.as_mut_ptr() as usize, arg(libc::O_CLOEXEC), 0, 0, 0, 0];
    // SAFETY: room for two C ints.
    unsafe { syscall(libc::SYS_pipe2, args) }.map(|_| (Fd(ends[0]), Fd(ends[1])))
}

/// dup3(2), or without a copy when `fd` is `target`: afterwards `target` survives execve(2).
pub(crate) fn dup_to(fd: RawFd, target: RawFd) -> Result<()> {
    if fd == target {
        return fcntl_setfd(fd, 0);
    }
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_dup3, [arg(fd), arg(target), 0, 0, 0, 0]) }.map(drop)
}

/// fcntl(2), F_SETFD.
pub(crate) fn fcntl_setfd(fd: RawFd, flags: i32) -> Result<()> {
    let args = [arg(fd), arg(libc::F_SETFD), arg(flags), 0, 0, 0];
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_fcntl, args) }.map(drop)
}

/// A close-on-exec copy of a descriptor that is none of the standard streams.
pub(crate) fn dup_above_streams(fd: RawFd) -> Result<Fd> {
    let args = [arg(fd), arg(libc::F_DUPFD_CLOEXEC), 3, 0, 0, 0];
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_fcntl, args) }.map(Fd::from_return)
}

/// close_range(2) of descriptors `first` to `last`, with CLOSE_RANGE_* flags. Without a flag no
/// [`Fd`] may own one of them.
pub(crate) fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    let args = [first as usize, last as usize, flags as usize, 0, 0, 0];
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_close_range, args) }.map(drop)
}

/// chdir(2).
pub(crate) fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// fchdir(2).
pub(crate) fn fchdir(fd: RawFd) -> Result<()> {
    // SAFETY: a number.
    unsafe { syscall(libc::SYS_fchdir, [arg(fd), 0, 0, 0, 0, 0]) }.map(drop)
}

/// chroot(2).
pub(crate) fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_chroot, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// getcwd(2): the length with the NUL.
pub(crate) fn getcwd(buffer: &mut [u8]) -> Result<usize> {
    let args = [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_getcwd, args) }
}

/// umask(2): the mask before.
pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: a number.
    let before = unsafe { syscall(libc::SYS_umask, [mask as usize, 0, 0, 0, 0, 0]) };
    // umask(2) can't fail.
    before.map_or(0o022, |before| int(before).cast_unsigned())
}

/// TIOCSCTTY, stealing it from nobody.
pub(crate) fn take_terminal(terminal: RawFd) -> Result<()> {
    let args = [arg(terminal), super::TIOCSCTTY as usize, 0, 0, 0, 0];
    // SAFETY: numbers: the request takes its argument by value.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(drop)
}

/// TIOCGPTPEER, with O_* flags: the other end of a pseudoterminal, whatever any path says.
pub(crate) fn terminal_peer(master: RawFd, flags: i32) -> Result<Fd> {
    let args = [
        arg(master),
        super::TIOCGPTPEER as usize,
        arg(flags),
        0,
        0,
        0,
    ];
    // SAFETY: numbers: the request takes its argument by value.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(Fd::from_return)
}

/// TIOCSPTLCK: lets the other end be opened.
pub(crate) fn unlock_terminal(master: RawFd) -> Result<()> {
    let unlocked = 0_i32;
    let args = [
        arg(master),
        super::TIOCSPTLCK as usize,
        from_ref(&unlocked) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the request reads one C int.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(drop)
}

/// TIOCGPTN: the number of the pseudoterminal.
pub(crate) fn terminal_number(master: RawFd) -> Result<u32> {
    let mut number = 0_u32;
    let args = [
        arg(master),
        super::TIOCGPTN as usize,
        from_mut(&mut number) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the request writes one unsigned C int.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(|_| number)
}

/// TIOCSWINSZ.
pub(crate) fn set_terminal_size(terminal: RawFd, rows: u16, columns: u16) -> Result<()> {
    let size = [rows, columns, 0, 0];
    let args = [
        arg(terminal),
        super::TIOCSWINSZ as usize,
        size.as_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the request reads four unsigned shorts, `struct winsize`.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(drop)
}

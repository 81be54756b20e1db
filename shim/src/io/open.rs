//! What a stream is made of: FIFOs, log files, pipes.
//!
//! A name is looked up once (`O_PATH`, no link as its last component), what it leads to is
//! checked, and only then is that very file opened: opening a device can act by itself, and a
//! FIFO would make the caller wait.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, pipe2};
use runtime_core::errno::of_io;

use crate::failure::Failure;

/// Both ends of a FIFO, neither of which waits.
#[derive(Debug)]
pub(super) struct FifoEnds {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
}

/// Opens both ends of a FIFO, whether or not a client has opened one. It is not made if it is
/// missing: it is the client's.
pub(super) fn fifo(stream: &str, path: &Path) -> Result<FifoEnds, Failure> {
    let act = |act: &str| format!("{stream}: {act} the FIFO {}", path.display());
    let node = node(path).map_err(|errno| match errno {
        Errno::ENOENT => Failure::call(act("open"), errno),
        errno => Failure::call(act("look up"), errno),
    })?;
    let kind = kind(&node).map_err(|errno| Failure::call(act("look at"), errno))?;
    if kind != SFlag::S_IFIFO {
        return Err(Failure::invalid(format!(
            "{stream}: {} is {}, not a FIFO",
            path.display(),
            name_of(kind)
        )));
    }
    let open = |flags| reopen(node.as_fd(), flags | OFlag::O_NONBLOCK);
    Ok(FifoEnds {
        // The reader first: without one, opening the writer is ENXIO.
        reader: open(OFlag::O_RDONLY).map_err(|errno| Failure::call(act("read"), errno))?,
        writer: open(OFlag::O_WRONLY).map_err(|errno| Failure::call(act("write"), errno))?,
    })
}

/// Opens a log file at its end, and makes it and its directories if they are missing.
pub(super) fn log_file(stream: &str, path: &Path) -> Result<OwnedFd, Failure> {
    let act = |act: &str| format!("{stream}: {act} the log file {}", path.display());
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|error| Failure::call(act("make the directory of"), of_io(&error)))?;
    }
    match create(path) {
        Err(Errno::EEXIST) => {}
        created => return created.map_err(|errno| Failure::call(act("make"), errno)),
    }
    let node = node(path).map_err(|errno| Failure::call(act("look up"), errno))?;
    let kind = kind(&node).map_err(|errno| Failure::call(act("look at"), errno))?;
    if kind != SFlag::S_IFREG {
        return Err(Failure::invalid(format!(
            "{stream}: {} is {}: a log is written to a regular file only",
            path.display(),
            name_of(kind)
        )));
    }
    reopen(node.as_fd(), OFlag::O_WRONLY | OFlag::O_APPEND)
        .map_err(|errno| Failure::call(act("open"), errno))
}

/// A new file, or EEXIST for whatever is there, a dangling link among it.
fn create(path: &Path) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC,
        Mode::from_bits_truncate(0o644),
    )
}

/// A pipe whose ends are close-on-exec, and belong to `owner` if that is not root.
pub(super) fn pipe(owner: (u32, u32)) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reader, writer) =
        pipe2(OFlag::O_CLOEXEC).map_err(|errno| Failure::call("make a pipe", errno))?;
    if owner != (0, 0) {
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        // Both ends are one inode.
        fchown(&reader, Some(uid), Some(gid)).map_err(|errno| {
            let act = format!(
                "give a pipe to the user {uid} and the group {gid} (io_uid, io_gid of the runtime's options)"
            );
            Failure::call(act, errno)
        })?;
    }
    Ok((reader, writer))
}

/// `/dev/null`, for reading and writing.
pub(super) fn null() -> Result<OwnedFd, Failure> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::call("open /dev/null", errno))
}

/// Reads and writes of this end never wait; those of other ends are not concerned.
pub(super) fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = fcntl(&fd, FcntlArg::F_GETFL)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(flags)).map(drop)
}

/// Opens the file of a descriptor once more, by /proc, as a file of its own (proc(5)).
pub(super) fn reopen(fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(
        name.as_str(),
        flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
        Mode::empty(),
    )
}

/// The file of a name, not opened yet, and never where a link leads to.
fn node(path: &Path) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

fn kind(node: &OwnedFd) -> Result<SFlag, Errno> {
    let mode = fstat(node)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT)
}

fn name_of(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFCHR => "a character device",
        SFlag::S_IFBLK => "a block device",
        _ => "something unknown",
    }
}

//! The host's binary, out of the reach of containers (the class of CVE-2019-5736).
//!
//! A process of a container can open `/proc/PID/exe` of whoever enters it, keep that
//! descriptor, and write to the file once nobody executes it any more. So a program that
//! launches containers first executes itself again through a detached, read-only clone of its
//! own mount: the same file and the same page cache, no memory and no copy, and every attempt
//! to write through `/proc/PID/exe` or `map_files` is EROFS. When the descriptor of the clone
//! has closed itself at execve, the mount belongs to no namespace, and nobody can make it
//! writable again, not even in the host's mount namespace.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use crate::error::{Error, ErrorKind};
use crate::sys;

const SELF: &CStr = c"/proc/self/exe";
const MOUNT_ATTR_RDONLY: u64 = 1;
const MFD_EXEC: u32 = 0x10;

/// Makes sure that this program's file can't be written through its processes.
///
/// Returns when that is so; until then it executes the program again, with these arguments and
/// this environment. To be called first thing in `main`, while there is one thread, by
/// programs that create containers or processes in them.
///
/// # Errors
///
/// When neither a read-only clone nor a sealed copy can be made: then no container may be
/// entered.
pub fn ensure(argv: &[CString], environment: &[CString]) -> Result<(), Error> {
    let executed_again = sys::auxiliary_string(libc::AT_EXECFN)
        .is_some_and(|name| name.to_bytes().starts_with(b"/dev/fd/"));
    if executed_again {
        return check();
    }
    if is_beyond_reach()? {
        return Ok(());
    }
    let file = read_only_clone()
        .or_else(|_| clone_in_user_namespace())
        .or_else(|_| sealed_copy())
        .map_err(unprotected)?;
    let errno = sys::execveat(file.as_fd(), argv, environment);
    Err(Error::call(
        "execute the protected binary: execveat(2)",
        errno,
    ))
}

/// Why the last resort failed as well.
fn unprotected(errno: Errno) -> Error {
    // All three ways begin with the program's own file.
    match open_self() {
        Err(missing) => Error::call(
            "protect the runtime's binary: open /proc/self/exe: the runtime needs a procfs on /proc",
            missing,
        ),
        Ok(_) => Error::call("protect the runtime's binary: memfd_create(2)", errno),
    }
}

/// Whether what runs now is a read-only clone or a sealed copy.
fn check() -> Result<(), Error> {
    let file = open_self().map_err(|errno| Error::call("open /proc/self/exe", errno))?;
    let flags = nix::sys::statvfs::fstatvfs(&file).map(|status| status.flags());
    if flags.is_ok_and(|flags| flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY)) {
        return Ok(());
    }
    let readable = File::open("/proc/self/exe").map(OwnedFd::from);
    let seals = readable
        .ok()
        .and_then(|file| fcntl(&file, FcntlArg::F_GET_SEALS).ok());
    let sealed = seals.is_some_and(|seals| seals & SealFlag::F_SEAL_WRITE.bits() != 0);
    if sealed {
        return Ok(());
    }
    Err(Error::text(
        ErrorKind::Unsupported,
        "the runtime's binary could not be protected: it runs neither from a read-only mount nor from a sealed copy",
    ))
}

/// Whether no container of this user could write to the file anyway: it belongs to somebody
/// else, and the user may not write to it.
fn is_beyond_reach() -> Result<bool, Error> {
    let euid = nix::unistd::geteuid();
    if euid.is_root() {
        return Ok(false);
    }
    let file = open_self().map_err(|errno| Error::call("open /proc/self/exe", errno))?;
    let owner = nix::sys::stat::fstat(&file)
        .map_err(|errno| Error::call("stat /proc/self/exe", errno))?
        .st_uid;
    let writable = nix::unistd::access("/proc/self/exe", nix::unistd::AccessFlags::W_OK);
    // EROFS and ETXTBSY don't last; only a lack of permission counts.
    Ok(owner == 0 && matches!(writable, Err(Errno::EACCES)))
}

fn open_self() -> Result<OwnedFd, Errno> {
    nix::fcntl::open(SELF, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// A detached clone of the binary's own mount, of this file alone, made read-only.
fn read_only_clone() -> Result<OwnedFd, Errno> {
    clone_of(SELF)
}

fn clone_of(path: &CStr) -> Result<OwnedFd, Errno> {
    const OPEN_TREE_CLONE: u32 = 1;
    let tree = sys::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | libc::O_CLOEXEC as u32)?;
    let read_only = sys::MountAttributes {
        set: MOUNT_ATTR_RDONLY,
        ..Default::default()
    };
    sys::mount_setattr(tree.as_fd(), 0, &read_only)?;
    Ok(tree)
}

/// The same without privilege: a process in a user namespace of its own makes the clone and
/// passes it back.
fn clone_in_user_namespace() -> Result<OwnedFd, Errno> {
    let path = std::fs::read_link("/proc/self/exe").map_err(|error| crate::errno::of_io(&error))?;
    let path =
        CString::new(path.into_os_string().into_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let tree = sys::in_user_and_mount_namespace(|| clone_of(&path))?;
    let (ours, theirs) = (stat(&open_self()?)?, stat(&tree)?);
    if ours == theirs {
        Ok(tree)
    } else {
        Err(Errno::ESTALE)
    }
}

fn stat(file: &OwnedFd) -> Result<(u64, u64), Errno> {
    nix::sys::stat::fstat(file).map(|stat| (stat.st_dev, stat.st_ino))
}

/// A copy in memory that nobody can change: for kernels without open_tree(2).
fn sealed_copy() -> Result<OwnedFd, Errno> {
    let io = |error: std::io::Error| crate::errno::of_io(&error);
    let mut original = File::open("/proc/self/exe").map_err(io)?;
    let length = original.metadata().map_err(io)?.size();
    let allow = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC is needed where vm.memfd_noexec is set, and unknown before Linux 6.3.
    let copy = memfd_create(c"tare", allow | MFdFlags::from_bits_retain(MFD_EXEC))
        .or_else(|_| memfd_create(c"tare", allow))?;
    let mut copy = File::from(copy);
    if std::io::copy(&mut original, &mut copy).map_err(io)? != length {
        return Err(Errno::EIO);
    }
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    // A descriptor open for writing would make execveat(2) fail with ETXTBSY.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    nix::fcntl::open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

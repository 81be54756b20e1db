//! Takes a rootfs away.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use runtime_core::errno::of_io;

use super::place::descriptor_path;
use crate::failure::Failure;

/// How many mounts may be one above the other.
const DEEPEST: usize = 1000;

/// Unmounts everything that is mounted at or below `rootfs`, an absolute path. It disappears at
/// once, and is written back when nobody uses it any more. What is not there, or not mounted,
/// is no error.
///
/// # Errors
///
/// What umount2(2) says.
pub fn unmount(rootfs: &Path) -> Result<(), Failure> {
    for _ in 0..DEEPEST {
        match detach(rootfs) {
            Ok(()) => {}
            Err(Errno::EINVAL) => return unmount_below(rootfs),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(failed(rootfs, errno)),
        }
    }
    let text = format!(
        "unmount {}: more than {DEEPEST} mounts are there",
        rootfs.display()
    );
    Err(Failure::unknown(text))
}

fn detach(path: &Path) -> Result<(), Errno> {
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

fn failed(path: &Path, errno: Errno) -> Failure {
    Failure::call(
        format_args!("unmount {}: umount2(2)", path.display()),
        errno,
    )
}

/// What is mounted below a directory that is no mount itself. The host's table is read only
/// when the directory has something in it that can be mounted on.
fn unmount_below(rootfs: &Path) -> Result<(), Failure> {
    if !fs::read_dir(rootfs).is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let path = real_path(rootfs).map_err(|errno| failed(rootfs, errno))?;
    let table = fs::read("/proc/self/mountinfo")
        .map_err(|error| Failure::call("read /proc/self/mountinfo", of_io(&error)))?;
    // The last one is above the others.
    for below in mounts_below(&table, &path).iter().rev() {
        match detach(below) {
            // Gone with one that was detached before.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(failed(below, errno)),
        }
    }
    Ok(())
}

/// The path as the kernel tells it in its table.
fn real_path(directory: &Path) -> Result<PathBuf, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    fs::read_link(descriptor_path(directory.as_fd())).map_err(|error| of_io(&error))
}

/// The mount points of a mount table that are below a directory, in the table's order.
fn mounts_below(table: &[u8], directory: &Path) -> Vec<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|path| path.starts_with(directory) && path != directory)
        .collect()
}

/// A path of the mount table, where `\040` is a space: proc_pid_mountinfo(5).
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let digits = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_table_is_read_as_the_manual_says() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/a rw\n\
            30 22 0:5 / /b/rootfs rw shared:1 - overlay overlay rw\n\
            31 30 0:6 / /b/rootfs/a\\040b\\134c rw - tmpfs x rw\n\
            32 22 0:7 / /b/rootfs2 rw - tmpfs x rw\n\
            33 31 0:8 / /b/rootfs/\\0x rw - tmpfs x rw\n";
        let below = mounts_below(table, Path::new("/b/rootfs"));
        let names: Vec<&OsStr> = below.iter().map(|path| path.as_os_str()).collect();
        let expected: [&OsStr; 2] = [
            OsStr::new("/b/rootfs/a b\\c"),
            OsStr::from_bytes(b"/b/rootfs/\\0x"),
        ];
        assert_eq!(names, expected);
    }
}

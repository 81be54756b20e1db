//! Mount points of the rootfs: criu mounts only on what is there.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::mountinfo::is_below;
use crate::error::Error;
use crate::plan::{ContentAct, MountSource, Plan};

/// Makes the mount points that the rootfs itself lacks, as `create` does; those inside of other
/// mounts come with them. `is_file` says of a target whether a file is mounted on it.
pub(crate) fn make(
    plan: &Plan,
    rootfs: BorrowedFd<'_>,
    is_file: &dyn Fn(&CStr) -> bool,
) -> Result<(), Error> {
    let targets: Vec<&CStr> = plan
        .contents
        .iter()
        .filter_map(|content| match &content.act {
            ContentAct::Mount(mount) if mount.source != MountSource::Existing => {
                Some(mount.target.as_c_str())
            }
            ContentAct::Device(device) if device.bind => Some(device.path.as_c_str()),
            _ => None,
        })
        .collect();
    for target in &targets {
        let inside =
            |other: &&CStr| other != target && is_below(target.to_bytes(), other.to_bytes());
        if targets.iter().any(inside) {
            continue;
        }
        ensure(rootfs, target, is_file(target)).map_err(|errno| {
            let path = target.to_string_lossy();
            Error::call(format!("make the mount point {path} in the rootfs"), errno)
        })?;
    }
    Ok(())
}

/// Makes a path below the rootfs, part by part, each looked up inside of it.
fn ensure(rootfs: BorrowedFd<'_>, target: &CStr, is_file: bool) -> Result<(), Errno> {
    if open(rootfs, target.to_bytes())?.is_some() {
        return Ok(());
    }
    let bytes = target.to_bytes();
    let mut parent = open(rootfs, b"/")?.ok_or(Errno::ENOENT)?;
    let parts: Vec<(usize, usize)> = parts(bytes);
    for (index, (start, end)) in parts.iter().enumerate() {
        let here = &bytes[..*end];
        let is_last = index + 1 == parts.len();
        let name = CString::new(&bytes[*start..*end]).map_err(|_| Errno::EINVAL)?;
        if open(rootfs, here)?.is_none() {
            make_one(parent.as_fd(), &name, is_last && is_file)?;
        }
        parent = open(rootfs, here)?.ok_or(Errno::ENOENT)?;
    }
    Ok(())
}

/// Start and end of each part.
fn parts(path: &[u8]) -> Vec<(usize, usize)> {
    let mut start = 0;
    let mut found = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        if !part.is_empty() {
            found.push((start, start + part.len()));
        }
        start += part.len() + 1;
    }
    found
}

/// A link that leads nowhere is in the way, and nothing is made through it.
fn make_one(parent: BorrowedFd<'_>, name: &CStr, is_file: bool) -> Result<(), Errno> {
    if is_file {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
    } else {
        mkdirat(parent, name, Mode::from_bits_truncate(0o755))
    }
}

fn open(rootfs: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    match openat2(rootfs, path.as_c_str(), how) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn rootfs() -> (tempfile::TempDir, OwnedFd) {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("rootfs")).unwrap();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = nix::fcntl::open(&place.path().join("rootfs"), flags, Mode::empty()).unwrap();
        (place, fd)
    }

    #[test]
    fn what_is_missing_is_made_and_stays_inside() {
        let (place, rootfs) = rootfs();
        ensure(rootfs.as_fd(), c"/a/b/c", false).unwrap();
        ensure(rootfs.as_fd(), c"/etc/hosts", true).unwrap();
        ensure(rootfs.as_fd(), c"/etc/hosts", true).unwrap();
        let path = place.path().join("rootfs");
        assert!(path.join("a/b/c").is_dir() && path.join("etc/hosts").is_file());

        // A link to the outside is one of the inside.
        symlink("../../outside", path.join("link")).unwrap();
        let refused = ensure(rootfs.as_fd(), c"/link/x", false);
        assert_eq!(refused, Err(Errno::EEXIST));
        symlink("/a", path.join("good")).unwrap();
        ensure(rootfs.as_fd(), c"/good/x", false).unwrap();
        assert!(path.join("a/x").is_dir());
        assert!(!place.path().join("outside").exists());
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let (_place, rootfs) = rootfs();
        ensure(rootfs.as_fd(), c"/file", true).unwrap();
        assert_eq!(
            ensure(rootfs.as_fd(), c"/file/below", false),
            Err(Errno::ENOTDIR)
        );
    }
}

//! Where something is mounted: the rootfs's directory, or a place below it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use runtime_core::errno::Words;

use crate::failure::Failure;

/// A descriptor of the place. What is mounted there later is not what it is.
#[derive(Debug)]
pub(super) struct Place(OwnedFd);

impl Place {
    /// The rootfs, or `target` below it, where links lead no further than to the rootfs: what
    /// is there comes from an image.
    pub(super) fn find(rootfs: &Path, target: &str) -> Result<Self, Failure> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let directory = flags | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let root = open(rootfs, directory, Mode::empty())
            .map_err(|errno| Failure::call(format_args!("open {}", rootfs.display()), errno))?;
        if target.bytes().all(|byte| byte == b'/') {
            return Ok(Self(root));
        }
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        let found = openat2(&root, target, how).map_err(|errno| match errno {
            Errno::ENOENT => {
                Failure::not_found(format!("find the target {target:?}: {}", Words(errno)))
            }
            errno => Failure::call(format_args!("find the target {target:?}"), errno),
        })?;
        Ok(Self(found))
    }

    /// Its name, which is good as long as the descriptor is open.
    pub(super) fn path(&self) -> String {
        descriptor_path(self.0.as_fd())
    }

    /// Detaches the mount that this is the root of, and everything below it.
    pub(super) fn detach(&self) -> Result<(), Errno> {
        umount2(self.path().as_str(), MntFlags::MNT_DETACH)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The name of what a descriptor of this process is.
pub(super) fn descriptor_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

//! Giving the cgroup2 directory to the container's root user.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};

use super::error::CgroupError;
use super::{Cgroup, c_string};

/// Where the kernel lists the files that may be given away.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

/// What it lists since there is a list at all.
const ALWAYS: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

impl Cgroup {
    /// Makes `uid` (of the runtime's user namespace) the owner of the cgroup2 directory and of
    /// the files in it that the kernel allows to be given away: the container's root user can
    /// make sub-cgroups, and change none of its own limits. Nothing without a cgroup2 directory.
    ///
    /// For containers with a user and a cgroup namespace of their own (cgroups(7),
    /// "Cgroups v2 delegation").
    ///
    /// # Errors
    ///
    /// [`CgroupError::Call`] when an owner can't be changed.
    pub fn delegate(&self, uid: u32) -> Result<(), CgroupError> {
        let Some(member) = self.unified() else {
            return Ok(());
        };
        let owner = Some(Uid::from_raw(uid));
        let failed = |path: &std::path::Path, source| CgroupError::Call {
            call: "chown",
            path: path.to_owned(),
            source,
        };
        let directory = &member.directory;
        fchown(directory.as_fd(), owner, None).map_err(|e| failed(directory.path(), e))?;
        let listed = std::fs::read_to_string(DELEGATE).unwrap_or_else(|_| ALWAYS.to_owned());
        for file in listed.lines().filter(|file| !file.contains('/')) {
            let name = c_string(file).map_err(|e| failed(directory.path(), e))?;
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            match fchownat(directory.as_fd(), name.as_c_str(), owner, None, flags) {
                // The list has files of controllers that are not enabled here.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed(&directory.path().join(file), errno)),
            }
        }
        Ok(())
    }
}

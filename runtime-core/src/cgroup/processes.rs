//! Who is in the container's cgroups.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;

use super::directory::Directory;
use super::error::CgroupError;
use super::{Cgroup, Version, value_of};

impl Cgroup {
    /// The ids of all processes, sub-cgroups included, ascending.
    ///
    /// Each is as old as the answer: signal a process by its descriptor only.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Call`] when a directory can't be read; one that is gone has no processes.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        // All hierarchies say the same; the freezer is the one that kill stops.
        let member = self.freezer().or_else(|| self.members.first());
        let Some(member) = member else {
            return Ok(Vec::new());
        };
        let mut pids = BTreeSet::new();
        collect(&member.directory, &mut pids).map_err(|source| CgroupError::Call {
            call: "read",
            path: member.directory.path().to_owned(),
            source,
        })?;
        Ok(pids.into_iter().collect())
    }

    /// The first of these processes that is not in each of the directories or below, and the
    /// directory that it is not in.
    pub(crate) fn first_outside(&self, pids: &[i32]) -> Option<(i32, PathBuf)> {
        self.members.iter().find_map(|member| {
            let inside = below(&member.directory);
            let outside = pids.iter().find(|pid| !inside.contains(pid))?;
            Some((*outside, member.directory.path().to_owned()))
        })
    }

    /// Whether any process is in any of the directories or below.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.members.iter().any(|member| match member.version {
            Version::V1 => !below(&member.directory).is_empty(),
            Version::V2 => {
                let events = member.directory.try_read("cgroup.events");
                events.is_ok_and(|events| value_of(&events, "populated") == Some("1"))
            }
        })
    }

    /// The cgroup2 directory below the container's (or that one itself) that the process is
    /// in: where an exec process goes when the container's own directory passes controllers
    /// on and so takes no processes. None when the process is not in the container.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Call`] when a directory can't be read.
    pub fn v2_dir_of(&self, pid: i32) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(member) = self.unified() else {
            return Ok(None);
        };
        let mut found: Option<Result<OwnedFd, Errno>> = None;
        let walked = member.directory.walk(|directory| {
            let listed = directory.try_read("cgroup.procs").unwrap_or_default();
            if found.is_none() && pids_of(&listed).any(|listed| listed == pid) {
                found = Some(directory.try_clone());
            }
        });
        walked
            .and_then(|()| found.transpose())
            .map_err(|source| CgroupError::Call {
                call: "read",
                path: member.directory.path().to_owned(),
                source,
            })
    }

    /// The processes in any of the directories: members of one hierarchy can have moved.
    pub(super) fn processes_anywhere(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for member in &self.members {
            pids.extend(below(&member.directory));
        }
        pids
    }
}

/// Processes in the directory and below; what can't be read has none.
pub(super) fn below(directory: &Directory) -> BTreeSet<i32> {
    let mut pids = BTreeSet::new();
    if collect(directory, &mut pids).is_err() {
        // Vanished meanwhile: what was found so far is all there is.
    }
    pids
}

fn collect(directory: &Directory, pids: &mut BTreeSet<i32>) -> Result<(), Errno> {
    let walked = directory.walk(|directory| {
        // A threaded directory refuses to be read; its processes are listed by its domain.
        if let Ok(listed) = directory.try_read("cgroup.procs") {
            pids.extend(pids_of(&listed));
        }
    });
    match walked {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The ids in a `cgroup.procs`; 0 stands for a process that this pid namespace does not see.
pub(super) fn pids_of(listed: &str) -> impl Iterator<Item = i32> {
    listed.lines().filter_map(|line| line.parse().ok())
}

//! One directory of a container, owned, for who only reads in it: statistics and the watch for
//! kills.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::directory::Directory;
use super::error::{CgroupError, Hint};
use super::{Cgroup, Version, value_of};

/// A directory, and which controllers a v1 hierarchy has there.
#[derive(Debug)]
pub(crate) struct Place {
    version: Version,
    controllers: Vec<String>,
    directory: Directory,
}

impl Cgroup {
    /// The directories, cgroup v1 ones first; everything else that was open is closed.
    pub(crate) fn into_places(mut self) -> Vec<Place> {
        let members = std::mem::take(&mut self.members);
        members
            .into_iter()
            .map(|member| Place {
                version: member.version,
                controllers: member.controllers,
                directory: member.directory,
            })
            .collect()
    }
}

impl Place {
    pub(crate) fn is_v1(&self) -> bool {
        self.version == Version::V1
    }

    /// Whether it belongs to a v1 hierarchy with this controller.
    pub(crate) fn is_v1_of(&self, controller: &str) -> bool {
        self.is_v1() && self.controllers.iter().any(|name| name == controller)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn open(&self, file: &str) -> Result<OwnedFd, Errno> {
        self.directory.open_file(file, OFlag::O_RDONLY)
    }

    /// Writes a value in one write(2).
    pub(crate) fn write(&self, file: &str, value: &str, hint: Hint) -> Result<(), CgroupError> {
        let written = self.directory.try_write(file, value);
        written.map_err(|source| self.directory.refused(file, value, hint, source))
    }

    /// Whether it has not been removed: a removed directory has no files.
    pub(crate) fn is_there(&self) -> bool {
        self.directory.has("cgroup.procs")
    }

    /// The error of a call on a file.
    pub(crate) fn failed(&self, call: &'static str, file: &str, source: Errno) -> CgroupError {
        let path = self.path().join(file);
        CgroupError::Call { call, path, source }
    }

    /// The error of a call on the directory itself.
    pub(crate) fn failed_itself(&self, call: &'static str, source: Errno) -> CgroupError {
        let path = self.path().to_owned();
        CgroupError::Call { call, path, source }
    }

    /// The names of its files that start so and end so, without both; sorted.
    pub(crate) fn names_between(&self, start: &str, end: &str) -> Result<Vec<String>, Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_str();
            let between = name
                .and_then(|name| name.strip_prefix(start))
                .and_then(|name| name.strip_suffix(end));
            names.extend(between.map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// `oom_kill` of a v1 memory directory and of all below it: there every directory counts
    /// only its own processes.
    pub(crate) fn v1_oom_kills(&self) -> Result<u64, Errno> {
        self.directory.try_read("memory.oom_control")?;
        let mut kills: u64 = 0;
        self.directory.walk(|directory| {
            let control = directory.try_read("memory.oom_control").unwrap_or_default();
            let own = value_of(&control, "oom_kill").and_then(|text| text.parse().ok());
            kills = kills.saturating_add(own.unwrap_or(0));
        })?;
        Ok(kills)
    }
}

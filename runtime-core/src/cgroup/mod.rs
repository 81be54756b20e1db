//! A container's cgroups: one directory in every hierarchy of the host.
//!
//! ```text
//!  Cgroup::create ──▶ apply ──▶ the child enters ──▶ keep            (create)
//!        │              │    v1: writes 0 to each of v1_task_files
//!        │              │    v2: clone3 with CLONE_INTO_CGROUP and v2_dir
//!        └──────────────┴─ dropped before keep: what create made is removed
//!
//!  Cgroup::create_in_unit ──▶ the same, but systemd makes the directories: see `systemd`
//!
//!  Cgroup::open(paths) ──▶ update_resources, freeze, thaw, processes, kill_all, remove
//!                                                                    (later operations)
//! ```
//!
//! A pid is never written to `cgroup.procs`: that waits for the kernel about 9 ms.
//!
//! Everything is done below descriptors of the directories, links are never followed, and
//! nothing outside of the container's directories is touched but a parent's
//! `cgroup.subtree_control`. Nothing here changes state of the calling process, and every
//! wait has a deadline.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use self::directory::Directory;
pub use self::error::{CgroupError, Hint, Leftover, NotPutBack};
pub use self::layout::probe;
pub(crate) use self::place::Place;
pub use self::planned::planned_paths;
use self::systemd::StartedUnit;

mod apply;
mod completed;
mod create;
mod delegate;
mod devices;
mod directory;
mod error;
mod freezer;
mod journal;
mod kill;
mod layout;
mod limits;
mod pass_on;
mod place;
mod planned;
mod processes;
mod refused;
mod remove;
mod settle;
pub mod systemd;
mod v1;
mod v2;

/// The container's directories.
#[derive(Debug)]
pub struct Cgroup {
    /// cgroup v1 ones first.
    members: Vec<Member>,
    /// Parents of the containers' directories that create made, outermost first.
    made_parents: Vec<(Directory, String)>,
    /// `tasks` of every v1 directory, open for writing.
    task_files: Vec<OwnedFd>,
    /// Whether a drop removes what create made.
    undo: bool,
    /// Whether all directories were found new or empty: until then one of them may be somebody
    /// else's, with processes in it.
    is_ours: bool,
    /// systemd's unit, while create may have to undo it. Dropped after all processes are.
    unit: Option<StartedUnit>,
}

/// The container's directory in one hierarchy.
#[derive(Debug)]
struct Member {
    version: Version,
    /// v1: as the hierarchy has them. v2: those of the hierarchy's root; unknown after `open`.
    controllers: Vec<String>,
    parent: Directory,
    name: String,
    directory: Directory,
    /// Whether create made the directory.
    made: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The key of the cgroup2 directory in [`Cgroup::paths`], as in runc's state.json.
const UNIFIED_KEY: &str = "";

impl Cgroup {
    /// Opens the directories that [`paths`](Self::paths) once told; those that are gone are
    /// left out.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotACgroup`] for a path on another filesystem, [`CgroupError::Call`]
    /// with ELOOP for one with a symbolic link in it.
    pub fn open(paths: &BTreeMap<String, String>) -> Result<Self, CgroupError> {
        let mut by_path: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (controller, path) in paths {
            by_path.entry(path).or_default().push(controller.clone());
        }
        let mut cgroup = Self::empty();
        for (path, controllers) in by_path {
            match open_member(Path::new(path), controllers) {
                Ok(member) => cgroup.members.push(member),
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        cgroup
            .members
            .sort_by_key(|member| member.version == Version::V2);
        Ok(cgroup)
    }

    /// The same, ready to be entered by a further process: with
    /// [`v1_task_files`](Self::v1_task_files).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`CgroupError::Call`] when a directory is missing, for a
    /// process that does not enter it has none of its limits, or when a `tasks` file may not
    /// be written.
    pub fn open_to_enter(paths: &BTreeMap<String, String>) -> Result<Self, CgroupError> {
        let mut cgroup = Self::open(paths)?;
        let is_open = |path: &Path| {
            let mut members = cgroup.members.iter();
            members.any(|member| member.directory.path() == path)
        };
        if let Some(missing) = paths.values().map(Path::new).find(|path| !is_open(path)) {
            return Err(CgroupError::Call {
                call: "open",
                path: missing.to_owned(),
                source: Errno::ENOENT,
            });
        }
        cgroup.open_task_files()?;
        Ok(cgroup)
    }

    fn empty() -> Self {
        Self {
            members: Vec::new(),
            made_parents: Vec::new(),
            task_files: Vec::new(),
            undo: false,
            is_ours: false,
            unit: None,
        }
    }

    /// Opens the `tasks` files of the v1 directories.
    fn open_task_files(&mut self) -> Result<(), CgroupError> {
        for member in self.members.iter().filter(|m| m.version == Version::V1) {
            match member.directory.open_file("tasks", OFlag::O_WRONLY) {
                Ok(file) => self.task_files.push(file),
                Err(source) => {
                    return Err(CgroupError::Call {
                        call: "open",
                        path: member.directory.path().join("tasks"),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Lets what create made stay when this value goes.
    pub fn keep(&mut self) {
        self.undo = false;
        if let Some(mut unit) = self.unit.take() {
            unit.keep();
        }
    }

    /// The numbers of [`v1_task_files`](Self::v1_task_files), for a child that inherits them.
    pub(crate) fn v1_task_numbers(&self) -> Vec<RawFd> {
        self.task_files.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Closes the `tasks` files, once nobody enters any more.
    pub(crate) fn close_task_files(&mut self) {
        self.task_files.clear();
    }

    /// Open `tasks` files of the v1 directories, write-only and close-on-exec: a process with
    /// one thread that writes `0` to each of them is in the container's cgroups.
    #[must_use]
    pub fn v1_task_files(&self) -> &[OwnedFd] {
        &self.task_files
    }

    /// The cgroup2 directory, for CLONE_INTO_CGROUP; on hybrid hosts too.
    ///
    /// clone3(2) says EBUSY when the directory passes controllers on to children of its own
    /// (a container that runs systemd or containers): see [`v2_dir_of`](Self::v2_dir_of). It
    /// says EAGAIN when `pids.limit` does not allow one more process.
    #[must_use]
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|member| member.directory.as_fd())
    }

    /// Whether there is no directory at all: none was made, or all are gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.members.is_empty()
    }

    /// The directories by controller; the cgroup2 one under the empty name.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<String, String> {
        let mut paths = BTreeMap::new();
        for member in &self.members {
            let path = member.directory.path().to_string_lossy().into_owned();
            match member.version {
                Version::V2 => {
                    paths.insert(UNIFIED_KEY.to_owned(), path);
                }
                Version::V1 => {
                    let keys = member.controllers.iter().cloned();
                    paths.extend(keys.map(|controller| (controller, path.clone())));
                }
            }
        }
        paths
    }

    /// How many processes of the container the kernel has killed for want of memory; none
    /// without a memory controller.
    #[must_use]
    pub fn oom_killed(&self) -> Option<u64> {
        let member = self.of_controller("memory")?;
        let file = match member.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let content = member.directory.try_read(file).ok()?;
        value_of(&content, "oom_kill")?.parse().ok()
    }

    fn unified(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.version == Version::V2)
    }

    /// The directory where a controller (by its v2 name) is set.
    fn of_controller(&self, controller: &str) -> Option<&Member> {
        let legacy_name = if controller == "io" {
            "blkio"
        } else {
            controller
        };
        let legacy = self.members.iter().find(|member| {
            member.version == Version::V1 && member.controllers.iter().any(|c| c == legacy_name)
        });
        legacy.or_else(|| self.unified())
    }

    fn of_needed_controller(&self, controller: &str) -> Result<&Member, CgroupError> {
        self.of_controller(controller)
            .ok_or_else(|| CgroupError::ControllerMissing {
                controller: controller.to_owned(),
            })
    }
}

/// Opens one recorded directory by way of its parent.
fn open_member(path: &Path, controllers: Vec<String>) -> Result<Member, CgroupError> {
    let no_path = || CgroupError::NotACgroup {
        path: path.to_owned(),
    };
    let parent = path.parent().filter(|_| path.is_absolute());
    let name = path.file_name().and_then(|name| name.to_str());
    let (parent, name) = parent.zip(name).ok_or_else(no_path)?;
    let parent = Directory::open(parent)?;
    let directory = parent.child(name)?;
    let version = if controllers.iter().any(|c| c == UNIFIED_KEY) {
        Version::V2
    } else {
        Version::V1
    };
    Ok(Member {
        version,
        controllers,
        parent,
        name: name.to_owned(),
        directory,
        made: false,
    })
}

/// The value of a line `key value` in a flat-keyed file.
fn value_of<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    content.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then_some(value)
    })
}

/// A name for system calls; names here come from the plan or the kernel and have no NUL.
fn c_string(name: &str) -> Result<CString, Errno> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests;

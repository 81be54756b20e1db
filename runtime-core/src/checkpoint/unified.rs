//! The options of the host's cgroup v2, which criu forgets.
//!
//! They are the hierarchy's and not a mount's: whoever mounts it once more in the host's cgroup
//! namespace, and names none, takes them from everybody (cgroups(7), nsdelegate). Without
//! `nsdelegate` a container whose cgroups are writable could raise its own limits. criu mounts it so.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::mountinfo;
use crate::procfs::Procfs;
use crate::sys;

/// What a hierarchy is mounted with by itself, which is not an option of its own.
const PLAIN: [&str; 2] = ["rw", "ro"];

/// The options that the host's cgroup v2 has.
#[derive(Debug, Default)]
pub(crate) struct Unified {
    /// Where it is mounted; none when it is not.
    point: Option<CString>,
    options: Vec<String>,
}

impl Unified {
    /// As they are now.
    ///
    /// Only mountinfo tells them on every kernel, so all mounts are read here, which costs little
    /// beside criu.
    pub(crate) fn now(procfs: &Procfs) -> Result<Self, Errno> {
        Ok(Self::of(&procfs.read("self/mountinfo")?))
    }

    fn of(text: &str) -> Self {
        text.lines().find_map(Self::of_line).unwrap_or_default()
    }

    fn of_line(line: &str) -> Option<Self> {
        let mount = mountinfo::parse(line).pop()?;
        let (_, options) = line.rsplit_once(' ')?;
        let options = options.split(',').filter(|word| !PLAIN.contains(word));
        (mount.kind == "cgroup2").then(|| Self {
            point: CString::new(mount.point).ok(),
            options: options.map(str::to_owned).collect(),
        })
    }

    /// Gives the hierarchy those back that it has lost since; what it has got by others stays.
    pub(crate) fn put_back(&self, procfs: &Procfs) -> Result<(), Errno> {
        let mut now = Self::now(procfs)?;
        let is_lost = |option: &&String| !now.options.contains(option);
        let lost: Vec<String> = self.options.iter().filter(is_lost).cloned().collect();
        match &self.point {
            Some(point) if !lost.is_empty() => {
                now.options.extend(lost);
                set(point, &now.options)
            }
            _ => Ok(()),
        }
    }
}

/// Gives the hierarchy that is mounted here exactly these options.
fn set(point: &CStr, options: &[String]) -> Result<(), Errno> {
    let context = sys::fspick(point)?;
    for option in options {
        let option = CString::new(option.as_str()).map_err(|_| Errno::EINVAL)?;
        sys::fsconfig(context.as_fd(), &option, None)?;
    }
    sys::fsconfig_reconfigure(context.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_the_hierarchys_own() {
        let text = "24 1 254:0 / / rw - ext4 /dev/vda rw,discard\n\
                    36 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let unified = Unified::of(text);
        assert_eq!(unified.point.as_deref(), Some(c"/sys/fs/cgroup"));
        assert_eq!(unified.options, ["nsdelegate", "memory_recursiveprot"]);
    }

    #[test]
    fn a_host_without_it_has_none() {
        let text = "36 24 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(Unified::of(text).point, None);
    }
}

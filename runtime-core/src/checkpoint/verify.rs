//! What criu has made of an image, compared with config.json before it runs.
//!
//! Every process of the restored tree is looked at while it stands still. It may have less than
//! config.json gives (a program that has given privileges up is not refused), and nothing more:
//! capabilities, no_new_privs, a seccomp filter (which one: `filters`), the label, user and
//! group where it could not have changed them, namespaces, id mappings, cgroups, resource
//! limits, the OOM score; mounts are `verify_mounts`.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::external::View;
use super::verify_mounts::{self, Given};
use super::verify_process::Checked;
use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind};
use crate::plan::{IdMapping, Plan};
use crate::procfs::Procfs;

pub(super) const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Kinds of namespaces, and their files in `/proc/PID/ns`. A time namespace that criu adds is
/// one more, and no less.
pub(super) const NAMESPACES: [(i32, &str); 7] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWNS, "mnt"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
];

/// More processes than any container has; a tree that goes on is no tree.
const MOST_PROCESSES: usize = 1 << 20;

/// What a restored container has to be.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) procfs: &'a Procfs,
    pub(crate) cgroup: &'a Cgroup,
    /// One for each of `plan.namespaces.joined`.
    pub(crate) joined: &'a [OwnedFd],
    /// The filesystems that criu was given.
    pub(crate) mounts: &'a [Given],
    /// The caller's label, before config.json's.
    pub(crate) lsm_profile: Option<&'a str>,
}

/// Compares a restored tree, which stands still, with its target.
///
/// # Errors
///
/// [`ErrorKind::InvalidConfig`] with the first thing that it has more than the target gives.
pub(crate) fn check(target: &Target<'_>, init: i32) -> Result<(), Error> {
    let processes = tree(target.procfs, init)?;
    target.check_cgroups(&processes)?;
    target.check_init_namespaces(init)?;
    for pid in &processes {
        let process = Checked {
            target,
            init,
            pid: *pid,
        };
        process.check()?;
    }
    let view = View::of(target.procfs, init)?;
    verify_mounts::check(target.plan, target.mounts, &view)
}

/// A process and all its descendants that live: one that has ended, and that its parent has not
/// waited for, runs nothing and is in no cgroup any more.
pub(crate) fn tree(procfs: &Procfs, init: i32) -> Result<Vec<i32>, Error> {
    let mut found = vec![init];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        for thread in threads(procfs, pid)? {
            let path = format!("{pid}/task/{thread}/children");
            let text = procfs
                .read(&path)
                .map_err(|errno| unreadable(&path, errno))?;
            let children = text
                .split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok());
            found.extend(children);
        }
        if found.len() > MOST_PROCESSES {
            return Err(unreadable("PID/task/TID/children", Errno::E2BIG));
        }
    }
    found.retain(|pid| *pid == init || lives(procfs, *pid));
    Ok(found)
}

fn lives(procfs: &Procfs, pid: i32) -> bool {
    !matches!(
        procfs.start_time(pid),
        Ok((_, 'Z' | 'X')) | Err(Errno::ENOENT | Errno::ESRCH)
    )
}

pub(super) fn threads(procfs: &Procfs, pid: i32) -> Result<Vec<i32>, Error> {
    let path = format!("{pid}/task");
    procfs
        .numbers(&path)
        .map_err(|errno| unreadable(&path, errno))
}

pub(super) fn unreadable(path: &str, errno: Errno) -> Error {
    Error::call(
        format!("check what criu has restored: read /proc/{path}"),
        errno,
    )
}

impl Target<'_> {
    fn check_cgroups(&self, processes: &[i32]) -> Result<(), Error> {
        match self.cgroup.first_outside(processes) {
            None => Ok(()),
            Some((pid, path)) => Err(refusal(format!(
                "process {pid} is not in the container's cgroup {}",
                path.display()
            ))),
        }
    }

    /// New ones are not the runtime's own, joined ones are those of config.json, and all others
    /// are the runtime's own.
    fn check_init_namespaces(&self, init: i32) -> Result<(), Error> {
        let namespaces = &self.plan.namespaces;
        for (kind, file) in NAMESPACES {
            let flag = u64::from(kind.cast_unsigned());
            let theirs = self.namespace(&init.to_string(), file)?;
            let own = self.namespace("self", file)?;
            let position = namespaces
                .joined
                .iter()
                .position(|joined| joined.kind == flag);
            let is_right = match position.and_then(|position| self.joined.get(position)) {
                Some(joined) => {
                    let status = fstat(joined).map_err(|errno| unreadable(file, errno))?;
                    theirs == format!("{file}:[{}]", status.st_ino)
                }
                None if namespaces.new & flag != 0 => theirs != own,
                None => theirs == own,
            };
            if !is_right {
                return Err(refusal(format!(
                    "init is in another {file} namespace than linux.namespaces says"
                )));
            }
        }
        let mappings = [
            ("uid_map", &namespaces.uid_mappings),
            ("gid_map", &namespaces.gid_mappings),
        ];
        for (file, wanted) in mappings {
            if namespaces.new & u64::from(libc::CLONE_NEWUSER.cast_unsigned()) != 0 {
                let path = format!("{init}/{file}");
                let text = self
                    .procfs
                    .read(&path)
                    .map_err(|errno| unreadable(&path, errno))?;
                if !is_same_mapping(&text, wanted) {
                    return Err(refusal(format!("its {file} is not that of config.json")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn namespace(&self, pid: &str, file: &str) -> Result<String, Error> {
        let path = format!("{pid}/ns/{file}");
        self.procfs
            .link(&path)
            .map_err(|errno| unreadable(&path, errno))
    }

    /// The label that every process has to have, and the file that tells it.
    pub(super) fn label(&self) -> Option<(&str, &'static str)> {
        let process = &self.plan.process;
        let given = self.lsm_profile.and_then(|label| label.split_once(':'));
        match given {
            Some(("apparmor", name)) => return Some((name, "apparmor/current")),
            Some((_, label)) => return Some((label, "current")),
            None => {}
        }
        let apparmor = process.apparmor_profile.as_deref();
        let selinux = process.selinux_label.as_deref();
        apparmor
            .map(|name| (name, "apparmor/current"))
            .or(selinux.map(|label| (label, "current")))
    }
}

/// Whether the kernel's words and config.json's ranges are the same set.
fn is_same_mapping(text: &str, wanted: &[IdMapping]) -> bool {
    let numbers = |line: &str| -> Vec<u32> {
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let mut found: Vec<Vec<u32>> = text.lines().map(numbers).collect();
    let mut wanted: Vec<Vec<u32>> = wanted
        .iter()
        .map(|range| vec![range.container_id, range.host_id, range.size])
        .collect();
    found.sort();
    wanted.sort();
    found == wanted
}

/// Why an image is not restored.
pub(super) fn refusal(what: String) -> Error {
    Error::text(
        ErrorKind::InvalidConfig,
        format!(
            "restore: the image does not fit config.json: {what}; restore it under the config.json that it was made with, or make it anew"
        ),
    )
}

/// What an id of the container is on the host; none when it is not mapped.
pub(super) fn host_id(id: u32, mappings: &[IdMapping]) -> Option<u32> {
    if mappings.is_empty() {
        return Some(id);
    }
    mappings.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id)?;
        (offset < range.size).then(|| range.host_id.checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_every_descendant() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 100 & sleep 100 & echo ready; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let procfs = Procfs::open().unwrap();
        let found = tree(&procfs, pid).unwrap();
        for pid in &found {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(*pid),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
        }
        child.wait().unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], pid);
    }

    #[test]
    fn mappings_are_compared_as_sets() {
        let range = |container_id, host_id, size| IdMapping {
            container_id,
            host_id,
            size,
        };
        let wanted = [range(0, 1000, 10), range(10, 5000, 5)];
        assert!(is_same_mapping(" 10 5000 5\n 0 1000 10\n", &wanted));
        assert!(!is_same_mapping(" 0 0 4294967295\n", &wanted));
        assert!(!is_same_mapping(" 0 1000 10\n", &wanted));
        assert_eq!(host_id(12, &wanted), Some(5002));
        assert_eq!(host_id(15, &wanted), None);
        assert_eq!(host_id(7, &[]), Some(7));
    }
}

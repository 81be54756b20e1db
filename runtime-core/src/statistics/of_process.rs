//! The cgroups of a process that another runtime has started.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

use super::{Buffer, OomWatch, Statistics, are_all_of, count, network, unless_gone};
use crate::cgroup::{self, Cgroup, CgroupError};
use crate::error::{Error, ErrorKind};
use crate::host::{CgroupLayout, CgroupMount};
use crate::process::Process;
use crate::runtime::procfs;

/// The cgroups that a process was in when it was looked at, for statistics about whatever else
/// runs in them. The process may move later: what was found is kept.
///
/// Those in which this program is itself, and those that can't be reached from here, are left
/// out: their figures are not the process's.
#[derive(Debug)]
pub struct ProcessCgroups {
    process: Process,
    paths: BTreeMap<String, String>,
    has_own_network: bool,
}

impl ProcessCgroups {
    /// Looks at a process; it should be one that nobody else reaps, or live.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRunning`] when it has ended; [`ErrorKind::Unsupported`] when it has no
    /// cgroup of its own; [`ErrorKind::Cgroup`] when the host's hierarchies can't be told.
    pub fn of(process: &Process) -> Result<Self, Error> {
        let pid = process.pid();
        let procfs = procfs()?;
        let failed = |what: &str, errno| Error::call(format!("read /proc/{pid}/{what}"), errno);
        let listed = procfs
            .read(format!("{pid}/cgroup"))
            .map_err(|errno| failed("cgroup", errno))?;
        let network = |whose: &str| procfs.link(&format!("{whose}/ns/net"));
        let has_own_network = network(&pid.to_string()).ok() != network("self").ok();
        // It lives, so the number was its own until now.
        if !lives(process) {
            return Err(ended(pid));
        }
        let paths = paths_of(&cgroup::probe()?, &listed);
        if paths.is_empty() {
            let text = format!("process {pid} has no cgroup of its own");
            return Err(Error::text(ErrorKind::Unsupported, text));
        }
        Ok(Self {
            process: process
                .try_clone()
                .map_err(|errno| Error::call("duplicate a pidfd", errno))?,
            paths,
            has_own_network,
        })
    }

    /// What is used in the cgroups now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRunning`] when the cgroups are gone; [`ErrorKind::Cgroup`] when a file
    /// can't be read or says what is not understood.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let counted = unless_gone(self.counted())?.flatten();
        let mut statistics = counted.ok_or_else(|| ended(self.process.pid()))?;
        if self.has_own_network {
            *statistics.network_mut() = network::interfaces_of(&procfs()?, &self.process)
                .map_err(|errno| Error::call("read the network's counters", errno))?;
        }
        Ok(statistics)
    }

    fn counted(&self) -> Result<Option<Statistics>, CgroupError> {
        let places = Cgroup::open(&self.paths)?.into_places();
        let statistics = count(&places, &mut Buffer::default())?;
        let is_whole = are_all_of(&self.paths, &places) || lives(&self.process);
        Ok(statistics.filter(|_| is_whole))
    }

    /// Tells of processes in the cgroups that the kernel kills for want of memory, from now on;
    /// None when no controller counts memory.
    ///
    /// # Errors
    ///
    /// As [`statistics`](Self::statistics).
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        let process = self.process.try_clone();
        let process = process.map_err(|errno| Error::call("duplicate a pidfd", errno))?;
        let watch = Cgroup::open(&self.paths).and_then(|cgroup| {
            let places = cgroup.into_places();
            OomWatch::new(places, Some(process))
        });
        unless_gone(watch)?.ok_or_else(|| ended(self.process.pid()))
    }
}

fn lives(process: &Process) -> bool {
    matches!(process.ended_within(Duration::ZERO), Ok(false))
}

fn ended(pid: i32) -> Error {
    Error::text(ErrorKind::NotRunning, format!("process {pid} has ended"))
}

/// The directories by controller of a process with these lines in `/proc/PID/cgroup`
/// (cgroups(7)).
fn paths_of(layout: &CgroupLayout, listed: &str) -> BTreeMap<String, String> {
    let (hierarchies, unified): (&[CgroupMount], _) = match layout {
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => (hierarchies, unified.as_ref()),
        CgroupLayout::V2(unified) => (&[], Some(unified)),
        CgroupLayout::None => (&[], None),
    };
    let mut paths = BTreeMap::new();
    for line in listed.lines() {
        let Some((number, (controllers, path))) = line
            .split_once(':')
            .and_then(|(number, rest)| Some((number, rest.split_once(':')?)))
        else {
            continue;
        };
        let mount = match (number, controllers) {
            ("0", "") => unified,
            _ => hierarchies
                .iter()
                .find(|mount| mount.controllers.join(",") == controllers),
        };
        let Some(directory) = mount.and_then(|mount| directory(mount, path)) else {
            continue;
        };
        for controller in controllers.split(',') {
            paths.insert(controller.to_owned(), directory.clone());
        }
    }
    paths
}

/// Where a cgroup is; None for this program's own and for one outside of its cgroup namespace.
fn directory(mount: &CgroupMount, path: &str) -> Option<String> {
    let goes_up = Path::new(path)
        .components()
        .any(|part| part == Component::ParentDir);
    let is_other = path != mount.own_path && path != "/" && !goes_up;
    is_other.then(|| format!("{}{path}", mount.mount_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(controllers: &[&str], mount_point: &str) -> CgroupMount {
        CgroupMount {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            mount_point: mount_point.to_owned(),
            own_path: "/own".to_owned(),
        }
    }

    #[test]
    fn a_process_is_found_in_every_hierarchy_but_where_this_program_is() {
        let layout = CgroupLayout::V1 {
            hierarchies: vec![
                mount(&["cpu", "cpuacct"], "/c/cpu"),
                mount(&["memory"], "/c/memory"),
                mount(&["pids"], "/c/pids"),
                mount(&["name=systemd"], "/c/systemd"),
            ],
            unified: Some(mount(&[], "/c/unified")),
        };
        let listed = "5:cpu,cpuacct:/a:b\n4:memory:/own\n3:pids:/../x\n2:name=systemd:/\n1:blkio:/a\n0::/u\n";
        let paths = paths_of(&layout, listed);
        let expected = [
            ("", "/c/unified/u"),
            ("cpu", "/c/cpu/a:b"),
            ("cpuacct", "/c/cpu/a:b"),
        ];
        let found: Vec<_> = paths
            .iter()
            .map(|(controller, path)| (controller.as_str(), path.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn without_cgroups_of_its_own_nothing_is_told() {
        let layout = CgroupLayout::V2(mount(&["memory"], "/c"));
        assert!(paths_of(&layout, "0::/own\n").is_empty());
        assert!(paths_of(&CgroupLayout::None, "0::/u\n").is_empty());
        assert!(paths_of(&layout, "nonsense\n1:memory:/a\n").is_empty());
    }
}

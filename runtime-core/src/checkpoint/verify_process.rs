//! One restored process, compared with config.json.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::verify::{CAP_SYS_ADMIN, NAMESPACES, Target, host_id, refusal, threads, unreadable};
use crate::error::Error;
use crate::sys;

const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;
const CAP_SYS_NICE: u64 = 1 << 23;
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// One process on its way through the comparison.
pub(super) struct Checked<'a> {
    pub(super) target: &'a Target<'a>,
    pub(super) init: i32,
    pub(super) pid: i32,
}

impl Checked<'_> {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_namespaces()?;
        self.check_threads()?;
        self.check_label()?;
        self.check_limits()
    }

    /// A further process may have namespaces of its own, and none of the runtime's that init
    /// has not; a mount namespace of its own only if it could have made it.
    fn check_namespaces(&self) -> Result<(), Error> {
        if self.pid == self.init {
            return Ok(());
        }
        let (init, own) = (self.init.to_string(), self.pid.to_string());
        for (_, file) in NAMESPACES {
            let theirs = self.target.namespace(&own, file)?;
            if theirs == self.target.namespace(&init, file)? {
                continue;
            }
            let may_make = self.target.plan.process.capabilities.bounding & CAP_SYS_ADMIN != 0;
            if theirs == self.target.namespace("self", file)? || file == "mnt" && !may_make {
                return Err(self.refusal(&format!("is in another {file} namespace than init")));
            }
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<(), Error> {
        for thread in threads(self.target.procfs, self.pid)? {
            let path = format!("{}/task/{thread}/status", self.pid);
            let text = self
                .target
                .procfs
                .read(&path)
                .map_err(|errno| unreadable(&path, errno))?;
            let status = Status::parse(&text).ok_or_else(|| unreadable(&path, Errno::EPROTO))?;
            self.check_status(&status)?;
            self.check_scheduling(thread)?;
        }
        Ok(())
    }

    /// No real-time policy and no better niceness than it could have got.
    fn check_scheduling(&self, thread: i32) -> Result<(), Error> {
        let process = &self.target.plan.process;
        if process.scheduler.is_some() || process.capabilities.bounding & CAP_SYS_NICE != 0 {
            return Ok(());
        }
        let read = |path: &str| {
            self.target
                .procfs
                .scheduling(path)
                .map_err(|errno| unreadable(path, errno))
        };
        let (policy, nice) = read(&format!("{}/task/{thread}/stat", self.pid))?;
        let (_, own_nice) = read("self/stat")?;
        if is_realtime(policy) {
            return Err(
                self.refusal("runs under a real-time policy, and process.scheduler has none")
            );
        }
        if nice < own_nice {
            return Err(self.refusal(&format!("has niceness {nice}, less than {own_nice}")));
        }
        Ok(())
    }

    fn check_status(&self, status: &Status) -> Result<(), Error> {
        let process = &self.target.plan.process;
        let bounding = process.capabilities.bounding;
        let sets = &process.capabilities.sets;
        let own = sets.permitted | sets.inheritable | sets.ambient;
        // Without no_new_privs a file can give up to the bounding set.
        let most = if process.no_new_privileges {
            own
        } else {
            own | bounding
        };
        for (name, has, may) in [
            ("bounding", status.bounding, bounding),
            ("permitted", status.permitted, most),
            ("effective", status.effective, most),
            ("inheritable", status.inheritable, most),
            ("ambient", status.ambient, most),
        ] {
            if has & !may != 0 {
                return Err(self.refusal(&format!(
                    "has {} in its {name} set, which process.capabilities does not give",
                    names(has & !may)
                )));
            }
        }
        if process.no_new_privileges && !status.no_new_privs {
            return Err(
                self.refusal("has not set no_new_privs, and process.noNewPrivileges is true")
            );
        }
        if process.seccomp.is_some() && status.seccomp != 2 {
            return Err(self.refusal("has no seccomp filter, and linux.seccomp has one"));
        }
        self.check_ids(status)
    }

    /// Where nothing could have changed them, the ids are those of config.json.
    fn check_ids(&self, status: &Status) -> Result<(), Error> {
        let plan = self.target.plan;
        let process = &plan.process;
        let bounding = process.capabilities.bounding;
        if !process.no_new_privileges {
            return Ok(());
        }
        let user = host_id(process.uid, &plan.namespaces.uid_mappings);
        if bounding & CAP_SETUID == 0 && status.users.iter().any(|id| Some(*id) != user) {
            return Err(self.refusal("is another user than process.user.uid"));
        }
        let group = host_id(process.gid, &plan.namespaces.gid_mappings);
        if bounding & CAP_SETGID == 0 && status.groups.iter().any(|id| Some(*id) != group) {
            return Err(self.refusal("is of another group than process.user.gid"));
        }
        let further = &process.additional_gids;
        let given: Vec<Option<u32>> = further
            .iter()
            .map(|gid| host_id(*gid, &plan.namespaces.gid_mappings))
            .chain([group])
            .collect();
        let other = status
            .further
            .iter()
            .find(|gid| !given.contains(&Some(**gid)));
        if let Some(other) = other.filter(|_| bounding & CAP_SETGID == 0) {
            return Err(self.refusal(&format!(
                "is of group {other}, which process.user.additionalGids does not have"
            )));
        }
        Ok(())
    }

    fn check_label(&self) -> Result<(), Error> {
        let Some((wanted, file)) = self.target.label() else {
            return Ok(());
        };
        let path = format!("{}/attr/{file}", self.pid);
        let read = match self.target.procfs.read(&path) {
            // Before Linux 5.8 there is one file for all.
            Err(Errno::ENOENT) => self
                .target
                .procfs
                .read(format!("{}/attr/current", self.pid)),
            read => read,
        };
        let text = read.map_err(|errno| unreadable(&path, errno))?;
        let label = text.trim_end_matches(['\0', '\n']);
        let label = label.split(" (").next().unwrap_or(label);
        if label == wanted {
            return Ok(());
        }
        Err(self.refusal(&format!("has the label {label:?} instead of {wanted:?}")))
    }

    fn check_limits(&self) -> Result<(), Error> {
        let process = &self.target.plan.process;
        let may_raise = process.capabilities.bounding & CAP_SYS_RESOURCE != 0;
        for limit in process.rlimits.iter().filter(|_| !may_raise) {
            let (_, hard) = sys::limits_of(self.pid, limit.resource)
                .map_err(|errno| unreadable("PID/limits", errno))?;
            if hard > limit.hard {
                return Err(self.refusal(&format!(
                    "has a hard {} of {hard}, and process.rlimits gives {}",
                    limit.name, limit.hard
                )));
            }
        }
        let score = |pid: &str| -> Result<i32, Error> {
            let path = format!("{pid}/oom_score_adj");
            let text = self
                .target
                .procfs
                .read(&path)
                .map_err(|errno| unreadable(&path, errno))?;
            text.trim()
                .parse()
                .map_err(|_| unreadable(&path, Errno::EPROTO))
        };
        let least = match process.oom_score_adj {
            Some(score) => score,
            None => score("self")?,
        };
        let has = score(&self.pid.to_string())?;
        if has < least && !may_raise {
            return Err(self.refusal(&format!("has oom_score_adj {has}, less than {least}")));
        }
        Ok(())
    }

    fn refusal(&self, what: &str) -> Error {
        let who = if self.pid == self.init {
            format!("init (pid {})", self.pid)
        } else {
            format!("process {}", self.pid)
        };
        refusal(format!("{who} {what}"))
    }
}

/// SCHED_FIFO, SCHED_RR and SCHED_DEADLINE: sched(7).
fn is_realtime(policy: u32) -> bool {
    matches!(policy, 1 | 2 | 6)
}

fn names(mask: u64) -> String {
    let all = crate::plan::capability_names();
    let named: Vec<String> = all
        .enumerate()
        .filter(|(number, _)| mask >> number & 1 == 1)
        .map(|(_, name)| name)
        .collect();
    if named.is_empty() {
        format!("capabilities {mask:#x}")
    } else {
        named.join(", ")
    }
}

/// What `/proc/PID/task/TID/status` tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    users: Vec<u32>,
    groups: Vec<u32>,
    /// Supplementary groups.
    further: Vec<u32>,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new_privs: bool,
    seccomp: u32,
}

impl Status {
    /// None when a line is missing: without it nothing is known.
    fn parse(text: &str) -> Option<Self> {
        let lines: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key, value.trim()))
            .collect();
        let mask = |key| u64::from_str_radix(lines.get(key)?, 16).ok();
        let ids = |key| -> Option<Vec<u32>> {
            lines
                .get(key)?
                .split_whitespace()
                .map(|id| id.parse().ok())
                .collect()
        };
        Some(Self {
            users: ids("Uid")?,
            groups: ids("Gid")?,
            further: ids("Groups")?,
            inheritable: mask("CapInh")?,
            permitted: mask("CapPrm")?,
            effective: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            ambient: mask("CapAmb")?,
            no_new_privs: *lines.get("NoNewPrivs")? == "1",
            seccomp: lines.get("Seccomp")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let status = Status::parse(&text).unwrap();
        assert_eq!(status.users[1], nix::unistd::geteuid().as_raw());
        assert_eq!(status.users.len(), 4);
        let without = text.replace("NoNewPrivs", "Other");
        assert_eq!(Status::parse(&without), None);
    }

    #[test]
    fn capabilities_are_named() {
        assert_eq!(
            names(CAP_SYS_ADMIN | CAP_SETUID),
            "CAP_SETUID, CAP_SYS_ADMIN"
        );
        assert_eq!(names(1 << 63), "capabilities 0x8000000000000000");
    }
}

//! Why the kernel refuses a limit: the likely cause, and what to do.

use nix::errno::Errno;

use super::apply::Entry;
use super::create::not_enabled;
use super::error::{CgroupError, Hint};
use super::{Member, Version};
use crate::plan::cgroup::{Limit, Memory};

impl Member {
    pub(super) fn write_error(
        &self,
        controller: &str,
        entry: &Entry,
        source: Errno,
    ) -> CgroupError {
        if let Some(error) = self.not_passed_on(controller, source) {
            return error;
        }
        let hint = self.hint(&entry.file, source);
        self.directory
            .refused(&entry.file, &entry.value, hint, source)
    }

    /// What a file says that the controller has.
    pub(super) fn read_of(&self, controller: &str, file: &str) -> Result<String, CgroupError> {
        self.directory.try_read(file).map_err(|source| {
            let error = self.not_passed_on(controller, source);
            error.unwrap_or_else(|| CgroupError::Call {
                call: "read",
                path: self.directory.path().join(file),
                source,
            })
        })
    }

    /// A file is missing since the parent does not pass the controller on.
    fn not_passed_on(&self, controller: &str, source: Errno) -> Option<CgroupError> {
        if source != Errno::ENOENT || self.version != Version::V2 || controller == "cgroup" {
            return None;
        }
        let passed_on = self.directory.try_read("cgroup.controllers");
        let passed_on = passed_on.unwrap_or_default();
        let has_it = passed_on.split_whitespace().any(|name| name == controller);
        (!has_it).then(|| not_enabled(&self.parent, controller, source))
    }

    fn hint(&self, file: &str, source: Errno) -> Hint {
        match (source, file) {
            (Errno::ENOENT, file) => Hint::cause(format!("this kernel has no {file}")),
            (Errno::EACCES | Errno::EPERM, _) if !file.starts_with("cpuset.") => {
                Hint::cause("this user may not change limits of this cgroup")
            }
            (Errno::EBUSY, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
                let usage = self.number("memory.usage_in_bytes").unwrap_or_default();
                Hint::cause(format!("memory limit too low: usage is {usage} bytes"))
            }
            (Errno::EINVAL, "memory.limit_in_bytes") => self.told(
                "memory.memsw.limit_in_bytes",
                "memory and swap together are limited to",
                "give the swap limit, too",
            ),
            (Errno::EINVAL, "memory.memsw.limit_in_bytes") => self.told(
                "memory.limit_in_bytes",
                "swap counts memory too, and memory alone is limited to",
                "give the memory limit, too",
            ),
            (
                Errno::EINVAL | Errno::EACCES | Errno::EPERM | Errno::ENOSPC | Errno::ERANGE,
                "cpuset.cpus" | "cpuset.mems",
            ) => self.cpuset_hint(file),
            (Errno::EINVAL, "cpu.shares" | "cpu.weight") if self.number("cpu.idle") == Some(1) => {
                Hint::cause("an idle cgroup has no weight: set cpu.idle to 0, too")
            }
            (
                Errno::EINVAL,
                "cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.cfs_burst_us" | "cpu.max"
                | "cpu.max.burst",
            ) => Hint::cause(
                "more than a parent cgroup has, less than the burst, or out of the kernel's range",
            ),
            (Errno::EINVAL, "cpu.rt_runtime_us" | "cpu.rt_period_us") => {
                Hint::cause("the parent cgroup has no such real-time share to give")
            }
            (Errno::ENODEV | Errno::ENXIO, _) => {
                Hint::cause("no block device here has this number")
            }
            (Errno::EOPNOTSUPP, file) if file.contains("weight") => {
                Hint::cause("the I/O scheduler of this device knows no weights")
            }
            _ => Hint::None,
        }
    }

    /// What another file says, and what to do about it.
    fn told(&self, file: &str, what: &str, advice: &str) -> Hint {
        match self.number(file) {
            Some(number) => Hint::cause(format!("{what} {number}: {advice}")),
            None => Hint::None,
        }
    }

    fn cpuset_hint(&self, file: &str) -> Hint {
        let effective = match self.version {
            Version::V1 => file.to_owned(),
            Version::V2 => format!("{file}.effective"),
        };
        match self.parent.try_read(&effective) {
            Ok(list) => Hint::cause(format!("the parent cgroup has {}", list.trim_end())),
            Err(_) => Hint::None,
        }
    }

    /// The number that a file says.
    fn number(&self, file: &str) -> Option<u64> {
        self.directory.try_read(file).ok()?.trim_end().parse().ok()
    }

    /// `checkBeforeUpdate`: cgroup v2 takes a limit below the usage and kills for it.
    pub(super) fn check_memory(&self, memory: &Memory) -> Result<(), CgroupError> {
        let (true, Some(Limit::At(limit_bytes))) = (memory.check_before_update, memory.limit_bytes)
        else {
            return Ok(());
        };
        let file = match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        let content = self.read_of("memory", file)?;
        match content.trim_end().parse::<u64>() {
            Ok(usage_bytes) if usage_bytes <= limit_bytes => Ok(()),
            Ok(usage_bytes) => Err(CgroupError::MemoryInUse {
                path: self.directory.path().to_owned(),
                limit_bytes,
                usage_bytes,
            }),
            Err(_) => Err(CgroupError::Content {
                path: self.directory.path().join(file),
                content,
            }),
        }
    }
}

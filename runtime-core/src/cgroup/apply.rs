//! Writing the limits.

use std::borrow::Cow;

use nix::errno::Errno;

use super::create::not_enabled;
use super::error::{CgroupError, Hint};
use super::{Cgroup, Member, Version, v1, v2};
use crate::plan::CgroupPlan;
use crate::plan::cgroup::{BlockIo, Cpu, Limit, Memory, Resources, Setting};

/// A value for a file of the container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// Whether a kernel without the file does what the value says anyway.
    pub(super) optional: bool,
}

impl Entry {
    pub(super) fn new(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            file: file.into(),
            value: value.to_string(),
            optional: false,
        }
    }

    pub(super) fn optional(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            optional: true,
            ..Self::new(file, value)
        }
    }
}

impl Cgroup {
    /// Sets all limits of the plan and the device rules; what the plan leaves out stays.
    ///
    /// Before the first process enters: a v1 cpuset without CPUs takes none.
    ///
    /// # Errors
    ///
    /// The first limit that could not be set; those before it are.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        self.apply_resources(&plan.resources)?;
        match &plan.devices {
            Some(rules) => self.apply_devices(rules),
            None => Ok(()),
        }
    }

    /// Sets limits and leaves device rules alone, for a running container as well.
    ///
    /// # Errors
    ///
    /// The first limit that could not be set; those before it are.
    pub fn apply_resources(&self, resources: &Resources) -> Result<(), CgroupError> {
        for controller in resources.controllers() {
            let member = self.of_needed_controller(controller)?;
            match controller {
                "memory" => member.apply_memory(&resources.memory)?,
                "cpu" => member.apply_cpu(&resources.cpu)?,
                "io" => member.apply_block_io(&resources.block_io)?,
                _ => {}
            }
            for entry in plain_entries(controller, member.version, resources) {
                member.write(controller, &entry)?;
            }
        }
        self.apply_unified(&resources.unified)
    }

    fn apply_unified(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        for setting in settings {
            let controller = setting.controller();
            let member = self
                .unified()
                .ok_or_else(|| CgroupError::ControllerMissing {
                    controller: controller.to_owned(),
                })?;
            // Files with a line for each device take one line in a write.
            let mut lines = setting.value.lines().peekable();
            let empty = lines.peek().is_none().then_some("");
            for line in lines.chain(empty) {
                member.write(controller, &Entry::new(setting.file.clone(), line))?;
            }
        }
        Ok(())
    }
}

/// The entries of controllers where nothing depends on an order or on what is there.
fn plain_entries(controller: &str, version: Version, resources: &Resources) -> Vec<Entry> {
    let legacy = version == Version::V1;
    match controller {
        "cpuset" => {
            let Cpu { cpus, mems, .. } = &resources.cpu;
            let cpus = cpus.iter().map(|cpus| Entry::new("cpuset.cpus", cpus));
            let mems = mems.iter().map(|mems| Entry::new("cpuset.mems", mems));
            cpus.chain(mems).collect()
        }
        "pids" => {
            let limit = resources.pids_limit.iter();
            limit.map(|limit| Entry::new("pids.max", limit)).collect()
        }
        "hugetlb" if legacy => v1::hugepages(&resources.hugepages),
        "hugetlb" => v2::hugepages(&resources.hugepages),
        "net_cls" | "net_prio" => v1::network(controller, &resources.network),
        "rdma" => v2::rdma(&resources.rdma),
        _ => Vec::new(),
    }
}

impl Member {
    /// Writes one entry; the error says what is known about the cause.
    pub(super) fn write(&self, controller: &str, entry: &Entry) -> Result<(), CgroupError> {
        match self.directory.try_write(&entry.file, &entry.value) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) if entry.optional => Ok(()),
            Err(source) => Err(self.write_error(controller, entry, source)),
        }
    }

    pub(super) fn write_all(&self, controller: &str, entries: &[Entry]) -> Result<(), CgroupError> {
        entries
            .iter()
            .try_for_each(|entry| self.write(controller, entry))
    }

    fn write_error(&self, controller: &str, entry: &Entry, source: Errno) -> CgroupError {
        if source == Errno::ENOENT && self.version == Version::V2 {
            let passed_on = self.directory.try_read("cgroup.controllers");
            let passed_on = passed_on.unwrap_or_default();
            if controller != "cgroup" && !passed_on.split_whitespace().any(|c| c == controller) {
                return not_enabled(&self.parent, controller, source);
            }
        }
        let hint = match (source, &*entry.file) {
            (Errno::ENOENT, file) => Hint::cause(format!("this kernel has no {file}")),
            (Errno::EBUSY, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
                let usage = self.number("memory.usage_in_bytes").unwrap_or_default();
                Hint::cause(format!("memory limit too low: usage is {usage} bytes"))
            }
            (
                Errno::EINVAL | Errno::EACCES | Errno::ENOSPC | Errno::ERANGE,
                "cpuset.cpus" | "cpuset.mems",
            ) => self.cpuset_hint(&entry.file),
            (Errno::EINVAL, "cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max") => {
                Hint::cause("more than a parent cgroup has, or out of the kernel's range")
            }
            (Errno::EINVAL, "cpu.rt_runtime_us") => {
                Hint::cause("the parent cgroup has no such real-time share to give")
            }
            _ => Hint::None,
        };
        self.directory
            .refused(&entry.file, &entry.value, hint, source)
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
    pub(super) fn number(&self, file: &str) -> Option<u64> {
        self.directory.try_read(file).ok()?.trim_end().parse().ok()
    }

    fn apply_memory(&self, memory: &Memory) -> Result<(), CgroupError> {
        self.check_memory(memory)?;
        match self.version {
            Version::V1 => {
                self.write_all("memory", &v1::memory_before_limits(memory))?;
                self.limit_memory_v1(memory)?;
                self.write_all("memory", &v1::memory_after_limits(memory))
            }
            Version::V2 => self.write_all("memory", &v2::memory(memory)),
        }
    }

    /// `checkBeforeUpdate`: cgroup v2 takes a limit below the usage and kills for it.
    fn check_memory(&self, memory: &Memory) -> Result<(), CgroupError> {
        let (true, Some(Limit::At(limit_bytes))) = (memory.check_before_update, memory.limit_bytes)
        else {
            return Ok(());
        };
        let usage = self.number(match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        });
        match usage {
            Some(usage_bytes) if usage_bytes > limit_bytes => Err(CgroupError::MemoryInUse {
                path: self.directory.path().to_owned(),
                limit_bytes,
                usage_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// Memory may never be more than memory and swap together, at no moment: which of the two
    /// goes first depends on what they are now.
    fn limit_memory_v1(&self, memory: &Memory) -> Result<(), CgroupError> {
        let (limit, swap) = v1::memory_limits(memory);
        let (Some(limit), Some(swap)) = (&limit, &swap) else {
            let entries: Vec<Entry> = limit.into_iter().chain(swap).collect();
            return self.write_all("memory", &entries);
        };
        match self.directory.try_write(&limit.file, &limit.value) {
            Ok(()) => self.write("memory", swap),
            Err(Errno::EINVAL) => {
                self.write("memory", swap)?;
                self.write("memory", limit)
            }
            Err(source) => Err(self.write_error("memory", limit, source)),
        }
    }

    fn apply_cpu(&self, cpu: &Cpu) -> Result<(), CgroupError> {
        match self.version {
            Version::V1 => {
                self.write_all("cpu", &v1::cpu_before_quota(cpu))?;
                self.limit_cpu_v1(cpu)?;
            }
            Version::V2 => {
                self.write_all("cpu", &v2::cpu_before_quota(cpu))?;
                self.limit_cpu_v2(cpu)?;
            }
        }
        // Last: an idle group takes no weight.
        if cpu.idle == Some(true) {
            self.write("cpu", &Entry::new("cpu.idle", 1))?;
        }
        Ok(())
    }

    /// A shorter period may not fit the old quota, a smaller quota not the old burst.
    fn limit_cpu_v1(&self, cpu: &Cpu) -> Result<(), CgroupError> {
        let v1::CpuLimits {
            period,
            quota,
            burst,
        } = v1::cpu_limits(cpu);
        let mut period = period;
        if let (Some(entry), Some(_)) = (&period, &quota)
            && self.directory.try_write(&entry.file, &entry.value) == Ok(())
        {
            period = None;
        }
        let mut burst = burst;
        if let Some(entry) = &quota {
            let written = self.directory.try_write(&entry.file, &entry.value);
            match (written, burst.take()) {
                (Err(Errno::EINVAL), Some(saved)) => {
                    self.write("cpu", &saved)?;
                    self.write("cpu", entry)?;
                }
                (Err(source), _) => return Err(self.write_error("cpu", entry, source)),
                (Ok(()), saved) => burst = saved,
            }
        }
        let rest: Vec<Entry> = period.into_iter().chain(burst).collect();
        self.write_all("cpu", &rest)
    }

    fn limit_cpu_v2(&self, cpu: &Cpu) -> Result<(), CgroupError> {
        let burst = cpu.burst_us.map(|burst| Entry::new("cpu.max.burst", burst));
        let Some(entry) = v2::cpu_max(cpu, || self.quota_v2()) else {
            return burst.map_or(Ok(()), |burst| self.write("cpu", &burst));
        };
        let Some(burst) = burst else {
            return self.write("cpu", &entry);
        };
        match self.directory.try_write(&entry.file, &entry.value) {
            Ok(()) => self.write("cpu", &burst),
            Err(Errno::EINVAL) => {
                self.write("cpu", &burst)?;
                self.write("cpu", &entry)
            }
            Err(source) => Err(self.write_error("cpu", &entry, source)),
        }
    }

    /// The quota that is set now.
    fn quota_v2(&self) -> Option<String> {
        let content = self.directory.try_read("cpu.max").ok()?;
        content.split_whitespace().next().map(str::to_owned)
    }

    fn apply_block_io(&self, block_io: &BlockIo) -> Result<(), CgroupError> {
        let entries = match self.version {
            Version::V1 => {
                let bfq =
                    !self.directory.has("blkio.weight") && self.directory.has("blkio.bfq.weight");
                v1::block_io(block_io, bfq)
            }
            Version::V2 => v2::block_io(block_io, self.directory.has("io.bfq.weight")),
        };
        self.write_all("io", &entries)
    }
}

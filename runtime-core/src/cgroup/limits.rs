//! The order in which limits are written that depend on each other.

use nix::errno::Errno;

use super::apply::Entry;
use super::error::CgroupError;
use super::journal::Journal;
use super::{Member, Version, v1, v2};
use crate::plan::cgroup::{BlockIo, Cpu, Limit, Memory};

/// Writes the limits of one controller.
pub(super) struct Writer<'j, 'a> {
    member: &'a Member,
    /// By its cgroup v2 name.
    controller: &'j str,
    journal: &'j mut Journal<'a>,
}

impl<'j, 'a> Writer<'j, 'a> {
    pub(super) fn new(
        member: &'a Member,
        controller: &'j str,
        journal: &'j mut Journal<'a>,
    ) -> Self {
        Self {
            member,
            controller,
            journal,
        }
    }

    /// Writes one entry; the error says what is known about the cause.
    pub(super) fn write(&mut self, entry: &Entry) -> Result<(), CgroupError> {
        match self.try_write(entry) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) if entry.optional => Ok(()),
            Err(source) => Err(self.refused(entry, source)),
        }
    }

    pub(super) fn write_all(&mut self, entries: &[Entry]) -> Result<(), CgroupError> {
        entries.iter().try_for_each(|entry| self.write(entry))
    }

    fn try_write(&mut self, entry: &Entry) -> Result<(), Errno> {
        self.journal.write(self.member, entry)
    }

    fn refused(&self, entry: &Entry, source: Errno) -> CgroupError {
        self.member.write_error(self.controller, entry, source)
    }

    /// Two values of which each must fit the other at every moment: in this order, or in the
    /// other one where the first does not fit the old second.
    fn write_pair(
        &mut self,
        first: Option<Entry>,
        second: Option<Entry>,
    ) -> Result<(), CgroupError> {
        let (Some(first), Some(second)) = (&first, &second) else {
            let entries: Vec<Entry> = first.into_iter().chain(second).collect();
            return self.write_all(&entries);
        };
        match self.try_write(first) {
            Ok(()) => self.write(second),
            Err(Errno::EINVAL) => {
                self.write(second)?;
                self.write(first)
            }
            Err(source) => Err(self.refused(first, source)),
        }
    }

    pub(super) fn memory(&mut self, memory: &Memory) -> Result<(), CgroupError> {
        self.member.check_memory(memory)?;
        match self.member.version {
            Version::V1 => {
                self.write_all(&v1::memory_before_limits(memory))?;
                // Memory may never be more than memory and swap together.
                let (limit, swap) = v1::memory_limits(memory);
                self.write_pair(limit, swap)?;
                self.write_all(&v1::memory_after_limits(memory))
            }
            Version::V2 => {
                let beside_swap = self.limit_beside_swap(memory)?;
                self.write_all(&v2::memory(memory, beside_swap))
            }
        }
    }

    /// The memory limit that swap is told without: the one that is asked for, or else the one
    /// that holds.
    fn limit_beside_swap(&self, memory: &Memory) -> Result<Option<Limit>, CgroupError> {
        let (None, Some(Limit::At(sum_bytes))) = (memory.limit_bytes, memory.memory_and_swap_bytes)
        else {
            return Ok(memory.limit_bytes);
        };
        let limit = v2::limit(&self.read("memory.max")?);
        if limit.is_some_and(|limit| matches!(limit, Limit::At(bytes) if bytes <= sum_bytes)) {
            return Ok(limit);
        }
        Err(CgroupError::SwapBelowMemory {
            path: self.member.directory.path().join("memory.max"),
            sum_bytes,
            limit: limit.unwrap_or(Limit::Unlimited),
        })
    }

    pub(super) fn cpu(&mut self, cpu: &Cpu) -> Result<(), CgroupError> {
        match self.member.version {
            Version::V1 => {
                self.write_all(&v1::cpu_before_quota(cpu))?;
                let (period, runtime) = v1::cpu_realtime(cpu);
                self.write_pair(period, runtime)?;
                self.limit_cpu_v1(cpu)?;
            }
            Version::V2 => {
                self.write_all(&v2::cpu_before_quota(cpu))?;
                let entry = v2::cpu_max(cpu, || self.quota_v2())?;
                let burst = cpu.burst_us.map(|burst| Entry::new("cpu.max.burst", burst));
                // A smaller quota may not fit the old burst.
                self.write_pair(entry, burst)?;
            }
        }
        // Last: an idle group takes no weight.
        if cpu.idle == Some(true) {
            self.write(&Entry::new("cpu.idle", 1))?;
        }
        Ok(())
    }

    /// A shorter period may not fit the old quota, a smaller quota not the old burst.
    fn limit_cpu_v1(&mut self, cpu: &Cpu) -> Result<(), CgroupError> {
        let v1::CpuLimits {
            mut period,
            quota,
            burst,
        } = v1::cpu_limits(cpu);
        if let (Some(entry), Some(_)) = (&period, &quota)
            && self.try_write(entry) == Ok(())
        {
            period = None;
        }
        self.write_pair(quota, burst)?;
        period.map_or(Ok(()), |period| self.write(&period))
    }

    /// The quota that is set now.
    fn quota_v2(&self) -> Result<String, CgroupError> {
        let content = self.read("cpu.max")?;
        let quota = content.split_whitespace().next();
        quota
            .map(str::to_owned)
            .ok_or_else(|| CgroupError::Content {
                path: self.member.directory.path().join("cpu.max"),
                content: content.clone(),
            })
    }

    pub(super) fn block_io(&mut self, block_io: &BlockIo) -> Result<(), CgroupError> {
        let has = |file| self.member.directory.has(file);
        let entries = match self.member.version {
            Version::V1 => {
                let bfq = !has("blkio.weight") && has("blkio.bfq.weight");
                v1::block_io(block_io, bfq)
            }
            Version::V2 => v2::block_io(block_io, has("io.bfq.weight")),
        };
        self.write_all(&entries)
    }

    /// What a file says that the controller has.
    fn read(&self, file: &str) -> Result<String, CgroupError> {
        self.member.read_of(self.controller, file)
    }
}

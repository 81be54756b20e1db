//! What a cgroup v2 directory counts (Documentation/admin-guide/cgroup-v2.rst).
//!
//! Every number is the kernel's, and covers the directories below as well. What a kernel does
//! not have, or a controller that is not enabled here, is None or empty.

use super::counters::Counters;
use super::files::Files;
use super::{HugePages, Limit, NetworkInterface, Pids, Pressure, Rdma, parse};
use crate::cgroup::CgroupError;

/// The facts of a container whose controllers are cgroup v2's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// `pids.*`.
    pub pids: Pids,
    /// `cpu.*`.
    pub cpu: Cpu,
    /// `memory.*`.
    pub memory: Memory,
    /// `io.*`.
    pub io: Io,
    /// `rdma.*`.
    pub rdma: Rdma,
    /// `hugetlb.*`, by the size's name.
    pub huge_pages: Vec<HugePages>,
    /// The interfaces in its network namespace; None when it has none of its own, or has ended.
    pub network: Option<Vec<NetworkInterface>>,
}

/// `cpu.stat` and `cpu.pressure`. The three times are there without the controller, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// `usage_usec`: in microseconds.
    pub usage_us: Option<u64>,
    /// `user_usec`.
    pub user_us: Option<u64>,
    /// `system_usec`.
    pub system_us: Option<u64>,
    /// `nr_periods`.
    pub periods: Option<u64>,
    /// `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// `throttled_usec`.
    pub throttled_us: Option<u64>,
    /// `nr_bursts`; from Linux 5.18 on.
    pub bursts: Option<u64>,
    /// `burst_usec`; from Linux 5.18 on.
    pub burst_us: Option<u64>,
    /// `cpu.pressure`.
    pub pressure: Option<Pressure>,
}

/// `memory.*`, in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// `memory.stat`, by the kernel's names.
    pub stat: Counters,
    /// `memory.events`, by the kernel's names: `low high max oom oom_kill oom_group_kill`.
    pub events: Counters,
    /// `memory.current`.
    pub usage: Option<u64>,
    /// `memory.max`.
    pub limit: Option<Limit>,
    /// `memory.peak`; from Linux 5.19 on.
    pub peak: Option<u64>,
    /// `memory.swap.current`, without the memory.
    pub swap_usage: Option<u64>,
    /// `memory.swap.max`, without the memory.
    pub swap_limit: Option<Limit>,
    /// `memory.swap.peak`; from Linux 6.5 on.
    pub swap_peak: Option<u64>,
    /// `memory.pressure`.
    pub pressure: Option<Pressure>,
}

/// `io.stat` and `io.pressure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Io {
    /// One for each device that was used.
    pub devices: Vec<IoDevice>,
    /// `io.pressure`.
    pub pressure: Option<Pressure>,
}

/// A device in `io.stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoDevice {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// `rbytes`.
    pub read_bytes: Option<u64>,
    /// `wbytes`.
    pub written_bytes: Option<u64>,
    /// `rios`.
    pub reads: Option<u64>,
    /// `wios`.
    pub writes: Option<u64>,
    /// `dbytes`.
    pub discarded_bytes: Option<u64>,
    /// `dios`.
    pub discards: Option<u64>,
}

impl IoDevice {
    /// Whether the kernel has said nothing of it but its number.
    pub(super) fn is_empty(&self) -> bool {
        *self
            == Self {
                major: self.major,
                minor: self.minor,
                ..Self::default()
            }
    }
}

pub(super) fn read(files: &mut Files<'_>) -> Result<Statistics, CgroupError> {
    Ok(Statistics {
        pids: Pids::read(files)?,
        cpu: cpu(files)?,
        memory: memory(files)?,
        io: Io {
            devices: files
                .table("io.stat", parse::io_devices)?
                .unwrap_or_default(),
            pressure: files.pressure("io.pressure")?,
        },
        rdma: Rdma::read(files)?,
        huge_pages: huge_pages(files)?,
        network: None,
    })
}

fn cpu(files: &mut Files<'_>) -> Result<Cpu, CgroupError> {
    let stat = files.counters("cpu.stat")?;
    Ok(Cpu {
        usage_us: stat.get("usage_usec"),
        user_us: stat.get("user_usec"),
        system_us: stat.get("system_usec"),
        periods: stat.get("nr_periods"),
        throttled_periods: stat.get("nr_throttled"),
        throttled_us: stat.get("throttled_usec"),
        bursts: stat.get("nr_bursts"),
        burst_us: stat.get("burst_usec"),
        pressure: files.pressure("cpu.pressure")?,
    })
}

fn memory(files: &mut Files<'_>) -> Result<Memory, CgroupError> {
    Ok(Memory {
        stat: files.counters("memory.stat")?,
        events: files.counters("memory.events")?,
        usage: files.value("memory.current")?,
        limit: files.limit("memory.max")?,
        peak: files.value("memory.peak")?,
        swap_usage: files.value("memory.swap.current")?,
        swap_limit: files.limit("memory.swap.max")?,
        swap_peak: files.value("memory.swap.peak")?,
        pressure: files.pressure("memory.pressure")?,
    })
}

pub(super) fn huge_pages(files: &mut Files<'_>) -> Result<Vec<HugePages>, CgroupError> {
    let mut all = Vec::new();
    for size in files.page_sizes("current")? {
        all.push(HugePages {
            usage: files.value(&format!("hugetlb.{size}.current"))?,
            limit: files.limit(&format!("hugetlb.{size}.max"))?,
            max_usage: None,
            failures: files
                .counters(&format!("hugetlb.{size}.events"))?
                .get("max"),
            page_size: size,
        });
    }
    Ok(all)
}

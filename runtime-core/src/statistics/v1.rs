//! What cgroup v1 directories count (Documentation/admin-guide/cgroup-v1/).
//!
//! Every number is the kernel's. What a kernel does not have, or a controller that is not
//! mounted, is None or empty.

use std::collections::BTreeMap;
use std::path::Path;

use super::counters::Counters;
use super::files::{Buffer, Files};
use super::{HugePages, NetworkInterface, Pids, Rdma, parse, v2};
use crate::cgroup::{CgroupError, Place};

/// Nanoseconds in one of the ticks that `cpuacct.stat` counts: 100 a second (USER_HZ) on every
/// architecture that tare runs on.
const TICK_NS: u64 = 10_000_000;

/// The facts of a container whose controllers are cgroup v1's, or v1's and v2's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// `pids.*`.
    pub pids: Pids,
    /// `cpuacct.*` and `cpu.*`.
    pub cpu: Cpu,
    /// `cpuset.*`.
    pub cpuset: Cpuset,
    /// `memory.*`.
    pub memory: Memory,
    /// `blkio.*`.
    pub block_io: BlockIo,
    /// `rdma.*`.
    pub rdma: Rdma,
    /// `hugetlb.*`, by the size's name; on hybrid hosts those of the cgroup2 directory.
    pub huge_pages: Vec<HugePages>,
    /// The interfaces in its network namespace; None when it has none of its own, or has ended.
    pub network: Option<Vec<NetworkInterface>>,
}

/// `cpuacct.*` and `cpu.stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// `cpuacct.*`.
    pub usage: CpuUsage,
    /// `cpu.stat`.
    pub throttling: Throttling,
}

/// `cpuacct.*`, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// `cpuacct.usage`.
    pub total_ns: Option<u64>,
    /// `user` of `cpuacct.stat`: in whole ticks, so it does not add up with `system_ns` to the
    /// total.
    pub user_ns: Option<u64>,
    /// `system` of `cpuacct.stat`.
    pub system_ns: Option<u64>,
    /// `cpuacct.usage_percpu`: one for each processor.
    pub per_cpu_ns: Vec<u64>,
    /// `user` of `cpuacct.usage_all`.
    pub per_cpu_user_ns: Vec<u64>,
    /// `system` of `cpuacct.usage_all`.
    pub per_cpu_system_ns: Vec<u64>,
}

/// `cpu.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// `nr_periods`.
    pub periods: Option<u64>,
    /// `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// `throttled_time`.
    pub throttled_ns: Option<u64>,
    /// `nr_bursts`; from Linux 5.18 on.
    pub bursts: Option<u64>,
    /// `burst_time`; from Linux 5.18 on.
    pub burst_ns: Option<u64>,
}

/// `cpuset.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// `cpuset.cpus`.
    pub cpus: Vec<u16>,
    /// `cpuset.mems`.
    pub mems: Vec<u16>,
    /// `cpuset.cpu_exclusive`.
    pub cpu_exclusive: Option<u64>,
    /// `cpuset.mem_exclusive`.
    pub mem_exclusive: Option<u64>,
    /// `cpuset.mem_hardwall`.
    pub mem_hardwall: Option<u64>,
    /// `cpuset.memory_migrate`.
    pub memory_migrate: Option<u64>,
    /// `cpuset.memory_spread_page`.
    pub memory_spread_page: Option<u64>,
    /// `cpuset.memory_spread_slab`.
    pub memory_spread_slab: Option<u64>,
    /// `cpuset.memory_pressure`.
    pub memory_pressure: Option<u64>,
    /// `cpuset.sched_load_balance`.
    pub sched_load_balance: Option<u64>,
    /// `cpuset.sched_relax_domain_level`.
    pub sched_relax_domain_level: Option<i64>,
}

/// `memory.*`, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `memory.stat`, by the kernel's names; those with `total_` cover the directories below.
    pub stat: Counters,
    /// `memory.oom_control`, by the kernel's names: `oom_kill_disable under_oom oom_kill`.
    pub oom_control: Counters,
    /// `memory.*_in_bytes`.
    pub usage: MemoryUsage,
    /// `memory.memsw.*_in_bytes`: memory and swap together.
    pub memory_and_swap: MemoryUsage,
    /// `memory.kmem.*_in_bytes`.
    pub kernel: MemoryUsage,
    /// `memory.kmem.tcp.*_in_bytes`.
    pub kernel_tcp: MemoryUsage,
}

/// Memory of one kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// `usage_in_bytes`.
    pub usage: Option<u64>,
    /// `limit_in_bytes`; without one it is what the kernel takes for infinite, all of 63 bits
    /// that are whole pages.
    pub limit: Option<u64>,
    /// `max_usage_in_bytes`.
    pub max_usage: Option<u64>,
    /// `failcnt`: how often the limit was hit.
    pub failures: Option<u64>,
}

/// `blkio.*`: the BFQ scheduler's counters where it has some, else the throttle's. All cover the
/// directories below as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// `io_service_bytes_recursive`.
    pub service_bytes: Vec<BlockIoEntry>,
    /// `io_serviced_recursive`.
    pub serviced: Vec<BlockIoEntry>,
    /// `io_queued_recursive`: only kernels with CONFIG_BFQ_CGROUP_DEBUG have this and the rest.
    pub queued: Vec<BlockIoEntry>,
    /// `io_service_time_recursive`.
    pub service_time_ns: Vec<BlockIoEntry>,
    /// `io_wait_time_recursive`.
    pub wait_time_ns: Vec<BlockIoEntry>,
    /// `io_merged_recursive`.
    pub merged: Vec<BlockIoEntry>,
    /// `time_recursive`.
    pub time: Vec<BlockIoEntry>,
    /// `sectors_recursive`.
    pub sectors: Vec<BlockIoEntry>,
}

/// One count of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// Its usual path, such as `/dev/sda`, as far as the kernel knows the device.
    pub device: Option<String>,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`, where the file tells them apart.
    pub operation: Option<String>,
    /// The count.
    pub value: u64,
}

/// Reads what each of the directories counts.
pub(super) fn read(places: &[Place], buffer: &mut Buffer) -> Result<Statistics, CgroupError> {
    let mut directories = Directories { places, buffer };
    Ok(Statistics {
        pids: directories.of("pids", Pids::read)?,
        cpu: Cpu {
            usage: directories.of("cpuacct", cpu_usage)?,
            throttling: directories.of("cpu", throttling)?,
        },
        cpuset: directories.of("cpuset", cpuset)?,
        memory: directories.of("memory", memory)?,
        block_io: directories.of("blkio", block_io)?,
        rdma: directories.of("rdma", Rdma::read)?,
        huge_pages: match directories.legacy("hugetlb") {
            Some(_) => directories.of("hugetlb", huge_pages)?,
            None => directories.of_unified(v2::huge_pages)?,
        },
        network: None,
    })
}

/// The container's directories, and the buffer that their files are read into.
struct Directories<'a> {
    places: &'a [Place],
    buffer: &'a mut Buffer,
}

impl<'a> Directories<'a> {
    fn legacy(&self, controller: &str) -> Option<&'a Place> {
        let mut places = self.places.iter();
        places.find(|place| place.is_v1_of(controller))
    }

    /// Reads in the directory of a controller; where there is none, there are no facts.
    fn of<T: Default>(
        &mut self,
        controller: &str,
        read: impl FnOnce(&mut Files<'_>) -> Result<T, CgroupError>,
    ) -> Result<T, CgroupError> {
        self.at(self.legacy(controller), read)
    }

    fn of_unified<T: Default>(
        &mut self,
        read: impl FnOnce(&mut Files<'_>) -> Result<T, CgroupError>,
    ) -> Result<T, CgroupError> {
        self.at(self.places.iter().find(|place| !place.is_v1()), read)
    }

    fn at<T: Default>(
        &mut self,
        place: Option<&Place>,
        read: impl FnOnce(&mut Files<'_>) -> Result<T, CgroupError>,
    ) -> Result<T, CgroupError> {
        match place {
            Some(place) => read(&mut Files::new(place, self.buffer)),
            None => Ok(T::default()),
        }
    }
}

fn cpu_usage(files: &mut Files<'_>) -> Result<CpuUsage, CgroupError> {
    let stat = files.counters("cpuacct.stat")?;
    let ns = |key| stat.get(key).map(|ticks| ticks.saturating_mul(TICK_NS));
    let per_cpu = files.table("cpuacct.usage_percpu", parse::numbers)?;
    let by_mode = files.table("cpuacct.usage_all", parse::usage_by_mode)?;
    let (per_cpu_user_ns, per_cpu_system_ns) = by_mode.unwrap_or_default();
    Ok(CpuUsage {
        total_ns: files.value("cpuacct.usage")?,
        user_ns: ns("user"),
        system_ns: ns("system"),
        per_cpu_ns: per_cpu.unwrap_or_default(),
        per_cpu_user_ns,
        per_cpu_system_ns,
    })
}

fn throttling(files: &mut Files<'_>) -> Result<Throttling, CgroupError> {
    let stat = files.counters("cpu.stat")?;
    Ok(Throttling {
        periods: stat.get("nr_periods"),
        throttled_periods: stat.get("nr_throttled"),
        throttled_ns: stat.get("throttled_time"),
        bursts: stat.get("nr_bursts"),
        burst_ns: stat.get("burst_time"),
    })
}

fn cpuset(files: &mut Files<'_>) -> Result<Cpuset, CgroupError> {
    Ok(Cpuset {
        cpus: files.whole("cpuset.cpus", parse::list)?.unwrap_or_default(),
        mems: files.whole("cpuset.mems", parse::list)?.unwrap_or_default(),
        cpu_exclusive: files.value("cpuset.cpu_exclusive")?,
        mem_exclusive: files.value("cpuset.mem_exclusive")?,
        mem_hardwall: files.value("cpuset.mem_hardwall")?,
        memory_migrate: files.value("cpuset.memory_migrate")?,
        memory_spread_page: files.value("cpuset.memory_spread_page")?,
        memory_spread_slab: files.value("cpuset.memory_spread_slab")?,
        memory_pressure: files.value("cpuset.memory_pressure")?,
        sched_load_balance: files.value("cpuset.sched_load_balance")?,
        sched_relax_domain_level: files.signed("cpuset.sched_relax_domain_level")?,
    })
}

fn memory(files: &mut Files<'_>) -> Result<Memory, CgroupError> {
    Ok(Memory {
        stat: files.counters("memory.stat")?,
        oom_control: files.counters("memory.oom_control")?,
        usage: memory_usage(files, "memory")?,
        memory_and_swap: memory_usage(files, "memory.memsw")?,
        kernel: memory_usage(files, "memory.kmem")?,
        kernel_tcp: memory_usage(files, "memory.kmem.tcp")?,
    })
}

fn memory_usage(files: &mut Files<'_>, kind: &str) -> Result<MemoryUsage, CgroupError> {
    Ok(MemoryUsage {
        usage: files.value(&format!("{kind}.usage_in_bytes"))?,
        limit: files.value(&format!("{kind}.limit_in_bytes"))?,
        max_usage: files.value(&format!("{kind}.max_usage_in_bytes"))?,
        failures: files.value(&format!("{kind}.failcnt"))?,
    })
}

fn block_io(files: &mut Files<'_>) -> Result<BlockIo, CgroupError> {
    let mut names = BTreeMap::new();
    let mut of = |file: &str| block_io_entries(files, file, &mut names);
    let serviced = of("blkio.bfq.io_serviced_recursive")?;
    if serviced.is_empty() {
        // No device that BFQ schedules was used.
        return Ok(BlockIo {
            serviced: of("blkio.throttle.io_serviced_recursive")?,
            service_bytes: of("blkio.throttle.io_service_bytes_recursive")?,
            ..BlockIo::default()
        });
    }
    Ok(BlockIo {
        serviced,
        service_bytes: of("blkio.bfq.io_service_bytes_recursive")?,
        queued: of("blkio.bfq.io_queued_recursive")?,
        service_time_ns: of("blkio.bfq.io_service_time_recursive")?,
        wait_time_ns: of("blkio.bfq.io_wait_time_recursive")?,
        merged: of("blkio.bfq.io_merged_recursive")?,
        time: of("blkio.bfq.time_recursive")?,
        sectors: of("blkio.bfq.sectors_recursive")?,
    })
}

type DeviceNames = BTreeMap<(u64, u64), Option<String>>;

fn block_io_entries(
    files: &mut Files<'_>,
    file: &str,
    names: &mut DeviceNames,
) -> Result<Vec<BlockIoEntry>, CgroupError> {
    let entries = files.table(file, parse::block_io_entries)?;
    let mut entries = entries.unwrap_or_default();
    for entry in &mut entries {
        let (major, minor) = (entry.major, entry.minor);
        let name = names.entry((major, minor));
        entry.device = name.or_insert_with(|| device_path(major, minor)).clone();
    }
    Ok(entries)
}

/// The device's path by the kernel's own name for it; sysfs has `!` where the name has a slash.
fn device_path(major: u64, minor: u64) -> Option<String> {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let name = Path::new(&link).file_name()?.to_str()?;
    Some(format!("/dev/{}", name.replace('!', "/")))
}

fn huge_pages(files: &mut Files<'_>) -> Result<Vec<HugePages>, CgroupError> {
    let mut all = Vec::new();
    for size in files.page_sizes("usage_in_bytes")? {
        let limit = files.value(&format!("hugetlb.{size}.limit_in_bytes"))?;
        all.push(HugePages {
            usage: files.value(&format!("hugetlb.{size}.usage_in_bytes"))?,
            limit: limit.map(super::Limit::At),
            max_usage: files.value(&format!("hugetlb.{size}.max_usage_in_bytes"))?,
            failures: files.value(&format!("hugetlb.{size}.failcnt"))?,
            page_size: size,
        });
    }
    Ok(all)
}

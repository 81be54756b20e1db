//! The lines of `tare events`: from what the kernel counts to what runc prints.

use std::collections::BTreeMap;

use runtime_core::statistics::v1::{BlockIoEntry, MemoryUsage};
use runtime_core::statistics::v2::IoDevice;
use runtime_core::statistics::{
    Counters, HugePages, NetworkInterface, Pressure, Stall, Statistics, v1, v2,
};
use runtime_core::{Container, statistics};
use serde::Serialize;

use super::schema::{
    BlockIo, Cpu, CpuUsage, Cpuset, Data, Hugetlb, IntelRdt, Interface, IoEntry, Memory,
    MemoryEntry, Pids, Psi, PsiData, Throttling,
};

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

impl<'a> Record<'a> {
    pub(super) fn statistics(container: &'a Container, statistics: &'a Statistics) -> Self {
        Self {
            kind: "stats",
            id: container.id().as_str(),
            data: Some(Data::new(statistics)),
        }
    }

    pub(super) fn out_of_memory(container: &'a Container) -> Self {
        Self {
            kind: "oom",
            id: container.id().as_str(),
            data: None,
        }
    }

    pub(super) fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a record has string keys") + "\n"
    }
}

/// A number that runc prints as 0 where the kernel has none.
fn or_zero(number: Option<u64>) -> u64 {
    number.unwrap_or(0)
}

/// From the microseconds that cgroup v2 counts.
fn ns(us: Option<u64>) -> u64 {
    or_zero(us).saturating_mul(1000)
}

impl<'a> Data<'a> {
    fn new(statistics: &'a Statistics) -> Self {
        match statistics {
            Statistics::V1(statistics) => Self::of_v1(statistics),
            Statistics::V2(statistics) => Self::of_v2(statistics),
        }
    }

    fn of_v1(of: &'a v1::Statistics) -> Self {
        Self {
            cpu: Cpu::of_v1(&of.cpu),
            cpuset: Cpuset::of_v1(&of.cpuset),
            memory: Memory::of_v1(&of.memory),
            pids: Pids::of(of.pids),
            blkio: BlockIo::of_v1(&of.block_io),
            hugetlb: huge_pages(&of.huge_pages),
            intel_rdt: IntelRdt {},
            network_interfaces: of.network.as_deref().map(interfaces),
        }
    }

    fn of_v2(of: &'a v2::Statistics) -> Self {
        Self {
            cpu: Cpu::of_v2(&of.cpu),
            cpuset: Cpuset::default(),
            memory: Memory::of_v2(&of.memory),
            pids: Pids::of(of.pids),
            blkio: BlockIo::of_v2(&of.io),
            hugetlb: huge_pages(&of.huge_pages),
            intel_rdt: IntelRdt {},
            network_interfaces: of.network.as_deref().map(interfaces),
        }
    }
}

impl<'a> Cpu<'a> {
    fn of_v1(of: &'a v1::Cpu) -> Self {
        Self {
            usage: CpuUsage {
                total: or_zero(of.usage.total_ns),
                percpu: &of.usage.per_cpu_ns,
                percpu_kernel: &of.usage.per_cpu_system_ns,
                percpu_user: &of.usage.per_cpu_user_ns,
                kernel: or_zero(of.usage.system_ns),
                user: or_zero(of.usage.user_ns),
            },
            throttling: Throttling {
                periods: or_zero(of.throttling.periods),
                throttled_periods: or_zero(of.throttling.throttled_periods),
                throttled_time: or_zero(of.throttling.throttled_ns),
            },
            psi: None,
        }
    }

    fn of_v2(of: &v2::Cpu) -> Self {
        Self {
            usage: CpuUsage {
                total: ns(of.usage_us),
                kernel: ns(of.system_us),
                user: ns(of.user_us),
                ..CpuUsage::default()
            },
            throttling: Throttling {
                periods: or_zero(of.periods),
                throttled_periods: or_zero(of.throttled_periods),
                throttled_time: ns(of.throttled_us),
            },
            psi: of.pressure.map(Psi::of),
        }
    }
}

impl Psi {
    fn of(pressure: Pressure) -> Self {
        let data = |stall: Stall| PsiData {
            avg10: stall.percent_10s,
            avg60: stall.percent_60s,
            avg300: stall.percent_300s,
            total: stall.total_us,
        };
        Self {
            some: pressure.some.map(data),
            full: pressure.full.map(data),
        }
    }
}

impl<'a> Cpuset<'a> {
    fn of_v1(of: &'a v1::Cpuset) -> Self {
        Self {
            cpus: &of.cpus,
            cpu_exclusive: or_zero(of.cpu_exclusive),
            mems: &of.mems,
            mem_hardwall: or_zero(of.mem_hardwall),
            mem_exclusive: or_zero(of.mem_exclusive),
            memory_migrate: or_zero(of.memory_migrate),
            memory_spread_page: or_zero(of.memory_spread_page),
            memory_spread_slab: or_zero(of.memory_spread_slab),
            memory_pressure: or_zero(of.memory_pressure),
            sched_load_balance: or_zero(of.sched_load_balance),
            sched_relax_domain_level: of.sched_relax_domain_level.unwrap_or(0),
        }
    }
}

impl<'a> Memory<'a> {
    fn of_v1(of: &'a v1::Memory) -> Self {
        Self {
            cache: or_zero(of.stat.get("cache")),
            usage: MemoryEntry::of_v1(of.usage),
            swap: MemoryEntry::of_v1(of.memory_and_swap),
            kernel: MemoryEntry::of_v1(of.kernel),
            kernel_tcp: MemoryEntry::of_v1(of.kernel_tcp),
            raw: raw(&of.stat),
            psi: None,
        }
    }

    /// As in cgroup v1, swap is told with the memory in it; the kernel has no such peak.
    fn of_v2(of: &'a v2::Memory) -> Self {
        let limit = of.limit.map_or(0, |limit| limit.value_or(u64::MAX));
        let usage = or_zero(of.usage);
        let swap_limit = of.swap_limit.map_or(0, |limit| limit.value_or(u64::MAX));
        Self {
            cache: or_zero(of.stat.get("file")),
            usage: MemoryEntry {
                limit,
                usage,
                max: or_zero(of.peak),
                failcnt: 0,
            },
            swap: MemoryEntry {
                limit: swap_limit.saturating_add(limit),
                usage: or_zero(of.swap_usage).saturating_add(usage),
                ..MemoryEntry::default()
            },
            raw: raw(&of.stat),
            psi: of.pressure.map(Psi::of),
            ..Self::default()
        }
    }
}

fn raw(counters: &Counters) -> BTreeMap<&str, u64> {
    counters.iter().collect()
}

impl MemoryEntry {
    fn of_v1(of: MemoryUsage) -> Self {
        Self {
            limit: or_zero(of.limit),
            usage: or_zero(of.usage),
            max: or_zero(of.max_usage),
            failcnt: or_zero(of.failures),
        }
    }
}

impl Pids {
    /// No limit is 0.
    fn of(of: statistics::Pids) -> Self {
        Self {
            current: or_zero(of.current),
            limit: of.limit.map_or(0, |limit| limit.value_or(0)),
        }
    }
}

impl<'a> BlockIo<'a> {
    fn of_v1(of: &'a v1::BlockIo) -> Self {
        Self {
            io_service_bytes_recursive: io_entries(&of.service_bytes),
            io_serviced_recursive: io_entries(&of.serviced),
            io_queued_recursive: io_entries(&of.queued),
            io_service_time_recursive: io_entries(&of.service_time_ns),
            io_wait_time_recursive: io_entries(&of.wait_time_ns),
            io_merged_recursive: io_entries(&of.merged),
            io_time_recursive: io_entries(&of.time),
            sectors_recursive: io_entries(&of.sectors),
            psi: None,
        }
    }

    fn of_v2(of: &v2::Io) -> Self {
        let entries = |read: fn(&IoDevice) -> Option<u64>, write: fn(&IoDevice) -> Option<u64>| {
            let of_device = |device| {
                let entry =
                    |op, count: Option<u64>| count.map(|value| IoEntry::new(device, op, value));
                [entry("Read", read(device)), entry("Write", write(device))]
            };
            of.devices.iter().flat_map(of_device).flatten().collect()
        };
        Self {
            io_service_bytes_recursive: entries(|io| io.read_bytes, |io| io.written_bytes),
            io_serviced_recursive: entries(|io| io.reads, |io| io.writes),
            psi: of.pressure.map(Psi::of),
            ..Self::default()
        }
    }
}

impl IoEntry<'_> {
    fn new(device: &IoDevice, op: &'static str, value: u64) -> Self {
        Self {
            major: device.major,
            minor: device.minor,
            op,
            value,
        }
    }
}

fn io_entries(entries: &[BlockIoEntry]) -> Vec<IoEntry<'_>> {
    let mut all = Vec::with_capacity(entries.len());
    for of in entries {
        all.push(IoEntry {
            major: of.major,
            minor: of.minor,
            op: of.operation.as_deref().unwrap_or_default(),
            value: of.value,
        });
    }
    all
}

fn huge_pages(sizes: &[HugePages]) -> BTreeMap<&str, Hugetlb> {
    let entry = |of: &HugePages| Hugetlb {
        usage: or_zero(of.usage),
        max: or_zero(of.max_usage),
        failcnt: or_zero(of.failures),
    };
    let mut all = BTreeMap::new();
    all.extend(sizes.iter().map(|of| (of.page_size.as_str(), entry(of))));
    all
}

fn interfaces(interfaces: &[NetworkInterface]) -> Vec<Interface<'_>> {
    let mut all = Vec::with_capacity(interfaces.len());
    for of in interfaces {
        all.push(Interface {
            name: &of.name,
            rx_bytes: of.rx_bytes,
            rx_packets: of.rx_packets,
            rx_errors: of.rx_errors,
            rx_dropped: of.rx_dropped,
            tx_bytes: of.tx_bytes,
            tx_packets: of.tx_packets,
            tx_errors: of.tx_errors,
            tx_dropped: of.tx_dropped,
        });
    }
    all
}

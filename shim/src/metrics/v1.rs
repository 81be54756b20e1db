//! The figures of cgroup v1's controllers.

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, NetworkStat, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;
use runtime_core::statistics::v1::{self, BlockIo, BlockIoEntry, Cpu, Memory, MemoryUsage};
use runtime_core::statistics::{Counters, HugePages, NetworkInterface, Pids, Rdma, RdmaDevice};

use super::{narrow, number};

pub(super) fn metrics(statistics: &v1::Statistics) -> Metrics {
    let v1::Statistics {
        pids,
        cpu,
        memory,
        block_io,
        rdma,
        huge_pages,
        network,
        ..
    } = statistics;
    Metrics {
        hugetlb: huge_pages.iter().map(huge).collect(),
        pids: MessageField::some(pids_stat(pids)),
        cpu: MessageField::some(cpu_stat(cpu)),
        memory: MessageField::some(memory_stat(memory)),
        blkio: MessageField::some(block_io_stat(block_io)),
        rdma: MessageField::some(rdma_stat(rdma)),
        network: network.iter().flatten().map(interface).collect(),
        memory_oom_control: MessageField::some(oom_control(&memory.oom_control)),
        ..Metrics::default()
    }
}

fn huge(pages: &HugePages) -> HugetlbStat {
    HugetlbStat {
        usage: pages.usage.unwrap_or(0),
        max: pages.max_usage.unwrap_or(0),
        failcnt: pages.failures.unwrap_or(0),
        pagesize: pages.page_size.clone(),
        ..Default::default()
    }
}

/// No limit is 0 here.
fn pids_stat(pids: &Pids) -> PidsStat {
    PidsStat {
        current: pids.current.unwrap_or(0),
        limit: number(pids.limit, 0),
        ..Default::default()
    }
}

fn cpu_stat(cpu: &Cpu) -> CPUStat {
    let usage = CPUUsage {
        total: cpu.usage.total_ns.unwrap_or(0),
        kernel: cpu.usage.system_ns.unwrap_or(0),
        user: cpu.usage.user_ns.unwrap_or(0),
        per_cpu: cpu.usage.per_cpu_ns.clone(),
        ..Default::default()
    };
    let throttling = Throttle {
        periods: cpu.throttling.periods.unwrap_or(0),
        throttled_periods: cpu.throttling.throttled_periods.unwrap_or(0),
        throttled_time: cpu.throttling.throttled_ns.unwrap_or(0),
        ..Default::default()
    };
    CPUStat {
        usage: MessageField::some(usage),
        throttling: MessageField::some(throttling),
        ..Default::default()
    }
}

fn memory_stat(memory: &Memory) -> MemoryStat {
    let stat = |key| memory.stat.get(key).unwrap_or(0);
    MemoryStat {
        cache: stat("cache"),
        rss: stat("rss"),
        rss_huge: stat("rss_huge"),
        mapped_file: stat("mapped_file"),
        dirty: stat("dirty"),
        writeback: stat("writeback"),
        pg_pg_in: stat("pgpgin"),
        pg_pg_out: stat("pgpgout"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: stat("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat("hierarchical_memsw_limit"),
        total_cache: stat("total_cache"),
        total_rss: stat("total_rss"),
        total_rss_huge: stat("total_rss_huge"),
        total_mapped_file: stat("total_mapped_file"),
        total_dirty: stat("total_dirty"),
        total_writeback: stat("total_writeback"),
        total_pg_pg_in: stat("total_pgpgin"),
        total_pg_pg_out: stat("total_pgpgout"),
        total_pg_fault: stat("total_pgfault"),
        total_pg_maj_fault: stat("total_pgmajfault"),
        total_inactive_anon: stat("total_inactive_anon"),
        total_active_anon: stat("total_active_anon"),
        total_inactive_file: stat("total_inactive_file"),
        total_active_file: stat("total_active_file"),
        total_unevictable: stat("total_unevictable"),
        usage: entry(&memory.usage),
        swap: entry(&memory.memory_and_swap),
        kernel: entry(&memory.kernel),
        kernel_tcp: entry(&memory.kernel_tcp),
        ..Default::default()
    }
}

fn entry(usage: &MemoryUsage) -> MessageField<MemoryEntry> {
    MessageField::some(MemoryEntry {
        limit: usage.limit.unwrap_or(0),
        usage: usage.usage.unwrap_or(0),
        max: usage.max_usage.unwrap_or(0),
        failcnt: usage.failures.unwrap_or(0),
        ..Default::default()
    })
}

fn oom_control(counters: &Counters) -> MemoryOomControl {
    let counter = |key| counters.get(key).unwrap_or(0);
    MemoryOomControl {
        oom_kill_disable: counter("oom_kill_disable"),
        under_oom: counter("under_oom"),
        oom_kill: counter("oom_kill"),
        ..Default::default()
    }
}

fn block_io_stat(io: &BlockIo) -> BlkIOStat {
    let entries = |entries: &[BlockIoEntry]| entries.iter().map(block_io_entry).collect();
    BlkIOStat {
        io_service_bytes_recursive: entries(&io.service_bytes),
        io_serviced_recursive: entries(&io.serviced),
        io_queued_recursive: entries(&io.queued),
        io_service_time_recursive: entries(&io.service_time_ns),
        io_wait_time_recursive: entries(&io.wait_time_ns),
        io_merged_recursive: entries(&io.merged),
        io_time_recursive: entries(&io.time),
        sectors_recursive: entries(&io.sectors),
        ..Default::default()
    }
}

fn block_io_entry(entry: &BlockIoEntry) -> BlkIOEntry {
    BlkIOEntry {
        op: entry.operation.clone().unwrap_or_default(),
        device: entry.device.clone().unwrap_or_default(),
        major: entry.major,
        minor: entry.minor,
        value: entry.value,
        ..Default::default()
    }
}

fn rdma_stat(rdma: &Rdma) -> RdmaStat {
    RdmaStat {
        current: rdma.current.iter().map(rdma_entry).collect(),
        limit: rdma.limit.iter().map(rdma_entry).collect(),
        ..Default::default()
    }
}

fn rdma_entry(device: &RdmaDevice) -> RdmaEntry {
    RdmaEntry {
        device: device.device.clone(),
        hca_handles: narrow(device.hca_handles),
        hca_objects: narrow(device.hca_objects),
        ..Default::default()
    }
}

fn interface(interface: &NetworkInterface) -> NetworkStat {
    NetworkStat {
        name: interface.name.clone(),
        rx_bytes: interface.rx_bytes,
        rx_packets: interface.rx_packets,
        rx_errors: interface.rx_errors,
        rx_dropped: interface.rx_dropped,
        tx_bytes: interface.tx_bytes,
        tx_packets: interface.tx_packets,
        tx_errors: interface.tx_errors,
        tx_dropped: interface.tx_dropped,
        ..Default::default()
    }
}

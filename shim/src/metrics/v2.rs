//! The figures of cgroup v2's controllers. No limit is the largest number here.

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, NetworkStat, PSIData,
    PSIStats, PidsStat, RdmaEntry, RdmaStat,
};
use containerd_shim_protos::protobuf::MessageField;
use runtime_core::statistics::v2::{self, Cpu, Io, IoDevice, Memory};
use runtime_core::statistics::{
    Counters, HugePages, NetworkInterface, Pids, Pressure, Rdma, RdmaDevice, Stall,
};

use super::{narrow, number};

pub(super) fn metrics(statistics: &v2::Statistics) -> Metrics {
    let v2::Statistics {
        pids,
        cpu,
        memory,
        io,
        rdma,
        huge_pages,
        network,
    } = statistics;
    Metrics {
        pids: MessageField::some(pids_stat(pids)),
        cpu: MessageField::some(cpu_stat(cpu)),
        memory: MessageField::some(memory_stat(memory)),
        rdma: MessageField::some(rdma_stat(rdma)),
        io: MessageField::some(io_stat(io)),
        hugetlb: huge_pages.iter().map(huge).collect(),
        memory_events: MessageField::some(events(&memory.events)),
        network: network.iter().flatten().map(interface).collect(),
        ..Metrics::default()
    }
}

fn pids_stat(pids: &Pids) -> PidsStat {
    PidsStat {
        current: pids.current.unwrap_or(0),
        limit: number(pids.limit, u64::MAX),
        ..Default::default()
    }
}

fn cpu_stat(cpu: &Cpu) -> CPUStat {
    CPUStat {
        usage_usec: cpu.usage_us.unwrap_or(0),
        user_usec: cpu.user_us.unwrap_or(0),
        system_usec: cpu.system_us.unwrap_or(0),
        nr_periods: cpu.periods.unwrap_or(0),
        nr_throttled: cpu.throttled_periods.unwrap_or(0),
        throttled_usec: cpu.throttled_us.unwrap_or(0),
        psi: pressure(cpu.pressure.as_ref()),
        nr_bursts: cpu.bursts.unwrap_or(0),
        burst_usec: cpu.burst_us.unwrap_or(0),
        ..Default::default()
    }
}

fn memory_stat(memory: &Memory) -> MemoryStat {
    let stat = |key| memory.stat.get(key).unwrap_or(0);
    // Since Linux 5.9 in two.
    let refault = memory
        .stat
        .get("workingset_refault")
        .unwrap_or_else(|| stat("workingset_refault_anon") + stat("workingset_refault_file"));
    let activate = memory
        .stat
        .get("workingset_activate")
        .unwrap_or_else(|| stat("workingset_activate_anon") + stat("workingset_activate_file"));
    MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        anon_thp: stat("anon_thp"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        slab_reclaimable: stat("slab_reclaimable"),
        slab_unreclaimable: stat("slab_unreclaimable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        workingset_refault: refault,
        workingset_activate: activate,
        workingset_nodereclaim: stat("workingset_nodereclaim"),
        pgrefill: stat("pgrefill"),
        pgscan: stat("pgscan"),
        pgsteal: stat("pgsteal"),
        pgactivate: stat("pgactivate"),
        pgdeactivate: stat("pgdeactivate"),
        pglazyfree: stat("pglazyfree"),
        pglazyfreed: stat("pglazyfreed"),
        thp_fault_alloc: stat("thp_fault_alloc"),
        thp_collapse_alloc: stat("thp_collapse_alloc"),
        usage: memory.usage.unwrap_or(0),
        usage_limit: number(memory.limit, u64::MAX),
        swap_usage: memory.swap_usage.unwrap_or(0),
        swap_limit: number(memory.swap_limit, u64::MAX),
        max_usage: memory.peak.unwrap_or(0),
        swap_max_usage: memory.swap_peak.unwrap_or(0),
        psi: pressure(memory.pressure.as_ref()),
        ..Default::default()
    }
}

fn events(counters: &Counters) -> MemoryEvents {
    let counter = |key| counters.get(key).unwrap_or(0);
    MemoryEvents {
        low: counter("low"),
        high: counter("high"),
        max: counter("max"),
        oom: counter("oom"),
        oom_kill: counter("oom_kill"),
        oom_group_kill: counter("oom_group_kill"),
        ..Default::default()
    }
}

fn io_stat(io: &Io) -> IOStat {
    IOStat {
        usage: io.devices.iter().map(io_entry).collect(),
        psi: pressure(io.pressure.as_ref()),
        ..Default::default()
    }
}

fn io_entry(device: &IoDevice) -> IOEntry {
    IOEntry {
        major: device.major,
        minor: device.minor,
        rbytes: device.read_bytes.unwrap_or(0),
        wbytes: device.written_bytes.unwrap_or(0),
        rios: device.reads.unwrap_or(0),
        wios: device.writes.unwrap_or(0),
        ..Default::default()
    }
}

fn pressure(pressure: Option<&Pressure>) -> MessageField<PSIStats> {
    let stats = pressure.map(|pressure| PSIStats {
        some: stall(pressure.some.as_ref()),
        full: stall(pressure.full.as_ref()),
        ..Default::default()
    });
    MessageField::from_option(stats)
}

fn stall(stall: Option<&Stall>) -> MessageField<PSIData> {
    let data = stall.map(|stall| PSIData {
        avg10: stall.percent_10s,
        avg60: stall.percent_60s,
        avg300: stall.percent_300s,
        total: stall.total_us,
        ..Default::default()
    });
    MessageField::from_option(data)
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

fn huge(pages: &HugePages) -> HugeTlbStat {
    HugeTlbStat {
        current: pages.usage.unwrap_or(0),
        max: number(pages.limit, u64::MAX),
        pagesize: pages.page_size.clone(),
        failcnt: pages.failures.unwrap_or(0),
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

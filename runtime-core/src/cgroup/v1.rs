//! What cgroup v1's files take: pure, from limits to entries.

use super::apply::Entry;
use crate::plan::cgroup::{BlockIo, Cpu, HugepageLimit, Limit, Memory, Network};

/// A limit as cgroup v1 writes it: -1 for none.
fn number(limit: Limit) -> String {
    match limit {
        Limit::Unlimited => "-1".to_owned(),
        Limit::At(value) => value.to_string(),
    }
}

/// What has to stand before the first limit.
pub(super) fn memory_before_limits(memory: &Memory) -> Vec<Entry> {
    // Always so from Linux 5.11 on, where the file may be gone.
    let use_hierarchy = memory
        .use_hierarchy
        .then(|| Entry::optional("memory.use_hierarchy", 1));
    use_hierarchy.into_iter().collect()
}

/// The limit, and the one of memory and swap together.
///
/// Memory without a limit needs swap without one, and the kernel may not count swap at all.
pub(super) fn memory_limits(memory: &Memory) -> (Option<Entry>, Option<Entry>) {
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    let limit = memory.limit_bytes;
    let swap = match memory.memory_and_swap_bytes {
        Some(sum) => Some(Entry::new(SWAP, number(sum))),
        None if limit == Some(Limit::Unlimited) => Some(Entry::optional(SWAP, -1)),
        None => None,
    };
    let limit = limit.map(|limit| Entry::new("memory.limit_in_bytes", number(limit)));
    (limit, swap)
}

pub(super) fn memory_after_limits(memory: &Memory) -> Vec<Entry> {
    let limit =
        |file: &'static str, limit: Option<Limit>| limit.map(|l| Entry::new(file, number(l)));
    let disable = memory.disable_oom_killer.map(u8::from);
    [
        limit("memory.soft_limit_in_bytes", memory.reservation_bytes),
        limit("memory.kmem.limit_in_bytes", memory.kernel_bytes),
        limit("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp_bytes),
        disable.map(|disable| Entry::new("memory.oom_control", disable)),
        memory
            .swappiness_percent
            .map(|percent| Entry::new("memory.swappiness", percent)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What does not depend on quota and period.
pub(super) fn cpu_before_quota(cpu: &Cpu) -> Vec<Entry> {
    let awake = cpu.idle.filter(|idle| !*idle);
    [
        awake.map(|_| Entry::new("cpu.idle", 0)),
        cpu.shares.map(|shares| Entry::new("cpu.shares", shares)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The period and the runtime, of which the second is a part of the first.
pub(super) fn cpu_realtime(cpu: &Cpu) -> (Option<Entry>, Option<Entry>) {
    let period = cpu.realtime_period_us;
    let runtime = cpu.realtime_runtime_us;
    (
        period.map(|period| Entry::new("cpu.rt_period_us", period)),
        runtime.map(|runtime| Entry::new("cpu.rt_runtime_us", runtime)),
    )
}

/// Three values of which each must fit the others.
pub(super) struct CpuLimits {
    pub(super) period: Option<Entry>,
    pub(super) quota: Option<Entry>,
    pub(super) burst: Option<Entry>,
}

pub(super) fn cpu_limits(cpu: &Cpu) -> CpuLimits {
    CpuLimits {
        period: cpu
            .period_us
            .map(|period| Entry::new("cpu.cfs_period_us", period)),
        quota: cpu
            .quota_us
            .map(|quota| Entry::new("cpu.cfs_quota_us", number(quota))),
        burst: cpu
            .burst_us
            .map(|burst| Entry::new("cpu.cfs_burst_us", burst)),
    }
}

/// `bfq`: the kernel has weights by the BFQ scheduler's files only.
pub(super) fn block_io(block_io: &BlockIo, bfq: bool) -> Vec<Entry> {
    let (weight, device_weight) = if bfq {
        ("blkio.bfq.weight", "blkio.bfq.weight_device")
    } else {
        ("blkio.weight", "blkio.weight_device")
    };
    let mut entries = Vec::new();
    entries.extend(block_io.weight.map(|value| Entry::new(weight, value)));
    entries.extend(
        block_io
            .leaf_weight
            .map(|value| Entry::new("blkio.leaf_weight", value)),
    );
    for of in &block_io.device_weights {
        let line = |value: u16| format!("{} {value}", of.device);
        entries.extend(
            of.weight
                .map(|value| Entry::new(device_weight, line(value))),
        );
        let leaf = of.leaf_weight.map(line);
        entries.extend(leaf.map(|line| Entry::new("blkio.leaf_weight_device", line)));
    }
    for throttle in &block_io.throttles {
        let line = format!("{} {}", throttle.device, throttle.rate_per_second);
        entries.push(Entry::new(throttle.kind.legacy_file(), line));
    }
    entries
}

/// Pages in use, and pages reserved, where the kernel counts those too.
pub(super) fn hugepages(limits: &[HugepageLimit]) -> Vec<Entry> {
    let entries = |limit: &HugepageLimit| {
        let (size, bytes) = (&limit.page_size, limit.limit_bytes);
        [
            Entry::optional(format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes),
            Entry::new(format!("hugetlb.{size}.limit_in_bytes"), bytes),
        ]
    };
    limits.iter().flat_map(entries).collect()
}

/// Of `net_cls` or `net_prio`, as `controller` says.
pub(super) fn network(controller: &str, network: &Network) -> Vec<Entry> {
    if controller == "net_cls" {
        let class = network.class_id.iter();
        return class
            .map(|class| Entry::new("net_cls.classid", class))
            .collect();
    }
    let line = |of: &crate::plan::cgroup::InterfacePriority| {
        Entry::new("net_prio.ifpriomap", format!("{} {}", of.name, of.priority))
    };
    network.priorities.iter().map(line).collect()
}

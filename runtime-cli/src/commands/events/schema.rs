//! What a line of `tare events` has: runc's names, in runc's order, and left out where runc leaves
//! them out.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Data<'a> {
    pub(super) cpu: Cpu<'a>,
    pub(super) cpuset: Cpuset<'a>,
    pub(super) memory: Memory<'a>,
    pub(super) pids: Pids,
    pub(super) blkio: BlockIo<'a>,
    pub(super) hugetlb: BTreeMap<&'a str, Hugetlb>,
    pub(super) intel_rdt: IntelRdt,
    pub(super) network_interfaces: Option<Vec<Interface<'a>>>,
}

/// Nothing is ever in it: config.json's `intelRdt` is refused.
#[derive(Debug, Serialize)]
pub(super) struct IntelRdt {}

#[derive(Debug, Default, Serialize)]
pub(super) struct Cpu<'a> {
    pub(super) usage: CpuUsage<'a>,
    pub(super) throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) psi: Option<Psi>,
}

/// In nanoseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct CpuUsage<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) total: u64,
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) percpu: &'a [u64],
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) percpu_kernel: &'a [u64],
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) percpu_user: &'a [u64],
    pub(super) kernel: u64,
    pub(super) user: u64,
}

/// The time is in nanoseconds.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) throttled_time: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Psi {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) some: Option<PsiData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) full: Option<PsiData>,
}

#[derive(Debug, Serialize)]
pub(super) struct PsiData {
    pub(super) avg10: f64,
    pub(super) avg60: f64,
    pub(super) avg300: f64,
    pub(super) total: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Cpuset<'a> {
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) cpus: &'a [u16],
    pub(super) cpu_exclusive: u64,
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) mems: &'a [u16],
    pub(super) mem_hardwall: u64,
    pub(super) mem_exclusive: u64,
    pub(super) memory_migrate: u64,
    pub(super) memory_spread_page: u64,
    pub(super) memory_spread_slab: u64,
    pub(super) memory_pressure: u64,
    pub(super) sched_load_balance: u64,
    pub(super) sched_relax_domain_level: i64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Memory<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) cache: u64,
    pub(super) usage: MemoryEntry,
    pub(super) swap: MemoryEntry,
    pub(super) kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub(super) kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) raw: BTreeMap<&'a str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) psi: Option<Psi>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct MemoryEntry {
    pub(super) limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) max: u64,
    pub(super) failcnt: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockIo<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_service_bytes_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_serviced_recursive: Vec<IoEntry<'a>>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub(super) io_queued_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_service_time_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_wait_time_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_merged_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) io_time_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sectors_recursive: Vec<IoEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) psi: Option<Psi>,
}

#[derive(Debug, Serialize)]
pub(super) struct IoEntry<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) minor: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) op: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) value: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) max: u64,
    pub(super) failcnt: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) rx_bytes: u64,
    pub(super) rx_packets: u64,
    pub(super) rx_errors: u64,
    pub(super) rx_dropped: u64,
    pub(super) tx_bytes: u64,
    pub(super) tx_packets: u64,
    pub(super) tx_errors: u64,
    pub(super) tx_dropped: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_empty<T>(slice: &&[T]) -> bool {
    slice.is_empty()
}

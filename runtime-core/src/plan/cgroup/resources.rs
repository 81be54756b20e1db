//! The limits, resolved: what is absent is left as the kernel has it.

use std::fmt;

use serde::Serialize;

use super::BlockIo;

/// An upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// No bound: the specification's -1.
    Unlimited,
    /// In the unit that the field's name says.
    At(u64),
}

impl Limit {
    /// The bound as a number, and this number for none.
    #[must_use]
    pub const fn value_or(self, unlimited: u64) -> u64 {
        match self {
            Self::Unlimited => unlimited,
            Self::At(value) => value,
        }
    }
}

/// As cgroup v2 (and v1's `pids.max`) take it: `max` for no bound.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("max"),
            Self::At(value) => value.fmt(f),
        }
    }
}

/// All limits but device rules (config-linux.md#control-groups).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    /// `memory`.
    pub memory: Memory,
    /// `cpu`.
    pub cpu: Cpu,
    /// `pids.limit`: how many processes and threads there may be at once; 0 is legal.
    pub pids_limit: Option<Limit>,
    /// `blockIO`.
    pub block_io: BlockIo,
    /// `hugepageLimits`.
    pub hugepages: Vec<HugepageLimit>,
    /// `network`.
    pub network: Network,
    /// `rdma`.
    pub rdma: Vec<RdmaLimit>,
    /// `unified`: cgroup2 files and what is written to them, last of all.
    pub unified: Vec<Setting>,
}

/// `memory`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Hard limit.
    pub limit_bytes: Option<Limit>,
    /// Soft limit (v1), protection from reclaim (v2).
    pub reservation_bytes: Option<Limit>,
    /// Memory and swap together, as cgroup v1 counts.
    pub memory_and_swap_bytes: Option<Limit>,
    /// v1 only.
    pub kernel_bytes: Option<Limit>,
    /// v1 only.
    pub kernel_tcp_bytes: Option<Limit>,
    /// 0 to 100; v1 only.
    pub swappiness_percent: Option<u64>,
    /// v1 only.
    pub disable_oom_killer: Option<bool>,
    /// `useHierarchy` was asked for; kernels from 5.11 on have nothing else.
    pub use_hierarchy: bool,
    /// Refuse a limit below what is used now.
    pub check_before_update: bool,
}

/// `cpu`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Relative, as cgroup v1 counts: 1024 is the default.
    pub shares: Option<u64>,
    /// CPU time in each period.
    pub quota_us: Option<Limit>,
    /// Unused quota that may be saved up.
    pub burst_us: Option<u64>,
    /// Length of the period.
    pub period_us: Option<u64>,
    /// v1 only.
    pub realtime_runtime_us: Option<i64>,
    /// v1 only.
    pub realtime_period_us: Option<u64>,
    /// CPU list, such as `0-3,7`.
    pub cpus: Option<String>,
    /// Memory node list.
    pub mems: Option<String>,
    /// Whether it runs only when nothing else wants to.
    pub idle: Option<bool>,
}

impl Cpu {
    /// Whether anything of the `cpu` controller is set.
    pub(crate) fn sets_cpu(&self) -> bool {
        let Self {
            shares,
            quota_us,
            burst_us,
            period_us,
            realtime_runtime_us,
            realtime_period_us,
            cpus: _,
            mems: _,
            idle,
        } = self;
        shares.is_some()
            || quota_us.is_some()
            || burst_us.is_some()
            || period_us.is_some()
            || realtime_runtime_us.is_some()
            || realtime_period_us.is_some()
            || idle.is_some()
    }

    /// Whether anything of the `cpuset` controller is set.
    pub(crate) fn sets_cpuset(&self) -> bool {
        self.cpus.is_some() || self.mems.is_some()
    }
}

/// One of `hugepageLimits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HugepageLimit {
    /// As the kernel names it in its files: `2MB`.
    pub page_size: String,
    /// Upper bound.
    pub limit_bytes: u64,
}

/// `network`; v1 only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// net_cls: the class of the container's packets.
    pub class_id: Option<u32>,
    /// net_prio.
    pub priorities: Vec<InterfacePriority>,
}

/// One of `network.priorities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfacePriority {
    /// Of the interface, in the runtime's network namespace.
    pub name: String,
    /// Of packets sent over it.
    pub priority: u32,
}

/// One of `rdma`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RdmaLimit {
    /// The kernel's name of the device.
    pub device: String,
    /// Upper bound.
    pub hca_handles: Option<u32>,
    /// Upper bound.
    pub hca_objects: Option<u32>,
}

/// A value for a file of a cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name of the file.
    pub file: String,
    /// Written in one write(2), or one for each line.
    pub value: String,
}

impl Resources {
    /// The cgroup v2 names of the controllers that these limits need, each once.
    pub(crate) fn controllers(&self) -> Vec<&str> {
        let Self {
            memory,
            cpu,
            pids_limit,
            block_io,
            hugepages,
            network,
            rdma,
            unified,
        } = self;
        let mut needed = vec![];
        let mut need = |name, asked| {
            if asked && !needed.contains(&name) {
                needed.push(name);
            }
        };
        need("memory", *memory != Memory::default());
        need("cpu", cpu.sets_cpu());
        need("cpuset", cpu.sets_cpuset());
        need("pids", pids_limit.is_some());
        need("io", *block_io != BlockIo::default());
        need("hugetlb", !hugepages.is_empty());
        need("net_cls", network.class_id.is_some());
        need("net_prio", !network.priorities.is_empty());
        need("rdma", !rdma.is_empty());
        for setting in unified {
            let controller = setting.controller();
            need(controller, controller != "cgroup");
        }
        needed
    }
}

impl Setting {
    /// The controller that the file belongs to: what stands before its first dot.
    pub(crate) fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

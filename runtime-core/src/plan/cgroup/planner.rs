//! From the specification's `resources` to [`Resources`]: ranges, combinations, and whether
//! this host has the controller at all.

use super::{Cpu, Home, Limit, Memory, Resources, home};
use crate::host::Host;
use crate::spec;
use crate::violation::Violations;

mod devices_and_pages;

/// What a plan of limits needs at hand; see [`super::plan_resources`].
pub(super) struct Planner<'a> {
    pub(super) host: &'a Host,
    at: &'a str,
    violations: &'a mut Violations,
    /// Whether the container has limits already: then what is absent stays as it is.
    updates: bool,
}

/// The kernel's shortest CPU quota and period.
const SHORTEST_CPU_TIME_US: u64 = 1000;

/// The kernel's longest CPU period.
const LONGEST_CPU_PERIOD_US: u64 = 1_000_000;

impl<'a> Planner<'a> {
    pub(super) fn new(host: &'a Host, at: &'a str, violations: &'a mut Violations) -> Self {
        Self {
            host,
            at,
            violations,
            updates: false,
        }
    }

    /// The same, for limits that change those of a container.
    pub(super) fn for_update(self) -> Self {
        Self {
            updates: true,
            ..self
        }
    }

    /// All of `resources` but the device rules.
    pub(super) fn resources(&mut self, spec: &spec::Resources<'_>) -> Resources {
        Resources {
            memory: self.memory(spec.memory.as_ref()),
            cpu: self.cpu(spec.cpu.as_ref()),
            pids_limit: self.pids(spec.pids.as_ref()),
            block_io: self.block_io(spec.block_io.as_ref()),
            hugepages: self.hugepages(spec.hugepage_limits.as_deref()),
            network: self.network(spec.network.as_ref()),
            rdma: self.rdma(spec.rdma.as_ref()),
            unified: self.unified(spec.unified.as_ref()),
        }
    }

    /// Notes a broken rule of the property at `property`, a pointer below `resources`.
    pub(super) fn refuse(&mut self, property: &str, rule: impl Into<String>) {
        self.violations.add(format!("{}/{property}", self.at), rule);
    }

    /// Where the controller is; notes that this host has it nowhere.
    pub(super) fn home(&mut self, controller: &str, property: &str) -> Option<Home> {
        let found = home(&self.host.cgroups, controller);
        if found.is_none() {
            self.refuse(
                property,
                format!("needs the cgroup controller {controller}, which this host does not have"),
            );
        }
        found
    }

    /// Refuses a property that only cgroup v1 has.
    pub(super) fn refuse_on_v2(&mut self, at: Option<Home>, asked: bool, property: &str) {
        if asked && at == Some(Home::V2) {
            self.refuse(
                property,
                "exists in cgroup v1 only, and this host has cgroup v2",
            );
        }
    }

    /// A byte limit: 0 is unset, as runc's callers mean it, and -1 is unlimited.
    fn limit(&mut self, property: &str, value: Option<i64>) -> Option<Limit> {
        match value {
            None | Some(0) => None,
            Some(-1) => Some(Limit::Unlimited),
            Some(value) => match u64::try_from(value) {
                Ok(value) => Some(Limit::At(value)),
                Err(_) => {
                    self.refuse(property, "must be a number of bytes, or -1 for no limit");
                    None
                }
            },
        }
    }

    fn memory(&mut self, spec: Option<&spec::Memory<'_>>) -> Memory {
        let Some(spec) = spec else {
            return Memory::default();
        };
        let memory = Memory {
            limit_bytes: self.limit("memory/limit", spec.limit),
            reservation_bytes: self.limit("memory/reservation", spec.reservation),
            memory_and_swap_bytes: self.limit("memory/swap", spec.swap),
            kernel_bytes: self.limit("memory/kernel", spec.kernel),
            kernel_tcp_bytes: self.limit("memory/kernelTCP", spec.kernel_tcp),
            swappiness_percent: spec.swappiness,
            disable_oom_killer: self.disable_oom_killer(spec.disable_oom_killer),
            use_hierarchy: spec.use_hierarchy == Some(true),
            check_before_update: spec.check_before_update == Some(true),
        };
        if memory == Memory::default() {
            return memory;
        }
        let at = self.home("memory", "memory");
        self.refuse_on_v2(at, spec.kernel.is_some_and(|v| v > 0), "memory/kernel");
        self.refuse_on_v2(
            at,
            spec.kernel_tcp.is_some_and(|v| v > 0),
            "memory/kernelTCP",
        );
        self.refuse_on_v2(at, spec.swappiness.is_some(), "memory/swappiness");
        self.refuse_on_v2(
            at,
            memory.disable_oom_killer == Some(true),
            "memory/disableOOMKiller",
        );
        if spec.swappiness.is_some_and(|percent| percent > 100) {
            self.refuse("memory/swappiness", "must be from 0 to 100");
        }
        self.check_swap(&memory);
        memory
    }

    /// A new cgroup has the OOM killer anyway, and cgroup v2 nothing else.
    fn disable_oom_killer(&self, disable: Option<bool>) -> Option<bool> {
        let may_be_off = self.updates && home(&self.host.cgroups, "memory") == Some(Home::V1);
        disable.filter(|disable| *disable || may_be_off)
    }

    /// `swap` counts memory too.
    fn check_swap(&mut self, memory: &Memory) {
        let Some(Limit::At(sum)) = memory.memory_and_swap_bytes else {
            return;
        };
        match memory.limit_bytes {
            Some(Limit::At(limit)) if limit <= sum => {}
            Some(Limit::At(limit)) => self.refuse(
                "memory/swap",
                format!("is memory and swap together: must be at least memory.limit, {limit}"),
            ),
            // The limit that holds is looked at when this one is set.
            None if self.updates => {}
            None | Some(Limit::Unlimited) => self.refuse(
                "memory/swap",
                "is memory and swap together: needs a memory.limit",
            ),
        }
    }

    fn cpu(&mut self, spec: Option<&spec::Cpu<'_>>) -> Cpu {
        let Some(spec) = spec else {
            return Cpu::default();
        };
        let cpu = Cpu {
            shares: spec.shares.filter(|shares| *shares != 0),
            quota_us: self.quota(spec.quota),
            burst_us: spec.burst,
            period_us: self.period(spec.period),
            realtime_runtime_us: spec.realtime_runtime.filter(|time| *time != 0),
            realtime_period_us: spec.realtime_period.filter(|time| *time != 0),
            cpus: self.list("cpu/cpus", spec.cpus.as_deref()),
            mems: self.list("cpu/mems", spec.mems.as_deref()),
            idle: self.idle(spec.idle),
        };
        if cpu.sets_cpuset() {
            self.home("cpuset", "cpu");
        }
        if cpu.sets_cpu() {
            let at = self.home("cpu", "cpu");
            self.refuse_on_v2(at, cpu.realtime_runtime_us.is_some(), "cpu/realtimeRuntime");
            self.refuse_on_v2(at, cpu.realtime_period_us.is_some(), "cpu/realtimePeriod");
            self.check_shares(at, &cpu);
        }
        if let (Some(burst), Some(Limit::At(quota))) = (cpu.burst_us, cpu.quota_us)
            && burst > quota
        {
            self.refuse("cpu/burst", format!("must be at most cpu.quota, {quota}"));
        }
        cpu
    }

    /// cgroup v1 would quietly take the nearest value it knows.
    fn check_shares(&mut self, at: Option<Home>, cpu: &Cpu) {
        let in_range = cpu
            .shares
            .is_none_or(|shares| (2..=262_144).contains(&shares));
        if at == Some(Home::V1) && !in_range {
            self.refuse("cpu/shares", "must be from 2 to 262144");
        }
    }

    /// 0 is unset, below it unlimited, as runc's callers mean it.
    fn quota(&mut self, quota: Option<i64>) -> Option<Limit> {
        match quota {
            None | Some(0) => None,
            Some(quota) => match u64::try_from(quota) {
                Err(_) => Some(Limit::Unlimited),
                Ok(quota) => {
                    if quota < SHORTEST_CPU_TIME_US {
                        self.refuse("cpu/quota", "must be at least 1000 us, or -1 for no limit");
                    }
                    Some(Limit::At(quota))
                }
            },
        }
    }

    fn period(&mut self, period: Option<u64>) -> Option<u64> {
        let period = period.filter(|period| *period != 0)?;
        if !(SHORTEST_CPU_TIME_US..=LONGEST_CPU_PERIOD_US).contains(&period) {
            self.refuse("cpu/period", "must be from 1000 to 1000000 us");
        }
        Some(period)
    }

    fn idle(&mut self, idle: Option<i64>) -> Option<bool> {
        match idle? {
            0 => Some(false),
            1 => Some(true),
            _ => {
                self.refuse("cpu/idle", "must be 0 or 1");
                None
            }
        }
    }

    /// A list such as `0-3,7`; the kernel judges the numbers.
    fn list(&mut self, property: &str, list: Option<&str>) -> Option<String> {
        let list = list?.trim();
        if list.is_empty() {
            return None;
        }
        if !list
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-,:/".contains(&b))
        {
            self.refuse(
                property,
                "must be a list of numbers and ranges, such as 0-3,7",
            );
        }
        Some(list.to_owned())
    }

    fn pids(&mut self, spec: Option<&spec::Pids<'_>>) -> Option<Limit> {
        let limit = spec?.limit?;
        self.home("pids", "pids/limit");
        Some(u64::try_from(limit).map_or(Limit::Unlimited, Limit::At))
    }
}

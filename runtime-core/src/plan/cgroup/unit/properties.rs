//! Limits as properties of the unit.
//!
//! Everything that systemd would write itself is told to it, for it writes its own idea of
//! each of its files again at a daemon-reload. The rest (huge pages, RDMA, throttles, swap of
//! cgroup v1 and so on) it never touches. What is told is what the kernel is told, too; where
//! systemd's form is coarser, the kernel gets the exact value after it.

use super::super::convert::{cpu_weight_of_shares, io_weight_of_blkio_weight, swap_max};
use super::super::{Cpu, Home, Limit, Memory, Resources, home};
use super::quantity::{amount, bits, quota, tasks};
use super::{Property, Value, unified};
use crate::host::CgroupLayout;
use crate::violation::Violations;

/// `CPUWeight` of a unit that runs only when nothing else wants to (systemd 252).
const IDLE_WEIGHT: u64 = 0;

/// The limits that systemd knows; `at` is the JSON pointer of `resources`.
pub(crate) fn of_resources(
    resources: &Resources,
    layout: &CgroupLayout,
    at: &str,
    violations: &mut Violations,
) -> Vec<Property> {
    let mut converter = Converter {
        layout,
        at,
        violations,
        properties: Vec::new(),
    };
    converter.memory(&resources.memory);
    converter.cpu(&resources.cpu);
    converter.cpuset(&resources.cpu);
    if let Some(limit) = resources.pids_limit {
        converter.set("TasksMax", tasks(limit));
    }
    if let Some(weight) = resources.block_io.weight {
        match home(layout, "io") {
            Some(Home::V1) => converter.set("BlockIOWeight", Value::Uint64(weight.into())),
            _ => converter.set("IOWeight", Value::Uint64(io_weight_of_blkio_weight(weight))),
        }
    }
    for setting in &resources.unified {
        match unified::property(setting) {
            Ok(properties) => converter.extend(properties),
            Err(rule) => {
                let file = crate::violation::pointer_token(&setting.file);
                converter.refuse(&format!("unified/{file}"), rule);
            }
        }
    }
    converter.properties
}

struct Converter<'a> {
    layout: &'a CgroupLayout,
    at: &'a str,
    violations: &'a mut Violations,
    properties: Vec<Property>,
}

impl Converter<'_> {
    /// Sets a property; the last one of a name counts, as with the files.
    fn set(&mut self, name: &'static str, value: Value) {
        self.properties.retain(|property| property.name != name);
        self.properties.push(Property::new(name, value));
    }

    fn extend(&mut self, properties: Vec<Property>) {
        for property in properties {
            self.properties.retain(|other| other.name != property.name);
            self.properties.push(property);
        }
    }

    fn refuse(&mut self, property: &str, rule: &str) {
        self.violations.add(format!("{}/{property}", self.at), rule);
    }

    fn is_legacy(&self, controller: &str) -> bool {
        home(self.layout, controller) == Some(Home::V1)
    }

    fn memory(&mut self, memory: &Memory) {
        if self.is_legacy("memory") {
            if let Some(limit) = memory.limit_bytes {
                self.set("MemoryLimit", amount(limit));
            }
            return;
        }
        let limit = memory.limit_bytes;
        let swap = match memory.memory_and_swap_bytes {
            Some(sum) => swap_max(sum, limit),
            None => limit.filter(|limit| *limit == Limit::Unlimited),
        };
        for (name, value) in [
            ("MemoryMax", limit),
            ("MemoryLow", memory.reservation_bytes),
            ("MemorySwapMax", swap),
        ] {
            if let Some(value) = value {
                self.set(name, amount(value));
            }
        }
    }

    fn cpu(&mut self, cpu: &Cpu) {
        if let Some(shares) = cpu.shares {
            if self.is_legacy("cpu") {
                self.set("CPUShares", Value::Uint64(shares));
            } else {
                let weight = cpu_weight_of_shares(shares);
                self.set("CPUWeight", Value::Uint64(weight));
            }
        }
        if cpu.idle == Some(true) && !self.is_legacy("cpu") {
            self.set("CPUWeight", Value::Uint64(IDLE_WEIGHT));
        }
        self.extend(quota(cpu.quota_us, cpu.period_us));
    }

    /// systemd has nothing to do with v1's cpuset hierarchy.
    fn cpuset(&mut self, cpu: &Cpu) {
        if self.is_legacy("cpuset") {
            return;
        }
        let lists = [
            ("AllowedCPUs", "cpu/cpus", &cpu.cpus),
            ("AllowedMemoryNodes", "cpu/mems", &cpu.mems),
        ];
        for (name, property, list) in lists {
            match list.as_deref().map(bits) {
                None => {}
                Some(Some(value)) => self.set(name, value),
                Some(None) => self.refuse(
                    property,
                    "can't be told to systemd: must be numbers and ranges up to 8191, such as 0-3,7",
                ),
            }
        }
    }
}

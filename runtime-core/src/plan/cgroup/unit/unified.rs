//! `unified`: the cgroup2 files that systemd writes too.

use super::super::{Limit, Setting};
use super::quantity::{amount, bits, number, quota, tasks};
use super::{Property, Value};

/// The properties that say the same as the file; none for a file that systemd leaves alone.
/// An error is the rule that the value breaks.
pub(super) fn property(setting: &Setting) -> Result<Vec<Property>, &'static str> {
    let value = setting.value.trim();
    let one = |name: &'static str, value: Option<Value>, rule| {
        let value = value.ok_or(rule)?;
        Ok(vec![Property::new(name, value)])
    };
    const LIMIT: &str = "can't be told to systemd: must be a number or \"max\"";
    const LIST: &str =
        "can't be told to systemd: must be numbers and ranges up to 8191, such as 0-3,7";
    let bytes = |name| one(name, limit(value).map(amount), LIMIT);
    match setting.file.as_str() {
        "memory.min" => bytes("MemoryMin"),
        "memory.low" => bytes("MemoryLow"),
        "memory.high" => bytes("MemoryHigh"),
        "memory.max" => bytes("MemoryMax"),
        "memory.swap.max" => bytes("MemorySwapMax"),
        "pids.max" => one("TasksMax", limit(value).map(tasks), LIMIT),
        "cpuset.cpus" => one("AllowedCPUs", bits(value), LIST),
        "cpuset.mems" => one("AllowedMemoryNodes", bits(value), LIST),
        "cpu.weight" => one(
            "CPUWeight",
            weight(value),
            "can't be told to systemd: must be from 1 to 10000",
        ),
        // With a device in front it is no weight of the unit.
        "io.weight" => match weight(value.strip_prefix("default").unwrap_or(value)) {
            Some(value) => Ok(vec![Property::new("IOWeight", value)]),
            None => Ok(Vec::new()),
        },
        "cpu.max" => cpu_max(value)
            .ok_or("can't be told to systemd: must be \"QUOTA PERIOD\" in us, or \"max\""),
        _ => Ok(Vec::new()),
    }
}

fn limit(text: &str) -> Option<Limit> {
    match text {
        "max" => Some(Limit::Unlimited),
        text => number(text).map(Limit::At),
    }
}

fn weight(text: &str) -> Option<Value> {
    let weight: u64 = number(text)?;
    (1..=10_000)
        .contains(&weight)
        .then_some(Value::Uint64(weight))
}

fn cpu_max(text: &str) -> Option<Vec<Property>> {
    let mut words = text.split_whitespace();
    let share = limit(words.next()?)?;
    let period = words.next().map(|word| number(word).ok_or(())).transpose();
    match (period, words.next()) {
        (Ok(period), None) => Some(quota(Some(share), period)),
        _ => None,
    }
}

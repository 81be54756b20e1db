//! A cgroup plan for a person to read.

use super::{
    CgroupPath, CgroupPlan, Cpu, DeviceRules, Limit, Manager, Memory, Resources, UnitPlan,
};

/// The period that the kernel has for a quota without one.
const DEFAULT_PERIOD_US: u64 = 100_000;

pub(super) fn words(plan: &CgroupPlan) -> Vec<String> {
    let mut words = vec![path(&plan.path)];
    words.extend(plan.unit.iter().flat_map(unit));
    let Resources {
        memory: memory_limits,
        cpu: cpu_limits,
        pids_limit,
        ..
    } = &plan.resources;
    memory(memory_limits, &mut words);
    cpu(cpu_limits, &mut words);
    match pids_limit {
        None => {}
        Some(Limit::Unlimited) => words.push("any number of processes".into()),
        Some(Limit::At(1)) => words.push("at most 1 process".into()),
        Some(Limit::At(limit)) => words.push(format!("at most {limit} processes")),
    }
    other(&plan.resources, &mut words);
    words.extend(plan.devices.as_ref().map(devices));
    words
}

fn path(path: &CgroupPath) -> String {
    match path {
        CgroupPath::BelowMount(path) => format!("run in the cgroup /{path}"),
        CgroupPath::BelowOwn(path) => format!("run in the cgroup {path}, below the runtime's own"),
    }
}

/// What systemd is asked for, and what it is told.
fn unit(unit: &UnitPlan) -> Vec<String> {
    let whose = match unit.manager {
        Manager::System => "systemd",
        Manager::User => "the user's systemd",
    };
    let start = format!("have {whose} start the unit {}", unit.name);
    let properties = unit.properties.iter().map(|p| format!("unit property {p}"));
    std::iter::once(start).chain(properties).collect()
}

fn memory(memory: &Memory, words: &mut Vec<String>) {
    let mut limit = |what: &str, limit: Option<Limit>| match limit {
        None => {}
        Some(Limit::Unlimited) => words.push(format!("no limit of {what}")),
        Some(Limit::At(limit)) => words.push(format!("limit {what} to {}", bytes(limit))),
    };
    limit("memory", memory.limit_bytes);
    limit("memory and swap together", memory.memory_and_swap_bytes);
    limit("kernel memory", memory.kernel_bytes);
    limit("kernel memory for TCP", memory.kernel_tcp_bytes);
    match memory.reservation_bytes {
        None => {}
        Some(Limit::Unlimited) => words.push("reserve all memory".into()),
        Some(Limit::At(reservation)) => {
            words.push(format!("reserve {} of memory", bytes(reservation)));
        }
    }
    if let Some(percent) = memory.swappiness_percent {
        words.push(format!("swappiness {percent}"));
    }
    if memory.disable_oom_killer == Some(true) {
        words.push("no OOM killer: a process that needs more memory waits".into());
    }
}

fn cpu(cpu: &Cpu, words: &mut Vec<String>) {
    if let Some(shares) = cpu.shares {
        words.push(format!("{shares} CPU shares (1024 is the default)"));
    }
    quota(cpu, words);
    if let Some(burst) = cpu.burst_us {
        words.push(format!("save up to {burst} us of unused CPU time"));
    }
    if let Some(runtime) = cpu.realtime_runtime_us {
        words.push(format!("{runtime} us of real-time CPU time in each period"));
    }
    if let Some(period) = cpu.realtime_period_us {
        words.push(format!("real-time periods of {period} us"));
    }
    if let Some(cpus) = &cpu.cpus {
        words.push(format!("run on CPUs {cpus} only"));
    }
    if let Some(mems) = &cpu.mems {
        words.push(format!("memory from nodes {mems} only"));
    }
    if cpu.idle == Some(true) {
        words.push("run only when no CPU has anything else to do".into());
    }
}

fn quota(cpu: &Cpu, words: &mut Vec<String>) {
    let period = cpu.period_us.unwrap_or(DEFAULT_PERIOD_US);
    match cpu.quota_us {
        Some(Limit::At(quota)) => {
            let thousandths = quota.saturating_mul(1000) / period.max(1);
            let (whole, part) = (thousandths / 1000, thousandths % 1000);
            let number = format!("{whole}.{part:03}");
            let number = number.trim_end_matches('0').trim_end_matches('.');
            let unit = if number == "1" { "CPU" } else { "CPUs" };
            words.push(format!("{number} {unit} ({quota} us of each {period} us)"));
        }
        Some(Limit::Unlimited) => words.push("no limit of CPU time".into()),
        None if cpu.period_us.is_some() => words.push(format!("CPU periods of {period} us")),
        None => {}
    }
}

/// The limits that few containers have.
fn other(resources: &Resources, words: &mut Vec<String>) {
    let block_io = &resources.block_io;
    if let Some(weight) = block_io.weight {
        words.push(format!("block I/O weight {weight}"));
    }
    if let Some(weight) = block_io.leaf_weight {
        words.push(format!("block I/O leaf weight {weight}"));
    }
    for weight in &block_io.device_weights {
        let values = [("", weight.weight), ("leaf ", weight.leaf_weight)];
        for (leaf, value) in values.into_iter().filter_map(|(l, v)| Some((l, v?))) {
            let device = weight.device;
            words.push(format!("block I/O {leaf}weight {value} on device {device}"));
        }
    }
    for throttle in &block_io.throttles {
        let (device, kind) = (throttle.device, throttle.kind.words());
        words.push(match throttle.rate_per_second {
            0 => format!("no limit of {kind} on device {device}"),
            rate => format!("at most {rate} {kind} on device {device}"),
        });
    }
    for page in &resources.hugepages {
        let (limit, size) = (bytes(page.limit_bytes), &page.page_size);
        words.push(format!("limit huge pages of {size} to {limit}"));
    }
    if let Some(class) = resources.network.class_id {
        words.push(format!("network packets of class {class:#x}"));
    }
    for priority in &resources.network.priorities {
        words.push(format!(
            "network priority {} on {}",
            priority.priority, priority.name
        ));
    }
    for limit in &resources.rdma {
        let values = [
            ("handles", limit.hca_handles),
            ("objects", limit.hca_objects),
        ];
        for (what, value) in values.into_iter().filter_map(|(w, v)| Some((w, v?))) {
            words.push(format!("at most {value} RDMA {what} of {}", limit.device));
        }
    }
    for setting in &resources.unified {
        words.push(format!("{} is {:?}", setting.file, setting.value));
    }
}

/// config.json's own rules; the built-in ones are a phrase.
fn devices(rules: &DeviceRules) -> String {
    const USUAL: &str =
        "the usual devices (null, zero, full, random, urandom, tty, terminals, net/tun)";
    let asked = rules.asked();
    let start = asked.iter().rposition(super::DeviceRule::is_total);
    let allow = start.is_some_and(|index| asked[index].allow);
    let rest = &asked[start.map_or(0, |index| index + 1)..];
    let said = |allow: bool| {
        let rules = rest.iter().filter(move |rule| rule.allow == allow);
        rules
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (allow, rest.is_empty()) {
        (true, true) => "allow all devices".into(),
        (true, false) if said(true).is_empty() => {
            format!("allow all devices but {}, and {USUAL} anyway", said(false))
        }
        (false, true) => format!("deny all devices but {USUAL}"),
        (false, false) if said(false).is_empty() => {
            format!("deny all devices but {}, and {USUAL}", said(true))
        }
        (_, false) => {
            let first = if allow { "allow" } else { "deny" };
            let rules = rest.iter().map(|rule| {
                let verb = if rule.allow { "allow" } else { "deny" };
                format!("{verb} {rule}")
            });
            let rules = rules.collect::<Vec<_>>().join(", then ");
            format!("{first} all devices, then {rules}, and allow {USUAL}")
        }
    }
}

/// In the largest unit that needs no fraction.
fn bytes(count: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &&(u32, &str)| count != 0 && count.trailing_zeros() >= *shift;
    match UNITS.iter().find(fits) {
        Some((shift, unit)) => format!("{} {unit}", count >> shift),
        None if count == 1 => "1 byte".into(),
        None => format!("{count} bytes"),
    }
}

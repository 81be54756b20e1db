//! A process's report of what it sees, without what is another one at every run.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::bundle::Bundle;

/// Lines of /proc/self/status that a runtime decides about.
const STATUS: [&str; 25] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "TracerPid",
    "SigQ",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "Cpus_allowed_list",
    "Mems_allowed_list",
    "CoreDumping",
    "THP_enabled",
];

/// The report, fit to be compared with another runtime's.
pub(super) fn comparable(report: &Value, bundle: &Bundle) -> Value {
    let Value::Object(report) = report else {
        return report.clone();
    };
    let facts = report.iter().filter_map(|(name, value)| {
        let value = match name.as_str() {
            "status" => status(value),
            "mounts" => return None,
            "namespaces" => namespaces(value),
            "files" => files(value),
            "memory_policy" => json!(first_word(value)),
            // How many processes came before is nobody's promise.
            "pid" => json!(if value == 1 { "init" } else { "another" }),
            "session" => json!(if value == &report["pid"] {
                "leader"
            } else {
                "another"
            }),
            "terminal" => terminal(value),
            "cgroup" => cgroup(value),
            "root_propagation" => optional(value),
            _ => value.clone(),
        };
        Some((name.clone(), value))
    });
    let mut facts: Map<String, Value> = facts.collect();
    if let Some(mounts) = report.get("mounts") {
        facts.insert("mounts".to_owned(), mount_table(mounts, bundle));
    }
    Value::Object(facts)
}

/// Ignored signals but for 32 and 33, which C libraries keep for themselves: whether those that the
/// caller ignores stay so is a matter of the language that a runtime is written in.
fn without_the_librarys(name: &str, text: &str) -> String {
    const THEIRS: u64 = 0b11 << 31;
    match u64::from_str_radix(text, 16) {
        Ok(mask) if name == "SigIgn" => format!("{:016x}", mask & !THEIRS),
        _ => text.to_owned(),
    }
}

fn status(value: &Value) -> Value {
    let lines = STATUS.iter().filter_map(|name| {
        let text = value[*name].as_str()?;
        let shown = without_the_librarys(name, text);
        let text = match *name {
            "SigIgn" => shown.as_str(),
            // Used and limit: how much the user has pending is another's affair.
            "SigQ" => text.split_once('/').map_or(text, |(_, limit)| limit),
            _ => text,
        };
        Some(((*name).to_owned(), json!(text)))
    });
    Value::Object(lines.collect())
}

/// For each kind, whether it is the host's.
pub(super) fn namespaces(value: &Value) -> Value {
    let mut kinds = BTreeMap::new();
    for (kind, link) in value.as_object().into_iter().flatten() {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}"));
        let is_hosts = host.is_ok_and(|host| *link == host.display().to_string());
        kinds.insert(kind, if is_hosts { "the host's" } else { "its own" });
    }
    json!(kinds)
}

/// `pipe:[123]` without the number.
fn files(value: &Value) -> Value {
    let mut files = BTreeMap::new();
    for (number, target) in value.as_object().into_iter().flatten() {
        let target = target.as_str().unwrap_or_default();
        files.insert(number, target.split(":[").next().unwrap_or_default());
    }
    json!(files)
}

fn terminal(value: &Value) -> Value {
    let mut terminal = value.clone();
    // Where standard input comes from is in `files`.
    terminal["name"] = Value::Null;
    terminal
}

fn first_word(value: &Value) -> &str {
    let text = value.as_str().unwrap_or_default();
    text.split(' ').next().unwrap_or_default()
}

/// /proc/self/cgroup by controllers; the hierarchies' numbers are the host's.
fn cgroup(value: &Value) -> Value {
    let lines = value.as_str().unwrap_or_default().lines();
    let by_controllers: BTreeMap<&str, &str> = lines
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .collect();
    json!(by_controllers)
}

/// Each mount by its target; of several at one target, each with a number.
fn mount_table(mounts: &Value, bundle: &Bundle) -> Value {
    let mut table: Map<String, Value> = Map::new();
    for mount in mounts.as_array().into_iter().flatten() {
        let target = mount["target"].as_str().unwrap_or_default();
        let number = table.keys().filter(|key| is_of(key, target)).count();
        let key = match number {
            0 => target.to_owned(),
            _ => format!("{target} #{}", number + 1),
        };
        let mut mount = mount.clone();
        mount["optional"] = optional(&mount["optional"]);
        mount["super"] = sorted(&mount["super"]);
        mount["options"] = sorted(&mount["options"]);
        if mount["root"] == json!(bundle.rootfs()) {
            mount["root"] = json!("ROOTFS");
        }
        table.insert(key, mount);
    }
    Value::Object(table)
}

fn is_of(key: &str, target: &str) -> bool {
    key == target
        || key
            .strip_prefix(target)
            .is_some_and(|rest| rest.starts_with(" #"))
}

/// `shared:12` without the number of the peer group.
fn optional(value: &Value) -> Value {
    let words = value.as_array().into_iter().flatten();
    let words: Vec<&str> = words
        .filter_map(|word| word.as_str()?.split(':').next())
        .collect();
    json!(words)
}

fn sorted(value: &Value) -> Value {
    let words = value.as_array().into_iter().flatten();
    let mut words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.sort_unstable();
    json!(words)
}

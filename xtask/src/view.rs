//! The table of the demonstration: the container's view beside the host's.

use std::collections::BTreeMap;
use std::fs;

use demo::{field, first_of, names, processes, read};

/// What the host knows of the container's init process, and of itself.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) pid: u64,
    pub(crate) uid: String,
    pub(crate) hostname: String,
    pub(crate) processes: usize,
    pub(crate) mounts: usize,
    pub(crate) network: String,
    /// Kinds of namespaces in which it is not with the host.
    pub(crate) own_namespaces: Vec<String>,
    pub(crate) cgroup: String,
    pub(crate) memory: String,
    pub(crate) tasks: String,
    pub(crate) capabilities: String,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) inside: String,
    pub(crate) outside: String,
}

impl Host {
    /// Reads /proc and the container's cgroup; what can't be read stays empty.
    pub(crate) fn look_at(pid: u64) -> Self {
        let (own, its) = (
            read("/proc/self/status"),
            read(&format!("/proc/{pid}/status")),
        );
        let cgroups = read(&format!("/proc/{pid}/cgroup"));
        Self {
            pid,
            uid: field(&its, "Uid"),
            hostname: read("/proc/sys/kernel/hostname"),
            processes: processes(),
            mounts: read("/proc/self/mounts").lines().count(),
            network: names("/sys/class/net").join(" "),
            own_namespaces: own_namespaces(pid),
            cgroup: cgroup_of(&cgroups, "memory"),
            memory: limit(&cgroups, "memory", "memory.limit_in_bytes", "memory.max"),
            tasks: limit(&cgroups, "pids", "pids.max", "pids.max"),
            capabilities: field(&own, "CapEff"),
        }
    }
}

/// The table's lines, from what the container said and what the host knows.
pub(crate) fn rows(seen: &BTreeMap<String, String>, host: &Host) -> Vec<Row> {
    let inside = |name: &str| seen.get(name).cloned().unwrap_or_default();
    let row = |what, inside, outside| Row {
        what,
        inside,
        outside,
    };
    vec![
        row(
            "process",
            format!(
                "{}, alone with {}",
                inside("pid"),
                others(&inside("processes"))
            ),
            format!("{}, one of {}", host.pid, host.processes),
        ),
        row("user", inside("uid"), host.uid.clone()),
        row("hostname", inside("hostname"), host.hostname.clone()),
        row(
            "namespaces",
            "its own".into(),
            host.own_namespaces.join(" "),
        ),
        row("files in /", inside("root"), "its rootfs, read-only".into()),
        row(
            "mounts",
            inside("mounts"),
            format!("{}, none of them the container's", host.mounts),
        ),
        row("network", inside("network"), host.network.clone()),
        row(
            "memory limit",
            bytes(&inside("memory")),
            bytes(&host.memory),
        ),
        row("task limit", inside("tasks"), host.tasks.clone()),
        row("cgroup", "/".into(), host.cgroup.clone()),
        row("open files", inside("files"), "RLIMIT_NOFILE".into()),
        row(
            "capabilities",
            capabilities(&inside("capabilities")),
            format!("root here has {}", count(&host.capabilities)),
        ),
        row(
            "seccomp",
            seccomp(&inside("seccomp")),
            "a filter in the kernel".into(),
        ),
        row(
            "set-uid files",
            privileges(&inside("no_new_privileges")),
            "no_new_privs".into(),
        ),
    ]
}

fn others(processes: &str) -> String {
    match processes.parse::<u32>().unwrap_or_default() {
        0 | 1 => "itself".to_owned(),
        count => format!("{} others", count - 1),
    }
}

fn bytes(limit: &str) -> String {
    match limit.parse::<u64>() {
        Ok(bytes) if bytes < 1 << 60 => format!("{} MiB", bytes >> 20),
        _ => "none".to_owned(),
    }
}

/// Names of the capabilities in a mask as /proc prints it, while they are few.
fn capabilities(mask: &str) -> String {
    const KNOWN: [(u64, &str); 4] = [
        (5, "kill"),
        (10, "net_bind_service"),
        (29, "audit_write"),
        (21, "sys_admin"),
    ];
    let set = u64::from_str_radix(mask, 16).unwrap_or_default();
    let names: Vec<&str> = KNOWN
        .iter()
        .filter(|(bit, _)| set >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    if names.len() == set.count_ones() as usize {
        names.join(" ")
    } else {
        format!("{} of them", set.count_ones())
    }
}

fn count(mask: &str) -> u32 {
    u64::from_str_radix(mask, 16)
        .unwrap_or_default()
        .count_ones()
}

fn seccomp(mode: &str) -> String {
    match mode {
        "2" => "on: some calls are refused",
        _ => "off",
    }
    .to_owned()
}

fn privileges(no_new_privileges: &str) -> String {
    if no_new_privileges == "1" {
        "give no privileges"
    } else {
        "give privileges"
    }
    .to_owned()
}

fn own_namespaces(pid: u64) -> Vec<String> {
    let mut kinds = names("/proc/self/ns");
    kinds.retain(|kind| {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        !kind.ends_with("_for_children") && link("self") != link(&pid.to_string())
    });
    kinds
}

/// The path in the hierarchy of a v1 controller; in cgroup2 if there is no such hierarchy.
fn cgroup_of(cgroups: &str, controller: &str) -> String {
    let path = |wanted: &str| {
        cgroups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers
                .split(',')
                .any(|name| name == wanted)
                .then(|| path.to_owned())
        })
    };
    path(controller).or_else(|| path("")).unwrap_or_default()
}

fn limit(cgroups: &str, controller: &str, v1: &str, v2: &str) -> String {
    let path = cgroup_of(cgroups, controller);
    first_of(&[
        format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        format!("/sys/fs/cgroup{path}/{v2}"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_controllers_path_comes_before_that_of_cgroup2() {
        let text = "4:memory:/a\n3:cpu,cpuacct:/b\n1:name=systemd:/d\n0::/c";
        assert_eq!(cgroup_of(text, "memory"), "/a");
        assert_eq!(cgroup_of(text, "cpu"), "/b");
        assert_eq!(cgroup_of(text, "pids"), "/c");
    }

    #[test]
    fn few_capabilities_are_named_and_many_counted() {
        assert_eq!(
            capabilities("0000000020000420"),
            "kill net_bind_service audit_write"
        );
        assert_eq!(capabilities("0000000000000000"), "");
        assert_eq!(capabilities("00000000a80425fb"), "14 of them");
    }

    #[test]
    fn no_limit_is_said_in_one_word() {
        assert_eq!(
            ["67108864", "max", "9223372036854771712", ""].map(bytes),
            ["64 MiB", "none", "none", "none"]
        );
    }
}

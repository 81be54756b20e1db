//! All that a process can see of what was done for it.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

/// The namespaces that a process can be in, as /proc names them.
pub(super) const NAMESPACES: [&str; 8] =
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The facts, by name.
pub(super) fn report() -> Value {
    json!({
        "arguments": std::env::args().collect::<Vec<_>>(),
        "environment": environment(),
        "cwd": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "status": status(),
        "mounts": mounts(),
        "namespaces": namespaces(),
        "hostname": text("/proc/sys/kernel/hostname"),
        "domainname": text("/proc/sys/kernel/domainname"),
        "rlimits": rlimits(),
        "files": descriptors(),
        "dev": directory("/dev"),
        "root": directory("/"),
        "cgroup": text("/proc/self/cgroup"),
        "oom_score_adj": text("/proc/self/oom_score_adj"),
        "uid_map": text("/proc/self/uid_map"),
        "gid_map": text("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "timens_offsets": text("/proc/self/timens_offsets"),
        "personality": text("/proc/self/personality"),
        "label": text("/proc/self/attr/current"),
        "scheduler": scheduler(),
        "memory_policy": memory_policy(),
        "io_priority": io_priority(),
        "terminal": terminal(),
        "keyring": keyring(),
        "pid": std::process::id(),
        "session": session(),
        "interfaces": directory("/sys/class/net"),
        "root_propagation": root_propagation(),
    })
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// /proc/self/status, line by line: ids, groups, capabilities, umask, seccomp, no_new_privs.
fn status() -> BTreeMap<String, String> {
    text("/proc/self/status")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| {
            let words: Vec<&str> = value.split_whitespace().collect();
            (key.to_owned(), words.join(" "))
        })
        .collect()
}

/// mountinfo: for each mount its target, root, options, optional fields, type, source and the
/// options of its file system.
fn mounts() -> Vec<Value> {
    text("/proc/self/mountinfo")
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mount: Vec<&str> = mount.split(' ').collect();
            let filesystem: Vec<&str> = filesystem.split(' ').collect();
            Some(json!({
                "root": mount.get(3)?,
                "target": mount.get(4)?,
                "options": mount.get(5)?.split(',').collect::<Vec<_>>(),
                "optional": mount.get(6..)?,
                "type": filesystem.first()?,
                "source": filesystem.get(1)?,
                "super": filesystem.get(2).map(|text| text.split(',').collect::<Vec<_>>()),
            }))
        })
        .collect()
}

fn root_propagation() -> Value {
    let root = mounts().into_iter().rfind(|mount| mount["target"] == "/");
    root.map_or(Value::Null, |mount| mount["optional"].clone())
}

pub(super) fn namespaces() -> BTreeMap<String, String> {
    NAMESPACES
        .iter()
        .filter_map(|kind| {
            let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
            Some(((*kind).to_owned(), link.display().to_string()))
        })
        .collect()
}

fn rlimits() -> BTreeMap<&'static str, [u64; 2]> {
    let kinds = [
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    kinds
        .into_iter()
        .filter_map(|(name, kind)| {
            let (soft, hard) = getrlimit(kind).ok()?;
            Some((name, [soft, hard]))
        })
        .collect()
}

/// The open descriptors but for the one that this list is read from.
fn descriptors() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let target = target.display().to_string();
            let name = entry.file_name().to_string_lossy().into_owned();
            (!target.starts_with("/proc/") || !target.ends_with("/fd")).then_some((name, target))
        })
        .collect()
}

/// What is in a directory: each entry's kind, mode, owner, device number and link.
fn directory(path: &str) -> BTreeMap<String, Value> {
    let entries = std::fs::read_dir(path).into_iter().flatten();
    entries
        .flatten()
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                describe(&entry.path()),
            )
        })
        .collect()
}

/// A file: kind, mode, owner, device number, link.
pub(super) fn describe(path: &Path) -> Value {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Value::Null;
    };
    let kind = metadata.file_type();
    let kind = match kind {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        kind if kind.is_fifo() => "p",
        kind if kind.is_socket() => "s",
        kind if kind.is_symlink() => "l",
        kind if kind.is_dir() => "d",
        _ => "f",
    };
    json!({
        "kind": kind,
        "mode": format!("{:04o}", metadata.mode() & 0o7777),
        "uid": metadata.uid(),
        "gid": metadata.gid(),
        "major": libc::major(metadata.rdev()),
        "minor": libc::minor(metadata.rdev()),
        "link": std::fs::read_link(path).ok().map(|link| link.display().to_string()),
    })
}

/// What sched_getattr(2) says of this process.
fn scheduler() -> Value {
    match crate::sys::scheduler() {
        Ok(attributes) => json!({
            "policy": attributes.policy,
            "flags": attributes.flags,
            "nice": attributes.nice,
            "priority": attributes.priority,
            "runtime": attributes.runtime,
            "deadline": attributes.deadline,
            "period": attributes.period,
        }),
        Err(errno) => json!(format!("{errno:?}")),
    }
}

/// The policy of this program's own pages, and what else numa(7) says of the first: `bind:0 file=…`.
fn memory_policy() -> String {
    let maps = text("/proc/self/numa_maps");
    let first = maps.lines().next().unwrap_or_default();
    // Some policies have two words; what follows them is a file, an anonymous page or the heap.
    let rest = first.split_once(' ').map_or("", |(_, rest)| rest);
    rest.to_owned()
}

fn io_priority() -> i64 {
    super::acts::io_priority()
}

fn terminal() -> Value {
    let size = super::acts::terminal_size();
    let is_terminal = [0, 1, 2].map(super::acts::is_terminal);
    json!({
        "is_terminal": is_terminal,
        "size": size,
        "name": std::fs::read_link("/proc/self/fd/0").ok().map(|path| path.display().to_string()),
        "console": describe(Path::new("/dev/console")),
    })
}

fn keyring() -> String {
    super::acts::session_keyring()
}

fn session() -> i32 {
    nix::unistd::getsid(None).map_or(-1, nix::unistd::Pid::as_raw)
}

//! The init process of `cargo xtask demo`'s container: it says what it sees of its world, one
//! `name<TAB>value` a line, and then waits until its standard input ends.
//!
//! With the argument `quick` it ends at once: that is what the demonstration times.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("quick") {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    for (name, value) in view() {
        writeln!(stdout, "{name}\t{value}")?;
    }
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

fn view() -> [(&'static str, String); 14] {
    let status = read("/proc/self/status");
    let field = |name: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        value.unwrap_or_default().to_owned()
    };
    [
        ("pid", std::process::id().to_string()),
        (
            "processes",
            entries("/proc")
                .filter(|name| name.parse::<u32>().is_ok())
                .count()
                .to_string(),
        ),
        ("hostname", read("/proc/sys/kernel/hostname")),
        (
            "uid",
            field("Uid")
                .split('\t')
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
        (
            "mounts",
            read("/proc/self/mounts").lines().count().to_string(),
        ),
        ("root", entries("/").collect::<Vec<_>>().join(" ")),
        (
            "network",
            entries("/sys/class/net").collect::<Vec<_>>().join(" "),
        ),
        (
            "memory",
            limit(&["memory/memory.limit_in_bytes", "memory.max"]),
        ),
        ("tasks", limit(&["pids/pids.max", "pids.max"])),
        ("files", open_files()),
        ("capabilities", field("CapEff")),
        ("seccomp", field("Seccomp")),
        ("no_new_privileges", field("NoNewPrivs")),
        ("tries", tries()),
    ]
}

/// What happens when the container reaches for what is not its own.
fn tries() -> String {
    let outcome = |name: &str, result: io::Result<String>| match result {
        Ok(seen) => format!("{name}: {seen}"),
        Err(error) => format!("{name}: {}", short(&error)),
    };
    [
        outcome(
            "write to /",
            fs::write("/file", "x").map(|()| "allowed".into()),
        ),
        outcome(
            "read /proc/kcore",
            fs::read("/proc/kcore").map(|b| format!("{} bytes", b.len())),
        ),
        outcome(
            "set a sysctl",
            fs::write("/proc/sys/kernel/hostname", "x").map(|()| "allowed".into()),
        ),
        outcome(
            "read the host's /etc/shadow",
            fs::read("/etc/shadow").map(|_| "allowed".into()),
        ),
    ]
    .join("; ")
}

fn short(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn entries(directory: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()))
        .collect();
    names.sort();
    names.into_iter()
}

/// The first of the files that is in the container's cgroup, wherever this host has it.
fn limit(names: &[&str]) -> String {
    let path = names
        .iter()
        .map(|name| Path::new("/sys/fs/cgroup").join(name));
    let text = path.filter_map(|path| fs::read_to_string(path).ok()).next();
    text.map_or_else(|| "none".to_owned(), |text| text.trim_end().to_owned())
}

fn open_files() -> String {
    let limits = read("/proc/self/limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next())
        .unwrap_or_default()
        .to_owned()
}

//! The init process of `cargo xtask demo`'s container: it says what it sees of its world, one
//! `name<TAB>value` a line, and then waits until its standard input ends.
//!
//! With the argument `quick` it ends at once: that is what the demonstration times.

use std::fs;
use std::io::{self, Read, Write};

use demo::{field, first_of, names, processes, read};

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
    let limit = |names: [&str; 2]| first_of(&names.map(|name| format!("/sys/fs/cgroup/{name}")));
    [
        ("pid", std::process::id().to_string()),
        ("processes", processes().to_string()),
        ("hostname", read("/proc/sys/kernel/hostname")),
        ("uid", field(&status, "Uid")),
        (
            "mounts",
            read("/proc/self/mounts").lines().count().to_string(),
        ),
        ("root", names("/").join(" ")),
        ("network", names("/sys/class/net").join(" ")),
        (
            "memory",
            limit(["memory/memory.limit_in_bytes", "memory.max"]),
        ),
        ("tasks", limit(["pids/pids.max", "pids.max"])),
        ("files", open_files()),
        ("capabilities", field(&status, "CapEff")),
        ("seccomp", field(&status, "Seccomp")),
        ("no_new_privileges", field(&status, "NoNewPrivs")),
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
            "read /proc/keys",
            fs::read("/proc/keys").map(|b| format!("{} bytes", b.len())),
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

fn open_files() -> String {
    let limits = read("/proc/self/limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next())
        .unwrap_or_default()
        .to_owned()
}

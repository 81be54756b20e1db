//! What hooks do, and what holds namespaces for a case.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::report;

/// A hook: a line of JSON in `log` says what it was given and where it ran, under this name. Then
/// it does what the rest says: `exit CODE`, `sleep SECONDS`, or nothing.
pub(super) fn hook(log: &str, name: &str, rest: &[&str]) -> ExitCode {
    let mut state = String::new();
    if std::io::stdin().read_to_string(&mut state).is_err() {
        return ExitCode::from(96);
    }
    if append(log, name, &state).is_err() {
        return ExitCode::from(97);
    }
    match rest {
        ["exit", code] => ExitCode::from(code.parse().unwrap_or(99)),
        ["sleep", seconds] => {
            std::thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(0)));
            append(log, "slept", "").ok();
            ExitCode::SUCCESS
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The user's program among hooks: its line in `log`, nothing else.
pub(super) fn note(log: &str, name: &str) -> ExitCode {
    ExitCode::from(if append(log, name, "").is_ok() { 0 } else { 97 })
}

fn append(log: &str, name: &str, state: &str) -> std::io::Result<()> {
    let line = json!({
        "name": name,
        "state": serde_json::from_str::<Value>(state).unwrap_or_default(),
        "arguments": std::env::args().collect::<Vec<_>>(),
        "environment": report::environment(),
        "namespaces": report::namespaces(),
        "cwd": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
    });
    let mut file = File::options().append(true).create(true).open(log)?;
    // One write: lines of hooks and of the program don't mix.
    file.write_all(format!("{line}\n").as_bytes())
}

/// Makes namespaces of these kinds, puts a child that waits into them, prints its pid, and waits
/// until its own standard input ends.
pub(super) fn hold(kinds: &[&str]) -> ExitCode {
    const CLONE_NEWTIME: libc::c_int = 0x80;
    let mut flags = CloneFlags::empty();
    for kind in kinds {
        flags |= match *kind {
            "cgroup" => CloneFlags::CLONE_NEWCGROUP,
            "ipc" => CloneFlags::CLONE_NEWIPC,
            "mount" => CloneFlags::CLONE_NEWNS,
            "network" => CloneFlags::CLONE_NEWNET,
            "pid" => CloneFlags::CLONE_NEWPID,
            "time" => CloneFlags::from_bits_retain(CLONE_NEWTIME),
            "user" => CloneFlags::CLONE_NEWUSER,
            "uts" => CloneFlags::CLONE_NEWUTS,
            _ => return ExitCode::from(98),
        };
    }
    if unshare(flags).is_err() {
        return ExitCode::from(95);
    }
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["inside", "wait"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // Linux before 6.3 has no memory shared across time namespaces, as between vfork and exec.
    crate::sys::by_fork(&mut command);
    let child = command.spawn();
    let Ok(mut child) = child else {
        return ExitCode::from(96);
    };
    let mut stdout = std::io::stdout().lock();
    let told = writeln!(stdout, "{}", child.id()).and_then(|()| stdout.flush());
    if told.is_ok() {
        // The end of standard input is the end of the case.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
    }
    child.kill().ok();
    child.wait().ok();
    ExitCode::SUCCESS
}

//! runc's command line, row by row: what programs that call a runtime rely on.
//!
//! One file a topic, each a flat list. [`rows`] is the list of what there is; `tests/coverage.rs`
//! holds the cases against it. A runtime that lacks a flag fails that flag's case.

use std::process::Command;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

mod checkpoint;
mod create;
mod delete;
mod descriptors;
mod events;
mod exec;
mod exits;
mod features;
mod global;
mod kill;
mod list;
mod log;
mod pause;
pub mod rows;
mod spec;
mod state;
mod texts;
mod update;

pub(super) fn cases() -> Vec<Case> {
    [
        global::cases(),
        log::cases(),
        create::cases(),
        descriptors::cases(),
        exec::cases(),
        kill::cases(),
        delete::cases(),
        state::cases(),
        list::cases(),
        pause::cases(),
        update::cases(),
        events::cases(),
        spec::cases(),
        features::cases(),
        checkpoint::cases(),
        exits::cases(),
        texts::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a case is about, for the summary.
#[derive(Clone, Copy, Debug)]
struct Area(&'static str);

impl Area {
    /// A case: its name, where its sentence stands (a man page, or who relies on it), the sentence,
    /// the rows that it is about, the check.
    fn case(
        self,
        name: impl Into<String>,
        place: &str,
        sentence: &str,
        rows: &[&str],
        check: impl Fn(&Scene<'_>) -> Verdict + 'static,
    ) -> Case {
        let case = Case::new("cli", self.0, name, format!("{sentence} ({place})"), check);
        rows.iter().fold(case, |case, row| case.of(row))
    }
}

/// The runtime with exactly these words: without `--root`.
fn raw(scene: &Scene<'_>, words: &[&str]) -> Finished {
    let mut command = Command::new(scene.runtime().path());
    scene.runtime().under_filter(&mut command);
    finish(command.args(words), b"", LIMIT)
}

/// A container whose program waits.
fn running(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    Ok(bundle)
}

/// A container whose program has ended.
fn stopped(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle().does(&["exit", "0"]);
    scene.start(&bundle)?;
    scene.until_status(&bundle, "stopped")?;
    Ok(bundle)
}

/// A container whose program waits in a frozen cgroup.
fn paused(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let bundle = running(scene)?;
    scene.succeeds(&["pause", bundle.id()])?;
    scene.until_status(&bundle, "paused")?;
    Ok(bundle)
}

/// The id of a container that there is not.
fn nobody(scene: &Scene<'_>) -> String {
    format!("{}-nobody", scene.marker())
}

/// Whether a command failed with this status and said this.
fn fails(finished: &Finished, code: i32, text: &str) -> Verdict {
    let said = finished.stderr.contains(text) || finished.stdout.contains(text);
    let is_it = finished.code == code && said;
    let expected = format!("exit {code} and {text:?}");
    holds(is_it, &expected, finished.brief())
}

/// Whether a command failed since its words make no sense: an unknown flag, a missing value.
fn is_usage_error(finished: &Finished) -> bool {
    let said = format!("{}{}", finished.stdout, finished.stderr).to_lowercase();
    let words = [
        "flag provided but not defined",
        "incorrect usage",
        "unrecognized option",
        "unknown flag",
        "unknown option",
        "unexpected argument",
        "unknown command",
        "unrecognized subcommand",
    ];
    finished.code != 0 && words.iter().any(|word| said.contains(word))
}

/// What a process of a container says of itself, when a command has run it.
fn report(finished: &Finished) -> Result<Value, Trouble> {
    match serde_json::from_str(&finished.stdout) {
        Ok(report) if finished.code == 0 => Ok(report),
        _ => failed("the process runs and reports", finished.brief()),
    }
}

/// Whether two values are equal; the failure names what they are of.
fn is(what: &str, seen: &Value, expected: impl Into<Value>) -> Verdict {
    let expected = expected.into();
    if *seen == expected {
        return Ok(());
    }
    failed(format!("{what}: {expected}"), seen.to_string())
}

/// Whether a command succeeded and printed this.
fn equal_output(finished: &Finished, expected: &str) -> Verdict {
    let is_it = finished.code == 0 && finished.stdout == expected;
    holds(is_it, &format!("exit 0 and {expected:?}"), finished.brief())
}

/// A bundle whose container is in the host's pid namespace.
fn in_the_hosts_pid_namespace(scene: &Scene<'_>) -> Bundle {
    let kinds = ["mount", "ipc", "uts", "network"];
    let kinds = kinds.map(|kind| serde_json::json!({ "type": kind }));
    let bundle = scene.bundle();
    bundle.set("/linux/namespaces", serde_json::json!(kinds))
}

/// The processes in the container's cgroup.
fn pids(bundle: &Bundle) -> Vec<i32> {
    let of = |path: std::path::PathBuf| std::fs::read_to_string(path.join("cgroup.procs"));
    let texts = crate::residue::cgroups(bundle.cgroup())
        .into_iter()
        .filter_map(|path| of(path).ok());
    let mut pids: Vec<i32> = texts
        .flat_map(|text| {
            let pids = text.lines().filter_map(|line| line.parse().ok());
            pids.collect::<Vec<i32>>()
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Kills the processes in the container's cgroup.
fn kill_all(bundle: &Bundle) {
    for pid in pids(bundle).into_iter().filter(|pid| *pid > 1) {
        let pid = nix::unistd::Pid::from_raw(pid);
        // It may have ended in this moment.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// A path as an argument.
fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Whether a text is a date and time of RFC 3339: what containerd's shim and go-runc parse.
fn is_rfc3339(text: &str) -> bool {
    let shape = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$";
    let shape = regex_lite::Regex::new(shape).expect("the expression is one");
    shape.is_match(text)
}

/// A shell that runs the rest of its arguments after some redirections.
fn with_descriptors(command: &Command, redirections: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {redirections}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
        shell.env_remove(name);
    }
    shell
}

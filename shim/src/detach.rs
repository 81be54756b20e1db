//! How `start` leaves a server behind: a child in a session of its own, without the caller's
//! descriptors, that executes this program again out of the reach of containers.
//!
//! ```text
//!  start                          child
//!  fork(2)  ────────────────────▶ setsid(2); 0, 1, 2 are /dev/null; 3 listens; 4 is the pipe
//!                                 cgroup, core scheduling, oom_score_adj
//!                                 execveat(2) through a read-only clone of its mount
//!           ◀── end of the pipe ── (close-on-exec)
//!           ◀── text on the pipe ─ or what has failed
//! ```
//!
//! So `start` succeeds only if there is a server, and its failures are `start`'s.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2};
use runtime_core::cgroup::Cgroup;
use runtime_core::errno::of_io;
use runtime_core::host::{CgroupLayout, CgroupMount};

use crate::arguments::Environment;
use crate::bootstrap::is_readable;
use crate::failure::Failure;
use crate::sys;

/// The descriptor on which the server listens.
pub const LISTENER: i32 = 3;

/// The descriptor on which the child says what has failed.
const REPORT: i32 = 4;

/// Above every number that the child gives a meaning.
const ABOVE: i32 = 10;

/// How long the child may take to execute the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// The highest oom_score_adj (proc_pid_oom_score_adj(5)).
const MOST_LIKELY_KILLED: i32 = 1000;

/// The server that is to be.
#[derive(Debug)]
pub struct Detached<'a> {
    /// The socket that listens.
    pub listener: &'a OwnedFd,
    /// Its arguments, its name first.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: Environment,
    /// The cgroup that it belongs into; empty for the caller's.
    pub shim_cgroup: &'a str,
    /// Whether its process group gets a core scheduling cookie.
    pub sched_core: bool,
}

/// Makes the server: it executes when this returns. To be called while there is one thread.
///
/// # Errors
///
/// What has failed in the child; it is gone then.
pub fn detach(detached: &Detached<'_>) -> Result<(), Failure> {
    let argv = strings(&detached.command)?;
    let score = score_beside(nix::unistd::getppid());
    let (reader, writer) =
        pipe2(OFlag::O_CLOEXEC).map_err(|errno| Failure::call("make a pipe", errno))?;
    match sys::fork_alone().map_err(|errno| Failure::call("fork(2) the server", errno))? {
        ForkResult::Child => {
            let failure = match become_server(detached, &writer, &argv, score) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            give_up(&failure)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            hear(reader, child)
        }
    }
}

fn strings(words: &[String]) -> Result<Vec<CString>, Failure> {
    let string = |word: &String| {
        let text = format!("argument {word:?} has a NUL inside");
        CString::new(word.as_str()).map_err(|_| Failure::invalid(text))
    };
    words.iter().map(string).collect()
}

/// Waits for the child to execute the server, or to say why it does not.
fn hear(reader: OwnedFd, child: Pid) -> Result<(), Failure> {
    let mut reader = File::from(reader);
    let spoken = is_readable(&reader, Instant::now() + PATIENCE);
    if !spoken.map_err(|errno| Failure::call("wait for the server", errno))? {
        // Not waited for, so the number is still the child's.
        kill(child, Signal::SIGKILL).ok();
        return Err(Failure::unknown(format!(
            "the server (pid {child}) has not been executed within {} s: it is killed",
            PATIENCE.as_secs()
        )));
    }
    let mut text = String::new();
    reader
        .read_to_string(&mut text)
        .map_err(|error| Failure::call("hear of the server", of_io(&error)))?;
    if !text.is_empty() {
        // It ends by itself right after its last word.
        waitpid(child, None).ok();
        return Err(Failure::unknown(text));
    }
    match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => Ok(()),
        ended => Err(Failure::unknown(format!(
            "the server has ended at once ({ended:?}): killed, perhaps for want of memory"
        ))),
    }
}

/// What the child does. Nothing that it needs is in a lock: it has been made by the only thread.
fn become_server(
    detached: &Detached<'_>,
    report: &OwnedFd,
    argv: &[CString],
    score: i32,
) -> Result<Infallible, Failure> {
    arrange_descriptors(detached.listener, report)
        .map_err(|errno| Failure::call("arrange the server's descriptors", errno))?;
    nix::unistd::setsid().map_err(|errno| Failure::call("setsid(2)", errno))?;
    // The bundle goes before the server does, if others of its group run on.
    nix::unistd::chdir("/").map_err(|errno| Failure::call("chdir(2) to /", errno))?;
    join_cgroup(detached.shim_cgroup)?;
    if detached.sched_core {
        sys::core_cookie().map_err(|errno| {
            let act = "SCHED_CORE: make a core scheduling cookie: prctl(2): the kernel or the processor has no core scheduling";
            Failure::call(act, errno)
        })?;
    }
    be_killed_before_containerd(score)?;
    let environment = &detached.environment.all;
    runtime_core::protect::ensure(argv, environment)
        .map_err(|error| Failure::of_runtime("protect the shim's binary", &error))?;
    // It is beyond the reach of this user's containers as it is.
    let errno = match nix::unistd::execve(c"/proc/self/exe", argv, environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    Err(Failure::call("execute the server: execve(2)", errno))
}

/// Standard input, output and error are /dev/null, the listener is 3, the report 4 until
/// execve(2), and nothing else is open.
fn arrange_descriptors(listener: &OwnedFd, report: &OwnedFd) -> Result<(), Errno> {
    let above = |fd: &OwnedFd| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE)).map(sys::own);
    let (listener, report) = (above(listener)?, above(report)?);
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    for number in 0..LISTENER {
        sys::place(null.as_fd(), number, true)?;
    }
    sys::place(listener.as_fd(), LISTENER, true)?;
    sys::place(report.as_fd(), REPORT, false)?;
    // They are closed with all others.
    std::mem::forget((null, listener, report));
    sys::close_from(REPORT.unsigned_abs() + 1)
}

/// Says what has failed, and ends.
fn give_up(failure: &Failure) -> ! {
    if let Some(report) = sys::inherited(REPORT) {
        // There is nobody else to tell.
        File::from(report)
            .write_all(failure.message.as_bytes())
            .ok();
    }
    sys::end(1)
}

/// Enters the cgroups of this path, in every hierarchy that has it.
fn join_cgroup(path: &str) -> Result<(), Failure> {
    if path.is_empty() {
        return Ok(());
    }
    let failed = |text: String| Failure::unknown(format!("shim_cgroup {path}: {text}"));
    let layout = runtime_core::cgroup::probe().map_err(|error| failed(error.to_string()))?;
    let paths = existing(&layout, path).map_err(|text| failed(text.to_owned()))?;
    let cgroup = Cgroup::open_to_enter(&paths).map_err(|error| failed(error.to_string()))?;
    let enter = || -> Result<(), Errno> {
        for tasks in cgroup.v1_task_files() {
            nix::unistd::write(tasks, b"0")?;
        }
        if let Some(directory) = cgroup.v2_dir() {
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let processes = openat(directory, "cgroup.procs", flags, Mode::empty())?;
            nix::unistd::write(&processes, b"0")?;
        }
        Ok(())
    };
    enter().map_err(|errno| Failure::call(format_args!("shim_cgroup {path}: enter it"), errno))
}

/// The directories of this cgroup in the hierarchies that have it, by their controllers.
fn existing(layout: &CgroupLayout, path: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let path = path.trim_matches('/');
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it must be a path from the hierarchies' root, without \".\" and \"..\"");
    }
    let mounts: Vec<&CgroupMount> = match layout {
        CgroupLayout::None => Vec::new(),
        CgroupLayout::V2(mount) => vec![mount],
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => hierarchies.iter().chain(unified).collect(),
    };
    let directory = |mount: &CgroupMount| format!("{}/{path}", mount.mount_point);
    let paths: BTreeMap<String, String> = mounts
        .into_iter()
        .map(|mount| (mount.controllers.join(","), directory(mount)))
        .filter(|(_, directory)| Path::new(directory).is_dir())
        .collect();
    if paths.is_empty() {
        return Err("no hierarchy has this cgroup: it must be there before the shim starts");
    }
    Ok(paths)
}

/// One more than that of the process which runs the shim: containerd.
fn score_beside(parent: Pid) -> i32 {
    let read = |path: String| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    let score = read(format!("/proc/{parent}/oom_score_adj"))
        .or_else(|| read("/proc/self/oom_score_adj".to_owned()));
    score
        .unwrap_or(0_i32)
        .saturating_add(1)
        .min(MOST_LIKELY_KILLED)
}

/// Where memory is short the shim is to go before containerd, which can do without it.
fn be_killed_before_containerd(score: i32) -> Result<(), Failure> {
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        // Below its own start value only CAP_SYS_RESOURCE leads.
        Err(error) if matches!(of_io(&error), Errno::EACCES | Errno::EPERM) => Ok(()),
        written => written.map_err(|error| {
            Failure::call(
                format_args!("set the server's oom_score_adj to {score}"),
                of_io(&error),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(controllers: &[&str], mount_point: &Path) -> CgroupMount {
        CgroupMount {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            mount_point: mount_point.display().to_string(),
            own_path: "/".into(),
        }
    }

    #[test]
    fn the_shims_cgroup_is_joined_where_it_is_and_has_to_be_somewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (cpu, memory) = (
            directory.path().join("cpu"),
            directory.path().join("memory"),
        );
        std::fs::create_dir_all(cpu.join("a/b")).unwrap();
        let layout = CgroupLayout::V1 {
            hierarchies: vec![
                mount(&["cpu", "cpuacct"], &cpu),
                mount(&["memory"], &memory),
            ],
            unified: None,
        };
        let found = existing(&layout, "/a/b/").unwrap();
        let expected = (
            "cpu,cpuacct".to_owned(),
            cpu.join("a/b").display().to_string(),
        );
        assert_eq!(Vec::from_iter(found), [expected]);
        for path in ["/a/c", "/", "/a/../a/b", "a//b"] {
            assert!(existing(&layout, path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_score_is_one_above_the_parents_and_has_an_upper_end() {
        let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let expected = (own + 1).min(1000);
        assert_eq!(score_beside(Pid::this()), expected);
        assert_eq!(score_beside(Pid::from_raw(i32::MAX)), expected);
    }
}

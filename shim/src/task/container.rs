//! A container of this shim, and its processes.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use runtime_core::Exit;

use crate::engine::Engine;
use crate::failure::Failure;
use crate::io::Streams;
use crate::poller::{Owner, Poller, Token};
use crate::server::Caller;
use crate::server::call::TaskCall;

use super::machine::{Machine, Subject};

/// A process: the container's id, and the exec id, which is empty for init.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) container: String,
    pub(crate) exec: String,
}

impl Name {
    pub(crate) fn new(container: &str, exec: &str) -> Self {
        Self {
            container: container.to_owned(),
            exec: exec.to_owned(),
        }
    }

    pub(crate) fn init(container: &str) -> Self {
        Self::new(container, "")
    }

    pub(crate) fn is_init(&self) -> bool {
        self.exec.is_empty()
    }

    /// What events call it.
    pub(crate) fn id(&self) -> &str {
        if self.is_init() {
            &self.container
        } else {
            &self.exec
        }
    }
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    /// Who owns the pipes of its processes.
    pub(crate) stdio_owner: (u32, u32),
    /// The images that `Start` restores it from, instead of running its program.
    pub(crate) restored_from: Option<PathBuf>,
    /// What carries calls out; none while it is being created.
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
    /// Whether it only holds a pod's namespaces: then no event tells of it.
    pub(crate) is_sandbox: bool,
    /// Whether its processes may outlive init, since their pid namespace is not its own.
    pub(crate) shares_pid_namespace: bool,
    /// Whether those have been killed after init's end.
    pub(crate) is_swept: bool,
    /// Watches its memory limit.
    pub(crate) memory: Option<runtime_core::statistics::OomWatch>,
}

impl Container {
    /// Whether a further process runs or is about to.
    pub(crate) fn has_running_execs(&self) -> bool {
        self.execs
            .values()
            .any(|process| process.machine.may_be_alive())
    }
}

/// What a client wants of the standard streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// How and when a process has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exited {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Exited {
    /// The end of a process that has ended now.
    pub(crate) fn now(exit: Exit) -> Self {
        Self {
            status: exit.shell_code().unsigned_abs(),
            at: SystemTime::now(),
        }
    }

    /// Of a process whose end nobody has seen.
    pub(crate) fn unseen() -> Self {
        Self {
            status: 255,
            at: SystemTime::now(),
        }
    }
}

/// A process of a container.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) machine: Machine,
    /// Names its descriptors in the loop; never used twice.
    pub(crate) serial: u64,
    pub(crate) stdio: Stdio,
    /// The process, while nobody has waited for it.
    handle: Option<runtime_core::Process>,
    pub(crate) pid: u32,
    pub(crate) streams: Option<Streams>,
    pub(crate) exited: Option<Exited>,
    /// Calls of `Wait`.
    pub(crate) waiters: Vec<Caller>,
    /// Calls that wait for the one that is under way.
    pub(crate) waiting: VecDeque<(Caller, TaskCall)>,
    /// The description of a further process: process.json.
    pub(crate) document: Arc<[u8]>,
}

impl Process {
    pub(crate) fn new(subject: Subject, serial: u64, stdio: Stdio) -> Self {
        Self {
            machine: Machine::new(subject),
            serial,
            stdio,
            handle: None,
            pid: 0,
            streams: None,
            exited: None,
            waiters: Vec::new(),
            waiting: VecDeque::new(),
            document: Arc::new([]),
        }
    }

    /// The process is there: its end and its streams are watched from now on.
    pub(crate) fn attach(
        &mut self,
        poller: &Poller,
        handle: runtime_core::Process,
        streams: Streams,
    ) -> Result<(), Failure> {
        self.pid = handle.pid().unsigned_abs();
        let token = Token {
            owner: Owner::Process,
            part: 0,
            serial: self.serial,
        };
        poller
            .add(&handle, crate::poller::Interest::READ, token)
            .map_err(|errno| Failure::call(format!("watch process {}", self.pid), errno))?;
        self.handle = Some(handle);
        let mut streams = streams;
        streams.register(poller, self.serial);
        self.streams = Some(streams);
        Ok(())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        let finished = || Failure::not_found("process already finished");
        let handle = self.handle.as_ref().ok_or_else(finished)?;
        handle.signal(signal).map_err(|errno| match errno {
            nix::errno::Errno::ESRCH => finished(),
            errno => Failure::call(format!("send signal {signal} to {}", self.pid), errno),
        })
    }

    /// Takes note of the process's end: its pidfd says that there is one.
    pub(crate) fn reap(&mut self, poller: &Poller) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        // Closing does what removing does, if that can fail.
        poller.remove(handle.as_fd()).ok();
        let exited = handle.wait().map_or_else(|_| Exited::unseen(), Exited::now);
        self.exited = Some(exited);
        self.machine.end();
    }
}

//! A container that exists, and what can be done with it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::Serialize;

use crate::cgroup::{Cgroup, CgroupError};
use crate::error::{Error, ErrorKind};
use crate::hooks::{self, HookKind, HookSetting};
use crate::host::Host;
use crate::id::ContainerId;
use crate::launch;
use crate::plan::{Plan, PlanOptions};
use crate::process::{Exit, Process};
use crate::runtime::{REMOVAL_DEADLINE, Runtime, procfs};
use crate::spec::Spec;
use crate::state::{
    self, Operation, Record, StateDirectory, StateError, Status, Stored, UnlockedDirectory,
};

/// How long freezing and thawing may take.
const FREEZER_DEADLINE: Duration = Duration::from_secs(10);

/// The state of a container: runtime.md "State", with runc's further members, in runc's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// `ociVersion` of config.json.
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Init in the runtime's pid namespace; 0 when stopped.
    pub pid: i32,
    /// As observed now.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// As in config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// User who created it; callers print it as a name or not at all.
    #[serde(skip)]
    pub owner: u32,
}

impl State {
    /// The state as hooks get it: the specification's members.
    pub(crate) fn to_hook_json(&self) -> Vec<u8> {
        // Only strings and numbers: this can't fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A container, by its record.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    id: ContainerId,
    record: Record,
    config: Vec<u8>,
    process: Option<Process>,
    /// Its cgroups as create has opened them; not before they are its own.
    cgroup: Option<Cgroup>,
    warnings: Vec<String>,
}

impl Container {
    pub(crate) fn new(
        runtime: Runtime,
        record: Record,
        config: &[u8],
        launched: (Process, Option<Cgroup>),
        warnings: Vec<String>,
    ) -> Self {
        let (process, cgroup) = launched;
        let id = record
            .id
            .parse()
            .unwrap_or_else(|_| unreachable!("the record was made from an id"));
        Self {
            runtime,
            id,
            record,
            config: config.to_vec(),
            process: Some(process),
            cgroup,
            warnings,
        }
    }

    pub(crate) fn open(runtime: Runtime, id: &ContainerId) -> Result<Self, Error> {
        let stored = runtime.root().look(id)?.load()?;
        Ok(Self::stored(runtime, id, stored))
    }

    /// A container as it is stored.
    pub(crate) fn stored(runtime: Runtime, id: &ContainerId, stored: Stored) -> Self {
        Self {
            runtime,
            id: id.clone(),
            record: stored.record,
            config: stored.config,
            process: None,
            cgroup: None,
            warnings: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// config.json as it was at create.
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Its init process, when this program has launched it and can wait for it.
    #[must_use]
    pub fn init(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Its init process, for a program that watches it itself.
    #[must_use]
    pub fn into_init(self) -> Option<Process> {
        self.process
    }

    /// Whether its processes end with init, since the pid namespace is its own.
    #[must_use]
    pub fn has_own_pid_namespace(&self) -> bool {
        self.record.own_pid_namespace
    }

    /// The number that its init has or had in the runtime's pid namespace; 0 before there is one.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.record.init_process_pid
    }

    /// How its init has ended, for who can't wait for it: known as long as its parent has not.
    #[must_use]
    pub fn unreaped_exit(&self) -> Option<Exit> {
        let (pid, start) = (self.record.init_process_pid, self.record.init_process_start);
        procfs().ok()?.unreaped_exit(pid, start)
    }

    /// What config.json asks for and can't be given, where the specification wants a warning
    /// and no error; known to the program that made the container.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Notes that its cgroups are its own.
    pub(crate) fn own_cgroups(&mut self) {
        self.record.cgroups_owned = 1;
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its state as observed now.
    ///
    /// # Errors
    ///
    /// When the kernel can't be asked.
    pub fn state(&self) -> Result<State, Error> {
        self.describe(self.status()?)
    }

    /// Its state with this status.
    pub(crate) fn describe(&self, status: Status) -> Result<State, Error> {
        let spec = self.spec()?;
        let text = |text: &crate::spec::Text<'_>| text.to_string();
        let annotations = spec.annotations.iter().flatten();
        let has_process = !matches!(status, Status::Stopped | Status::Creating);
        Ok(State {
            oci_version: spec.oci_version.as_ref().map(text).unwrap_or_default(),
            id: self.record.id.clone(),
            pid: if has_process {
                self.record.init_process_pid
            } else {
                0
            },
            status,
            bundle: self.record.bundle.clone(),
            rootfs: self.record.rootfs.clone(),
            created: self.record.created.clone(),
            annotations: annotations
                .map(|(key, value)| (text(key), text(value)))
                .collect(),
            owner: self.record.owner,
        })
    }

    /// What it is doing now: asked of the kernel, never remembered.
    ///
    /// # Errors
    ///
    /// When the kernel can't be asked.
    pub fn status(&self) -> Result<Status, Error> {
        let directory = self.runtime.root().look(&self.id)?;
        if self.record.init_process_pid == 0 && directory.is_locked() {
            return Ok(Status::Creating);
        }
        self.observe(&directory)
    }

    /// The status, for who holds the lock or knows that nobody creates the container now.
    pub(crate) fn observe(&self, directory: &UnlockedDirectory) -> Result<Status, Error> {
        if self.init_process()?.is_none() {
            return Ok(Status::Stopped);
        }
        // First, since one that was paused before its start can't hear the word to start.
        match self.cgroup()?.is_frozen() {
            Ok(true) => return Ok(Status::Paused),
            Ok(false) => {}
            // Removed between one look and the next: it is being deleted.
            Err(error) if is_gone(&error) => return Ok(Status::Stopped),
            Err(error) => return Err(error.into()),
        }
        Ok(if directory.has_start_socket() {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// Init, if it is there: the same process by its start time, and no zombie.
    ///
    /// # Errors
    ///
    /// When the kernel can't be asked.
    pub fn init_process(&self) -> Result<Option<Process>, Error> {
        let pid = self.record.init_process_pid;
        if pid == 0 {
            return Ok(None);
        }
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            Err(errno) => return Err(Error::call(format!("pidfd_open(2) of {pid}"), errno)),
        };
        match procfs()?.start_time(pid) {
            Ok((start, letter))
                if start == self.record.init_process_start && !matches!(letter, 'Z' | 'X') =>
            {
                Ok(Some(process))
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
            Err(errno) => Err(Error::call(format!("read /proc/{pid}/stat"), errno)),
        }
    }

    /// Deletes it: [`Runtime::delete`] for a container that this value stands for. One that
    /// this program has created is deleted with what create has opened.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] for a running one without `force`;
    /// [`ErrorKind::NotFound`] without `force` when somebody else has deleted it.
    pub fn delete(self, force: bool) -> Result<Vec<String>, Error> {
        match self.runtime.root().lock(&self.id) {
            Err(StateError::NotFound(_)) if force => Ok(Vec::new()),
            directory => crate::delete::delete_locked(self, directory?, force),
        }
    }

    /// The cgroups that create has opened, or its cgroups as far as they are there.
    pub(crate) fn take_cgroup(&mut self) -> Result<Cgroup, Error> {
        match self.cgroup.take() {
            Some(cgroup) => Ok(cgroup),
            None => self.cgroup(),
        }
    }

    /// Its cgroups, as far as they are there.
    pub(crate) fn cgroup(&self) -> Result<Cgroup, Error> {
        Ok(Cgroup::open(&self.record.cgroup_paths)?)
    }

    pub(crate) fn spec(&self) -> Result<Spec<'_>, Error> {
        serde_json::from_slice(&self.config).map_err(|error| {
            Error::text(
                ErrorKind::BrokenState,
                format!("config.json in the state of {}: {error}", self.id),
            )
        })
    }

    /// Takes the lock, and the record as it is then.
    pub(crate) fn lock(&mut self) -> Result<StateDirectory, Error> {
        let directory = self.runtime.root().lock(&self.id)?;
        let Stored { record, config } = directory.load()?;
        (self.record, self.config) = (record, config);
        Ok(directory)
    }

    pub(crate) fn require(
        &self,
        directory: &UnlockedDirectory,
        operation: Operation,
    ) -> Result<Status, Error> {
        self.permit(self.observe(directory)?, operation)
    }

    fn permit(&self, status: Status, operation: Operation) -> Result<Status, Error> {
        if status.permits(operation) {
            return Ok(status);
        }
        let kind = match status {
            Status::Stopped => ErrorKind::NotRunning,
            _ => ErrorKind::WrongStatus,
        };
        Err(Error::text(
            kind,
            status.refusal(operation, self.id.as_str()),
        ))
    }

    /// Runs the user's program: runtime.md "Start". It runs when this returns, and poststart
    /// hooks have run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] for a container that is not created; [`ErrorKind::Program`]
    /// when the program can't be executed: the container has stopped then. [`ErrorKind::Hook`]
    /// when a startContainer or poststart hook fails: the container is deleted then.
    pub fn start(&mut self) -> Result<(), Error> {
        let started = self.start_program();
        if let Err(error) = &started
            && error.kind() == ErrorKind::Hook
        {
            // runtime.md "Lifecycle" goes on with the deletion; the hook's failure is the one
            // to report.
            self.runtime.delete(&self.id, true).ok();
        }
        started
    }

    fn start_program(&mut self) -> Result<(), Error> {
        let directory = self.lock()?;
        self.require(&directory, Operation::Start)?;
        let connection = self.connect_to_init(&directory)?;
        directory.remove_start_socket()?;
        let deadline = Instant::now() + launch::start_deadline();
        let explain = |at, text: &str| self.explain_start(at, text);
        match launch::executed(connection.as_fd(), deadline, &explain) {
            Ok(()) => self.poststart(),
            Err(launch::StartError::Failed(error)) => Err(error.into()),
            Err(launch::StartError::Silence) => Err(Error::text(
                ErrorKind::System,
                "container init ended before it executed the program (killed, perhaps for want of memory)",
            )),
        }
    }

    fn connect_to_init(&self, directory: &StateDirectory) -> Result<std::os::fd::OwnedFd, Error> {
        let path = directory.socket_path(state::START_SOCKET);
        let connection = (|| {
            let socket = socket(
                AddressFamily::Unix,
                SockType::SeqPacket,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            connect(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
            Ok(socket)
        })();
        match connection {
            // Nobody listens: an earlier `start` was ended between its connection and here.
            Err(Errno::ECONNREFUSED) => {
                directory.remove_start_socket()?;
                Err(Error::text(
                    ErrorKind::WrongStatus,
                    Status::Running.refusal(Operation::Start, self.id.as_str()),
                ))
            }
            connection => connection
                .map_err(|errno| Error::call(format!("connect to {}", path.display()), errno)),
        }
    }

    /// The words for a failure after `start`: the plan is made again, from config.json as it
    /// was.
    fn explain_start(&self, at: launch::FailureAt, text: &str) -> launch::LaunchError {
        let plan = (|| {
            let host = Host::probe(&procfs().ok()?).ok()?;
            let spec = self.spec().ok()?;
            Plan::new(
                &spec,
                &self.record.bundle,
                &self.id,
                &host,
                &PlanOptions::default(),
            )
            .ok()
        })();
        match plan {
            Some(plan) => launch::start_failure(&plan, self.record.start_step, at, text),
            None => launch::LaunchError::Call {
                act: format!("start the program: {}", at.failure.call.text()),
                errno: Errno::from_raw(at.failure.code),
            },
        }
    }

    fn poststart(&self) -> Result<(), Error> {
        let spec = self.spec()?;
        let hooks = crate::plan::hooks_of(&spec)?;
        if hooks.poststart.is_empty() {
            return Ok(());
        }
        let state = self.describe(Status::Running)?;
        let json = state.to_hook_json();
        let setting = HookSetting {
            state: &json,
            environment: self.runtime.environment(),
            directory: &self.record.bundle,
        };
        hooks::run_all(HookKind::Poststart, &hooks.poststart, &setting).map_err(|error| {
            // The container stops (config.md#poststart).
            if let Ok(Some(init)) = self.init_process() {
                // The hook's failure is the one to report.
                let _secondary = init.kill();
            }
            Error::from(error)
        })
    }

    /// Sends a signal to init: runtime.md "Kill". SIGKILL of a container that has no pid
    /// namespace of its own, and with `all` any signal, goes to every process of its cgroup.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRunning`] when init has ended (with `all` that is a success).
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Error> {
        let status = self.status()?;
        if !status.permits(Operation::Kill) {
            if all && status == Status::Stopped {
                return self.kill_leftovers();
            }
            return self.permit(status, Operation::Kill).map(|_| ());
        }
        if signal == libc::SIGKILL && (all || !self.record.own_pid_namespace) {
            self.cgroup()?.kill_all(Instant::now() + REMOVAL_DEADLINE)?;
        } else if all {
            self.signal_others(signal)?;
        }
        let Some(init) = self.init_process()? else {
            return if signal == libc::SIGKILL {
                Ok(())
            } else {
                self.not_running()
            };
        };
        match init.signal(signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) if signal == libc::SIGKILL => return Ok(()),
            Err(Errno::ESRCH) => return self.not_running(),
            Err(errno) => {
                return Err(Error::call(
                    format!("send signal {signal} to init: pidfd_send_signal(2)"),
                    errno,
                ));
            }
        }
        // A v1 freezer holds even SIGKILL back, also one that was closed just now.
        if signal == libc::SIGKILL {
            self.thaw_the_killed()?;
        }
        Ok(())
    }

    fn thaw_the_killed(&self) -> Result<(), Error> {
        let cgroup = self.cgroup()?;
        let thawed = cgroup.is_frozen().and_then(|frozen| match frozen {
            true => cgroup.thaw(Instant::now() + FREEZER_DEADLINE),
            false => Ok(()),
        });
        match thawed {
            // It died, and somebody has deleted it.
            Err(error) if is_gone(&error) => Ok(()),
            thawed => Ok(thawed?),
        }
    }

    /// Sends a signal to every process of the cgroup but init.
    fn signal_others(&self, signal: i32) -> Result<(), Error> {
        let cgroup = self.cgroup()?;
        let held: Vec<_> = cgroup
            .processes()?
            .into_iter()
            .filter(|pid| *pid != self.record.init_process_pid)
            .filter_map(|pid| Process::open(pid).ok())
            .collect();
        // A number that is in the cgroup still, now that its process is held, is no reused one.
        let still_there = cgroup.processes()?;
        for process in held.iter().filter(|held| still_there.contains(&held.pid())) {
            match process.signal(signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    let act = format!("send signal {signal} to pid {}", process.pid());
                    return Err(Error::call(act, errno));
                }
            }
        }
        Ok(())
    }

    fn not_running(&self) -> Result<(), Error> {
        let text = Status::Stopped.refusal(Operation::Kill, self.id.as_str());
        Err(Error::text(ErrorKind::NotRunning, text))
    }

    /// Processes of a container in a shared pid namespace that have outlived its init.
    fn kill_leftovers(&self) -> Result<(), Error> {
        if !self.record.own_pid_namespace && !self.record.cgroup_paths.is_empty() {
            self.cgroup()?.kill_all(Instant::now() + REMOVAL_DEADLINE)?;
        }
        Ok(())
    }

    /// Freezes every process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] unless created or running; [`ErrorKind::TimedOut`].
    pub fn pause(&mut self) -> Result<(), Error> {
        let directory = self.lock()?;
        self.require(&directory, Operation::Pause)?;
        self.require_cgroup("pause")?;
        Ok(self.cgroup()?.freeze(Instant::now() + FREEZER_DEADLINE)?)
    }

    /// Thaws every process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] unless paused; [`ErrorKind::TimedOut`].
    pub fn resume(&mut self) -> Result<(), Error> {
        let directory = self.lock()?;
        self.require(&directory, Operation::Resume)?;
        Ok(self.cgroup()?.thaw(Instant::now() + FREEZER_DEADLINE)?)
    }

    /// The pids of all its processes, in the runtime's pid namespace.
    ///
    /// # Errors
    ///
    /// When its cgroup can't be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        if self.record.cgroup_paths.is_empty() {
            return Ok(self
                .init_process()?
                .map(|init| init.pid())
                .into_iter()
                .collect());
        }
        Ok(self.cgroup()?.processes()?)
    }

    pub(crate) fn require_cgroup(&self, act: &str) -> Result<(), Error> {
        if self.record.cgroup_paths.is_empty() {
            let text = format!(
                "cannot {act} {}: it has no cgroup of its own (rootless)",
                self.id
            );
            return Err(Error::text(ErrorKind::Unsupported, text));
        }
        Ok(())
    }
}

/// Whether the cgroup has been removed while it was looked at.
pub(crate) fn is_gone(error: &CgroupError) -> bool {
    matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV))
}

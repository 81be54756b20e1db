//! From a plan to a process: what the parent does while the child interprets its steps.
//!
//! ```text
//!  parent                                       child
//!  clone3(CLONE_INTO_CGROUP, new namespaces) --> closes descriptors, enters v1 cgroups, joins
//!                         <-- Respawned(pid)     only when a second process takes over
//!                         <-- NeedsIds           only with a new user namespace
//!  writes uid_map, gid_map, oom_score_adj
//!  IdsMapped              -->
//!                         <-- Joined             only with hooks
//!  prestart, createRuntime hooks
//!  HooksDone              -->
//!                                                mounts, devices, console, createContainer
//!                                                hooks, pivot_root, identity
//!                         <-- Ready              nothing left but to start
//!  rlimits, scheduler; the record is written
//!  Committed              -->                    create: waits in accept(2) for `start`
//!                                                run: goes on
//!                         <-- Executing          on the start connection only
//!                         <-- end of file        execve(2) has closed the socket: it runs
//!  (any time)             <-- Failure, end of file
//! ```
//!
//! A child whose parent is gone reads end of file at its next wait and ends by itself.

use std::ffi::{CString, NulError};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair};
use runtime_init::{Failure, Gate, Message, Phase, Program};

use self::files::HostFiles;
use self::lower::{Arrays, Entry, Handles, ProcessArrays, Steps};
use crate::errno::Words;
use crate::hooks::{HookError, HookKind, HookSetting};
use crate::plan::{Content, JoinedNamespace, Plan, ProcessPlan};
use crate::process::{Exit, Process};
use crate::procfs::Procfs;
use crate::sys;

mod explain;
mod files;
mod home;
mod idmap;
mod lower;
mod rootfs_file;

pub(crate) use self::explain::{exec_start_failure, start_failure};

/// How long the child may take from one word to the next. Mounting is what takes time (a
/// network filesystem, say); hooks of the child have their own limits on top.
const CHILD_DEADLINE: Duration = Duration::from_secs(120);

const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

/// What part of joining a namespace failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Opening the path.
    Open,
    /// It is a namespace of another type, or none.
    Type,
    /// setns(2).
    Join,
}

/// Why a process could not be launched. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A namespace to join.
    #[error("namespaces[{index}]: join {kind} namespace {path}: {reason}")]
    Namespace {
        /// In `/linux/namespaces`.
        index: u16,
        /// The specification's name of its type.
        kind: &'static str,
        /// As config.json says it.
        path: PathBuf,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// Something for the rootfs.
    #[error("{place}: {act}: {call}: {reason}")]
    Content {
        /// Where config.json asks for it, such as `mounts[3]`.
        place: String,
        /// In words, such as `mount proc on /proc`.
        act: String,
        /// The call that failed.
        call: &'static str,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// The user namespace's mappings.
    #[error("write {file} ({mappings}): {reason}")]
    Mapping {
        /// `uid_map` or `gid_map`.
        file: &'static str,
        /// What was to be written.
        mappings: String,
        /// Why it was not.
        reason: String,
    },
    /// The program can't be executed.
    #[error("exec: {program:?}: {reason}")]
    Program {
        /// `args[0]`.
        program: String,
        /// runc's text for the cases that callers tell apart, and the likely cause.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// A hook, here or in the container's namespaces.
    #[error("{0}")]
    Hook(#[from] HookError),
    /// Any other step.
    #[error("{act}: {call}: {reason}")]
    Step {
        /// In words.
        act: String,
        /// The call that failed.
        call: &'static str,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// A call of the parent.
    #[error("{act}: {}", Words(*.errno))]
    Call {
        /// The call, and its object.
        act: String,
        /// Why it failed.
        errno: Errno,
    },
    /// The child ended without a word.
    #[error("container init died while it was made: {0}")]
    Died(Exit),
    /// The child ended, and the kernel's counter says why.
    #[error(
        "container init was OOM-killed (memory limit too low?): raise linux.resources.memory.limit"
    )]
    OutOfMemory,
    /// The child has not said anything in time.
    #[error("container init has not answered within {} s; it was killed", .0.as_secs())]
    TimedOut(Duration),
    /// A string with NUL where the kernel wants none.
    #[error("{0}")]
    Nul(#[from] NulError),
}

impl LaunchError {
    pub(super) fn call(act: impl Into<String>, errno: Errno) -> Self {
        Self::Call {
            act: act.into(),
            errno,
        }
    }

    pub(super) fn namespace(joined: &JoinedNamespace, stage: Stage, errno: Errno) -> Self {
        Self::Namespace {
            index: joined.index,
            kind: explain::namespace_name(joined.kind),
            path: joined.path.clone(),
            reason: explain::namespace_reason(stage, errno),
            errno,
        }
    }

    pub(super) fn content(content: &Content, call: &'static str, errno: Errno) -> Self {
        Self::Content {
            place: content.origin.pointer(),
            act: content.words(),
            call,
            reason: explain::content_reason(content, call, errno, ""),
            errno,
        }
    }
}

/// A connected pair of SOCK_SEQPACKET sockets that close at execve(2).
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// What a launch needs besides the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) procfs: &'a Procfs,
    pub(crate) rootless: bool,
    /// Open v1 `tasks` files.
    pub(crate) tasks: &'a [RawFd],
    /// The v2 directory to be born in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    pub(crate) console: Option<BorrowedFd<'a>>,
    /// Standard input, output and error; the parent's own without.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// What hooks without an environment get.
    pub(crate) environment: &'a [CString],
}

/// A process that has nothing left to do but to execute its program.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) process: Process,
    /// Index of the first step that comes after `start`: what a later failure is counted from.
    pub(crate) start_step: usize,
    sync: OwnedFd,
}

/// What the parent adds when the child has arrived: the state's JSON for a pid and a status.
pub(crate) type StateJson<'a> = dyn Fn(i32, crate::state::Status) -> Vec<u8> + 'a;

/// Launches a container's init process up to [`Phase::Ready`].
pub(crate) fn create(
    plan: &Plan,
    setting: &Setting<'_>,
    listener: Option<OwnedFd>,
    state: &StateJson<'_>,
) -> Result<Launched, LaunchError> {
    let mut files = HostFiles::open(plan, !setting.rootless)?;
    files.listener = listener;
    let home =
        needs_home(&plan.process).then(|| home::variable(&plan.rootfs.path, plan.process.uid));
    let arrays = Arrays::new(plan, home.as_deref(), setting.environment);
    let (ours, theirs) = pair()?;
    let keep = kept(setting, &theirs, files.raw(), plan.process.preserve_fds);
    let keep_last = kept_last(&theirs, files.raw_at_start(), plan.process.preserve_fds);
    let own_limits = limits_itself(&plan.process, plan.namespaces.has(NEWUSER));
    let handles = Handles {
        limits: own_limits,
        ..handles(setting, &keep, &keep_last)
    };
    let steps = lower::create_steps(plan, &arrays, &files, handles, setting.rootless);
    let clone = lower::CloneFlags::of(plan);
    let process = clone_child(clone.first, setting, &theirs, &steps)?;
    drop(theirs);
    let explain = |failure, text: &str| explain::failure(plan, &steps, failure, text);
    let mut talk = Conversation {
        process,
        sync: ours,
        explain: &explain,
        expects_second: steps.has_second_process(),
    };
    talk.until_ready(|talk, phase| match phase {
        Phase::NeedsIds => {
            let ids = &plan.namespaces;
            let pid = talk.process.pid();
            idmap::write_mappings(
                setting.procfs,
                pid,
                setting.rootless,
                &ids.uid_mappings,
                &ids.gid_mappings,
            )?;
            talk.tell(Gate::IdsMapped)
        }
        Phase::Joined => {
            run_create_hooks(plan, setting, talk.process.pid(), state, &files)?;
            talk.tell(Gate::HooksDone)
        }
        Phase::Ready | Phase::Executing => Ok(()),
    })?;
    talk.limit(&plan.process, setting, own_limits)?;
    Ok(talk.launched(steps.start))
}

/// Launches a further process of a running container up to [`Phase::Ready`].
pub(crate) fn exec(
    process: &ProcessPlan,
    entry: Entry<'_>,
    home: Option<&std::ffi::CStr>,
    setting: &Setting<'_>,
) -> Result<Launched, LaunchError> {
    let arrays = ProcessArrays::new(process, home);
    let (ours, theirs) = pair()?;
    let keep = kept(
        setting,
        &theirs,
        std::iter::once(entry.init),
        process.preserve_fds,
    );
    let keep_last = kept_last(&theirs, std::iter::empty(), process.preserve_fds);
    let own_limits = limits_itself(process, entry.user);
    let handles = Handles {
        limits: own_limits,
        ..handles(setting, &keep, &keep_last)
    };
    let steps = lower::exec_steps(process, &arrays, entry, handles);
    let child = clone_child(0, setting, &theirs, &steps)?;
    drop(theirs);
    let explain =
        |failure, text: &str| explain::exec_failure(process, entry.rootfs, &steps, failure, text);
    let mut talk = Conversation {
        process: child,
        sync: ours,
        explain: &explain,
        expects_second: steps.has_second_process(),
    };
    talk.until_ready(|_, _| Ok(()))?;
    talk.limit(process, setting, own_limits)?;
    Ok(talk.launched(0))
}

/// Whether the environment has no HOME.
pub(crate) fn needs_home(process: &ProcessPlan) -> bool {
    !process
        .env
        .iter()
        .any(|variable| variable.as_bytes().starts_with(b"HOME="))
}

pub(crate) use self::home::variable as home_variable;
pub(crate) use self::lower::{Entry as ExecEntry, waits_for_hooks};

fn pair() -> Result<(OwnedFd, OwnedFd), LaunchError> {
    socket_pair().map_err(|errno| LaunchError::call("socketpair(2)", errno))
}

/// Whether the child has to set its resource limits itself: prlimit(2) of another user's
/// process needs CAP_SYS_RESOURCE, which the runtime has over a user namespace that it made.
fn limits_itself(process: &ProcessPlan, user_namespace: bool) -> bool {
    let own = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    if process.rlimits.is_empty() || user_namespace || (process.uid, process.gid) == own {
        return false;
    }
    let capability = caps::Capability::CAP_SYS_RESOURCE;
    !caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or(true)
}

fn handles<'a>(setting: &Setting<'a>, keep: &'a [RawFd], keep_last: &'a [RawFd]) -> Handles<'a> {
    Handles {
        tasks: setting.tasks,
        keep,
        keep_last,
        console: setting.console.map(|socket| socket.as_raw_fd()),
        stdio: setting.stdio.map(|three| three.map(|fd| fd.as_raw_fd())),
        limits: false,
    }
}

/// Every descriptor that the child needs, sorted.
fn kept(
    setting: &Setting<'_>,
    sync: &OwnedFd,
    files: impl Iterator<Item = RawFd>,
    preserve_fds: u32,
) -> Vec<RawFd> {
    let mut keep = kept_last(sync, files, preserve_fds);
    keep.push(setting.procfs.raw());
    keep.extend(setting.tasks);
    keep.extend(setting.console.map(|socket| socket.as_raw_fd()));
    keep.extend(setting.stdio.iter().flatten().map(AsRawFd::as_raw_fd));
    keep.sort_unstable();
    keep.dedup();
    keep
}

/// Every descriptor that the child needs to the end, sorted: what the program is to have, the
/// talk with the parent, and these.
fn kept_last(sync: &OwnedFd, files: impl Iterator<Item = RawFd>, preserve_fds: u32) -> Vec<RawFd> {
    let preserved = RawFd::try_from(preserve_fds).unwrap_or(RawFd::MAX - 3);
    let mut keep: Vec<RawFd> = (0..3 + preserved).collect();
    keep.push(sync.as_raw_fd());
    keep.extend(files);
    keep.sort_unstable();
    keep.dedup();
    keep
}

fn clone_child(
    flags: u64,
    setting: &Setting<'_>,
    sync: &OwnedFd,
    steps: &Steps<'_>,
) -> Result<Process, LaunchError> {
    let program = Program {
        steps: &steps.steps,
        sync: sync.as_raw_fd(),
        proc: setting.procfs.raw(),
    };
    let (pid, pidfd) = sys::clone_init(flags, setting.cgroup, &program)
        .map_err(|errno| explain::clone(flags, errno))?;
    Ok(Process::new(pid, pidfd))
}

/// prestart and createRuntime hooks, and the state for the hooks that the child runs.
fn run_create_hooks(
    plan: &Plan,
    setting: &Setting<'_>,
    pid: i32,
    state: &StateJson<'_>,
    files: &HostFiles,
) -> Result<(), LaunchError> {
    let creating = state(pid, crate::state::Status::Creating);
    let hook_setting = HookSetting {
        state: &creating,
        environment: setting.environment,
        directory: &plan.bundle,
    };
    crate::hooks::run_all(HookKind::Prestart, &plan.hooks.prestart, &hook_setting)?;
    crate::hooks::run_all(
        HookKind::CreateRuntime,
        &plan.hooks.create_runtime,
        &hook_setting,
    )?;
    let write = |file: &Option<OwnedFd>, state: &[u8]| match file {
        Some(file) => nix::sys::uio::pwrite(file, state, 0).map(|_| ()),
        None => Ok(()),
    };
    write(&files.state_creating, &creating)
        .and_then(|()| {
            write(
                &files.state_created,
                &state(pid, crate::state::Status::Created),
            )
        })
        .map_err(|errno| LaunchError::call("write the state for hooks", errno))
}

/// Limits that the parent sets from outside, when the child has done everything that they
/// could hinder and before it runs a foreign program.
fn limit(
    process: &ProcessPlan,
    setting: &Setting<'_>,
    child: &Process,
    own_limits: bool,
) -> Result<(), LaunchError> {
    let pid = child.pid();
    for limit in process.rlimits.iter().filter(|_| !own_limits) {
        sys::prlimit(pid, limit.resource, limit.soft, limit.hard)
            .map_err(|errno| explain::rlimit(limit, errno))?;
    }
    if let Some(scheduler) = &process.scheduler {
        let attributes = sys::SchedulerAttributes {
            size: 48,
            policy: scheduler.policy,
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime_ns: scheduler.runtime_ns,
            deadline_ns: scheduler.deadline_ns,
            period_ns: scheduler.period_ns,
        };
        sys::sched_setattr(pid, &attributes).map_err(explain::scheduler)?;
    }
    if let Some(value) = process.io_priority {
        sys::ioprio_set(pid, value)
            .map_err(|errno| LaunchError::call("set ioPriority: ioprio_set(2)", errno))?;
    }
    if let Some(value) = process.oom_score_adj {
        let written = setting
            .procfs
            .write(format!("{pid}/oom_score_adj"), value.to_string().as_bytes());
        match written {
            Err(Errno::EACCES | Errno::EPERM) if setting.rootless => {}
            written => written.map_err(|errno| explain::oom_score(value, errno))?,
        }
    }
    Ok(())
}

/// The parent's end of the talk with one child.
struct Conversation<'a> {
    process: Process,
    sync: OwnedFd,
    explain: &'a dyn Fn(FailureAt, &str) -> LaunchError,
    /// Whether a second process is still to take over.
    expects_second: bool,
}

/// A failure as it crossed the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailureAt {
    pub(crate) step: usize,
    pub(crate) failure: Failure,
}

/// One message of the child.
enum Word {
    Phase(Phase),
    Respawned(i32),
    Failed(FailureAt, String),
    Silence,
}

impl Conversation<'_> {
    /// Answers the child until it is ready. On an error the child is gone and reaped.
    fn until_ready(
        &mut self,
        mut answer: impl FnMut(&mut Self, Phase) -> Result<(), LaunchError>,
    ) -> Result<(), LaunchError> {
        loop {
            let answered = match self.listen()? {
                Word::Phase(Phase::Ready) => return Ok(()),
                Word::Phase(phase) => answer(self, phase),
                Word::Respawned(pid) => self.follow(pid),
                Word::Failed(at, text) => Err((self.explain)(at, &text)),
                Word::Silence => return Err(self.died()),
            };
            if let Err(error) = answered {
                self.end();
                return Err(error);
            }
        }
    }

    fn tell(&self, gate: Gate) -> Result<(), LaunchError> {
        tell(self.sync.as_fd(), gate)
    }

    /// The next message; the child is ended when none comes in time.
    fn listen(&mut self) -> Result<Word, LaunchError> {
        match hear(self.sync.as_fd(), Instant::now() + CHILD_DEADLINE) {
            Ok(word) => Ok(word),
            Err(Errno::ETIMEDOUT) => {
                self.end();
                Err(LaunchError::TimedOut(CHILD_DEADLINE))
            }
            Err(errno) => {
                self.end();
                Err(LaunchError::call("recv(2) from container init", errno))
            }
        }
    }

    /// Goes on with the process that the first one has made; both are children of this one.
    ///
    /// The second process may be in sight of a container with CAP_SYS_PTRACE, which then speaks
    /// with its voice: a number is believed once, and only of a child.
    fn follow(&mut self, pid: i32) -> Result<(), LaunchError> {
        if !std::mem::take(&mut self.expects_second) {
            return Err(LaunchError::call("follow container init", Errno::EPROTO));
        }
        let second =
            Process::open(pid).map_err(|errno| LaunchError::call("pidfd_open(2)", errno))?;
        if !second.is_child() {
            return Err(LaunchError::call("follow container init", Errno::ECHILD));
        }
        let first = std::mem::replace(&mut self.process, second);
        first
            .wait()
            .map_err(|errno| LaunchError::call("waitid(2)", errno))
            .map(|_| ())
    }

    /// What the end of a silent child means.
    fn died(&mut self) -> LaunchError {
        match self.process.wait() {
            Ok(exit) => LaunchError::Died(exit),
            Err(errno) => LaunchError::call("waitid(2)", errno),
        }
    }

    /// Kills and reaps the child.
    fn end(&mut self) {
        end(&self.process);
    }

    /// Sets the limits; on an error the child is gone.
    fn limit(
        &mut self,
        process: &ProcessPlan,
        setting: &Setting<'_>,
        own_limits: bool,
    ) -> Result<(), LaunchError> {
        limit(process, setting, &self.process, own_limits).inspect_err(|_| end(&self.process))
    }

    fn launched(self, start_step: usize) -> Launched {
        Launched {
            process: self.process,
            start_step,
            sync: self.sync,
        }
    }
}

/// Kills and reaps a child; one that is gone already is no error.
pub(crate) fn end(process: &Process) {
    process.kill();
    // ECHILD means that it is reaped already: there is nothing left to do.
    let _reaped = process.wait();
}

fn tell(sync: BorrowedFd<'_>, gate: Gate) -> Result<(), LaunchError> {
    let message = Message {
        kind: Message::GATE,
        subject: gate as u16,
        call: 0,
        reserved: 0,
        code: 0,
    };
    let bytes = message.to_bytes();
    let sent = sendmsg::<()>(
        sync.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        &[],
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    match sent {
        // A child that has just failed has closed its end: its message is still to be read.
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
        Err(errno) => Err(LaunchError::call("send(2) to container init", errno)),
    }
}

/// Reads one message until the deadline: ETIMEDOUT after it.
fn hear(sync: BorrowedFd<'_>, deadline: Instant) -> Result<Word, Errno> {
    let mut buffer = [0; Message::SIZE + Message::TEXT_MAX];
    let length = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(sync, PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => {}
        }
        match recv(sync.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(Errno::ECONNRESET) => break 0,
            result => break result?,
        }
    };
    if length == 0 {
        return Ok(Word::Silence);
    }
    let message = Message::from_bytes(&buffer[..length]).ok_or(Errno::EPROTO)?;
    parse(message, &buffer[Message::SIZE..length]).ok_or(Errno::EPROTO)
}

fn parse(message: Message, text: &[u8]) -> Option<Word> {
    match message.kind {
        Message::PHASE => {
            let phases = [
                Phase::NeedsIds,
                Phase::Joined,
                Phase::Ready,
                Phase::Executing,
            ];
            phases
                .into_iter()
                .find(|phase| *phase as u16 == message.subject)
                .map(Word::Phase)
        }
        Message::RESPAWNED => Some(Word::Respawned(message.code)),
        Message::FAILURE => {
            let call = runtime_init::Call::from_number(message.call)?;
            let at = FailureAt {
                step: usize::from(message.subject),
                failure: Failure {
                    call,
                    code: message.code,
                },
            };
            Some(Word::Failed(
                at,
                String::from_utf8_lossy(text).trim().to_owned(),
            ))
        }
        _ => None,
    }
}

impl Launched {
    /// Lets a created container's init go on to wait for `start`.
    pub(crate) fn commit(self) -> Result<Process, LaunchError> {
        tell(self.sync.as_fd(), Gate::Committed)?;
        Ok(self.process)
    }

    /// Lets the process execute its program, and waits until it has.
    ///
    /// End of file without a failure means that execve(2) has closed the socket, or that a
    /// signal has ended the process just before: its exit status tells the caller the same in
    /// both cases.
    pub(crate) fn execute(
        self,
        explain: &dyn Fn(FailureAt, &str) -> LaunchError,
    ) -> Result<Process, LaunchError> {
        tell(self.sync.as_fd(), Gate::Committed)?;
        let deadline = Instant::now() + start_deadline();
        match executed(self.sync.as_fd(), deadline, explain) {
            Ok(()) | Err(StartError::Silence) => Ok(self.process),
            Err(StartError::Failed(error)) => {
                end(&self.process);
                Err(error)
            }
        }
    }

    /// Gives the process up.
    pub(crate) fn abandon(self) {
        end(&self.process);
    }
}

/// startContainer hooks run between the word to start and execve, each with its own limit.
pub(crate) fn start_deadline() -> Duration {
    CHILD_DEADLINE + crate::hooks::LONGEST_HOOK
}

/// Why a process did not execute its program.
pub(crate) enum StartError {
    /// It ended without a word.
    Silence,
    /// It said why.
    Failed(LaunchError),
}

/// Waits for the end of file that execve(2) makes, after [`Phase::Executing`].
pub(crate) fn executed(
    connection: BorrowedFd<'_>,
    deadline: Instant,
    explain: &dyn Fn(FailureAt, &str) -> LaunchError,
) -> Result<(), StartError> {
    let mut executing = false;
    loop {
        match hear(connection, deadline) {
            Ok(Word::Phase(Phase::Executing)) => executing = true,
            Ok(Word::Failed(at, text)) => return Err(StartError::Failed(explain(at, &text))),
            Ok(Word::Silence) if executing => return Ok(()),
            Ok(Word::Silence) => return Err(StartError::Silence),
            Ok(_) => {}
            Err(Errno::ETIMEDOUT) => {
                return Err(StartError::Failed(LaunchError::TimedOut(start_deadline())));
            }
            Err(errno) => {
                return Err(StartError::Failed(LaunchError::call(
                    "recv(2) from container init",
                    errno,
                )));
            }
        }
    }
}

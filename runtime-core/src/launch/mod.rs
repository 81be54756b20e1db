//! From a plan to a process: what the parent does while the child interprets its steps.
//!
//! ```text
//!  parent                                       child
//!  clone3(CLONE_INTO_CGROUP, new namespaces) --> closes descriptors, enters v1 cgroups, joins
//!                         <-- Respawned(pid)     only when a second process takes over
//!                         <-- NeedsIds           only with a new user namespace
//!  writes uid_map, gid_map, oom_score_adj
//!  IdsMapped              -->
//!                         <-- Joined             only with hooks or network devices
//!  network devices; prestart, createRuntime hooks
//!  HooksDone              -->
//!                                                mounts, devices, console, createContainer
//!                                                hooks, pivot_root, identity
//!                         <-- Filtered(listener) only when the seccomp filter asks somebody
//!  hands the listener on to listenerPath
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

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use runtime_init::{Gate, Phase, Program};

use self::arrays::{Arrays, ProcessArrays};
use self::enter::Entry;
use self::files::HostFiles;
use self::lower::{Handles, NEWUSER, Steps};
use crate::hooks::{HookKind, HookSetting};
use crate::network::MovedDevices;
use crate::plan::{Plan, ProcessPlan};
use crate::process::Process;
use crate::procfs::Procfs;
use crate::sys;

mod agent;
mod arrays;
mod enter;
mod error;
mod explain;
mod files;
mod home;
mod idmap;
mod lower;
mod rootfs_file;
mod talk;

pub(crate) use self::enter::Entry as ExecEntry;
pub(crate) use self::error::LaunchError;
use self::error::Stage;
pub(crate) use self::explain::{exec_start_failure, start_failure};
pub(crate) use self::home::variable as home_variable;
pub(crate) use self::idmap::{map_tree_as, user_namespace};
pub(crate) use self::lower::waits_for_hooks;
use self::talk::{Conversation, socket_pair};
pub(crate) use self::talk::{FailureAt, Launched, StartError, end, executed, start_deadline};

/// As many descriptors as a process can have (proc_sys_fs(5), `nr_open`).
const DESCRIPTORS_MAX: u32 = 1 << 20;

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
    let handles = handles(setting, &keep, &keep_last, own_limits);
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
        listener: None,
    };
    // They go back when this fails, behind the child's end.
    let mut devices = None;
    talk.until_ready(
        |talk, phase| match phase {
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
                if !plan.net_devices.is_empty() {
                    devices = Some(move_devices(plan, setting.procfs, talk.process.pid())?);
                }
                run_create_hooks(plan, setting, talk.process.pid(), state, &files)?;
                talk.tell(Gate::HooksDone)
            }
            Phase::Ready | Phase::Executing | Phase::Filtered | Phase::UserNamespace => Ok(()),
        },
        |pid, listener| {
            agent::ask(&plan.process, pid, listener, &|pid| {
                state(pid, crate::state::Status::Creating)
            })
        },
    )?;
    limit_or_end(&plan.process, setting, &talk.process, own_limits)?;
    Ok(talk.launched(steps.start, devices))
}

/// Launches a further process of a running container up to [`Phase::Ready`].
pub(crate) fn exec(
    process: &ProcessPlan,
    entry: Entry<'_>,
    home: Option<&std::ffi::CStr>,
    setting: &Setting<'_>,
    state: &dyn Fn() -> Vec<u8>,
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
    let handles = handles(setting, &keep, &keep_last, own_limits);
    let steps = enter::exec_steps(process, &arrays, entry, handles);
    // The child is born with the CPUs of the thread that makes it.
    let initial = on_initial_cpus(process)?;
    let child = clone_child(0, setting, &theirs, &steps)?;
    drop((initial, theirs));
    let explain =
        |failure, text: &str| explain::exec_failure(process, entry.rootfs, &steps, failure, text);
    let mut talk = Conversation {
        process: child,
        sync: ours,
        explain: &explain,
        expects_second: steps.has_second_process(),
        listener: None,
    };
    let ask = |pid, listener| agent::ask(process, pid, listener, &|_| state());
    talk.until_ready(|_, _| Ok(()), ask)?;
    limit_or_end(process, setting, &talk.process, own_limits)?;
    Ok(talk.launched(0, None))
}

/// Holds this thread on the CPUs of `execCPUAffinity.initial`, if there are any.
fn on_initial_cpus(process: &ProcessPlan) -> Result<Option<sys::OnCpus>, LaunchError> {
    let affinity = process.exec_affinity.as_ref();
    let Some(cpus) = affinity.and_then(|affinity| affinity.initial.as_ref()) else {
        return Ok(None);
    };
    let held = sys::OnCpus::hold(&cpus.words);
    held.map(Some)
        .map_err(|errno| explain::initial_affinity(cpus, errno))
}

/// Whether the environment has no HOME.
pub(crate) fn needs_home(process: &ProcessPlan) -> bool {
    !process
        .env
        .iter()
        .any(|variable| variable.as_bytes().starts_with(b"HOME="))
}

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

fn handles<'a>(
    setting: &Setting<'a>,
    keep: &'a [RawFd],
    keep_last: &'a [RawFd],
    limits: bool,
) -> Handles<'a> {
    Handles {
        tasks: setting.tasks,
        keep,
        keep_last,
        console: setting.console.map(|socket| socket.as_raw_fd()),
        stdio: setting.stdio.map(|three| three.map(|fd| fd.as_raw_fd())),
        limits,
        maps_undumpable: nix::unistd::geteuid().is_root(),
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
    let preserved = RawFd::try_from(preserve_fds.min(DESCRIPTORS_MAX)).unwrap_or(0);
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

/// Moves the plan's network devices into the namespace of the child.
fn move_devices(plan: &Plan, procfs: &Procfs, pid: i32) -> Result<MovedDevices, LaunchError> {
    let namespace = |process: &str| {
        let file = procfs.network_of(process);
        file.map_err(|errno| LaunchError::call(format!("open /proc/{process}/ns/net"), errno))
    };
    let own = namespace("thread-self")?;
    let container = namespace(&pid.to_string())?;
    let moved = MovedDevices::into_namespace(&plan.net_devices, own, container);
    moved.map_err(|error| explain::net_device(&error))
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

/// Sets the limits; on an error the child is gone.
fn limit_or_end(
    process: &ProcessPlan,
    setting: &Setting<'_>,
    child: &Process,
    own_limits: bool,
) -> Result<(), LaunchError> {
    limit(process, setting, child, own_limits).inspect_err(|_| end(child))
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

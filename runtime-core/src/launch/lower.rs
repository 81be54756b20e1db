//! From the plan to the child's steps: the one list that says what happens between clone3 and
//! execve, and in which order.
//!
//! Order is the security property here. A process of a container that others may already look
//! into (a joined pid namespace) is undumpable before it joins; everything the caller left open
//! is closed first; the runtime's descriptors close themselves at execve.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use runtime_init::{Console, Device, Exec, Gate, Hook, Mount, Phase, Source, Step};

use super::arrays::{Arrays, HookArrays, ProcessArrays};
use super::files::HostFiles;
use crate::hooks::HookKind;
use crate::plan::{
    Content, ContentAct, DevicePlan, MountPlan, MountSource, Plan, ProcessPlan, RlimitPlan,
    RootEntry,
};

/// What a step is about, for the words of its failure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// Something that needs no more than the act's name.
    Plain(&'static str),
    /// An entry of `plan.contents`.
    Content(&'a Content),
    /// `plan.namespaces.joined[n]`.
    Namespace(usize),
    /// `plan.process.rlimits`: one of them.
    Limit(&'a RlimitPlan),
    /// A hook of the container's namespaces.
    Hook(HookKind, usize, &'a CStr),
    /// `plan.sysctls[n]`.
    Sysctl(usize),
    /// The security module and the label that the program gets.
    Label(&'static str, &'a str),
    /// The program.
    Program,
    /// The rootfs.
    Rootfs,
    /// The working directory.
    WorkingDirectory,
}

/// The steps, and what each is about; index by index.
#[derive(Debug, Default)]
pub(crate) struct Steps<'a> {
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) subjects: Vec<Subject<'a>>,
    /// Index of the first step after `start`.
    pub(crate) start: usize,
}

impl<'a> Steps<'a> {
    pub(super) fn push(&mut self, step: Step<'a>, subject: Subject<'a>) {
        self.steps.push(step);
        self.subjects.push(subject);
    }

    /// Whether a second process takes over from the first.
    pub(crate) fn has_second_process(&self) -> bool {
        let is_respawn = |step: &Step<'_>| matches!(step, Step::Respawn(_));
        self.steps.iter().any(is_respawn)
    }

    pub(super) fn plain(&mut self, step: Step<'a>, act: &'static str) {
        self.push(step, Subject::Plain(act));
    }
}

/// Descriptors that the child has from its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handles<'a> {
    pub(crate) tasks: &'a [RawFd],
    pub(crate) keep: &'a [RawFd],
    /// Those of `keep` that are of use when everything is mounted and joined.
    pub(crate) keep_last: &'a [RawFd],
    pub(crate) console: Option<RawFd>,
    pub(crate) stdio: Option<[RawFd; 3]>,
    /// Whether the child sets its resource limits, and not the parent.
    pub(crate) limits: bool,
    /// Whether the parent may write the id mappings of a child that is not dumpable: the files of
    /// such a process belong to user 0.
    pub(crate) maps_undumpable: bool,
}

/// Which clone flags make the first process, and whether a second one takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloneFlags {
    pub(crate) first: u64,
    pub(crate) second: Option<u64>,
}

pub(super) const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub(super) const NEWPID: u64 = libc::CLONE_NEWPID as u64;
const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub(super) const NEWTIME: u64 = 0x80;

impl CloneFlags {
    /// One clone3 makes all new namespaces, unless a joined one must come first: a pid
    /// namespace takes effect for children only, new namespaces belong to the user namespace
    /// that makes them, and a new user namespace has no way into the host's.
    ///
    /// A cgroup namespace is left out: its root is the cgroup of the process that makes it, so
    /// the child makes it when it is where it belongs. A time namespace with offsets likewise:
    /// they must be written before anybody is in it.
    pub(crate) fn of(plan: &Plan) -> Self {
        let namespaces = &plan.namespaces;
        let mut new = namespaces.new & !NEWCGROUP;
        if namespaces.time_offsets.is_some() {
            new &= !NEWTIME;
        }
        let joins = |kind| namespaces.joined.iter().any(|joined| joined.kind == kind);
        let user_after_joins = new & NEWUSER != 0 && !namespaces.joined.is_empty();
        if joins(NEWUSER) || joins(NEWPID) || user_after_joins {
            Self {
                first: 0,
                second: Some(new),
            }
        } else {
            Self {
                first: new,
                second: None,
            }
        }
    }
}

/// The steps of a container's init process, up to the program.
pub(crate) fn create_steps<'a>(
    plan: &'a Plan,
    arrays: &'a Arrays<'a>,
    files: &'a HostFiles,
    handles: Handles<'a>,
    rootless: bool,
) -> Steps<'a> {
    let mut steps = Steps::default();
    arrive(&mut steps, plan, arrays, (files, handles), rootless);
    prepare_namespaces(&mut steps, plan);
    fill_rootfs(&mut steps, plan, arrays, files, handles);
    enter_rootfs(&mut steps, plan);
    for (index, (path, value)) in plan.sysctls.iter().enumerate() {
        steps.push(Step::Sysctl { path, value }, Subject::Sysctl(index));
    }
    let user = BecomeUser {
        keep: handles.keep_last,
        create_cwd: true,
    };
    become_user(&mut steps, &plan.process, &arrays.process, user);
    filter_to_ask(&mut steps, &plan.process);
    steps.plain(Step::Tell(Phase::Ready), "tell the runtime");
    steps.plain(Step::Await(Gate::Committed), "wait for the runtime");
    if let Some(listener) = &files.listener {
        steps.plain(Step::AwaitStart(listener.as_raw_fd()), "wait for start");
    }
    steps.start = steps.steps.len();
    for (index, hook) in arrays.start_hooks.iter().enumerate() {
        let subject = Subject::Hook(HookKind::StartContainer, index, hook.path);
        push_hook(
            &mut steps,
            hook,
            files.state_created.as_ref(),
            files,
            subject,
        );
    }
    let ending = Ending {
        last_word: files.listener.as_ref().map(|_| Phase::Executing),
        limits: handles.limits,
    };
    execute(&mut steps, &plan.process, &arrays.process, ending);
    steps
}

/// Into the cgroups and namespaces.
fn arrive<'a>(
    steps: &mut Steps<'a>,
    plan: &'a Plan,
    arrays: &'a Arrays<'a>,
    (files, handles): (&'a HostFiles, Handles<'a>),
    rootless: bool,
) {
    let clone = CloneFlags::of(plan);
    take_descriptors(steps, handles);
    steps.plain(Step::DefaultSignals, RESET_SIGNALS);
    if !handles.tasks.is_empty() {
        steps.plain(Step::EnterCgroups(handles.tasks), "enter the cgroups");
    }
    let joins = !plan.namespaces.joined.is_empty();
    let maps_second = clone.second.is_some_and(|flags| flags & NEWUSER != 0);
    if (joins && !maps_second) || (maps_second && handles.maps_undumpable) {
        steps.plain(Step::Undumpable, "become undumpable");
    }
    // A privileged runtime can join all others only before it gives its privilege up; one
    // without privilege has it only in the user namespace.
    let user_first =
        |(_, joined): &(usize, &crate::plan::JoinedNamespace)| (joined.kind == NEWUSER) != rootless;
    let mut joined: Vec<_> = plan.namespaces.joined.iter().enumerate().collect();
    joined.sort_by_key(user_first);
    for (index, namespace) in joined {
        let join = Step::Join {
            namespace: files.namespaces[index].as_raw_fd(),
            kind: namespace.kind,
        };
        steps.push(join, Subject::Namespace(index));
    }
    if let Some(flags) = clone.second {
        steps.plain(Step::Respawn(flags), "make the new namespaces");
    }
    // The label is written by who has opened its file: the process that executes the program.
    open_label(steps, &arrays.process);
    if plan.namespaces.new & NEWUSER != 0 {
        steps.plain(Step::Tell(Phase::NeedsIds), "tell the runtime");
        steps.plain(Step::Await(Gate::IdsMapped), "wait for the id mappings");
    }
    if plan.namespaces.has(NEWUSER) {
        // The file for them is root's, whom the namespace may have no id for.
        set_time_offsets(steps, plan);
        steps.plain(
            Step::BecomeRoot {
                set_groups: plan.process.set_groups,
            },
            "become root",
        );
    }
    steps.plain(Step::Undumpable, "become undumpable");
}

pub(super) const RESET_SIGNALS: &str = "reset the signals";

pub(super) fn take_descriptors<'a>(steps: &mut Steps<'a>, handles: Handles<'a>) {
    steps.plain(Step::KeepOnly(handles.keep), "close other descriptors");
    if let Some(three) = handles.stdio {
        steps.plain(Step::Stdio(three), "set the standard streams");
    }
}

fn set_time_offsets<'a>(steps: &mut Steps<'a>, plan: &'a Plan) {
    if let Some(offsets) = &plan.namespaces.time_offsets {
        steps.plain(Step::TimeOffsets(offsets), "set the time offsets");
    }
}

/// What the namespaces themselves need.
fn prepare_namespaces<'a>(steps: &mut Steps<'a>, plan: &'a Plan) {
    let namespaces = &plan.namespaces;
    if namespaces.new & NEWCGROUP != 0 {
        steps.plain(Step::Unshare(NEWCGROUP), "make the cgroup namespace");
    }
    if !namespaces.has(NEWUSER) {
        set_time_offsets(steps, plan);
    }
    steps.plain(Step::NewSession, "start a session");
    if let Some(name) = &plan.keyring {
        steps.plain(Step::SessionKeyring(name), "make a session keyring");
    }
    if waits_for_hooks(plan) || !plan.net_devices.is_empty() {
        steps.plain(Step::Tell(Phase::Joined), "tell the runtime");
        steps.plain(Step::Await(Gate::HooksDone), "wait for the hooks");
    }
    if let Some(name) = &namespaces.hostname {
        steps.plain(Step::Hostname(name), "set the hostname");
    }
    if let Some(name) = &namespaces.domainname {
        steps.plain(Step::Domainname(name), "set the domainname");
    }
    if namespaces.new & libc::CLONE_NEWNET as u64 != 0 {
        steps.plain(Step::LoopbackUp, "bring the loopback device up");
    }
}

/// Whether the parent has hooks to run, or a state to write for hooks of the child.
pub(crate) fn waits_for_hooks(plan: &Plan) -> bool {
    let hooks = &plan.hooks;
    !(hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && hooks.create_container.is_empty()
        && hooks.start_container.is_empty())
}

/// Mounts, devices, links, paths, the console: all below the rootfs's descriptor.
fn fill_rootfs<'a>(
    steps: &mut Steps<'a>,
    plan: &'a Plan,
    arrays: &'a Arrays<'a>,
    files: &'a HostFiles,
    handles: Handles<'a>,
) {
    if plan.rootfs.entry == RootEntry::Chroot {
        steps.push(Step::OpenRootfs(&plan.rootfs.path), Subject::Rootfs);
    } else {
        let propagation = Step::RootPropagation(plan.rootfs.propagation);
        steps.plain(propagation, "set the propagation of /");
        steps.push(Step::BindRootfs(&plan.rootfs.path), Subject::Rootfs);
    }
    for (index, content) in plan.contents.iter().enumerate() {
        let step = content_step(index, content, arrays, files);
        steps.push(step, Subject::Content(content));
    }
    if let (Some(terminal), Some(socket)) = (plan.process.terminal, handles.console) {
        let console = Console {
            socket,
            size: terminal.size,
            bind: plan.rootfs.entry != RootEntry::Chroot,
            uid: plan.process.uid,
            multiplexer: c"/dev/pts/ptmx",
        };
        steps.plain(Step::Console(console), "make the console");
        steps.plain(Step::ControllingTerminal, "take the console");
    }
    for (index, hook) in arrays.create_hooks.iter().enumerate() {
        let subject = Subject::Hook(HookKind::CreateContainer, index, hook.path);
        push_hook(steps, hook, files.state_creating.as_ref(), files, subject);
    }
    let cwd = Step::Directory {
        path: &plan.process.cwd,
        mode: 0o755,
    };
    steps.push(cwd, Subject::WorkingDirectory);
    if plan.rootfs.readonly {
        steps.push(Step::ReadonlyRootfs, Subject::Rootfs);
    }
}

fn content_step<'a>(
    index: usize,
    content: &'a Content,
    arrays: &'a Arrays<'a>,
    files: &'a HostFiles,
) -> Step<'a> {
    match &content.act {
        ContentAct::Mount(mount) => Step::Mount(mount_step(index, mount, arrays, files)),
        ContentAct::Directory { path, mode } => Step::Directory { path, mode: *mode },
        ContentAct::Device(device) => Step::Device(device_step(device)),
        ContentAct::Symlink {
            text,
            path,
            replace,
        } => Step::Symlink {
            text,
            path,
            replace: *replace,
        },
        ContentAct::Readonly(path) => Step::ReadonlyPath(path),
        ContentAct::Masked(path) => Step::MaskedPath(path),
    }
}

fn mount_step<'a>(
    index: usize,
    mount: &'a MountPlan,
    arrays: &'a Arrays<'a>,
    files: &'a HostFiles,
) -> Mount<'a> {
    let source = match &mount.source {
        MountSource::Filesystem { kind, device, .. } => Source::Filesystem {
            kind,
            device: device.as_deref(),
            options: arrays.parameters(index),
        },
        MountSource::Bind {
            path, recursive, ..
        } => match files.tree(index) {
            Some(tree) => Source::Tree(tree.as_raw_fd()),
            None => Source::Bind {
                path,
                recursive: *recursive,
            },
        },
        MountSource::Classic {
            kind,
            device,
            flags,
            data,
        } => Source::Classic {
            kind,
            device,
            flags: *flags,
            data,
        },
        MountSource::Existing => Source::Existing,
    };
    Mount {
        source,
        target: &mount.target,
        refuse_links: mount.refuse_links,
        inside_proc: mount.inside_proc,
        source_is_procfs: mount.source_is_procfs,
        attributes: mount.attributes,
        recursive: mount.recursive,
        propagation: &mount.propagation,
        copy_up: mount.copy_up,
    }
}

fn device_step(device: &DevicePlan) -> Device<'_> {
    Device {
        path: &device.path,
        mode: device.mode,
        major: device.major,
        minor: device.minor,
        uid: device.uid,
        gid: device.gid,
        bind: device.bind.then_some(device.path.as_c_str()),
    }
}

fn push_hook<'a>(
    steps: &mut Steps<'a>,
    hook: &'a HookArrays<'a>,
    state: Option<&'a std::os::fd::OwnedFd>,
    files: &'a HostFiles,
    subject: Subject<'a>,
) {
    let state = state.expect("every plan with hooks has their state open");
    let output = files
        .hook_output
        .as_ref()
        .expect("every plan with hooks has their output open");
    let hook = Hook {
        path: hook.path,
        argv: &hook.argv,
        envp: &hook.envp,
        timeout_ms: hook.timeout_ms,
        state: state.as_raw_fd(),
        output: output.as_raw_fd(),
    };
    steps.push(Step::Hook(hook), subject);
}

fn enter_rootfs<'a>(steps: &mut Steps<'a>, plan: &'a Plan) {
    let enter = match plan.rootfs.entry {
        RootEntry::Pivot => Step::PivotRoot,
        RootEntry::Move => Step::MoveRoot,
        RootEntry::Chroot => Step::Chroot,
    };
    steps.push(enter, Subject::Rootfs);
    if let Some(propagation) = plan.rootfs.final_propagation {
        steps.plain(
            Step::FinalPropagation(propagation),
            "set the propagation of /",
        );
    }
}

/// Opens the file for the security label while the child may still open it.
pub(super) fn open_label<'a>(steps: &mut Steps<'a>, arrays: &'a ProcessArrays<'a>) {
    if let Some(label) = &arrays.label {
        let subject = Subject::Label(label.module, label.name);
        steps.push(Step::OpenLsmLabel(label.file), subject);
    }
}

/// What becoming the user depends on besides the plan.
pub(super) struct BecomeUser<'a> {
    pub(super) keep: &'a [RawFd],
    /// Whether a working directory that is missing is made: a new container's is.
    pub(super) create_cwd: bool,
}

/// From the runtime's privileges to the process's own.
///
/// What the process holds of the host goes first. By the end it may be in sight of other
/// processes of the container, and one with CAP_SYS_PTRACE can take its descriptors, dumpable
/// or not; a change of identity makes it as dumpable as fs.suid_dumpable says, so that is taken
/// back.
///
/// Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before the capabilities
/// go; with it, `execute` loads it last.
pub(super) fn become_user<'a>(
    steps: &mut Steps<'a>,
    process: &'a ProcessPlan,
    arrays: &'a ProcessArrays<'a>,
    user: BecomeUser<'a>,
) {
    if let Some(label) = &arrays.label {
        let subject = Subject::Label(label.module, label.name);
        steps.push(Step::LsmLabel(&label.bytes), subject);
    }
    if let Some(personality) = process.personality {
        steps.plain(Step::Personality(personality), "set the personality");
    }
    if let Some(policy) = &process.memory_policy {
        let step = Step::MemoryPolicy {
            mode: policy.mode,
            nodes: &policy.nodes.words,
        };
        steps.plain(step, "set linux.memoryPolicy");
    }
    let cwd = Step::WorkingDirectory {
        path: &process.cwd,
        create: user.create_cwd,
    };
    steps.push(cwd, Subject::WorkingDirectory);
    if let Some(umask) = process.umask {
        steps.plain(Step::Umask(umask), "set the umask");
    }
    let first_closed = process.preserve_fds.saturating_add(3);
    steps.plain(Step::CloseOnExecFrom(first_closed), "close descriptors");
    steps.plain(Step::LetGo(user.keep), "close the host's descriptors");
    if process.no_new_privileges {
        steps.plain(Step::NoNewPrivileges, "set no_new_privs");
    } else if let Some(seccomp) = &process.seccomp {
        steps.plain(seccomp_step(seccomp), LOAD_FILTER);
    }
    steps.plain(
        Step::BoundingSet(process.capabilities.bounding),
        "drop capabilities",
    );
    if process.set_groups {
        steps.plain(Step::Groups(&process.additional_gids), "set the groups");
    }
    if process.terminal.is_none() {
        steps.plain(
            Step::OwnStdio { uid: process.uid },
            "own the standard streams",
        );
    }
    let become_user = Step::User {
        uid: process.uid,
        gid: process.gid,
    };
    steps.plain(become_user, "become the user");
    steps.plain(
        Step::Capabilities(process.capabilities.sets),
        "set the capabilities",
    );
    steps.plain(Step::Undumpable, "become undumpable");
    steps.push(Step::FindProgram(&arrays.candidates), Subject::Program);
}

/// What the last steps depend on besides the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Whoever starts a created container hears that the program comes now; a parent that holds
    /// the process sees for itself whether it lives.
    pub(super) last_word: Option<Phase>,
    /// Whether the child sets its resource limits, and not the parent.
    pub(super) limits: bool,
}

pub(super) fn execute<'a>(
    steps: &mut Steps<'a>,
    process: &'a ProcessPlan,
    arrays: &'a ProcessArrays<'a>,
    ending: Ending,
) {
    // Last, where a low limit hinders none of the child's own steps.
    for limit in process.rlimits.iter().filter(|_| ending.limits) {
        let &RlimitPlan {
            resource,
            soft,
            hard,
            ..
        } = limit;
        let step = Step::Limit {
            resource,
            soft,
            hard,
        };
        steps.push(step, Subject::Limit(limit));
    }
    if let Some(phase) = ending.last_word {
        steps.plain(Step::Tell(phase), "tell the runtime");
    }
    if process.no_new_privileges
        && let Some(seccomp) = &process.seccomp
        && seccomp.listener.is_none()
    {
        steps.plain(seccomp_step(seccomp), LOAD_FILTER);
    }
    let exec = Exec {
        argv: &arrays.argv,
        envp: &arrays.envp,
    };
    steps.push(Step::Exec(exec), Subject::Program);
}

/// Loads a filter with a listener that `execute` would load last: the parent is there to hand the
/// listener on only until the process is ready.
pub(super) fn filter_to_ask<'a>(steps: &mut Steps<'a>, process: &'a ProcessPlan) {
    if process.no_new_privileges
        && let Some(seccomp) = &process.seccomp
        && seccomp.listener.is_some()
    {
        steps.plain(seccomp_step(seccomp), LOAD_FILTER);
    }
}

const LOAD_FILTER: &str = "load the seccomp filter";

fn seccomp_step(seccomp: &crate::plan::SeccompPlan) -> Step<'_> {
    let program = &seccomp.program;
    let flags = seccomp.flags;
    match seccomp.listener {
        Some(_) => Step::SeccompListener { program, flags },
        None => Step::Seccomp { program, flags },
    }
}

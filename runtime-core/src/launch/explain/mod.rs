//! From a failure's numbers to words that a person can act on.
//!
//! The child says which step, which call, which errno. The parent has the plan, so it names
//! the object, and adds the likely cause and what to do. The texts that callers match on
//! (`executable file not found in $PATH`, `no such file or directory`, …) are runc's.

mod parent;
mod program;

use std::ffi::CStr;
use std::time::Duration;

use nix::errno::Errno;
use runtime_init::{Call, Failure};

use super::lower::{Steps, Subject};
use super::{FailureAt, LaunchError, Stage};
use crate::errno::Words;
use crate::hooks::{HookError, HookKind, HookOutcome, LONGEST_HOOK};
use crate::plan::{Content, ContentAct, HookPlan, MountSource, Plan, ProcessPlan};
use crate::process::Exit;

use program::program;

pub(super) use parent::{clone, initial_affinity, net_device, oom_score, rlimit, scheduler};

/// What ENOSYS means of a call that tare makes.
const HIDDEN: &str = "this needs a newer kernel, or a seccomp filter hides the call";

/// The specification's name of a CLONE_NEW* flag.
pub(super) fn namespace_name(kind: u64) -> &'static str {
    const NAMES: [(i32, &str); 8] = [
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "network"),
        (libc::CLONE_NEWNS, "mount"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWUSER, "user"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
        (0x80, "time"),
    ];
    let found = NAMES
        .iter()
        .find(|(flag, _)| u64::try_from(*flag) == Ok(kind));
    found.map_or("unknown", |(_, name)| name)
}

pub(super) fn namespace_reason(stage: Stage, errno: Errno) -> String {
    let hint = match (stage, errno) {
        (Stage::Open, Errno::ENOENT) => "the process or bind mount that kept it is gone",
        (Stage::Type, Errno::EINVAL) => "the path is no namespace of this type",
        (Stage::Join, Errno::EINVAL) => {
            "it is of another type, or this process can't leave its own"
        }
        (Stage::Join | Stage::Open, Errno::EPERM | Errno::EACCES) => {
            "joining needs CAP_SYS_ADMIN in the user namespace that owns it"
        }
        _ => return Words(errno).to_string(),
    };
    format!("{}: {hint}", Words(errno))
}

/// The reason for an entry of the rootfs: errno, the kernel's own words, likely cause.
pub(super) fn content_reason(content: &Content, call: &str, errno: Errno, text: &str) -> String {
    let mut reason = Words(errno).to_string();
    if !text.is_empty() {
        reason = format!("{reason}: the kernel says {text:?}");
    }
    match content_hint(content, call, errno) {
        Some(hint) => format!("{reason}: {hint}"),
        None => reason,
    }
}

fn content_hint(content: &Content, call: &str, errno: Errno) -> Option<&'static str> {
    let ContentAct::Mount(mount) = &content.act else {
        return match (&content.act, errno) {
            (ContentAct::Device(_), Errno::EPERM) => {
                Some("making devices needs CAP_MKNOD in the initial user namespace")
            }
            (_, Errno::EROFS) => {
                Some("the root filesystem is read-only there and the path is missing in it")
            }
            _ => None,
        };
    };
    match (&mount.source, call, errno) {
        (MountSource::Bind { .. }, "open_tree(2)", Errno::ENOENT) => {
            Some("the mount's source does not exist on the host")
        }
        (MountSource::Bind { .. }, "open_tree(2)", Errno::EACCES) => {
            Some("the mount's source is not accessible to the container's root user")
        }
        (MountSource::Bind { .. }, "checking that the source is a procfs", _) => {
            Some("only the root of a procfs may be bound on /proc")
        }
        (MountSource::Filesystem { .. }, "fsopen(2)", Errno::ENODEV) => {
            Some("this kernel has no filesystem of this type (see /proc/filesystems)")
        }
        (MountSource::Filesystem { .. }, "fsopen(2)", Errno::EPERM) => Some(
            "this filesystem can't be mounted in a user namespace; bind-mount it from the host",
        ),
        (MountSource::Filesystem { .. }, "fsmount(2)" | "fsconfig(2)", Errno::EPERM) => Some(
            "the kernel refuses this in a user namespace, or the host's own mount of it is partly covered or read-only",
        ),
        (MountSource::Filesystem { .. }, "fsconfig(2)", Errno::EINVAL) => Some(
            "an option is not one that this filesystem knows, or an id in one is not mapped in this user namespace",
        ),
        (
            MountSource::Bind { idmap: Some(_), .. },
            "mount_setattr(2) MOUNT_ATTR_IDMAP",
            Errno::EINVAL,
        ) => Some("the source's filesystem does not support id-mapped mounts on this kernel"),
        (_, "checking that the target is outside of /proc", _) => Some(
            "the target leads into a procfs, where a mount could redirect the runtime's own writes",
        ),
        (_, _, Errno::ELOOP) => Some("the target is a link, which is not followed here"),
        (_, "move_mount(2)", Errno::ENOTDIR) => {
            Some("a directory was to be mounted on a file, or a file on a directory")
        }
        (_, "mkdirat(2)" | "openat2(2)", Errno::EROFS) => {
            Some("the target is missing and its filesystem is read-only: make it in the image")
        }
        (_, "openat2(2)" | "mkdirat(2)", Errno::ENOTDIR) => {
            Some("the target, or a part of its path, is a file")
        }
        (_, _, Errno::ENOSYS) => Some(HIDDEN),
        _ => None,
    }
}

/// A failure of a container's init process before it was ready.
pub(super) fn failure(plan: &Plan, steps: &Steps<'_>, at: FailureAt, text: &str) -> LaunchError {
    let subject = steps
        .subjects
        .get(at.step)
        .copied()
        .unwrap_or(Subject::Plain("run a step"));
    let rootfs = plan.rootfs.path.as_c_str();
    of_subject(Some(plan), &plan.process, rootfs, subject, at.failure, text)
}

/// A failure of an exec process before it was ready.
pub(super) fn exec_failure(
    process: &ProcessPlan,
    rootfs: &CStr,
    steps: &Steps<'_>,
    at: FailureAt,
    text: &str,
) -> LaunchError {
    let subject = steps
        .subjects
        .get(at.step)
        .copied()
        .unwrap_or(Subject::Plain("run a step"));
    of_subject(None, process, rootfs, subject, at.failure, text)
}

/// A failure after `start`: a startContainer hook, the filter, or the program itself.
pub(crate) fn start_failure(
    plan: &Plan,
    start_step: usize,
    at: FailureAt,
    text: &str,
) -> LaunchError {
    let index = at.step.saturating_sub(start_step);
    let subject = match plan.hooks.start_container.get(index) {
        Some(hook) => Subject::Hook(HookKind::StartContainer, index, &hook.path),
        None if at.failure.call == Call::Prlimit => {
            // Between the hooks and the limits is the step that closes descriptors.
            let first = plan.hooks.start_container.len() + 1;
            let limit = plan.process.rlimits.get(index.saturating_sub(first));
            limit.map_or(after_start(at.failure.call), Subject::Limit)
        }
        None => after_start(at.failure.call),
    };
    of_subject(
        Some(plan),
        &plan.process,
        &plan.rootfs.path,
        subject,
        at.failure,
        text,
    )
}

/// A failure of an exec process after it was ready.
pub(crate) fn exec_start_failure(
    process: &ProcessPlan,
    rootfs: &CStr,
    failure: Failure,
) -> LaunchError {
    of_subject(
        None,
        process,
        rootfs,
        after_start(failure.call),
        failure,
        "",
    )
}

fn after_start(call: Call) -> Subject<'static> {
    match call {
        Call::Execve => Subject::Program,
        Call::Prlimit => Subject::Plain("set a resource limit"),
        Call::Seccomp => Subject::Plain("load the seccomp filter"),
        _ => Subject::Plain("start the program"),
    }
}

fn of_subject(
    plan: Option<&Plan>,
    process: &ProcessPlan,
    rootfs: &CStr,
    subject: Subject<'_>,
    failure: Failure,
    text: &str,
) -> LaunchError {
    let errno = Errno::from_raw(failure.code);
    let call = failure.call.text();
    match subject {
        Subject::Content(content) => LaunchError::Content {
            place: content.origin.pointer(),
            act: content.words(),
            call,
            reason: content_reason(content, call, errno, text),
            errno,
        },
        Subject::Namespace(index) => {
            match plan.and_then(|plan| plan.namespaces.joined.get(index)) {
                Some(joined) => LaunchError::namespace(joined, Stage::Join, errno),
                None => step("join a namespace".into(), call, errno, None),
            }
        }
        Subject::Hook(kind, index, path) => hook(plan, kind, index, path, failure),
        Subject::Limit(limit) => rlimit(limit, errno),
        Subject::Sysctl(index) => sysctl(plan, index, call, errno),
        Subject::Program => program(process, rootfs, errno),
        Subject::Rootfs => step(
            format!("rootfs {}", rootfs.to_string_lossy()),
            call,
            errno,
            rootfs_hint(failure.call, errno),
        ),
        Subject::WorkingDirectory => {
            let cwd = process.cwd.to_string_lossy();
            step(
                format!("working directory {cwd}"),
                call,
                errno,
                cwd_hint(failure.call, errno),
            )
        }
        Subject::Label(module, name) => step(
            format!("set the {module} label {name}"),
            call,
            errno,
            label_hint(module, errno),
        ),
        Subject::Plain(act) => step(act.into(), call, errno, plain_hint(failure.call, errno)),
    }
}

fn step(act: String, call: &'static str, errno: Errno, hint: Option<&str>) -> LaunchError {
    let reason = match hint {
        Some(hint) => format!("{}: {hint}", Words(errno)),
        None if errno == Errno::ENOSYS => format!("{}: {HIDDEN}", Words(errno)),
        None => Words(errno).to_string(),
    };
    LaunchError::Step {
        act,
        call,
        reason,
        errno,
    }
}

fn rootfs_hint(call: Call, errno: Errno) -> Option<&'static str> {
    match (call, errno) {
        (Call::OpenTree | Call::Open, Errno::ENOENT) => {
            Some("root.path in config.json must name a directory that exists")
        }
        (Call::OpenTree | Call::Open, Errno::ENOTDIR) => {
            Some("root.path in config.json is no directory")
        }
        (Call::OpenTree | Call::Open, Errno::EACCES) => Some(
            "the container's root user can't reach it: check the modes of the directories above",
        ),
        (Call::PivotRoot, Errno::EINVAL) => {
            Some("pivot_root(2) does not work on an initial ramfs: use --no-pivot")
        }
        _ => None,
    }
}

fn cwd_hint(call: Call, errno: Errno) -> Option<&'static str> {
    match (call, errno) {
        (_, Errno::ENOENT) if call != Call::OutsideRoot => {
            Some("the container has no such directory; correct process.cwd, or --cwd of exec")
        }
        (_, Errno::ENOTDIR) => Some("process.cwd, or a part of it, is a file"),
        (_, Errno::EROFS) => Some("it is missing and can't be made on a read-only filesystem"),
        (Call::OutsideRoot, _) => {
            Some("it leads out of the container: refused (the class of CVE-2024-21626)")
        }
        _ => None,
    }
}

fn label_hint(module: &str, errno: Errno) -> Option<&'static str> {
    match (module, errno) {
        ("AppArmor", Errno::ENOENT) => {
            Some("no profile of this name is loaded (see /sys/kernel/security/apparmor/profiles)")
        }
        ("AppArmor", Errno::EACCES | Errno::EPERM) => Some(
            "the runtime is confined itself, and its own profile doesn't allow the change to this one",
        ),
        ("SELinux", Errno::EINVAL) => Some("the loaded policy has no such context"),
        _ => None,
    }
}

fn plain_hint(call: Call, errno: Errno) -> Option<&'static str> {
    match (call, errno) {
        (Call::Setgroups, Errno::EPERM) => {
            Some("groups can't be set with a single mapped id (setgroups is denied)")
        }
        (Call::Setuid | Call::Setgid, Errno::EINVAL) => {
            Some("the id is not mapped in linux.uidMappings or linux.gidMappings")
        }
        (Call::SchedSetaffinity, Errno::EINVAL) => Some(
            "none of the CPUs is both online and in the container's cpuset (resources.cpu.cpus)",
        ),
        (Call::SetMempolicy, Errno::EINVAL) => Some(
            "the kernel does not know the mode or the flag, or none of the nodes has memory and is in the container's cpuset (resources.cpu.mems)",
        ),
        (Call::SetMempolicy, Errno::ENOSYS) => Some(
            "this kernel is built without NUMA policies (CONFIG_NUMA), or a seccomp filter hides the call",
        ),
        (Call::Keyctl, Errno::EDQUOT) => Some(
            "the user's key quota is used up (/proc/sys/kernel/keys/root_maxkeys): use --no-new-keyring",
        ),
        (Call::Seccomp, Errno::EINVAL) => {
            Some("the kernel refuses the filter, or one of its flags")
        }
        (Call::Seccomp, Errno::EBUSY) => Some(
            "the runtime runs under a filter with a listener itself, and a process may have one alone",
        ),
        (Call::Send, Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
            Some("the filter forbids sendmsg(2), by which its listener is handed over: allow it")
        }
        (Call::Seccomp, Errno::EACCES) => {
            Some("loading a filter needs CAP_SYS_ADMIN or noNewPrivileges")
        }
        (Call::CapAmbient, Errno::EPERM) => {
            Some("an ambient capability must be permitted and inheritable as well")
        }
        _ => None,
    }
}

fn hook(
    plan: Option<&Plan>,
    kind: HookKind,
    index: usize,
    path: &CStr,
    failure: Failure,
) -> LaunchError {
    let hooks: &[HookPlan] = match (plan, kind) {
        (Some(plan), HookKind::StartContainer) => &plan.hooks.start_container,
        (Some(plan), _) => &plan.hooks.create_container,
        (None, _) => &[],
    };
    let limit = hooks.get(index).and_then(|hook| hook.timeout_secs);
    let limit = limit.map_or(LONGEST_HOOK, |secs| Duration::from_secs(u64::from(secs)));
    let outcome = match failure {
        Failure {
            call: Call::HookStatus,
            code: Failure::TIMED_OUT,
        } => HookOutcome::TimedOut(limit),
        Failure {
            call: Call::HookStatus,
            code,
        } => HookOutcome::Ended(exit_of_status(code), String::new()),
        Failure { code, .. } => HookOutcome::NotStarted(Errno::from_raw(code)),
    };
    let path = path.to_string_lossy().into_owned();
    LaunchError::Hook(HookError {
        kind,
        index,
        path,
        outcome,
    })
}

/// A wait status as wait(2) encodes it.
fn exit_of_status(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

fn sysctl(plan: Option<&Plan>, index: usize, call: &'static str, errno: Errno) -> LaunchError {
    let sysctl = plan.and_then(|plan| plan.sysctls.get(index));
    let act = match sysctl {
        Some((path, value)) => format!(
            "set sysctl {} to {:?}",
            path.to_string_lossy().replace('/', "."),
            String::from_utf8_lossy(value)
        ),
        None => "set a sysctl".into(),
    };
    let hint = match errno {
        Errno::ENOENT => Some("this kernel has no such sysctl in the container's namespaces"),
        Errno::EINVAL => Some("the kernel refuses the value"),
        Errno::EROFS => Some("the runtime's own /proc/sys is read-only"),
        _ => None,
    };
    step(act, call, errno, hint)
}

//! From a failure's numbers to words that a person can act on.
//!
//! The child says which step, which call, which errno. The parent has the plan, so it names
//! the object, and adds the likely cause and what to do. The texts that callers match on
//! (`executable file not found in $PATH`, `no such file or directory`, …) are runc's.

use std::ffi::CStr;
use std::io::Read;
use std::time::Duration;

use nix::errno::Errno;
use runtime_init::{Call, Failure};

use super::lower::{Steps, Subject};
use super::{FailureAt, LaunchError, Stage};
use crate::errno::Words;
use crate::hooks::{HookError, HookKind, HookOutcome, LONGEST_HOOK};
use crate::network::MoveError;
use crate::plan::{
    Content, ContentAct, HookPlan, MountSource, NumberSet, Plan, ProcessPlan, RlimitPlan,
};
use crate::process::Exit;

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

/// Why clone3 failed.
pub(super) fn clone(flags: u64, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => {
            ": creating namespaces needs CAP_SYS_ADMIN, or a new user namespace (linux.namespaces) and permission for it"
        }
        Errno::ENOSPC => ": the limit of /proc/sys/user/max_*_namespaces is reached",
        Errno::EAGAIN => ": the limit of processes (RLIMIT_NPROC or pids.max) is reached",
        Errno::ENOSYS => ": clone3(2) needs Linux 5.3, or a seccomp filter hides it",
        Errno::EBUSY => {
            ": the cgroup has controllers enabled for its children, so no process may enter it"
        }
        Errno::EINVAL if flags & 0x80 != 0 => ": this kernel has no time namespaces",
        _ => "",
    };
    LaunchError::Step {
        act: "make the container's process".into(),
        call: "clone3(2)",
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}

pub(super) fn rlimit(limit: &RlimitPlan, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => ": raising a hard limit needs CAP_SYS_RESOURCE",
        _ => "",
    };
    LaunchError::Step {
        act: format!("set {} to {}:{}", limit.name, limit.soft, limit.hard),
        call: "prlimit(2)",
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}

pub(super) fn scheduler(errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => {
            ": this policy needs CAP_SYS_NICE, in a v1 cgroup a budget (resources.cpu.realtimeRuntime), and no cpuset limits if it is a deadline"
        }
        Errno::EBUSY => {
            ": process scheduler can't be used together with AllowedCPUs, or there is not enough deadline bandwidth"
        }
        _ => "",
    };
    LaunchError::Step {
        act: "set the scheduler".into(),
        call: "sched_setattr(2)",
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}

pub(super) fn net_device(error: &MoveError) -> LaunchError {
    let hint = match (error.act, error.errno) {
        ("find it", Errno::ENODEV) => ": the runtime's network namespace has no such device",
        (_, Errno::EEXIST) => ": the container has a device of this name already",
        ("leave the runtime's network namespace", _) => {
            ": the container's network namespace is the runtime's own"
        }
        ("move it", Errno::EINVAL | Errno::EOPNOTSUPP) => {
            ": the kernel lets no device of this kind leave its namespace"
        }
        (_, Errno::EPERM | Errno::EACCES) => ": this needs CAP_NET_ADMIN in both namespaces",
        _ => "",
    };
    LaunchError::Step {
        act: format!("linux.netDevices: {}: {}", error.device, error.act),
        call: "rtnetlink(7)",
        reason: format!("{}{hint}", Words(error.errno)),
        errno: error.errno,
    }
}

pub(super) fn initial_affinity(cpus: &NumberSet, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EINVAL => ": none of the CPUs is both online and allowed to the runtime itself",
        _ => "",
    };
    LaunchError::Step {
        act: format!("set process.execCPUAffinity.initial to {cpus}"),
        call: "sched_setaffinity(2)",
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}

pub(super) fn oom_score(value: i32, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EACCES => ": lowering it needs CAP_SYS_RESOURCE",
        _ => "",
    };
    LaunchError::Step {
        act: format!("set oom_score_adj to {value}"),
        call: "write(2)",
        reason: format!("{}{hint}", Words(errno)),
        errno,
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

/// Why the program does not run, in the words that containerd, Docker and podman turn into
/// exit codes 126 and 127.
fn program(process: &ProcessPlan, rootfs: &CStr, errno: Errno) -> LaunchError {
    let name = process
        .args
        .first()
        .map(|arg| arg.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let reason = match program_hint(process, rootfs, &name, errno) {
        Some(hint) => format!("{}: {hint}", Words(errno)),
        None if errno == Errno::ENOENT && !name.contains('/') => {
            let path = path_of(process);
            format!(
                "executable file not found in $PATH (looked in {path}): install it in the image or correct process.args"
            )
        }
        None if errno == Errno::ENOENT => format!(
            "stat {name}: {}: the container has no such file: install it in the image or correct process.args",
            Words(errno)
        ),
        None => Words(errno).to_string(),
    };
    LaunchError::Program {
        program: name,
        reason,
        errno,
    }
}

fn path_of(process: &ProcessPlan) -> String {
    let variable = process
        .env
        .iter()
        .rev()
        .find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    variable.map_or_else(
        || "the default path".into(),
        |path| String::from_utf8_lossy(path).into_owned(),
    )
}

/// The likely cause, from the file's first bytes.
fn program_hint(process: &ProcessPlan, rootfs: &CStr, name: &str, errno: Errno) -> Option<String> {
    match errno {
        Errno::EACCES => Some(format!(
            "{name} is not executable for user {}: check its mode, the directories above, and noexec mounts",
            process.uid
        )),
        // The words by which engines tell "can't be invoked" (126) from other failures.
        Errno::EISDIR => Some("permission denied: process.args has to start with a program".into()),
        Errno::ENOTDIR => Some("a part of the path is a file".into()),
        Errno::E2BIG => {
            Some("process.args and process.env are larger than the kernel allows".into())
        }
        Errno::ENOENT | Errno::ENOEXEC => {
            let head = process
                .candidates
                .iter()
                .find_map(|path| first_bytes(rootfs, path))?;
            file_hint(name, &head, errno)
        }
        _ => None,
    }
}

/// The start of a file of the rootfs: no link leads out, nothing but a regular file is read.
fn first_bytes(rootfs: &CStr, path: &CStr) -> Option<Vec<u8>> {
    let file = super::rootfs_file::open_regular(rootfs, path)?;
    let mut head = Vec::new();
    file.take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

fn file_hint(name: &str, head: &[u8], errno: Errno) -> Option<String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(line).trim_start().to_owned();
        return Some(if interpreter.ends_with('\r') {
            format!(
                "{name} has Windows line ends (CRLF), so its interpreter is taken for {interpreter:?}: convert it with dos2unix"
            )
        } else {
            format!(
                "{name} is a script and its interpreter {interpreter:?} does not run in the container"
            )
        });
    }
    if let Some(machine) = elf_machine(head) {
        let here = std::env::consts::ARCH;
        return Some(match (errno, machine) {
            (Errno::ENOEXEC, machine) if machine != here => {
                format!(
                    "{name} is for {machine} and this machine is {here}: use an image of the right architecture"
                )
            }
            (Errno::ENOENT, _) if names_no_loader(head) => format!(
                "{name} exists in the rootfs, but a mount or one of linux.maskedPaths covers it"
            ),
            (Errno::ENOENT, _) => format!(
                "{name} exists, and the dynamic loader that it names does not: the image lacks its C library"
            ),
            _ => format!("{name} is an ELF file that this kernel can't run"),
        });
    }
    match errno {
        Errno::ENOEXEC if head.is_empty() => Some("the file is empty".into()),
        Errno::ENOEXEC => Some(format!(
            "{name} is neither an ELF program nor a script with #! in its first line"
        )),
        _ => None,
    }
}

/// Whether a 64-bit little-endian ELF file is surely static. Its PT_INTERP, if there is one,
/// precedes every PT_LOAD: elf(5).
fn names_no_loader(head: &[u8]) -> bool {
    const CLASS_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    const PT_LOAD: &[u8] = &[1, 0, 0, 0];
    const PT_INTERP: &[u8] = &[3, 0, 0, 0];
    let Some(entries) = head
        .get(HEADER..)
        .filter(|_| head.starts_with(CLASS_64_LITTLE))
    else {
        return false;
    };
    let mut types = entries
        .chunks_exact(ENTRY)
        .filter_map(|entry| entry.get(..4));
    types.find(|kind| matches!(*kind, PT_LOAD | PT_INTERP)) == Some(PT_LOAD)
}

/// The machine of an ELF file, by the name that Rust and the kernel use.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    let head = head.strip_prefix(b"\x7fELF")?;
    let little = head.get(1) == Some(&1);
    let bytes = [*head.get(14)?, *head.get(15)?];
    let number = if little {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    };
    Some(match number {
        3 => "x86",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => "another machine",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(head: &[u8], errno: Errno) -> String {
        file_hint("/x", head, errno).unwrap()
    }

    fn elf(machine: u16) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01".to_vec();
        head.resize(18, 0);
        head.extend_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn the_first_bytes_tell_why_a_program_does_not_run() {
        assert!(hint(b"#!/bin/sh\r\necho", Errno::ENOENT).contains("CRLF"));
        assert!(hint(b"#!/no/such\necho", Errno::ENOENT).contains("\"/no/such\""));
        assert!(
            hint(b"echo hello", Errno::ENOEXEC).contains("neither an ELF program nor a script")
        );
        assert!(hint(b"", Errno::ENOEXEC).contains("empty"));
        assert!(hint(&elf(22), Errno::ENOEXEC).contains("is for s390x"));
        assert!(hint(&elf(62), Errno::ENOENT).contains("dynamic loader"));
    }

    #[test]
    fn a_static_program_that_is_not_found_is_covered() {
        // Program headers from offset 64: PT_NOTE, then another.
        let with_second = |kind: u8| {
            let mut head = elf(62);
            head.resize(256, 0);
            head[64] = 4;
            head[64 + 56] = kind;
            hint(&head, Errno::ENOENT)
        };
        assert!(with_second(1).contains("covers it"));
        assert!(with_second(3).contains("dynamic loader"));
    }

    #[test]
    fn a_cut_elf_header_is_no_panic() {
        for length in 0..20 {
            let head = elf(62);
            drop(file_hint("/x", &head[..length], Errno::ENOEXEC));
        }
    }
}

//! Why the parent could not make the child's process, or make it what it is to be.

use nix::errno::Errno;

use super::step;
use crate::launch::LaunchError;
use crate::network::MoveError;
use crate::plan::{NumberSet, RlimitPlan};

/// Why clone3 failed.
pub(in crate::launch) fn clone(flags: u64, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => Some(
            "creating namespaces needs CAP_SYS_ADMIN, or a new user namespace (linux.namespaces) and permission for it",
        ),
        Errno::ENOSPC => Some("the limit of /proc/sys/user/max_*_namespaces is reached"),
        Errno::EAGAIN => Some("the limit of processes (RLIMIT_NPROC or pids.max) is reached"),
        Errno::ENOSYS => Some("clone3(2) needs Linux 5.3, or a seccomp filter hides it"),
        Errno::EBUSY => {
            Some("the cgroup has controllers enabled for its children, so no process may enter it")
        }
        Errno::EINVAL if flags & 0x80 != 0 => Some("this kernel has no time namespaces"),
        _ => None,
    };
    step(
        "make the container's process".into(),
        "clone3(2)",
        errno,
        hint,
    )
}

pub(in crate::launch) fn rlimit(limit: &RlimitPlan, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => Some("raising a hard limit needs CAP_SYS_RESOURCE"),
        _ => None,
    };
    step(
        format!("set {} to {}:{}", limit.name, limit.soft, limit.hard),
        "prlimit(2)",
        errno,
        hint,
    )
}

pub(in crate::launch) fn scheduler(errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EPERM => Some(
            "this policy needs CAP_SYS_NICE, in a v1 cgroup a budget (resources.cpu.realtimeRuntime), and no cpuset limits if it is a deadline",
        ),
        Errno::EBUSY => Some(
            "process scheduler can't be used together with AllowedCPUs, or there is not enough deadline bandwidth",
        ),
        _ => None,
    };
    step("set the scheduler".into(), "sched_setattr(2)", errno, hint)
}

pub(in crate::launch) fn net_device(error: &MoveError) -> LaunchError {
    let hint = match (error.act, error.errno) {
        ("find it", Errno::ENODEV) => Some("the runtime's network namespace has no such device"),
        (_, Errno::EEXIST) => Some("the container has a device of this name already"),
        ("leave the runtime's network namespace", _) => {
            Some("the container's network namespace is the runtime's own")
        }
        ("move it", Errno::EINVAL | Errno::EOPNOTSUPP) => {
            Some("the kernel lets no device of this kind leave its namespace")
        }
        (_, Errno::EPERM | Errno::EACCES) => Some("this needs CAP_NET_ADMIN in both namespaces"),
        _ => None,
    };
    step(
        format!("linux.netDevices: {}: {}", error.device, error.act),
        "rtnetlink(7)",
        error.errno,
        hint,
    )
}

pub(in crate::launch) fn initial_affinity(cpus: &NumberSet, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EINVAL => Some("none of the CPUs is both online and allowed to the runtime itself"),
        _ => None,
    };
    step(
        format!("set process.execCPUAffinity.initial to {cpus}"),
        "sched_setaffinity(2)",
        errno,
        hint,
    )
}

pub(in crate::launch) fn oom_score(value: i32, errno: Errno) -> LaunchError {
    let hint = match errno {
        Errno::EACCES => Some("lowering it needs CAP_SYS_RESOURCE"),
        _ => None,
    };
    step(
        format!("set oom_score_adj to {value}"),
        "write(2)",
        errno,
        hint,
    )
}

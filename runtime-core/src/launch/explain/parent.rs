//! Why the parent could not make the child's process, or make it what it is to be.

use nix::errno::Errno;

use crate::errno::Words;
use crate::launch::LaunchError;
use crate::network::MoveError;
use crate::plan::{NumberSet, RlimitPlan};

/// Why clone3 failed.
pub(in crate::launch) fn clone(flags: u64, errno: Errno) -> LaunchError {
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

pub(in crate::launch) fn rlimit(limit: &RlimitPlan, errno: Errno) -> LaunchError {
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

pub(in crate::launch) fn scheduler(errno: Errno) -> LaunchError {
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

pub(in crate::launch) fn net_device(error: &MoveError) -> LaunchError {
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

pub(in crate::launch) fn initial_affinity(cpus: &NumberSet, errno: Errno) -> LaunchError {
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

pub(in crate::launch) fn oom_score(value: i32, errno: Errno) -> LaunchError {
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

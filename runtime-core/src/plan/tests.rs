//! Plans as wholes: data in, data out.

use crate::host::{CgroupLayout, CgroupMount, Host, Machine};

/// A root runtime on a cgroup v2 host, without CAP_SYS_RESOURCE.
pub(super) fn host() -> Host {
    Host {
        euid: 0,
        egid: 0,
        in_user_namespace: false,
        kernel: (6, 18),
        last_capability: 40,
        capability_bounds: ((1 << 41) - 1) & !(1 << 24),
        machine: Machine::X86_64,
        cgroups: CgroupLayout::V2(CgroupMount {
            controllers: ["cpu", "memory", "pids"].map(String::from).to_vec(),
            mount_point: "/sys/fs/cgroup".into(),
            own_path: "/user.slice".into(),
        }),
        apparmor: false,
        selinux: false,
    }
}

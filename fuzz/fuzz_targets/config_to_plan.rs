//! Any bytes as config.json: a plan or violations, never a panic, and twice the same.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use runtime_core::host::{CgroupLayout, CgroupMount, Host, Machine};
use runtime_core::id::ContainerId;
use runtime_core::plan::{Plan, PlanOptions};
use runtime_core::spec::Spec;

fuzz_target!(|bytes: &[u8]| {
    let Ok(spec) = serde_json::from_slice::<Spec<'_>>(bytes) else {
        return;
    };
    let id: ContainerId = "fuzzed".parse().expect("a legal id");
    for host in [root(), rootless()] {
        let plan = || {
            let options = PlanOptions::default();
            Plan::new(&spec, Path::new("/bundle"), &id, &host, &options)
        };
        let first = plan();
        assert_eq!(first, plan(), "planned twice, with two results");
        if let Err(violations) = first {
            assert!(!violations.is_empty(), "refused without a reason");
        }
    }
});

fn root() -> Host {
    Host {
        euid: 0,
        egid: 0,
        in_user_namespace: false,
        may_make_cgroups: true,
        may_set_groups: true,
        kernel: (6, 18),
        last_capability: 40,
        capability_bounds: (1 << 41) - 1,
        machine: Machine::X86_64,
        cgroups: CgroupLayout::V2(CgroupMount {
            controllers: ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"]
                .map(String::from)
                .into(),
            mount_point: "/sys/fs/cgroup".into(),
            own_path: "/".into(),
        }),
        apparmor: true,
        selinux: true,
    }
}

fn rootless() -> Host {
    Host {
        euid: 1000,
        egid: 1000,
        in_user_namespace: true,
        may_make_cgroups: false,
        may_set_groups: true,
        kernel: (5, 10),
        capability_bounds: 0,
        machine: Machine::Aarch64,
        cgroups: CgroupLayout::None,
        apparmor: false,
        selinux: false,
        ..root()
    }
}

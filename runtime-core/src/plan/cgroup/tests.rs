//! Plans from config.json's text on hosts of each kind.

use insta::{assert_debug_snapshot, assert_snapshot};

use super::*;
use crate::host::{CgroupLayout, CgroupMount, Machine};

fn mount(controllers: &[&str], mount_point: &str) -> CgroupMount {
    CgroupMount {
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount_point: mount_point.into(),
        own_path: "/".into(),
    }
}

fn host(cgroups: CgroupLayout) -> Host {
    Host {
        euid: 0,
        egid: 0,
        in_user_namespace: false,
        may_make_cgroups: true,
        may_set_groups: true,
        kernel: (6, 18),
        last_capability: 40,
        capability_bounds: u64::MAX,
        machine: Machine::X86_64,
        cgroups,
        apparmor: false,
        selinux: false,
    }
}

fn v2() -> Host {
    let all = [
        "cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc",
    ];
    host(CgroupLayout::V2(mount(&all, "/sys/fs/cgroup")))
}

fn v1() -> Host {
    let all = [
        "cpu", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls",
        "net_prio", "rdma",
    ];
    host(CgroupLayout::V1 {
        hierarchies: all
            .map(|name| mount(&[name], &format!("/sys/fs/cgroup/{name}")))
            .to_vec(),
        unified: None,
    })
}

fn hybrid() -> Host {
    let all = ["cpu", "memory", "devices", "pids"];
    host(CgroupLayout::V1 {
        hierarchies: all
            .map(|name| mount(&[name], &format!("/sys/fs/cgroup/{name}")))
            .to_vec(),
        unified: Some(mount(&["hugetlb"], "/sys/fs/cgroup/unified")),
    })
}

fn planned(host: &Host, linux: &str) -> (CgroupPlan, Vec<String>) {
    let spec = spec::Spec {
        linux: Some(serde_json::from_str(linux).unwrap()),
        ..spec::Spec::default()
    };
    let mut violations = Violations::default();
    let driver = CgroupDriver::Filesystem;
    let id = "box".parse().unwrap();
    let plan = plan(&spec, &id, host, driver, &mut violations);
    let violations = violations.0.iter().map(ToString::to_string).collect();
    (plan, violations)
}

fn broken(host: &Host, resources: &str) -> Vec<String> {
    planned(host, &format!(r#"{{"resources": {resources}}}"#)).1
}

/// Every property that exists on both kinds of hosts.
const ALL: &str = r#"{
    "cgroupsPath": "/machines/box",
    "resources": {
        "devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}
        ],
        "memory": {"limit": 67108864, "reservation": 33554432, "swap": 100663296,
            "useHierarchy": true, "checkBeforeUpdate": true, "disableOOMKiller": false},
        "cpu": {"shares": 512, "quota": 150000, "period": 100000, "burst": 1000,
            "cpus": "0-1", "mems": "0", "idle": 0},
        "pids": {"limit": 100},
        "blockIO": {"weight": 100,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 700}],
            "throttleReadIOPSDevice": [{"major": 8, "minor": 16, "rate": 800}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "network": {"priorities": []},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}
    }
}"#;

#[test]
fn everything_is_planned_alike_on_v1_and_v2() {
    let (plan, violations) = planned(&v2(), ALL);
    assert_eq!(violations, [""; 0]);
    assert_eq!((plan, vec![]), planned(&v1(), ALL));
}

#[test]
fn a_plan_reads_as_a_list_of_clauses() {
    assert_snapshot!(planned(&v2(), ALL).0.words().join("\n"), @r#"
    run in the cgroup /machines/box
    limit memory to 64 MiB
    limit memory and swap together to 96 MiB
    reserve 32 MiB of memory
    512 CPU shares (1024 is the default)
    1.5 CPUs (150000 us of each 100000 us)
    save up to 1000 us of unused CPU time
    run on CPUs 0-1 only
    memory from nodes 0 only
    at most 100 processes
    block I/O weight 100
    block I/O weight 500 on device 8:0
    at most 600 bytes read a second on device 8:0
    at most 700 bytes written a second on device 8:0
    at most 800 reads a second on device 8:16
    no limit of writes a second on device 8:16
    limit huge pages of 2MB to 4 MiB
    at most 3 RDMA handles of mlx5_1
    at most 10000 RDMA objects of mlx5_1
    deny all devices but c 10:229 rw, and the usual devices (null, zero, full, random, urandom, tty, terminals, net/tun)
    "#);
}

#[test]
fn cgroup_v1s_own_properties_are_planned_there_and_refused_on_v2() {
    let linux = r#"{"cgroupsPath": "box", "resources": {
        "memory": {"limit": -1, "kernel": 1048576, "kernelTCP": 1024, "swappiness": 10,
            "disableOOMKiller": true},
        "cpu": {"realtimeRuntime": 950, "realtimePeriod": 1000, "idle": 1, "quota": -1},
        "pids": {"limit": 0},
        "blockIO": {"leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 20}]},
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}
    }}"#;
    let (plan, violations) = planned(&v1(), linux);
    assert_eq!(violations, [""; 0]);
    assert_snapshot!(plan.words().join("\n"), @r#"
    run in the cgroup box, below the runtime's own
    no limit of memory
    limit kernel memory to 1 MiB
    limit kernel memory for TCP to 1 KiB
    swappiness 10
    no OOM killer: a process that needs more memory waits
    no limit of CPU time
    950 us of real-time CPU time in each period
    real-time periods of 1000 us
    run only when no CPU has anything else to do
    at most 0 processes
    block I/O leaf weight 10
    block I/O leaf weight 20 on device 8:0
    network packets of class 0x100001
    network priority 5 on eth0
    deny all devices but the usual devices (null, zero, full, random, urandom, tty, terminals, net/tun)
    "#);
    assert_snapshot!(planned(&v2(), linux).1.join("\n"), @r#"
    /linux/resources/memory/kernel: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/memory/kernelTCP: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/memory/swappiness: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/memory/disableOOMKiller: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/cpu/realtimeRuntime: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/cpu/realtimePeriod: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/blockIO/leafWeight: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/blockIO/weightDevice/0/leafWeight: exists in cgroup v1 only, and this host has cgroup v2
    /linux/resources/network/classID: needs the cgroup controller net_cls, which this host does not have
    /linux/resources/network/priorities: needs the cgroup controller net_prio, which this host does not have
    "#);
}

#[test]
fn the_default_configuration_needs_nothing_but_device_rules() {
    let linux = r#"{"resources": {"devices": [{"allow": false, "access": "rwm"}]}}"#;
    for host in [v1(), v2(), hybrid()] {
        let (plan, violations) = planned(&host, linux);
        assert_eq!(violations, [""; 0]);
        assert_eq!(plan.resources, Resources::default());
        assert_eq!(plan.words().len(), 2);
    }
}

#[test]
fn zeroes_that_runcs_callers_send_are_no_limits() {
    let zeroes = r#"{"memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "cpus": ""},
        "blockIO": {"weight": 0, "leafWeight": 0}, "network": {"classID": 0}}"#;
    let (plan, violations) = planned(&hybrid(), &format!(r#"{{"resources": {zeroes}}}"#));
    assert_eq!((plan.resources, violations), (Resources::default(), vec![]));
}

#[test]
fn a_limit_without_its_controller_names_the_controller() {
    let lists = r#"{"blockIO": {"weight": 10}, "cpu": {"cpus": "0"}, "pids": {"limit": 1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "network": {"classID": 1},
        "rdma": {"a/b": {"hcaHandles": 1}}, "unified": {"misc.max": "a 1", "hugetlb.2MB.max": "0"}}"#;
    assert_snapshot!(broken(&hybrid(), lists).join("\n"), @r#"
    /linux/resources/cpu: needs the cgroup controller cpuset, which this host does not have
    /linux/resources/blockIO: needs the cgroup controller io, which this host does not have
    /linux/resources/network/classID: needs the cgroup controller net_cls, which this host does not have
    /linux/resources/rdma/a~1b: needs the cgroup controller rdma, which this host does not have
    /linux/resources/unified/misc.max: needs the cgroup v2 controller misc, which this host does not have
    "#);
    assert_snapshot!(broken(&host(CgroupLayout::None), lists).join("\n"), @r#"
    /linux/resources/cpu: needs the cgroup controller cpuset, which this host does not have
    /linux/resources/pids/limit: needs the cgroup controller pids, which this host does not have
    /linux/resources/blockIO: needs the cgroup controller io, which this host does not have
    /linux/resources/hugepageLimits: needs the cgroup controller hugetlb, which this host does not have
    /linux/resources/network/classID: needs the cgroup controller net_cls, which this host does not have
    /linux/resources/rdma/a~1b: needs the cgroup controller rdma, which this host does not have
    /linux/resources/unified/hugetlb.2MB.max: needs cgroup v2, which this host does not have
    /linux/resources/unified/misc.max: needs cgroup v2, which this host does not have
    /linux/resources/devices: needs the cgroup controller devices or cgroup v2, and this host has neither
    "#);
}

#[test]
fn values_out_of_range_are_refused_each_at_its_place() {
    let wrong = r#"{
        "memory": {"limit": -2, "swappiness": 101, "reservation": -5},
        "cpu": {"shares": 1, "quota": 999, "period": 1000001, "burst": 5000, "idle": 2,
            "cpus": "0-1\n5", "mems": "all"},
        "blockIO": {"weight": 9, "leafWeight": 1001, "weightDevice": [{"major": 8, "minor": 0}, {"weight": 10}],
            "throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}, {"major": 8, "minor": 0}]},
        "hugepageLimits": [{"pageSize": "2MiB", "limit": 1}, {"pageSize": "../x", "limit": 1}, {"pageSize": "1GB"}],
        "network": {"priorities": [{"name": "a b", "priority": 1}, {"name": "lo"}]},
        "rdma": {"": {"hcaHandles": 1}, "mlx": {}},
        "devices": [{"access": "rwm"}, {"allow": true, "access": ""}, {"allow": true, "access": "rx"},
            {"allow": true, "type": "p"}, {"allow": true, "major": -2, "minor": 4294967296}]
    }"#;
    assert_snapshot!(broken(&v1(), wrong).join("\n"), @r#"
    /linux/resources/memory/limit: must be a number of bytes, or -1 for no limit
    /linux/resources/memory/reservation: must be a number of bytes, or -1 for no limit
    /linux/resources/memory/swappiness: must be from 0 to 100
    /linux/resources/cpu/quota: must be at least 1000 us, or -1 for no limit
    /linux/resources/cpu/period: must be from 1000 to 1000000 us
    /linux/resources/cpu/cpus: must be a list of numbers and ranges, such as 0-3,7
    /linux/resources/cpu/mems: must be a list of numbers and ranges, such as 0-3,7
    /linux/resources/cpu/idle: must be 0 or 1
    /linux/resources/cpu/shares: must be from 2 to 262144
    /linux/resources/cpu/burst: must be at most cpu.quota, 999
    /linux/resources/blockIO/weight: must be from 10 to 1000
    /linux/resources/blockIO/leafWeight: must be from 10 to 1000
    /linux/resources/blockIO/weightDevice/0: needs a weight or a leafWeight
    /linux/resources/blockIO/weightDevice/1: needs a major and a minor device number
    /linux/resources/blockIO/throttleReadBpsDevice/0: needs a major and a minor device number
    /linux/resources/blockIO/throttleReadBpsDevice/1: needs a rate
    /linux/resources/hugepageLimits/0/pageSize: must be a size such as 64KB, 2MB or 1GB
    /linux/resources/hugepageLimits/1/pageSize: must be a size such as 64KB, 2MB or 1GB
    /linux/resources/hugepageLimits/2: needs a limit
    /linux/resources/network/priorities/0: needs the name of an interface and a priority
    /linux/resources/network/priorities/1: needs the name of an interface and a priority
    /linux/resources/rdma/: must be the name of a device
    /linux/resources/rdma/mlx: needs hcaHandles or hcaObjects
    /linux/resources/devices/0/allow: is required
    /linux/resources/devices/1/access: must be one or more of r, w and m
    /linux/resources/devices/2/access: must be one or more of r, w and m
    /linux/resources/devices/3/type: must be a, b or c
    /linux/resources/devices/4/major: must be a device number, or -1 for any
    /linux/resources/devices/4/minor: must be a device number, or -1 for any
    "#);
}

#[test]
fn swap_counts_memory_too() {
    for (memory, refused) in [
        (r#"{"limit": 100, "swap": 100}"#, false),
        (r#"{"limit": 100, "swap": 99}"#, true),
        (r#"{"swap": 100}"#, true),
        (r#"{"limit": -1, "swap": 100}"#, true),
        (r#"{"limit": 100, "swap": -1}"#, false),
        (r#"{"swap": -1}"#, false),
    ] {
        let violations = broken(&v2(), &format!(r#"{{"memory": {memory}}}"#));
        assert_eq!(!violations.is_empty(), refused, "{memory}: {violations:?}");
    }
}

#[test]
fn an_update_may_leave_out_what_holds_already() {
    let update = |host: &Host, resources: &str| {
        let resources: spec::Resources<'_> = serde_json::from_str(resources).unwrap();
        plan_update(&resources, host)
    };
    // Swap without the memory in it, which only the kernel knows.
    for host in [v1(), v2()] {
        let memory = update(&host, r#"{"memory": {"swap": 100}}"#)
            .unwrap()
            .memory;
        assert_eq!(memory.memory_and_swap_bytes, Some(Limit::At(100)));
    }
    // The OOM killer may be off: then no is an answer.
    let on = r#"{"memory": {"disableOOMKiller": false}}"#;
    let killer = |host| update(&host, on).unwrap().memory.disable_oom_killer;
    assert_eq!([killer(v1()), killer(v2())], [Some(false), None]);
    assert_eq!(
        planned(&v1(), &format!(r#"{{"resources": {on}}}"#))
            .0
            .resources,
        Resources::default()
    );
    // What means "no change" to runc's callers, and devices of any kind.
    let nothing = r#"{"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "",
        "mems": " "}, "blockIO": {"weight": 0}, "devices": [{"allow": true, "access": "nonsense"}]}"#;
    assert_eq!(update(&v2(), nothing), Ok(Resources::default()));
    // As docker 20.10 sends `docker update --pids-limit 30`.
    let pids = r#"{"memory": {"limit": 0, "reservation": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0}, "pids": {"limit": 30}, "blockIO": {"weight": 0}}"#;
    for host in [v1(), v2()] {
        let expected = Resources {
            pids_limit: Some(Limit::At(30)),
            ..Resources::default()
        };
        assert_eq!(update(&host, pids), Ok(expected));
    }
    let wrong =
        r#"{"memory": {"limit": 100, "swap": 99}, "pids": {"limit": 1}, "cpu": {"idle": 2}}"#;
    assert_snapshot!(update(&v2(), wrong).unwrap_err(), @"/memory/swap: is memory and swap together: must be at least memory.limit, 100; /cpu/idle: must be 0 or 1");
    assert_snapshot!(update(&hybrid(), r#"{"cpu": {"cpus": "0"}}"#).unwrap_err(), @"/cpu: needs the cgroup controller cpuset, which this host does not have");
}

#[test]
fn unified_takes_files_of_controllers_and_none_that_move_or_stop_processes() {
    let files = r#"{"unified": {"memory.high": "1G", "cpu.max": "1000", "cgroup.max.depth": "5",
        "cgroup.procs": "1", "cgroup.kill": "1", "a/b.c": "", "../memory.max": "", "tasks": "",
        ".x": "", "dmem.max": "x"}}"#;
    assert_snapshot!(broken(&v2(), files).join("\n"), @r#"
    /linux/resources/unified/..~1memory.max: must be the name of a cgroup file, such as memory.high
    /linux/resources/unified/.x: must be the name of a cgroup file, such as memory.high
    /linux/resources/unified/a~1b.c: must be the name of a cgroup file, such as memory.high
    /linux/resources/unified/cgroup.kill: is a file that only the runtime writes
    /linux/resources/unified/cgroup.procs: is a file that only the runtime writes
    /linux/resources/unified/dmem.max: needs the cgroup v2 controller dmem, which this host does not have
    /linux/resources/unified/tasks: must be the name of a cgroup file, such as memory.high
    "#);
    let needed = planned(
        &v2(),
        r#"{"resources": {"unified": {"memory.high": "1", "cgroup.max.depth": "1"}}}"#,
    );
    assert_eq!(needed.0.resources.controllers(), ["memory"]);
    assert_snapshot!(broken(&v1(), r#"{"unified": {"memory.high": "1G"}}"#).join("\n"), @r#"/linux/resources/unified/memory.high: needs cgroup v2, which this host does not have"#);
}

#[test]
fn a_rootless_runtime_sets_no_device_rules() {
    let mut rootless = v2();
    rootless.euid = 1000;
    let (plan, violations) = planned(
        &rootless,
        r#"{"resources": {"devices": [{"allow": false}]}}"#,
    );
    assert_eq!((plan.devices, violations), (None, vec![]));
}

#[test]
fn a_hole_in_an_earlier_rule_needs_cgroup_v2() {
    let hole = r#"{"devices": [{"allow": true, "type": "c", "major": 7}, {"allow": false, "type": "c", "major": 7, "minor": 1, "access": "w"}]}"#;
    assert_eq!(broken(&v2(), hole), [""; 0]);
    assert_snapshot!(broken(&v1(), hole).join("\n"), @r#"/linux/resources/devices/1: changes a part of what another rule says, which cgroup v1 can't express"#);
}

#[test]
fn a_v1_list_has_what_runc_has() {
    let (plan, _) = planned(&v1(), r#"{"resources": {"devices": [{"allow": false}]}}"#);
    let list = plan.devices.unwrap().list().unwrap();
    assert!(!list.default_allow);
    let mut lines: Vec<_> = list.exceptions.iter().map(ToString::to_string).collect();
    lines.sort();
    assert_debug_snapshot!(lines, @r#"
    [
        "b *:* m",
        "c *:* m",
        "c 10:200 rwm",
        "c 136:* rwm",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
    ]
    "#);
}

#[test]
fn device_rules_are_told_as_exceptions_where_they_are_some() {
    let said = |rules: &str| {
        let linux = format!(r#"{{"resources": {{"devices": {rules}}}}}"#);
        planned(&v2(), &linux).0.words().pop().unwrap()
    };
    assert_snapshot!(said(r#"[{"allow": true}]"#), @r#"allow all devices"#);
    assert_snapshot!(said(r#"[{"allow": true}, {"allow": false, "type": "b"}]"#), @r#"allow all devices but b *:* rwm, and the usual devices (null, zero, full, random, urandom, tty, terminals, net/tun) anyway"#);
    assert_snapshot!(said(r#"[{"allow": true, "type": "c"}, {"allow": false, "type": "c", "major": 5}]"#), @r#"deny all devices, then allow c *:* rwm, then deny c 5:* rwm, and allow the usual devices (null, zero, full, random, urandom, tty, terminals, net/tun)"#);
}

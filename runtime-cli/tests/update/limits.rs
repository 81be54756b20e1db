//! Each flag and each property: the file, and what the container feels of it.

use std::fs;

use serde_json::json;
use testkit::needs;

use crate::{Subject, disk, fails};

#[test]
fn each_flag_sets_its_file_outside_and_inside() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset"),
        CgroupV1("pids")
    );
    let subject = Subject::new("flags").run();
    for (flags, file, value) in [
        (
            &["--memory", "32m"] as &[_],
            "memory.limit_in_bytes",
            "33554432",
        ),
        (&["--memory=33554432"], "memory.limit_in_bytes", "33554432"),
        (&["-memory", "48M"], "memory.limit_in_bytes", "50331648"),
        (
            &["--memory-swap", "0.25g"],
            "memory.memsw.limit_in_bytes",
            "268435456",
        ),
        (
            &["--memory-reservation", "16MiB"],
            "memory.soft_limit_in_bytes",
            "16777216",
        ),
        (
            &["--memory", "-1"],
            "memory.limit_in_bytes",
            "9223372036854771712",
        ),
        (&["--cpu-share", "2048"], "cpu.shares", "2048"),
        (&["--cpu-quota", "60000"], "cpu.cfs_quota_us", "60000"),
        (&["--cpu-period", "200000"], "cpu.cfs_period_us", "200000"),
        (&["--cpu-burst", "1000"], "cpu.cfs_burst_us", "1000"),
        (&["--cpu-burst", "0"], "cpu.cfs_burst_us", "0"),
        (&["--cpu-rt-period", "500000"], "cpu.rt_period_us", "500000"),
        (&["--cpu-rt-runtime", "1000"], "cpu.rt_runtime_us", "1000"),
        (&["--cpu-idle", "1"], "cpu.idle", "1"),
        (&["--cpu-idle", "0"], "cpu.idle", "0"),
        (&["--cpuset-cpus", "1"], "cpuset.cpus", "1"),
        (&["--cpuset-mems", "0"], "cpuset.mems", "0"),
        (&["--pids-limit", "77"], "pids.max", "77"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
        (&["--blkio-weight", "300"], "blkio.bfq.weight", "300"),
    ] {
        subject.update(flags).succeeded();
        assert_eq!(subject.outside(file), value, "{flags:?}");
        assert_eq!(subject.inside(file), value, "{flags:?}");
    }
    // Memory without a limit has swap without one.
    assert_eq!(
        subject.outside("memory.memsw.limit_in_bytes"),
        "9223372036854771712"
    );
    // What is no more idle has the kernel's share, not an old one.
    assert_eq!(subject.outside("cpu.shares"), "1024");
    subject.done();
}

#[test]
fn each_property_sets_its_file_from_standard_input_and_from_a_file() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset"),
        CgroupV1("pids")
    );
    let subject = Subject::new("document").run();
    let file = subject.bundle.path().join("limits.json");
    let (major, minor) = disk().expect("this host has a disk");
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let on_disk = |value: u64| format!("{major}:{minor} {value}");
    for (resources, name, value) in [
        (
            json!({"memory": {"limit": 50_331_648}}),
            "memory.limit_in_bytes",
            "50331648",
        ),
        (
            json!({"memory": {"swap": 100_663_296}}),
            "memory.memsw.limit_in_bytes",
            "100663296",
        ),
        (
            json!({"memory": {"swap": -1}}),
            "memory.memsw.limit_in_bytes",
            "9223372036854771712",
        ),
        (
            json!({"memory": {"reservation": 1_048_576}}),
            "memory.soft_limit_in_bytes",
            "1048576",
        ),
        (
            json!({"memory": {"swappiness": 7}}),
            "memory.swappiness",
            "7",
        ),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "memory.oom_control",
            "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
        ),
        (
            json!({"memory": {"disableOOMKiller": false}}),
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        ),
        (json!({"cpu": {"shares": 3}}), "cpu.shares", "3"),
        (json!({"cpu": {"quota": -1}}), "cpu.cfs_quota_us", "-1"),
        (
            json!({"cpu": {"period": 50_000}}),
            "cpu.cfs_period_us",
            "50000",
        ),
        (
            json!({"cpu": {"quota": 9000, "burst": 5000}}),
            "cpu.cfs_burst_us",
            "5000",
        ),
        (
            json!({"cpu": {"quota": 4000, "burst": 100}}),
            "cpu.cfs_quota_us",
            "4000",
        ),
        (
            json!({"cpu": {"realtimePeriod": 100_000, "realtimeRuntime": 500}}),
            "cpu.rt_runtime_us",
            "500",
        ),
        // The shorter period is shorter than the old runtime.
        (
            json!({"cpu": {"realtimePeriod": 400, "realtimeRuntime": 2}}),
            "cpu.rt_period_us",
            "400",
        ),
        (json!({"cpu": {"idle": 1}}), "cpu.idle", "1"),
        (
            json!({"cpu": {"cpus": "1", "mems": "0"}}),
            "cpuset.cpus",
            "1",
        ),
        (json!({"cpu": {"cpus": "", "mems": ""}}), "cpuset.cpus", "1"),
        (json!({"pids": {"limit": 55}}), "pids.max", "55"),
        (json!({"pids": {"limit": -1}}), "pids.max", "max"),
        (json!({"blockIO": {"weight": 10}}), "blkio.bfq.weight", "10"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": device(1 << 20)}}),
            "blkio.throttle.read_bps_device",
            &on_disk(1 << 20),
        ),
        (
            json!({"blockIO": {"throttleWriteBpsDevice": device(1 << 21)}}),
            "blkio.throttle.write_bps_device",
            &on_disk(1 << 21),
        ),
        (
            json!({"blockIO": {"throttleReadIOPSDevice": device(100)}}),
            "blkio.throttle.read_iops_device",
            &on_disk(100),
        ),
        (
            json!({"blockIO": {"throttleWriteIOPSDevice": device(0)}}),
            "blkio.throttle.write_iops_device",
            "",
        ),
        (
            json!({"unknown": [1], "memory": null, "cpu": {"idle": 0}}),
            "cpu.idle",
            "0",
        ),
    ] {
        let text = resources.to_string();
        subject.update_by(&text).succeeded();
        assert_eq!(subject.outside(name), value, "{text}");
        fs::write(&file, &text).expect("the bundle is ours");
        subject
            .update(&["-r", file.to_str().expect("a temporary path is text")])
            .succeeded();
        assert_eq!(subject.outside(name), value, "{text}");
    }
    subject.done();
}

#[test]
fn files_of_cgroup_v2_are_set_where_the_host_has_the_controller_there() {
    needs!(Root, CgroupV1("memory"));
    let subject = Subject::new("unified");
    // Only then do the parents pass the controller on.
    let pages = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
    let subject = subject.set("/linux/resources/hugepageLimits", pages).run();
    let unified = subject.directory("unified");
    let says = |file: &str| {
        let content = fs::read_to_string(unified.join(file)).expect("hugetlb is passed on");
        content.trim_end().to_owned()
    };
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    subject.update_by(&pages.to_string()).succeeded();
    assert_eq!(says("hugetlb.2MB.max"), "2097152");
    assert_eq!(says("hugetlb.2MB.rsvd.max"), "2097152");
    let files = json!({"unified": {"hugetlb.2MB.max": "max", "cgroup.max.descendants": "3"}});
    subject.update_by(&files.to_string()).succeeded();
    assert_eq!(says("hugetlb.2MB.max"), "max");
    assert_eq!(says("cgroup.max.descendants"), "3");
    subject.done();
}

#[test]
fn a_controller_that_nobody_has_passed_on_yet_is_passed_on() {
    needs!(Root, CgroupV1("memory"));
    // Below a directory of its own: the host's root passes the controller on to others as well.
    let subject = Subject::new("passed");
    let path = format!("/{0}/{0}", subject.id());
    let subject = subject.set("/linux/cgroupsPath", path.into()).run();
    let outer = subject.directory("unified");
    let passed = || fs::read_to_string(outer.join("cgroup.subtree_control")).expect("it is there");
    assert_eq!(passed().trim_end(), "");
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    subject.update_by(&pages.to_string()).succeeded();
    assert_eq!(passed().trim_end(), "hugetlb");
    let limit = fs::read_to_string(outer.join(subject.id()).join("hugetlb.2MB.max"));
    assert_eq!(limit.expect("it is passed on").trim_end(), "2097152");
    subject
        .call(&["delete", "--force", subject.id()])
        .succeeded();
    // Parents stay, as they do under every runtime.
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("it is there") {
        let outer = hierarchy
            .expect("it can be listed")
            .path()
            .join(subject.id());
        if outer.exists() {
            fs::remove_dir(outer).expect("nobody is in it");
        }
    }
    subject.done();
}

#[test]
fn processes_feel_the_limits_without_being_started_again() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset"),
        CgroupV1("pids")
    );
    let subject = Subject::new("felt").run();
    let allowed = "grep Cpus_allowed_list /proc/1/status";
    assert!(subject.exec(allowed).success().stdout.ends_with("0-1\n"));
    subject.update(&["--cpuset-cpus", "1"]).succeeded();
    assert!(subject.exec(allowed).success().stdout.ends_with("\t1\n"));

    let five = "for i in 1 2 3 4 5; do sleep 0.3 & done; wait; echo all";
    assert_eq!(subject.exec(five).success().stdout, "all\n");
    subject.update(&["--pids-limit", "4"]).succeeded();
    assert!(subject.exec(five).stderr.contains("fork"));
    subject.update(&["--pids-limit", "-1"]).succeeded();
    assert_eq!(subject.exec(five).success().stdout, "all\n");

    let much = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ${#x}";
    assert_eq!(subject.exec(much).success().stdout, "30000000\n");
    subject
        .update(&["--memory", "8m", "--memory-swap", "8m"])
        .succeeded();
    assert_ne!(subject.exec(much).stdout, "30000000\n");
    subject
        .update(&["--memory", "64m", "--memory-swap", "64m"])
        .succeeded();
    assert_eq!(subject.exec(much).success().stdout, "30000000\n");

    let throttled = || {
        let stat = subject.outside("cpu.stat");
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        line.expect("the kernel counts it")
            .parse::<u64>()
            .expect("a number")
    };
    subject.update(&["--cpu-quota", "2000"]).succeeded();
    let before = throttled();
    subject
        .exec("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        .succeeded();
    assert!(throttled() > before, "a fiftieth of a CPU is too much?");
    subject.done();
}

#[test]
fn a_limit_alone_leaves_what_it_depends_on_as_the_kernel_has_it() {
    needs!(Root, CgroupV1("memory"), CgroupV1("cpu"));
    let subject = Subject::new("alone").run();
    let cpu = |subject: &Subject| {
        [
            subject.outside("cpu.cfs_quota_us"),
            subject.outside("cpu.cfs_period_us"),
        ]
    };
    assert_eq!(cpu(&subject), ["50000", "100000"]);
    subject.update(&["--cpu-period", "200000"]).succeeded();
    assert_eq!(cpu(&subject), ["50000", "200000"]);
    subject.update(&["--cpu-quota", "70000"]).succeeded();
    assert_eq!(cpu(&subject), ["70000", "200000"]);
    // Somebody else sets one: that holds, and not what config.json says.
    fs::write(subject.directory("cpu").join("cpu.cfs_quota_us"), "30000").expect("we are root");
    subject.update(&["--cpu-period", "60000"]).succeeded();
    assert_eq!(cpu(&subject), ["30000", "60000"]);
    // Both at once, each of which does not fit the other's old value.
    subject
        .update(&["--cpu-period", "1000", "--cpu-quota", "1000"])
        .succeeded();
    assert_eq!(cpu(&subject), ["1000", "1000"]);
    subject
        .update(&["--cpu-period", "1000000", "--cpu-quota", "1500000"])
        .succeeded();
    assert_eq!(cpu(&subject), ["1500000", "1000000"]);

    let memory = |subject: &Subject| {
        ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"].map(|file| subject.outside(file))
    };
    for (limit, swap) in [
        ("268435456", "268435456"),
        ("16777216", "33554432"),
        ("134217728", "134217728"),
    ] {
        subject
            .update(&["--memory", limit, "--memory-swap", swap])
            .succeeded();
        assert_eq!(memory(&subject), [limit, swap]);
    }
    let then = subject.settings();
    fails(
        &subject.update(&["--memory", "256m"]),
        &["EINVAL", "134217728", "give the swap limit, too"],
    );
    fails(
        &subject.update(&["--memory-swap", "64m"]),
        &["EINVAL", "134217728", "give the memory limit, too"],
    );
    assert_eq!(subject.settings(), then);
    subject.done();
}

#[test]
fn nothing_given_changes_nothing() {
    needs!(Root, CgroupV1("memory"), CgroupV1("cpu"));
    let subject = Subject::new("nothing").run();
    let then = subject.settings();
    for flags in [
        &[] as &[&str],
        &[
            "--memory",
            "0",
            "--cpu-quota",
            "0",
            "--cpu-period",
            "0",
            "--cpu-share",
            "0",
        ],
        &[
            "--cpuset-cpus=",
            "--cpuset-mems=",
            "--memory=",
            "--cpu-idle=",
            "--resources=",
        ],
        &["--pids-limit", "0", "--blkio-weight", "0"],
    ] {
        subject.update(flags).succeeded();
        assert_eq!(subject.settings(), then, "{flags:?}");
    }
    for document in [
        "{}",
        r#"{"cpu": {"cpus": ""}, "memory": {"limit": 0}, "pids": {}}"#,
    ] {
        subject.update_by(document).succeeded();
        assert_eq!(subject.settings(), then, "{document}");
    }
    subject.done();
}

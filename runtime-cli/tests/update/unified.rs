//! The same on hosts with cgroup v2 alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::json;
use testkit::needs;

use crate::meanwhile::DEVICES;
use crate::{Subject, disk, fails};

fn directory(subject: &Subject) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup").join(subject.id())
}

fn says(subject: &Subject, file: &str) -> String {
    let path = directory(subject).join(file);
    let content = fs::read_to_string(&path);
    let content = content.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    content.trim_end().to_owned()
}

/// Every limit's file.
fn settings(subject: &Subject) -> BTreeMap<String, String> {
    let files = "memory.max memory.swap.max memory.low memory.min memory.high cpu.max cpu.max.burst cpu.weight
        cpu.idle cpuset.cpus cpuset.mems pids.max io.max";
    let said = files
        .split_whitespace()
        .map(|file| (file.to_owned(), says(subject, file)));
    said.collect()
}

#[test]
fn each_flag_sets_its_file() {
    needs!(
        Root,
        CgroupV2("memory"),
        CgroupV2("cpu"),
        CgroupV2("cpuset"),
        CgroupV2("pids")
    );
    let subject = Subject::new("v2flags")
        .set("/linux/resources/cpu/cpus", "0".into())
        .run();
    for (flags, file, value) in [
        (&["--memory", "32m"] as &[_], "memory.max", "33554432"),
        // Swap is told without the memory in it, of which the kernel knows the limit.
        (&["--memory-swap", "48m"], "memory.swap.max", "16777216"),
        (
            &["--memory", "48m", "--memory-swap", "48m"],
            "memory.swap.max",
            "0",
        ),
        (&["--memory-reservation", "16m"], "memory.low", "16777216"),
        (&["--memory", "-1"], "memory.max", "max"),
        (&["--cpu-share", "262144"], "cpu.weight", "10000"),
        (&["--cpu-quota", "60000"], "cpu.max", "60000 100000"),
        (&["--cpu-period", "200000"], "cpu.max", "60000 200000"),
        (&["--cpu-burst", "1000"], "cpu.max.burst", "1000"),
        (
            &["--cpu-quota", "1000", "--cpu-burst", "0"],
            "cpu.max",
            "1000 200000",
        ),
        (&["--cpu-quota", "-1"], "cpu.max", "max 200000"),
        (&["--cpu-idle", "1"], "cpu.idle", "1"),
        (&["--cpu-idle", "0"], "cpu.weight", "100"),
        (&["--cpuset-cpus", "0"], "cpuset.cpus", "0"),
        (&["--cpuset-mems", "0"], "cpuset.mems", "0"),
        (&["--pids-limit", "77"], "pids.max", "77"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
    ] {
        subject.update(flags).succeeded();
        assert_eq!(says(&subject, file), value, "{flags:?}");
    }
    // Memory without a limit has swap without one.
    assert_eq!(says(&subject, "memory.swap.max"), "max");
    subject.done();
}

#[test]
fn each_property_sets_its_file() {
    needs!(
        Root,
        CgroupV2("memory"),
        CgroupV2("cpu"),
        CgroupV2("io"),
        CgroupV2("pids")
    );
    let subject = Subject::new("v2document")
        .set("/linux/resources/cpu/cpus", "0".into())
        .run();
    let (major, minor) = disk().expect("this host has a disk");
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let line = |rest: &str| format!("{major}:{minor} {rest}");
    for (resources, file, value) in [
        (
            json!({"memory": {"limit": 50_331_648, "swap": 67_108_864}}),
            "memory.swap.max",
            "16777216".into(),
        ),
        (
            json!({"memory": {"swap": -1}}),
            "memory.swap.max",
            "max".into(),
        ),
        (
            json!({"cpu": {"quota": 9000, "period": 50_000, "burst": 5000}}),
            "cpu.max",
            "9000 50000".into(),
        ),
        (
            json!({"cpu": {"quota": 4000, "burst": 100}}),
            "cpu.max.burst",
            "100".into(),
        ),
        (
            json!({"cpu": {"cpus": "", "mems": ""}}),
            "cpuset.cpus",
            "0".into(),
        ),
        (json!({"pids": {"limit": 55}}), "pids.max", "55".into()),
        (
            json!({"blockIO": {"throttleReadBpsDevice": device(1 << 20)}}),
            "io.max",
            line("rbps=1048576 wbps=max riops=max wiops=max"),
        ),
        (
            json!({"blockIO": {"throttleWriteIOPSDevice": device(7)}}),
            "io.max",
            line("rbps=1048576 wbps=max riops=max wiops=7"),
        ),
        (
            json!({"unified": {"memory.high": "40000000"}}),
            "memory.high",
            "39997440".into(),
        ),
        (
            json!({"unified": {"memory.min": "4096", "pids.max": "9"}}),
            "memory.min",
            "4096".into(),
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}),
            "hugetlb.2MB.max",
            "2097152".into(),
        ),
    ] {
        let text = resources.to_string();
        subject.update_by(&text).succeeded();
        assert_eq!(says(&subject, file), value, "{text}");
    }
    assert_eq!(says(&subject, "pids.max"), "9");
    subject.done();
}

#[test]
fn a_refused_update_says_why_and_changes_nothing() {
    needs!(
        Root,
        CgroupV2("memory"),
        CgroupV2("cpu"),
        CgroupV2("cpuset"),
        CgroupV2("io")
    );
    let subject = Subject::new("v2refused")
        .set("/linux/resources/cpu/cpus", "0".into())
        .run();
    let (major, minor) = disk().expect("this host has a disk");
    let throttle = format!(r#"[{{"major": {major}, "minor": {minor}, "rate": 5}}]"#);
    let every = format!(
        r#"{{"memory": {{"limit": 134217728, "swap": 134217728, "reservation": 4096}},
            "cpu": {{"shares": 9, "quota": 7000, "period": 9000, "burst": 5, "idle": 0}}, "pids": {{"limit": 5}},
            "blockIO": {{"throttleReadBpsDevice": {throttle}}},
            "unified": {{"memory.high": "8192000", "memory.min": "nonsense"}}}}"#
    );
    let idle = r#"{"cpu": {"idle": 1}, "unified": {"memory.max": "nonsense"}}"#;
    let then = settings(&subject);
    for (document, words) in [
        (
            every.as_str(),
            &["memory.min", "EINVAL", "are put back"] as &[_],
        ),
        (idle, &["memory.max", "EINVAL", "are put back"]),
        (
            r#"{"cpu": {"shares": 9, "cpus": "4000"}}"#,
            &["cpuset.cpus", "are put back"],
        ),
        (
            r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#,
            &[
                "memory limit 4096 is too low: usage is ",
                "no limit was changed",
            ],
        ),
        (
            r#"{"memory": {"swap": 1048576}}"#,
            &[
                "can't be limited to 1048576",
                "memory alone is limited to 67108864",
                "give the memory limit, too",
            ],
        ),
        (
            r#"{"cpu": {"realtimeRuntime": 5}}"#,
            &["/cpu/realtimeRuntime: exists in cgroup v1 only"],
        ),
        (
            r#"{"memory": {"swappiness": 5}}"#,
            &["/memory/swappiness: exists in cgroup v1 only"],
        ),
        (
            r#"{"memory": {"disableOOMKiller": true}}"#,
            &["/memory/disableOOMKiller: exists in cgroup v1 only"],
        ),
        (
            r#"{"unified": {"nosuch.max": "5"}}"#,
            &["/unified/nosuch.max: needs the cgroup v2 controller nosuch"],
        ),
        (
            r#"{"unified": {"memory.nosuch": "5"}}"#,
            &["memory.nosuch", "this kernel has no"],
        ),
    ] {
        fails(&subject.update_by(document), words);
        assert_eq!(settings(&subject), then, "{document}");
    }
    subject
        .update_by(r#"{"memory": {"disableOOMKiller": false}}"#)
        .succeeded();
    assert_eq!(settings(&subject), then);
    subject.done();
}

#[test]
fn a_paused_container_stays_paused_and_device_rules_stay() {
    needs!(Root, CgroupV2("memory"));
    let mknod = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let subject = Subject::new("v2devices")
        .set("/linux/resources/cpu/cpus", "0".into())
        .set("/process/capabilities/bounding", mknod.clone())
        .set("/process/capabilities/effective", mknod.clone())
        .set("/process/capabilities/permitted", mknod)
        .run();
    let allow = r#"{"devices": [{"allow": true, "access": "rwm"}], "memory": {"limit": 41943040}}"#;
    assert_eq!(subject.exec(DEVICES).stdout, "1\n0\n");
    subject.update_by(allow).succeeded();
    assert_eq!(subject.exec(DEVICES).stdout, "1\n0\n");
    subject.call(&["pause", subject.id()]).succeeded();
    subject
        .update(&["--memory", "42m", "--pids-limit", "50"])
        .succeeded();
    assert_eq!(
        (subject.status(), says(&subject, "memory.max")),
        (json!("paused"), "44040192".into())
    );
    subject.call(&["resume", subject.id()]).succeeded();
    assert_eq!(subject.exec(DEVICES).stdout, "1\n0\n");
    subject.done();
}

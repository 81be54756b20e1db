//! Limits of a cgroup that has some: all of a change or none of it.

use super::*;
use crate::cgroup::apply::Entry;
use crate::cgroup::journal::Journal;
use crate::plan::cgroup::{Resources, plan_update};

/// The change that a document asks for.
fn change(trial: &Trial, resources: &str) -> Resources {
    let resources = serde_json::from_str(resources).unwrap();
    plan_update(&resources, &trial.host()).unwrap()
}

/// What every file that can be set says. Counters and states move by themselves.
fn settings(cgroup: &Cgroup) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let directories: BTreeSet<String> = cgroup.paths().into_values().collect();
    for directory in directories {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_set = path.metadata().unwrap().mode() & 0o200 != 0;
            let moves = [
                "procs", "tasks", "threads", "pressure", "usage", "peak", "failcnt", "reclaim",
                "stat",
            ];
            if is_set && !moves.iter().any(|word| name.contains(word)) {
                let content = fs::read_to_string(&path).unwrap_or_default();
                // hugetlb says this of "no limit" until somebody has written that.
                let content = content.replace("9223372036854771712", "max");
                let content = content.replace("9223372035781033984", "max");
                settings.insert(path.display().to_string(), content);
            }
        }
    }
    settings
}

#[test]
fn a_change_that_fails_leaves_every_file_as_it_was() {
    let Some(trial) = Trial::new("undo", &["memory", "cpu", "cpuset", "pids"]) else {
        return;
    };
    let before = r#"{"memory": {"limit": 67108864, "swap": 67108864, "reservation": 33554432},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 40000, "cpus": "0"},
        "pids": {"limit": 100}}"#;
    let cgroup = trial.created(before);
    let then = settings(&cgroup);
    // Every limit is another one, in both directions; the last controller has no such CPU.
    for wanted in [
        r#""limit": 134217728, "swap": 134217728, "reservation": 1048576"#,
        r#""limit": 33554432, "swap": 33554432"#,
        r#""limit": -1"#,
    ] {
        for cpu in [
            r#""shares": 2048, "quota": 2000, "period": 1000, "burst": 0"#,
            r#""quota": -1, "idle": 1"#,
        ] {
            let wanted = format!(r#"{{"memory": {{{wanted}}}, "cpu": {{{cpu}, "cpus": "4000"}}}}"#);
            let error = cgroup
                .update_resources(&trial.layout, &change(&trial, &wanted))
                .unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("cpuset.cpus") && text.ends_with("are put back"),
                "{text}"
            );
            assert_eq!(settings(&cgroup), then, "{wanted}");
        }
    }
    let error = cgroup.update_resources(
        &trial.layout,
        &change(&trial, r#"{"cpu": {"cpus": "4000"}}"#),
    );
    let text = error.unwrap_err().to_string();
    assert!(text.ends_with("; no limit was changed"), "{text}");
    assert_eq!(settings(&cgroup), then);
    finish(&cgroup);
}

#[test]
fn each_kind_of_file_is_put_back() {
    let Some(trial) = Trial::new("kinds", &["memory", "cpu"]) else {
        return;
    };
    let cgroup = trial.created(r#"{"cpu": {"shares": 512}}"#);
    let then = settings(&cgroup);
    let mut journal = Journal::new();
    let mut written = 0;
    for (controller, v1_entry, v2_entry) in [
        (
            "memory",
            ("memory.oom_control", "1"),
            ("memory.high", "1000000"),
        ),
        ("memory", ("memory.swappiness", "3"), ("memory.min", "4096")),
        ("cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
        (
            "cpu",
            ("cpu.cfs_period_us", "5000"),
            ("cpu.max", "5000 10000"),
        ),
        ("io", ("blkio.bfq.weight", "50"), ("io.weight", "50")),
        (
            "io",
            ("blkio.throttle.read_bps_device", "DISK 4096"),
            ("io.max", "DISK rbps=4096"),
        ),
        (
            "io",
            ("blkio.throttle.read_bps_device", "DISK 8192"),
            ("io.max", "DISK wiops=7"),
        ),
        (
            "hugetlb",
            ("hugetlb.2MB.limit_in_bytes", "0"),
            ("hugetlb.2MB.max", "0"),
        ),
    ] {
        let Some(member) = cgroup.of_controller(controller) else {
            continue;
        };
        let (file, value) = match member.version {
            Version::V1 => v1_entry,
            Version::V2 => v2_entry,
        };
        let value = value.replace("DISK", &disk().unwrap_or_default());
        if member.directory.has(file) {
            journal.write(member, &Entry::new(file, &value)).unwrap();
            written += 1;
        }
    }
    assert!(written >= 4, "{written}");
    assert_ne!(settings(&cgroup), then);
    assert_eq!(journal.undo(), []);
    assert_eq!(settings(&cgroup), then);
    finish(&cgroup);
}

/// A whole disk of this host, as MAJOR:MINOR.
fn disk() -> Option<String> {
    let mut disks = fs::read_dir("/sys/block").ok()?;
    disks.find_map(|disk| {
        let disk = disk.ok()?;
        let name = disk.file_name().into_string().ok()?;
        let number = fs::read_to_string(disk.path().join("dev")).ok()?;
        name.starts_with(['v', 's', 'n'])
            .then(|| number.trim_end().to_owned())
    })
}

#[test]
fn what_can_not_be_put_back_is_told_with_what_holds() {
    let Some(trial) = Trial::new("kept", &["memory"]) else {
        return;
    };
    if home(&trial.layout, "memory") != Some(Home::V1) {
        eprintln!("skipped: cgroup v2 takes every memory limit back");
        return;
    }
    let cgroup = trial.created(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#);
    let mut journal = Journal::new();
    let member = cgroup.of_controller("memory").unwrap();
    for file in ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"] {
        journal
            .write(member, &Entry::new(file, 67_108_864))
            .unwrap();
    }
    // It uses more by now than it had before.
    let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ${#x}; sleep 1000";
    let mut child = started(&cgroup, script);
    let mut said = [0; 9];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    let left = journal.undo();
    let text: Vec<_> = left.iter().map(ToString::to_string).collect();
    let file = |name: &str| {
        let path = member.directory.path().join(name);
        format!(
            r#"{} says "67108864" instead of "16777216""#,
            path.display()
        )
    };
    assert_eq!(
        text,
        [
            file("memory.memsw.limit_in_bytes"),
            file("memory.limit_in_bytes")
        ]
    );
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn a_limit_alone_keeps_what_it_depends_on() {
    let Some(trial) = Trial::new("alone", &["memory", "cpu"]) else {
        return;
    };
    let cgroup = trial.created(
        r#"{"memory": {"limit": 67108864, "swap": 100663296}, "cpu": {"quota": 50000, "period": 100000}}"#,
    );
    let says = |controller: &str, file: &str| {
        let member = cgroup.of_controller(controller).unwrap();
        member.directory.read(file).unwrap().trim_end().to_owned()
    };
    let quota_and_period = || match home(&trial.layout, "cpu") {
        Some(Home::V2) => says("cpu", "cpu.max"),
        _ => format!(
            "{} {}",
            says("cpu", "cpu.cfs_quota_us"),
            says("cpu", "cpu.cfs_period_us")
        ),
    };
    let swap = || match home(&trial.layout, "memory") {
        Some(Home::V2) => says("memory", "memory.swap.max"),
        _ => says("memory", "memory.memsw.limit_in_bytes"),
    };
    let update = |resources| cgroup.update_resources(&trial.layout, &change(&trial, resources));
    update(r#"{"cpu": {"period": 200000}}"#).unwrap();
    assert_eq!(quota_and_period(), "50000 200000");
    update(r#"{"cpu": {"quota": 70000}}"#).unwrap();
    assert_eq!(quota_and_period(), "70000 200000");
    let is_v2 = home(&trial.layout, "memory") == Some(Home::V2);
    update(r#"{"memory": {"swap": 134217728}}"#).unwrap();
    assert_eq!(swap(), if is_v2 { "67108864" } else { "134217728" });
    let error = update(r#"{"memory": {"swap": 1048576}}"#).unwrap_err();
    assert!(
        error.to_string().contains("give the memory limit, too"),
        "{error}"
    );
    update(r#"{"memory": {"limit": -1}}"#).unwrap();
    assert_eq!(swap(), if is_v2 { "max" } else { "9223372036854771712" });
    finish(&cgroup);
}

#[test]
fn a_limit_below_the_usage_is_refused_where_that_was_asked_for() {
    let Some(trial) = Trial::new("check", &["memory"]) else {
        return;
    };
    let cgroup = trial.created("{}");
    let mut child = started(&cgroup, "sleep 1000");
    let low = r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}, "pids": {"limit": 5}}"#;
    let error = cgroup
        .update_resources(&trial.layout, &change(&trial, low))
        .unwrap_err();
    let CgroupError::Update {
        cause,
        nothing_changed: true,
        not_put_back,
    } = &error
    else {
        panic!("{error}");
    };
    assert!(
        matches!(
            **cause,
            CgroupError::MemoryInUse {
                limit_bytes: 4096,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(*not_put_back, []);
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn a_value_that_holds_already_is_not_written() {
    let Some(trial) = Trial::new("same", &["cpuset", "pids"]) else {
        return;
    };
    let limits = r#"{"cpu": {"cpus": "0"}, "pids": {"limit": 100}}"#;
    let cgroup = trial.created(limits);
    let mut journal = Journal::new();
    cgroup.set(&change(&trial, limits), &mut journal).unwrap();
    assert!(journal.is_empty());
    cgroup
        .set(&change(&trial, r#"{"pids": {"limit": 101}}"#), &mut journal)
        .unwrap();
    assert!(!journal.is_empty());
    finish(&cgroup);
}

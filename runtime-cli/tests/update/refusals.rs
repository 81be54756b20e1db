//! What is refused, with which words, and that nothing has changed then.

use std::fs;

use serde_json::json;
use testkit::needs;

use crate::{Subject, fails};

#[test]
fn a_refused_update_says_why_and_changes_nothing() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset")
    );
    let subject = Subject::new("refused").run();
    let then = subject.settings();
    let check = |finished, words: &[&str]| {
        fails(&finished, words);
        assert_eq!(subject.settings(), then, "{words:?}");
    };
    for (flags, words) in [
        (
            &["--memory", "4k"] as &[_],
            &[
                "EBUSY",
                "memory limit too low: usage is ",
                "no limit was changed",
            ] as &[_],
        ),
        (
            &["--memory", "32m", "--cpuset-cpus", "0-1000"],
            &["cpuset.cpus", "the parent cgroup has ", "are put back"],
        ),
        (
            &[
                "--cpu-share",
                "900",
                "--pids-limit",
                "9",
                "--cpuset-mems",
                "9",
            ],
            &["cpuset.mems", "are put back"],
        ),
        (
            &["--cpuset-cpus", "all"],
            &["resources: /cpu/cpus: must be a list of numbers"],
        ),
        (
            &["--cpu-idle", "1", "--cpu-period", "17"],
            &["resources: /cpu/period: must be from 1000 to 1000000 us"],
        ),
        (&["--cpu-burst", "60000"], &["cpu.cfs_burst_us", "EINVAL"]),
        (
            &["--cpu-rt-runtime", "2000000"],
            &["cpu.rt_runtime_us", "real-time share"],
        ),
        (
            &["--blkio-weight", "5"],
            &["resources: /blockIO/weight: must be from 10 to 1000"],
        ),
        (
            &["--memory", "lots"],
            &["invalid value", "lots", "--memory"],
        ),
        (
            &["--l3-cache-schema", "L3:0=f"],
            &["--l3-cache-schema is not supported"],
        ),
        (
            &["--mem-bw-schema", "MB:0=5"],
            &["--mem-bw-schema is not supported"],
        ),
        (
            &["--resources", "/nonexistent"],
            &["read /nonexistent: no such file or directory"],
        ),
        (&["--resources", "/"], &["/ is not a regular file"]),
        (
            &["--resources", "-"],
            &["standard input: line 1, column 0: EOF"],
        ),
    ] {
        check(subject.update(flags), words);
    }
    for (document, words) in [
        (
            r#"{"memory": {"limit": 1"#,
            &["standard input: line 1, column 22: EOF"] as &[_],
        ),
        (
            r#"{"memory": {"limit": "1"}}"#,
            &["standard input: /memory/limit: invalid type"],
        ),
        (
            r#"{"cpu": {"shares": -1}}"#,
            &["standard input: /cpu/shares: invalid value"],
        ),
        (
            r#"{"cpu": []}"#,
            &["standard input: /cpu: invalid type: sequence, expected an object"],
        ),
        (
            "{} {}",
            &["standard input: line 1, column 4: trailing characters"],
        ),
        (
            "null",
            &["standard input: invalid type: null, expected an object"],
        ),
        (
            r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#,
            &[
                "memory limit 4096 is too low: usage is ",
                "no limit was changed",
            ],
        ),
        (
            r#"{"cpu": {"shares": 1, "idle": 3}, "unified": {"memory.high": "1"}}"#,
            &[
                "/cpu/idle: must be 0 or 1; /cpu/shares: must be from 2",
                "/unified/memory.high: needs the cgroup v2 controller memory",
            ],
        ),
        (
            r#"{"rdma": {"mlx": {"hcaHandles": 1}}}"#,
            &["needs the cgroup controller rdma, which this host does not have"],
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}"#,
            &["hugetlb.3MB.max", "this kernel has no "],
        ),
        (
            r#"{"cpu": {"shares": 9}, "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}"#,
            &[
                "ENODEV",
                "no block device here has this number",
                "are put back",
            ],
        ),
        (
            r#"{"unified": {"cgroup.freeze": "1"}}"#,
            &["is a file that only the runtime writes"],
        ),
    ] {
        check(subject.update_by(document), words);
    }
    assert_eq!(subject.status(), "running");
    subject.done();
}

#[test]
fn a_share_for_an_idle_container_needs_it_awake() {
    needs!(Root, CgroupV1("cpu"));
    let subject = Subject::new("idle").run();
    subject.update(&["--cpu-idle", "1"]).succeeded();
    let share = subject.update(&["--cpu-share", "99"]);
    fails(&share, &["cpu.shares", "EINVAL", "set cpu.idle to 0, too"]);
    subject
        .update(&["--cpu-share", "99", "--cpu-idle", "0"])
        .succeeded();
    assert_eq!(
        [subject.outside("cpu.idle"), subject.outside("cpu.shares")],
        ["0", "99"]
    );
    subject.done();
}

#[test]
fn only_a_container_that_lives_can_be_updated() {
    needs!(Root, CgroupV1("memory"), CgroupV1("freezer"));
    let subject = Subject::new("status");
    fails(
        &subject.update(&["--memory", "9m"]),
        &["container", "does not exist"],
    );
    fails(
        &subject.call(&["update", "--memory", "9m", "../x"]),
        &["invalid container ID format"],
    );
    let subject = subject.create();
    subject.update(&["--memory", "33m"]).succeeded();
    assert_eq!(
        (subject.status(), subject.outside("memory.limit_in_bytes")),
        (json!("created"), "34603008".into())
    );
    subject.call(&["start", subject.id()]).succeeded();
    subject.update(&["--memory", "34m"]).succeeded();
    assert_eq!(
        (subject.status(), subject.outside("memory.limit_in_bytes")),
        (json!("running"), "35651584".into())
    );
    subject.call(&["pause", subject.id()]).succeeded();
    subject
        .update(&[
            "--memory",
            "35m",
            "--cpu-quota",
            "99000",
            "--cpuset-cpus",
            "1",
        ])
        .succeeded();
    assert_eq!(
        (subject.status(), subject.outside("memory.limit_in_bytes")),
        (json!("paused"), "36700160".into())
    );
    subject.call(&["resume", subject.id()]).succeeded();
    assert_eq!(subject.inside("cpuset.cpus"), "1");
    subject.call(&["kill", subject.id(), "KILL"]).succeeded();
    subject.runtime.wait_for_status(subject.id(), "stopped");
    let then = subject.settings();
    fails(
        &subject.update(&["--memory", "36m"]),
        &["container not running", "is stopped"],
    );
    assert_eq!(subject.settings(), then);
    subject.done();
}

#[test]
fn the_record_of_a_failure_has_its_kind_and_errno_and_is_the_only_one() {
    needs!(Root, CgroupV1("memory"));
    let subject = Subject::new("record").run();
    let log = subject.bundle.path().join("log.json");
    let record = |flags: &[&str]| {
        let words = [
            "--log",
            log.to_str().expect("it is text"),
            "--log-format",
            "json",
            "update",
        ];
        let words = [&words, flags, &[subject.id()]].concat();
        assert_eq!(subject.call(&words).code, 1);
        let text = fs::read_to_string(&log).expect("there is a log");
        fs::remove_file(&log).expect("it is ours");
        let record: serde_json::Value = serde_json::from_str(&text).expect("one record");
        (record["kind"].clone(), record["errno"].clone())
    };
    let low = ["--kernel-memory", "1", "--memory", "4k"];
    assert_eq!(record(&low), (json!("cgroup"), json!(libc::EBUSY)));
    assert_eq!(
        record(&["--cpu-idle", "7"]),
        (json!("invalid_config"), json!(null))
    );
    assert_eq!(
        record(&["--memory", "x"]),
        (json!("invalid_config"), json!(null))
    );
    assert_eq!(
        record(&["--l3-cache-schema", "x"]),
        (json!("unsupported"), json!(null))
    );
    subject.call(&["kill", subject.id(), "KILL"]).succeeded();
    subject.runtime.wait_for_status(subject.id(), "stopped");
    assert_eq!(
        record(&["--memory", "9m"]),
        (json!("not_running"), json!(null))
    );
    subject.done();
}

#[test]
fn what_is_ignored_is_said_and_succeeds() {
    needs!(Root, CgroupV1("memory"));
    let subject = Subject::new("ignored").run();
    let then = subject.settings();
    for flags in [["--kernel-memory", "5m"], ["--kernel-memory-tcp", "5m"]] {
        let finished = subject.update(&flags).success();
        assert!(
            finished.stderr.contains("level=warning") && finished.stderr.contains(flags[0]),
            "{finished}"
        );
    }
    assert_eq!(subject.settings(), then);
    let words = [
        "update",
        "--memory",
        "1",
        "-r",
        "-",
        "--cpu-quota",
        "x",
        subject.id(),
    ];
    let finished = subject
        .runtime
        .call_with_input(&words, br#"{"cpu": {"shares": 77}}"#)
        .success();
    for flag in ["--memory is ignored", "--cpu-quota is ignored"] {
        assert!(finished.stderr.contains(flag), "{finished}");
    }
    assert_eq!(subject.outside("cpu.shares"), "77");
    assert!(
        !subject
            .call(&["update", "--help"])
            .success()
            .stdout
            .contains("kernel-memory")
    );
    subject.done();
}

//! `process.scheduler` and `process.ioPriority`.

use serde_json::{Value, json};
use testkit::{Finished, finish, needs};

use crate::container::Container;

/// What chrt(1) says of a process, in one line.
fn chrt(pid: i32) -> String {
    let mut chrt = std::process::Command::new("chrt");
    chrt.args(["--pid", &pid.to_string()]);
    let run: Finished = finish(&mut chrt, std::time::Duration::from_secs(20)).success();
    run.stdout
        .replace(&format!("pid {pid}'s "), "")
        .replace('\n', "; ")
}

/// Nice value: field 19 of `/proc/PID/stat`.
fn nice(pid: i32) -> i32 {
    let stat = crate::container::proc_file(pid, "stat");
    let after_name = stat.rsplit(") ").next().expect("it has a name");
    let nice = after_name.split(' ').nth(16).expect("it has a nice value");
    nice.parse().expect("it is a number")
}

/// A v1 cpu controller with real-time groups gives a new cgroup no real-time budget.
const REAL_TIME: &str = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us";

fn scheduled(scheduler: Value) -> (Container, i32) {
    let mut container = Container::new("scheduler").set("/process/scheduler", scheduler);
    if std::path::Path::new(REAL_TIME).exists() {
        let budget = json!({"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000});
        container = container.set("/linux/resources/cpu", budget);
    }
    container.sleeping()
}

#[test]
fn every_policy_with_its_parameters_is_what_the_process_has() {
    needs!(Root, Program("chrt"));
    for (policy, nice_value, name) in [
        ("SCHED_OTHER", 5, "SCHED_OTHER"),
        ("SCHED_OTHER", -7, "SCHED_OTHER"),
        ("SCHED_BATCH", 19, "SCHED_BATCH"),
        ("SCHED_IDLE", 0, "SCHED_IDLE"),
    ] {
        let (_container, pid) = scheduled(json!({"policy": policy, "nice": nice_value}));
        let said = chrt(pid);
        assert!(
            said.contains(&format!("scheduling policy: {name};")),
            "{said}"
        );
        assert_eq!(nice(pid), nice_value, "{policy}");
    }
    for (policy, priority) in [("SCHED_FIFO", 1), ("SCHED_RR", 42)] {
        let (_container, pid) = scheduled(json!({"policy": policy, "priority": priority}));
        let said = chrt(pid);
        assert!(said.contains(&format!("policy: {policy};")), "{said}");
        assert!(said.contains(&format!("priority: {priority};")), "{said}");
    }
}

#[test]
fn a_deadline_is_what_the_process_has() {
    needs!(Root, Program("chrt"));
    let (_container, pid) = scheduled(json!({
        "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000,
        "period": 30_000_000, "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }));
    let said = chrt(pid);
    assert!(
        said.contains("SCHED_DEADLINE|SCHED_RESET_ON_FORK"),
        "{said}"
    );
    assert!(said.contains("1000000/20000000/30000000"), "{said}");
}

#[test]
fn a_real_time_policy_without_budget_says_what_is_missing() {
    needs!(Root);
    if !std::path::Path::new(REAL_TIME).exists() {
        return;
    }
    let fifo = json!({"policy": "SCHED_FIFO", "priority": 1});
    let said = Container::new("nobudget")
        .set("/process/scheduler", fifo)
        .refused();
    assert!(said.contains("cpu.realtimeRuntime"), "{said}");
}

#[test]
fn flags_reach_the_kernel() {
    needs!(Root, Program("chrt"));
    let (_container, pid) = scheduled(json!({
        "policy": "SCHED_FIFO", "priority": 2, "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }));
    let said = chrt(pid);
    assert!(said.contains("SCHED_FIFO|SCHED_RESET_ON_FORK"), "{said}");
}

#[test]
fn a_scheduler_that_makes_no_sense_is_refused() {
    needs!(Root);
    for (scheduler, pointer) in [
        (json!({"policy": "SCHED_ISO"}), "/process/scheduler/policy"),
        (json!({"policy": "SCHED_NONE"}), "/process/scheduler/policy"),
        (json!({"nice": 1}), "/process/scheduler/policy"),
        (
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            "/process/scheduler/nice",
        ),
        (
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "/process/scheduler/priority",
        ),
        (
            json!({"policy": "SCHED_FIFO", "priority": 0}),
            "/process/scheduler/priority",
        ),
        (
            json!({"policy": "SCHED_RR", "priority": 100}),
            "/process/scheduler/priority",
        ),
        (
            json!({"policy": "SCHED_BATCH", "runtime": 1}),
            "/process/scheduler/runtime",
        ),
        (json!({"policy": "SCHED_DEADLINE"}), "/process/scheduler"),
        (
            json!({"policy": "SCHED_OTHER", "flags": ["X"]}),
            "/process/scheduler/flags/0",
        ),
    ] {
        let said = Container::new("badscheduler")
            .set("/process/scheduler", scheduler.clone())
            .refused();
        assert!(said.contains(pointer), "{scheduler}: {said}");
    }
}

#[test]
fn io_priorities_are_the_processs() {
    needs!(Root, Program("ionice"));
    for (class, priority, expected) in [
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0"),
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let (_container, pid) = Container::new("iopriority")
            .set(
                "/process/ioPriority",
                json!({"class": class, "priority": priority}),
            )
            .sleeping();
        let mut ionice = std::process::Command::new("ionice");
        ionice.args(["--pid", &pid.to_string()]);
        let run = finish(&mut ionice, std::time::Duration::from_secs(20)).success();
        assert_eq!(run.stdout.trim(), expected);
    }
    for (broken, pointer) in [
        (
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "/process/ioPriority/priority",
        ),
        (
            json!({"class": "IOPRIO_CLASS_X", "priority": 1}),
            "/process/ioPriority/class",
        ),
        (json!({"priority": 1}), "/process/ioPriority/class"),
    ] {
        let said = Container::new("iopriority")
            .set("/process/ioPriority", broken)
            .refused();
        assert!(said.contains(pointer), "{said}");
    }
}

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

/// What `exec --process` prints of the lines of /proc/self/status that begin so.
fn affinity_of_exec(container: &Container, affinity: &Value) -> Finished {
    let mut process = container.bundle().config()["process"].clone();
    process["execCPUAffinity"] = affinity.clone();
    let script = "sed -n 's/^Cpus_allowed_list:\\t//p' /proc/self/status";
    process["args"] = json!(["/bin/sh", "-c", script]);
    let file = container.path("process.json");
    std::fs::write(&file, process.to_string()).expect("it is ours");
    container
        .runtime
        .call(&["exec", "--process", &file, container.id()])
}

/// The first CPU of a list such as `0-3`.
fn first_cpu(list: &str) -> &str {
    list.split([',', '-']).next().expect("there is a first one")
}

#[test]
fn an_exec_runs_on_the_cpus_of_its_affinity_and_without_on_those_of_the_cgroup() {
    needs!(Root);
    let status = std::fs::read_to_string("/proc/self/status").expect("there is a procfs");
    let all = crate::container::status_line(&status, "Cpus_allowed_list");
    let one = first_cpu(&all);
    let (container, _) = Container::new("affinity")
        .set("/process/execCPUAffinity", json!({"final": one}))
        .sleeping();
    let seen = |affinity: Value| affinity_of_exec(&container, &affinity).success().stdout;
    assert_eq!(seen(json!({"final": one})), format!("{one}\n"));
    assert_eq!(
        seen(json!({"initial": one, "final": one})),
        format!("{one}\n")
    );
    // The initial ones count until the process is in the cgroup, which has them all.
    assert_eq!(seen(json!({"initial": one})), format!("{all}\n"));
    assert_eq!(
        seen(json!({"initial": "", "final": " "})),
        format!("{all}\n")
    );
    // Without a document of its own the process is config.json's; init was none of it.
    let own = "sed -n 's/^Cpus_allowed_list:\\t//p' /proc/self/status /proc/1/status";
    assert_eq!(container.exec(own), format!("{one}\n{all}\n"));
}

#[test]
fn cpus_that_are_not_there_are_named() {
    needs!(Root);
    let (container, _) = Container::new("noaffinity").sleeping();
    for (which, affinity) in [
        ("initial", json!({"initial": "8191"})),
        ("final", json!({"final": "8190-8191"})),
    ] {
        let refused = affinity_of_exec(&container, &affinity);
        assert_eq!(refused.code, 255, "{refused}");
        let place = format!("process.execCPUAffinity.{which}");
        assert!(refused.stderr.contains(&place), "{refused}");
        assert!(refused.stderr.contains("EINVAL"), "{refused}");
        assert!(refused.stderr.contains("online"), "{refused}");
    }
    let broken = affinity_of_exec(&container, &json!({"initial": "some"}));
    assert_eq!(broken.code, 255, "{broken}");
    assert!(
        broken.stderr.contains("/execCPUAffinity/initial"),
        "{broken}"
    );
}

#[test]
fn a_memory_policy_is_inits_and_that_of_everything_executed_later() {
    needs!(Root, MemoryPolicies);
    for (policy, shown) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0,0-0"}),
            "interleave:0",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
    ] {
        let (container, pid) = Container::new("mempolicy")
            .set("/linux/memoryPolicy", policy.clone())
            .sleeping();
        let of = |maps: &str| {
            let policy = maps.lines().next().and_then(|line| line.split(' ').nth(1));
            policy.expect("a process has pages").to_owned()
        };
        let outside = crate::container::proc_file(pid, "numa_maps");
        assert_eq!(of(&outside), shown, "{policy}");
        let inside = container.exec("cat /proc/1/numa_maps");
        assert_eq!(of(&inside), shown, "{policy}");
        let executed = container.exec("cat /proc/self/numa_maps");
        assert_eq!(of(&executed), shown, "{policy}");
    }
}

#[test]
fn memory_nodes_that_are_not_there_are_refused_with_the_likely_cause() {
    needs!(Root, MemoryPolicies);
    let said = Container::new("nonode")
        .set(
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "1023"}),
        )
        .refused();
    assert!(said.contains("set linux.memoryPolicy"), "{said}");
    assert!(
        said.contains("set_mempolicy(2): invalid argument (EINVAL)"),
        "{said}"
    );
    assert!(said.contains("resources.cpu.mems"), "{said}");
}

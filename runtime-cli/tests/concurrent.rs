//! Many commands at once on one container, and many containers at once: one wins, the others
//! say why, nothing hangs and nothing is left.
//!
//! Races run for a few seconds by default, and for minutes with `TARE_LONG=1`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish, needs};

/// No command may take longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(120);

fn bundle(marker: &Marker) -> TestBundle {
    let bundle = TestBundle::busybox(marker)
        .args(&["sleep", "1000"])
        .set("/linux/cgroupsPath", format!("/{marker}").into());
    bundle.save();
    bundle
}

fn call(runtime: &Runtime, words: &[&str]) -> Finished {
    finish(&mut runtime.command(words), LIMIT)
}

fn path(bundle: &TestBundle) -> &str {
    bundle.path().to_str().expect("a temporary path is text")
}

/// Runs the calls at once, each in a thread of its own.
fn at_once(runtime: &Runtime, calls: &[Vec<&str>]) -> Vec<Finished> {
    thread::scope(|scope| {
        let threads: Vec<_> = calls
            .iter()
            .map(|words| scope.spawn(move || call(runtime, words)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Finished>| thread.join();
        threads
            .into_iter()
            .map(|thread| join(thread).expect("a call ends in time"))
            .collect()
    })
}

/// A failure is one line, and one of the words that say that another was faster.
fn lost(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    let says = words.iter().any(|word| finished.stderr.contains(word));
    assert!(says, "{finished}");
}

#[test]
fn of_many_creates_of_one_id_exactly_one_wins() {
    needs!(Root);
    let marker = Marker::new("creates");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker);
    let create = vec!["create", "--bundle", path(&bundle), bundle.id()];
    for round in 0..3 {
        let all = at_once(&runtime, &vec![create.clone(); 32]);
        let winners = all.iter().filter(|finished| finished.code == 0).count();
        assert_eq!(winners, 1, "round {round}");
        for loser in all.iter().filter(|finished| finished.code != 0) {
            lost(loser, &["container with given ID already exists"]);
        }
        assert_eq!(runtime.state(bundle.id())["status"], "created");
        call(&runtime, &["delete", "--force", bundle.id()]).succeeded();
    }
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn of_many_starts_exactly_one_wins() {
    needs!(Root);
    let marker = Marker::new("starts");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker);
    call(
        &runtime,
        &["create", "--bundle", path(&bundle), bundle.id()],
    )
    .succeeded();
    let all = at_once(&runtime, &vec![vec!["start", bundle.id()]; 16]);
    let winners = all.iter().filter(|finished| finished.code == 0).count();
    assert_eq!(winners, 1);
    for loser in all.iter().filter(|finished| finished.code != 0) {
        lost(loser, &["cannot start an already running container"]);
    }
    let kill = call(&runtime, &["kill", bundle.id(), "KILL"]);
    kill.succeeded();
    runtime.wait_for_status(bundle.id(), "stopped");
    // Of many deletes one removes it; by force the others find that it is done.
    let mut deletes = vec![vec!["delete", bundle.id()]; 4];
    deletes.extend(vec![vec!["delete", "--force", bundle.id()]; 4]);
    let all = at_once(&runtime, &deletes);
    for (words, finished) in deletes.iter().zip(&all) {
        if words.len() == 3 {
            finished.succeeded();
        } else if finished.code != 0 {
            lost(finished, &["does not exist"]);
        }
    }
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn commands_raced_against_each_other_neither_hang_nor_leave_anything() {
    needs!(Root);
    let marker = Marker::new("race");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker);
    let id = bundle.id();
    let time = match std::env::var_os("TARE_LONG") {
        Some(_) => Duration::from_secs(600),
        None => Duration::from_secs(10),
    };
    let calls: [&[&str]; 10] = [
        &["create", "--bundle", path(&bundle), id],
        &["run", "--detach", "--bundle", path(&bundle), id],
        &["start", id],
        &["exec", id, "true"],
        &["kill", id, "KILL"],
        &["pause", id],
        &["resume", id],
        &["state", id],
        &["delete", id],
        &["delete", "--force", id],
    ];
    let known = [
        "already exists",
        "does not exist",
        "not running",
        "not paused",
        "already running",
        "has stopped",
        "not stopped",
        "being created",
        "exec in a",
        "start a paused",
        // Killed in the midst of it.
        "container init",
        "died",
        "no such process",
        "ended",
        "SIGKILL",
        "killed",
    ];
    let started = Instant::now();
    let counts = thread::scope(|scope| {
        let run = |offset: usize| {
            let (runtime, calls) = (&runtime, &calls);
            move || {
                let mut counts = BTreeMap::new();
                let mut turn = offset;
                while started.elapsed() < time {
                    let words = calls[turn % calls.len()];
                    turn += 1 + offset % 3;
                    let finished = call(runtime, words);
                    // 137: the process of `exec` was killed with the container.
                    if !matches!(finished.code, 0 | 137) {
                        lost(&finished, &known);
                    }
                    *counts.entry((words[0], finished.code == 0)).or_insert(0) += 1;
                }
                counts
            }
        };
        let threads: Vec<_> = (0..6).map(|offset| scope.spawn(run(offset))).collect();
        let mut all = BTreeMap::new();
        for thread in threads {
            for (key, count) in thread.join().expect("no call hangs or fails oddly") {
                *all.entry(key).or_insert(0) += count;
            }
        }
        all
    });
    assert!(counts.len() > 6, "nothing was raced: {counts:?}");
    call(&runtime, &["delete", "--force", id]).succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_storm_of_execs_leaves_the_container_as_it_was() {
    needs!(Root);
    let marker = Marker::new("storm");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker);
    call(
        &runtime,
        &["run", "--detach", "--bundle", path(&bundle), bundle.id()],
    )
    .succeeded();
    for _ in 0..4 {
        let exec = vec!["exec", bundle.id(), "sh", "-c", "exit 7"];
        for finished in at_once(&runtime, &vec![exec; 25]) {
            assert_eq!(finished.code, 7, "{finished}");
        }
    }
    let left = call(&runtime, &["ps", "--format", "json", bundle.id()]).success();
    assert_eq!(left.stdout.matches(',').count(), 0, "{}", left.stdout);
    call(&runtime, &["delete", "--force", bundle.id()]).succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

/// An init that was killed can't go before its namespace's other processes are reaped, and one of
/// them is the child of a runtime that doesn't get to it.
#[test]
fn an_exec_into_a_container_that_is_dying_says_that_it_has_stopped() {
    needs!(Root);
    let marker = Marker::new("dying");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker);
    let id = bundle.id();
    call(
        &runtime,
        &["run", "--detach", "--bundle", path(&bundle), id],
    )
    .succeeded();
    let mut stuck = runtime
        .command(&["exec", id, "sh", "-c", "echo inside; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tare starts");
    let mut line = String::new();
    let output = stuck.stdout.take().expect("the output is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says that it is there");
    assert_eq!(line, "inside\n");
    let signal = |name| {
        let pid = stuck.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill(1) runs").success());
    };
    signal("STOP");
    call(&runtime, &["kill", id, "KILL"]).succeeded();
    let pid = runtime.state(id)["pid"].as_i64();
    let pid = pid.expect("a state has a pid").to_string();
    wait_until_it_exits(&pid);
    let refused = call(&runtime, &["exec", id, "true"]);
    signal("CONT");
    assert_eq!(refused.code, 255, "{refused}");
    lost(&refused, &["cannot exec in a stopped container"]);
    assert_eq!(stuck.wait().expect("it ends").code(), Some(137));
    call(&runtime, &["delete", "--force", id]).succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

/// Waits until a process is on its way out and has given up its namespaces.
fn wait_until_it_exits(pid: &str) {
    let namespace = format!("/proc/{pid}/ns/net");
    let deadline = Instant::now() + LIMIT;
    while std::fs::read_link(&namespace).is_ok() {
        assert!(Instant::now() < deadline, "{pid} doesn't exit");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_hundred_containers_live_at_once_and_go_at_once() {
    needs!(Root);
    let marker = Marker::new("many");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    // One rootfs, and a cgroup for each by its id.
    let bundle = bundle(&marker).set("/linux/cgroupsPath", serde_json::Value::Null);
    bundle.save();
    let ids: Vec<String> = (0..200)
        .map(|number| format!("{marker}-{number}"))
        .collect();
    let in_groups = |calls: &dyn Fn(&'_ str) -> Vec<String>| {
        for group in ids.chunks(10) {
            let words: Vec<Vec<String>> = group.iter().map(|id| calls(id)).collect();
            let calls: Vec<Vec<&str>> = words
                .iter()
                .map(|call| call.iter().map(String::as_str).collect())
                .collect();
            for finished in at_once(&runtime, &calls) {
                finished.succeeded();
            }
        }
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    in_groups(&|id| words(&["run", "--detach", "--bundle", path(&bundle), id]));
    let list = call(&runtime, &["list", "--quiet"]).success();
    assert_eq!(list.stdout.lines().count(), 200);
    in_groups(&|id| words(&["exec", id, "true"]));
    in_groups(&|id| words(&["delete", "--force", id]));
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

//! A runtime that is killed at any instant: `delete --force` takes away all that it had made.

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Marker, Residue, Runtime, TestBundle, needs};

/// Instants tried for each command.
const INSTANTS: u32 = 40;

/// The same for `exec`. Its process is left to the host's init process, and the container ends
/// only when that one has reaped it: not every init process is quick about it.
const EXEC_INSTANTS: u32 = 12;

/// Kills the runtime `after` some time into a command, then deletes the container by force.
fn kill_and_delete(runtime: &Runtime, bundle: &TestBundle, words: &[&str], after: Duration) {
    let mut command = runtime.command(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the runtime starts");
    std::thread::sleep(after);
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
    let delete = runtime.call(&["delete", "--force", bundle.id()]);
    assert_eq!(delete.code, 0, "killed after {after:?}: {delete}");
}

/// Kills the command at instants from its start to past its end; each time, nothing is left.
fn interrupt(topic: &str, instants: u32, prepare: &[&str], words: &[&str]) {
    let marker = Marker::new(topic);
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = TestBundle::busybox(&marker).args(&["sleep", "1000"]);
    bundle.save();
    let path = bundle
        .path()
        .to_str()
        .expect("a temporary path is text")
        .to_owned();
    let words = words.iter().map(|word| match *word {
        "BUNDLE" => path.as_str(),
        "ID" => bundle.id(),
        word => word,
    });
    let words: Vec<&str> = words.collect();
    let prepare = |runtime: &Runtime| {
        if !prepare.is_empty() {
            runtime
                .call(&[prepare, &[&path, bundle.id()]].concat())
                .succeeded();
        }
    };
    prepare(&runtime);
    let started = Instant::now();
    let uninterrupted = runtime.call(&words);
    let whole = started.elapsed();
    uninterrupted.succeeded();
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    for instant in 0..instants {
        prepare(&runtime);
        kill_and_delete(&runtime, &bundle, &words, whole * instant / (instants - 4));
    }
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn create_leaves_nothing_whenever_it_is_killed() {
    needs!(Root);
    interrupt(
        "create",
        INSTANTS,
        &[],
        &["create", "--bundle", "BUNDLE", "ID"],
    );
}

#[test]
fn run_leaves_nothing_whenever_it_is_killed() {
    needs!(Root);
    interrupt(
        "run",
        INSTANTS,
        &[],
        &["run", "--detach", "--bundle", "BUNDLE", "ID"],
    );
}

#[test]
fn start_leaves_nothing_whenever_it_is_killed() {
    needs!(Root);
    interrupt("start", INSTANTS, &["create", "--bundle"], &["start", "ID"]);
}

#[test]
fn exec_leaves_nothing_whenever_it_is_killed() {
    needs!(Root);
    let exec = ["exec", "--detach", "ID", "sleep", "1000"];
    interrupt(
        "exec",
        EXEC_INSTANTS,
        &["run", "--detach", "--bundle"],
        &exec,
    );
}

#[test]
fn delete_can_be_repeated_whenever_it_was_killed() {
    needs!(Root);
    interrupt(
        "delete",
        INSTANTS,
        &["run", "--detach", "--bundle"],
        &["delete", "--force", "ID"],
    );
}

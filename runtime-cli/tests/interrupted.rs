//! A runtime, or the process that it makes, killed at any system call: `state` and `list` work
//! on, and `delete --force` takes away all that had been made.
//!
//! By default every call of `create` and some of the others' are tried; with `TARE_LONG=1`
//! every call of all.
#![cfg(target_arch = "x86_64")]

use testkit::{Marker, Residue, Runtime, TestBundle, needs};

use crate::stepper::{Act, Whose};

mod stepper;

/// A command to interrupt, and the state of the container that it is to start from.
struct Case {
    topic: &'static str,
    prepare: &'static [&'static str],
    words: &'static [&'static str],
    whose: Whose,
    /// Calls from one that is tried to the next, by default.
    stride: u32,
}

/// Kills at call after call until there are no more; each time, nothing is left.
fn interrupt(case: &Case) {
    let marker = Marker::new(case.topic);
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = TestBundle::busybox(&marker)
        .args(&["sleep", "1000"])
        .set("/linux/cgroupsPath", format!("/{marker}").into());
    bundle.save();
    let stride = if std::env::var_os("TARE_LONG").is_some() {
        1
    } else {
        case.stride
    };
    let mut at = 1;
    let mut failures = Vec::new();
    loop {
        prepare(&runtime, &bundle, case.prepare);
        let words = fill(case.words, &bundle);
        let outcome = stepper::run(&runtime.command(&words), case.whose, at, Act::Kill);
        assert!(!outcome.hung, "call {at} ({})", outcome.call_name());
        let what = format!("killed at call {at} ({})", outcome.call_name());
        let checked = std::panic::catch_unwind(|| check(&runtime, &bundle, &residue, &what));
        if checked.is_err() {
            failures.push(what);
        }
        if outcome.call.is_none() {
            break;
        }
        at += stride;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(at > 60, "only {at} system calls were seen");
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

fn prepare(runtime: &Runtime, bundle: &TestBundle, words: &[&str]) {
    if !words.is_empty() {
        runtime.call(&fill(words, bundle)).succeeded();
    }
}

fn fill<'a>(words: &[&'a str], bundle: &'a TestBundle) -> Vec<&'a str> {
    let path = bundle.path().to_str().expect("a temporary path is text");
    let fill = |word: &&'a str| match *word {
        "BUNDLE" => path,
        "ID" => bundle.id(),
        word => word,
    };
    words.iter().map(fill).collect()
}

/// What must hold whatever was interrupted.
fn check(runtime: &Runtime, bundle: &TestBundle, residue: &Residue, what: &str) {
    let state = runtime.call(&["state", bundle.id()]);
    assert!(
        state.code == 0 || state.stderr.contains("does not exist"),
        "{what}: {state}"
    );
    let list = runtime.call(&["list"]);
    assert!(list.code == 0 && list.stderr.is_empty(), "{what}: {list}");
    for _ in 0..2 {
        let delete = runtime.call(&["delete", "--force", bundle.id()]);
        assert!(
            delete.code == 0 && delete.stderr.is_empty(),
            "{what}: {delete}"
        );
    }
    let gone = runtime.call(&["state", bundle.id()]);
    assert!(gone.stderr.contains("does not exist"), "{what}: {gone}");
    let checked = std::panic::catch_unwind(|| stepper::assert_settled(residue, runtime));
    assert!(checked.is_ok(), "{what}: something is left, see above");
}

const CREATE: &[&str] = &["create", "--bundle", "BUNDLE", "ID"];
const RUN: &[&str] = &["run", "--detach", "--bundle", "BUNDLE", "ID"];
const START: &[&str] = &["start", "ID"];
const EXEC: &[&str] = &["exec", "--detach", "ID", "sleep", "1000"];
const DELETE: &[&str] = &["delete", "--force", "ID"];

#[test]
fn create_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "createkill",
        prepare: &[],
        words: CREATE,
        whose: Whose::Runtime,
        stride: 1,
    });
}

#[test]
fn create_whose_child_is_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "createchild",
        prepare: &[],
        words: CREATE,
        whose: Whose::Children,
        stride: 2,
    });
}

#[test]
fn run_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "runkill",
        prepare: &[],
        words: RUN,
        whose: Whose::Runtime,
        stride: 7,
    });
}

#[test]
fn run_whose_child_is_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "runchild",
        prepare: &[],
        words: RUN,
        whose: Whose::Children,
        stride: 17,
    });
}

#[test]
fn start_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "startkill",
        prepare: CREATE,
        words: START,
        whose: Whose::Runtime,
        stride: 2,
    });
}

#[test]
fn exec_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "execkill",
        prepare: RUN,
        words: EXEC,
        whose: Whose::Runtime,
        stride: 7,
    });
}

#[test]
fn exec_whose_child_is_killed_at_any_call_leaves_nothing() {
    needs!(Root);
    interrupt(&Case {
        topic: "execchild",
        prepare: RUN,
        words: EXEC,
        whose: Whose::Children,
        stride: 3,
    });
}

#[test]
fn delete_killed_at_any_call_can_be_repeated() {
    needs!(Root);
    interrupt(&Case {
        topic: "deletekill",
        prepare: RUN,
        words: DELETE,
        whose: Whose::Runtime,
        stride: 4,
    });
}

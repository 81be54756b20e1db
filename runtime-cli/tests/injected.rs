//! A runtime one of whose system calls fails, whichever and for whatever reason: either it says
//! so and nothing is left, or the container is exactly the one that was asked for.
//!
//! By default each call fails once, with one of the numbers in turn; with `TARE_LONG=1` each
//! with all of them.
#![cfg(target_arch = "x86_64")]

use nix::errno::Errno;
use testkit::{Marker, Residue, Runtime, TestBundle, needs};

use crate::stepper::{Act, Outcome, Whose};

mod stepper;

const NUMBERS: [Errno; 9] = [
    Errno::ENOMEM,
    Errno::EINTR,
    Errno::EAGAIN,
    Errno::EBUSY,
    Errno::ENOSPC,
    Errno::EMFILE,
    Errno::EIO,
    Errno::EPERM,
    Errno::ENOSYS,
];

/// Calls that signals interrupt; to fail because of one would be the runtime's mistake.
const INTERRUPTIBLE: [i64; 9] = [
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_waitid,
    libc::SYS_wait4,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_read,
    libc::SYS_write,
];

/// What a container tells of itself: everything that keeps it apart from the host.
const FINGERPRINT: &str = "exec 2>&1; grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' /proc/self/status; \
     sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //; s/tt-[a-z]*-[0-9]*-[0-9]*-*[A-Za-z0-9]*//g' /proc/self/mountinfo; \
     hostname; cat /proc/self/limits /proc/self/cgroup; pwd; env | grep -v ^HOME=; ls /proc/self/fd; \
     stat -c '%n %f %u:%g %t:%T' /dev/* /proc/keys 2>&1; cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || \
     cat /sys/fs/cgroup/pids.max";

struct Case {
    topic: &'static str,
    prepare: &'static [&'static str],
    words: &'static [&'static str],
    whose: Whose,
    /// Calls from one that is tried to the next, by default.
    stride: u32,
    /// Exit code of a failure.
    failure: i32,
}

/// Lets call after call fail until there are no more.
fn inject(case: &Case) {
    let marker = Marker::new(case.topic);
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker, case);
    let healthy = fingerprint(&runtime, &bundle, case);
    let long = std::env::var_os("TARE_LONG").is_some();
    let mut at = 1;
    let mut failures = Vec::new();
    let mut turn = usize::try_from(at).expect("a small number");
    'calls: loop {
        let numbers: Vec<Errno> = if long {
            NUMBERS.to_vec()
        } else {
            vec![NUMBERS[turn % NUMBERS.len()]]
        };
        turn += 1;
        for errno in numbers {
            prepare(&runtime, &bundle, case.prepare);
            let words = fill(case.words, &bundle);
            let outcome = stepper::run(&runtime.command(&words), case.whose, at, Act::Fail(errno));
            let Some(call) = outcome.call else {
                runtime
                    .call(&["delete", "--force", bundle.id()])
                    .succeeded();
                break 'calls;
            };
            let what = format!(
                "call {at} ({}) with {errno:?}, exit code {:?}, stderr: {}",
                outcome.call_name(),
                outcome.code,
                outcome.stderr
            );
            let checked = std::panic::catch_unwind(|| {
                assert!(!outcome.hung, "{what}");
                judge(&outcome, call, errno, case, &healthy, &what);
                assert_clean(&runtime, &bundle, &residue, &outcome, case, &what);
            });
            if checked.is_err() {
                failures.push(what);
                runtime.call(&["delete", "--force", bundle.id()]);
            }
        }
        at += if long { 1 } else { case.stride };
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(at > 40, "only {at} system calls were seen");
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

fn bundle(marker: &Marker, case: &Case) -> TestBundle {
    let bundle = TestBundle::busybox(marker)
        .set("/linux/cgroupsPath", format!("/{marker}").into())
        .set("/linux/resources/pids", serde_json::json!({"limit": 77}))
        .set(
            "/linux/seccomp",
            serde_json::json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
            }),
        );
    let bundle = if case.prepare.is_empty() && case.words == RUN {
        bundle.script(FINGERPRINT)
    } else {
        bundle.args(&["sleep", "1000"])
    };
    bundle.save();
    bundle
}

/// What the command prints when nothing fails.
fn fingerprint(runtime: &Runtime, bundle: &TestBundle, case: &Case) -> String {
    prepare(runtime, bundle, case.prepare);
    let healthy = runtime.call(&fill(case.words, bundle)).success();
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    healthy.stdout
}

/// Either it failed and said so in one line, or it did all of its work.
fn judge(outcome: &Outcome, call: i64, errno: Errno, case: &Case, healthy: &str, what: &str) {
    assert_eq!(outcome.signal, None, "{what}");
    if outcome.code == Some(0) {
        let is_changed = |(old, new): &(&str, &str)| old != new;
        let changed: Vec<_> = healthy
            .lines()
            .zip(outcome.stdout.lines())
            .filter(is_changed)
            .collect();
        assert!(
            outcome.stdout == healthy,
            "a container other than asked for: {what}: {changed:?}"
        );
        return;
    }
    assert_eq!(outcome.code, Some(case.failure), "{what}{}", outcome.stdout);
    assert_eq!(outcome.stderr.lines().count(), 1, "not one line: {what}");
    assert!(outcome.stderr.contains("level=error"), "no record: {what}");
    assert!(!outcome.stderr.contains("panicked"), "{what}");
    assert!(
        errno != Errno::EINTR || !INTERRUPTIBLE.contains(&call),
        "an interrupted call was not repeated: {what}"
    );
}

/// Nothing is left of a failure, and of a success not after its end.
fn assert_clean(
    runtime: &Runtime,
    bundle: &TestBundle,
    residue: &Residue,
    outcome: &Outcome,
    case: &Case,
    what: &str,
) {
    let makes_container = case.prepare.is_empty();
    // The status of `run` is the process's, also when the container could not be deleted
    // afterwards, which is said.
    let is_left = case.words == RUN && outcome.code == Some(0) && !outcome.stderr.is_empty();
    if is_left {
        assert_eq!(outcome.stderr.lines().count(), 1, "not one line: {what}");
        assert!(outcome.stderr.contains("level=error"), "no record: {what}");
    }
    if makes_container && !is_left && (outcome.code != Some(0) || case.words == RUN) {
        let state = runtime.call(&["state", bundle.id()]);
        assert!(
            state.stderr.contains("does not exist"),
            "{what}\nleft a container: {state}"
        );
    } else {
        let delete = runtime.call(&["delete", "--force", bundle.id()]);
        assert!(delete.code == 0, "{what}\n{delete}");
    }
    let checked = std::panic::catch_unwind(|| stepper::assert_settled(residue, runtime));
    assert!(checked.is_ok(), "something is left, see above: {what}");
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

const CREATE: &[&str] = &["create", "--bundle", "BUNDLE", "ID"];
const RUN: &[&str] = &["run", "--bundle", "BUNDLE", "ID"];
const RUN_DETACHED: &[&str] = &["run", "--detach", "--bundle", "BUNDLE", "ID"];
const START: &[&str] = &["start", "ID"];
const EXEC: &[&str] = &["exec", "ID", "sh", "-c", FINGERPRINT];
const DELETE: &[&str] = &["delete", "--force", "ID"];

#[test]
fn a_failing_call_of_create_is_an_error_that_leaves_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "createfault",
        prepare: &[],
        words: CREATE,
        whose: Whose::Runtime,
        stride: 3,
        failure: 1,
    });
}

#[test]
fn a_failing_call_of_run_is_an_error_or_changes_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "runfault",
        prepare: &[],
        words: RUN,
        whose: Whose::Runtime,
        stride: 1,
        failure: 1,
    });
}

#[test]
fn a_failing_call_of_init_is_an_error_or_changes_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "initfault",
        prepare: &[],
        words: RUN,
        whose: Whose::Children,
        stride: 1,
        failure: 1,
    });
}

#[test]
fn a_failing_call_of_start_is_an_error_or_changes_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "startfault",
        prepare: CREATE,
        words: START,
        whose: Whose::Runtime,
        stride: 1,
        failure: 1,
    });
}

#[test]
fn a_failing_call_of_exec_is_an_error_or_changes_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "execfault",
        prepare: RUN_DETACHED,
        words: EXEC,
        whose: Whose::Runtime,
        stride: 3,
        failure: 255,
    });
}

#[test]
fn a_failing_call_of_execs_child_is_an_error_or_changes_nothing() {
    needs!(Root);
    inject(&Case {
        topic: "execchildfault",
        prepare: RUN_DETACHED,
        words: EXEC,
        whose: Whose::Children,
        stride: 1,
        failure: 255,
    });
}

#[test]
fn delete_can_be_repeated_after_any_call_that_failed() {
    needs!(Root);
    inject(&Case {
        topic: "deletefault",
        prepare: RUN_DETACHED,
        words: DELETE,
        whose: Whose::Runtime,
        stride: 3,
        failure: 1,
    });
}

/// Newer calls, each hidden as a whole: for every one there is another way to the same
/// container, or an error that names it.
#[test]
fn a_hidden_call_is_an_error_or_changes_nothing() {
    needs!(Root);
    let hidden = [
        libc::SYS_openat2,
        libc::SYS_mount_setattr,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_clone3,
        libc::SYS_close_range,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_memfd_create,
        libc::SYS_execveat,
        libc::SYS_keyctl,
        libc::SYS_seccomp,
        libc::SYS_waitid,
    ];
    let case = Case {
        topic: "hidden",
        prepare: &[],
        words: RUN,
        whose: Whose::All,
        stride: 1,
        failure: 1,
    };
    let marker = Marker::new(case.topic);
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = bundle(&marker, &case);
    let healthy = fingerprint(&runtime, &bundle, &case);
    let mut failures = Vec::new();
    for call in hidden {
        let words = fill(case.words, &bundle);
        let command = runtime.command(&words);
        let outcome = stepper::run(&command, case.whose, 1, Act::Hide(call));
        let what = format!(
            "without {}: exit code {:?}, stderr: {}",
            stepper::name(call),
            outcome.code,
            outcome.stderr
        );
        let checked = std::panic::catch_unwind(|| {
            assert!(!outcome.hung, "{what}");
            judge(&outcome, call, Errno::ENOSYS, &case, &healthy, &what);
            assert_clean(&runtime, &bundle, &residue, &outcome, &case, &what);
        });
        if checked.is_err() {
            failures.push(what);
            runtime.call(&["delete", "--force", bundle.id()]);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

//! Where system calls are missing a runtime may refuse, but not in any way.

use testkit::needs;

use crate::kit::without_calls;

const OPENAT2: &[&str] = &["--without", "openat2"];

#[test]
fn the_calls_are_missing_and_others_are_not() {
    needs!(Root, Program("runc"));
    // openat2, clone3, mount_setattr, pidfd_getfd.
    let calls = ["call:437", "call:435", "call:442", "call:438:-1"];
    let tries = "\"$PROGRAM\" inside try call:437 call:435 call:442 call:438:-1 >&2; exit 1";
    for (options, missing) in [
        (&["--without", "openat2,clone3"][..], &calls[..2]),
        (&["--old-kernel"], &calls[2..3]),
    ] {
        let (_, text) = without_calls("create", tries, options, "create-then-start");
        for call in calls {
            let is_missing = text.contains(&format!("\"{call}\":\"ENOSYS\""));
            assert_eq!(is_missing, missing.contains(&call), "{call}: {text}");
        }
    }
}

#[test]
fn a_refusal_that_names_what_is_missing_is_fine() {
    needs!(Root, Program("runc"));
    let act = "echo 'openat2(2): not implemented' >&2; exit 1";
    let (outcome, detail) = without_calls("create", act, OPENAT2, "create-then-start");
    assert_eq!(outcome, "pass", "{detail}");
    assert!(detail.starts_with("refused: create: exit 1"), "{detail}");
}

#[test]
fn one_that_does_not_is_a_failure() {
    needs!(Root, Program("runc"));
    let act = "echo 'something is not implemented' >&2; exit 1";
    let (outcome, detail) = without_calls("create", act, OPENAT2, "create-then-start");
    assert_eq!(outcome, "fail", "{detail}");
}

#[test]
fn an_error_while_the_program_runs_is_no_refusal() {
    needs!(Root, Program("runc"));
    let act = "\"$R\" \"$@\"; echo 'openat2(2): not implemented' >&2; exit 1";
    let (outcome, detail) = without_calls("start", act, OPENAT2, "kill-term");
    assert_eq!(outcome, "fail", "{detail}");
}

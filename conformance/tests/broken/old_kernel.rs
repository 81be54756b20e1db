//! Where system calls are missing a runtime may refuse, but not in any way.

use testkit::needs;

use crate::kit::without_calls;

const OPENAT2: &[&str] = &["--without", "openat2"];

#[test]
fn the_calls_are_missing_and_others_are_not() {
    needs!(Root, Program("runc"));
    // openat2, clone3, mount_setattr, and pidfd_getfd of no descriptor.
    let tries = "\"$PROGRAM\" inside try call:437 call:435 call:442 call:438:-1 >&2; exit 1";
    let seen = |options| without_calls("create", tries, options, "create-then-start").1;
    let of = |call: &str, answer: &str| format!("\"{call}\":\"{answer}\"");
    let text = seen(&["--without", "openat2,clone3"]);
    for (call, answer) in [
        ("call:437", "ENOSYS"),
        ("call:435", "ENOSYS"),
        ("call:442", "EFAULT"),
        ("call:438:-1", "EBADF"),
    ] {
        assert!(text.contains(&of(call, answer)), "{call}: {text}");
    }
    let text = seen(&["--old-kernel"]);
    for (call, answer) in [
        ("call:437", "EINVAL"),
        ("call:442", "ENOSYS"),
        ("call:438:-1", "EBADF"),
    ] {
        assert!(text.contains(&of(call, answer)), "{call}: {text}");
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

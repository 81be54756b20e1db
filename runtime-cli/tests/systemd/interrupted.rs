//! A runtime that is killed at any system call: `delete --force` takes away what systemd has
//! made for it.

use testkit::needs;

use super::stepper::{Act, Whose};
use super::*;

#[test]
fn a_create_killed_at_any_call_leaves_no_unit_after_delete() {
    needs!(Root, Systemd);
    killed_everywhere("createkill", &["create"]);
}

#[test]
fn a_delete_killed_at_any_call_leaves_no_unit_after_another() {
    needs!(Root, Systemd);
    killed_everywhere("deletekill", &["delete", "--force"]);
}

fn killed_everywhere(topic: &str, command: &[&str]) {
    let stride = if std::env::var_os("TARE_LONG").is_some() {
        1
    } else {
        9
    };
    let subject = Subject::new(topic);
    subject.bundle.save();
    let path = subject.bundle.path().to_str().expect("text").to_owned();
    let creates = command[0] == "create";
    let bundle: &[&str] = if creates { &["--bundle", &path] } else { &[] };
    let words = [command, bundle, &[subject.id()]].concat();
    let mut at = 1;
    loop {
        if !creates {
            subject.create().succeeded();
        }
        let outcome = stepper::run(&subject.command(&words), Whose::Runtime, at, Act::Kill);
        let what = format!("killed at call {at} ({})", outcome.call_name());
        assert!(!outcome.hung, "{what}");
        let list = subject.call(&["list"]);
        assert!(list.code == 0 && list.stderr.is_empty(), "{what}: {list}");
        subject.delete();
        assert_eq!(units_like(subject.marker.as_str()), "", "{what}");
        stepper::assert_settled(&subject.residue, &subject.runtime);
        if outcome.call.is_none() {
            break;
        }
        at += stride;
    }
    assert!(at > 60, "only {at} system calls were seen");
    subject.done();
}

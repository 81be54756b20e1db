//! Where systemd does not run, or only the bus leads to it.

use testkit::needs;

use super::*;

/// The command in a mount namespace where a script has hidden something.
fn hiding(subject: &Subject, script: &str, words: &[&str]) -> Finished {
    subject.bundle.save();
    let inner = subject.command(words);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!("{script} && exec \"$@\""))
        .arg("sh")
        .arg(inner.get_program())
        .args(inner.get_args());
    finish(&mut command, LIMIT)
}

#[test]
fn without_systemd_a_create_is_refused_before_any_effect() {
    needs!(Root);
    let subject = Subject::new("absent");
    let path = subject.bundle.path().to_str().expect("text").to_owned();
    let words = ["create", "--bundle", &path, subject.id()];
    let refused = hiding(&subject, "mount -t tmpfs none /run", &words);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("systemd is not running here: connect /run/systemd/private: no such file or directory (ENOENT)"), "{refused}");
    assert_eq!(
        std::fs::read_dir(subject.runtime.root())
            .expect("it is there")
            .count(),
        0
    );
    let Subject {
        residue,
        runtime,
        bundle,
        ..
    } = subject;
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn where_only_the_bus_leads_to_systemd_it_is_taken() {
    needs!(Root, Systemd);
    let hide = "mount --bind /dev/null /run/systemd/private";
    let subject = Subject::new("bus").set("/linux/resources/pids", json!({ "limit": 9 }));
    let path = subject.bundle.path().to_str().expect("text").to_owned();
    let words = ["run", "--detach", "--bundle", &path, subject.id()];
    hiding(&subject, hide, &words).succeeded();
    assert_eq!(shown(&subject.unit())["TasksMax"], "9");
    let id = subject.id();
    hiding(&subject, hide, &["update", "--pids-limit", "8", id]).succeeded();
    assert_eq!(shown(&subject.unit())["TasksMax"], "8");
    hiding(&subject, hide, &["delete", "--force", id]).succeeded();
    subject.done();
}

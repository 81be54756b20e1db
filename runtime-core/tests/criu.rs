//! A criu that is none: mute, dying, lying, endless. Every wait ends, the error says who it was,
//! and nothing is left. The library runs in this process, which has threads.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime_core::{
    Bundle, CheckpointOptions, Container, ContainerId, Error, ErrorKind, RestoreOptions, Runtime,
    Status,
};
use testkit::{Marker, Residue, TestBundle, needs};

/// How long a criu is waited for here.
const PATIENCE: Duration = Duration::from_secs(2);

/// Functions for a criu in shell: `hear` takes one packet, `say` sends one.
const SHELL: &str = "#!/bin/bash\n\
    fd=$2\n\
    hear() { dd bs=65536 count=1 <&$fd >/dev/null 2>&1; }\n\
    say() { printf \"$1\" | dd bs=65536 iflag=fullblock status=none >&$fd; }\n\
    notify() { say \"\\\\x08\\\\x06\\\\x10\\\\x01\\\\x2a$1\"; hear; }\n";

struct Peer {
    marker: Marker,
    residue: Residue,
    root: tempfile::TempDir,
    place: tempfile::TempDir,
    bundle: TestBundle,
}

impl Peer {
    /// A criu that does what the script says, a bundle, and a directory that passes for images.
    fn new(topic: &str, script: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let bundle = TestBundle::busybox(&marker).args(&["sleep", "1000"]);
        bundle.save();
        let place = marker.directory();
        let criu = place.path().join("criu");
        std::fs::write(&criu, format!("{SHELL}{script}\n")).unwrap();
        std::fs::set_permissions(&criu, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(place.path().join("cp")).unwrap();
        std::fs::write(place.path().join("cp/inventory.img"), "x").unwrap();
        Self {
            residue,
            root: marker.directory(),
            place,
            bundle,
            marker,
        }
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.root.path())
    }

    fn id(&self) -> ContainerId {
        self.marker.as_str().parse().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn run(&self) -> Container {
        let bundle = Bundle::open(self.bundle.path()).unwrap();
        let options = runtime_core::CreateOptions::default();
        self.runtime().run(&self.id(), &bundle, &options).unwrap()
    }

    /// A checkpoint that fails; the container runs on.
    fn dump(self, change: impl FnOnce(&mut CheckpointOptions<'_>)) -> Error {
        let mut container = self.run();
        let (criu, images) = (self.path("criu"), self.path("cp"));
        let mut options = CheckpointOptions {
            deadline: Some(PATIENCE),
            ..CheckpointOptions::new(&criu, &images)
        };
        change(&mut options);
        let started = Instant::now();
        let error = container.checkpoint(&options).unwrap_err();
        assert!(started.elapsed() < PATIENCE * 10, "{:?}", started.elapsed());
        assert_eq!(container.status().unwrap(), Status::Running);
        end(container);
        self.finish();
        error
    }

    /// A restore that fails.
    fn restore(self) -> Error {
        let bundle = Bundle::open(self.bundle.path()).unwrap();
        let (criu, images) = (self.path("criu"), self.path("cp"));
        let options = RestoreOptions {
            deadline: Some(PATIENCE),
            ..RestoreOptions::new(&criu, &images)
        };
        let started = Instant::now();
        let restored = self.runtime().restore(&self.id(), &bundle, &options);
        let error = restored.unwrap_err();
        assert!(started.elapsed() < PATIENCE * 10, "{:?}", started.elapsed());
        let missing = self.runtime().open(&self.id()).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        self.finish();
        error
    }

    fn finish(self) {
        drop((self.bundle, self.place));
        self.root.close().unwrap();
        self.residue.assert_none(&[]);
        assert_eq!(own_children(), "", "children that nobody has reaped");
    }
}

/// Kills, reaps and deletes.
fn end(container: Container) {
    container.kill(libc::SIGKILL, false).unwrap();
    container.init().unwrap().wait().unwrap();
    container.delete(false).unwrap();
}

/// The children of this test's thread.
fn own_children() -> String {
    let thread = nix::unistd::gettid();
    std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap()
}

fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_criu_that_says_nothing_is_killed_at_the_deadline() {
    needs!(Root);
    let mute = "sleep 1000";
    let error = Peer::new("criumute", mute).dump(|_| ());
    says(
        &error,
        ErrorKind::TimedOut,
        &["criu says nothing any more", "2 s in all", "was killed"],
    );
    let error = Peer::new("criumute", mute).restore();
    says(
        &error,
        ErrorKind::TimedOut,
        &["criu says nothing any more", "restore.log"],
    );
}

#[test]
fn a_criu_that_dies_is_quoted() {
    needs!(Root);
    let dying = "hear; echo 'Error: no such kernel' >&2; exit 3";
    let error = Peer::new("criudies", dying).dump(|_| ());
    says(
        &error,
        ErrorKind::Criu,
        &[
            "ended without an answer to dump: exit status 3",
            "Error: no such kernel",
            "dump.log",
        ],
    );
    let error = Peer::new("criudies", dying).restore();
    says(
        &error,
        ErrorKind::Criu,
        &["ended without an answer to restore", "no such kernel"],
    );
    let error = Peer::new("criukilled", "kill -KILL $$").dump(|_| ());
    says(&error, ErrorKind::Criu, &["killed by SIGKILL"]);
}

#[test]
fn a_criu_that_is_not_there_or_no_program_is_named() {
    needs!(Root);
    for topic in ["crumissing", "crumode"] {
        let peer = Peer::new(topic, "exit 0");
        let criu = peer.path("criu");
        let word = if topic == "crumode" {
            std::fs::set_permissions(&criu, std::fs::Permissions::from_mode(0o600)).unwrap();
            "permission denied (EACCES)"
        } else {
            std::fs::remove_file(&criu).unwrap();
            "install it, or say where it is"
        };
        let error = peer.dump(|_| ());
        says(&error, ErrorKind::System, &["start criu", word]);
    }
}

#[test]
fn garbage_is_no_answer() {
    needs!(Root);
    for (script, word) in [
        (
            "hear; say 'hello there'; sleep 1000",
            "what it says is no answer",
        ),
        (
            "hear; say '\\x08\\x01'; sleep 1000",
            "whether it went well is missing",
        ),
        (
            "hear; say '\\x08\\x63\\x10\\x01'; sleep 1000",
            "the answer to no question",
        ),
        // A restore that went well is not what was asked for.
        (
            "hear; say '\\x08\\x0a\\x10\\x01'; sleep 1000",
            "the answer to no question",
        ),
    ] {
        let error = Peer::new("criugarbage", script).dump(|_| ());
        says(&error, ErrorKind::Criu, &[word, "is this program a criu?"]);
    }
    let error = Peer::new("criugarbage", "hear; say '\\xff\\xff'; sleep 1000").restore();
    says(&error, ErrorKind::Criu, &["what it says is no answer"]);
}

#[test]
fn notifications_without_an_end_have_one() {
    needs!(Root);
    let endless = "hear; while :; do notify '\\x0a\\x0a\\x08pre-dump'; done";
    let error = Peer::new("criuendless", endless).dump(|options| {
        options.deadline = Some(Duration::from_secs(60));
    });
    says(&error, ErrorKind::Criu, &["it notifies without an end"]);
}

#[test]
fn a_failure_has_its_errno_and_the_logs_last_errors() {
    needs!(Root);
    // The log is where criu would write it.
    let failing = "hear; say '\\x08\\x01\\x10\\x00\\x38\\x34'";
    let peer = Peer::new("criufails", failing);
    let log = peer.path("work/dump.log");
    let work = peer.path("work");
    std::fs::create_dir(&work).unwrap();
    let script = format!(
        "{SHELL}echo '(00.1) Error (x.c:1): no luck' >{}\n{failing}\n",
        log.display()
    );
    std::fs::write(peer.path("criu"), script).unwrap();
    let error = peer.dump(|options| {
        // The path outlives the options: the test ends first.
        options.work_path = Some(Box::leak(work.into_boxed_path()));
    });
    says(
        &error,
        ErrorKind::Criu,
        &[
            "criu dump failed",
            "(EBADE)",
            "Error (x.c:1): no luck",
            "work/dump.log",
        ],
    );
    assert_eq!(error.errno(), Some(52));
}

#[test]
fn a_success_that_is_none_is_found_out() {
    needs!(Root);
    // A dump that went well, and a container that runs on.
    let error = {
        let peer = Peer::new("criulies", "hear; say '\\x08\\x01\\x10\\x01'");
        let mut container = peer.run();
        let (criu, images) = (peer.path("criu"), peer.path("cp"));
        let options = CheckpointOptions {
            deadline: Some(Duration::from_secs(30)),
            ..CheckpointOptions::new(&criu, &images)
        };
        let error = container.checkpoint(&options).unwrap_err();
        end(container);
        peer.finish();
        error
    };
    says(
        &error,
        ErrorKind::TimedOut,
        &["has written the images and not ended container init"],
    );
    // The same with an exit status of its own.
    let script = "hear; say '\\x08\\x01\\x10\\x01'; exit 5";
    let error = Peer::new("criulies", script).dump(|_| ());
    says(
        &error,
        ErrorKind::Criu,
        &["is done, and ended with exit status 5"],
    );
}

#[test]
fn a_restore_that_was_never_checked_is_none() {
    needs!(Root);
    let restored = "say '\\x08\\x02\\x10\\x01\\x22\\x02\\x08\\x01'";
    // Without a word about a process.
    let error = Peer::new("crunone", &format!("hear; {restored}")).restore();
    says(&error, ErrorKind::Criu, &["has not made one"]);
    // The host's init, which is nobody's child here.
    for moment in [
        "\\x0cpost-restore",
        "\\x0apre-resume",
        "\\x10setup-namespaces",
    ] {
        let length = match moment {
            "\\x0cpost-restore" => "\\x10",
            "\\x0apre-resume" => "\\x0e",
            _ => "\\x14",
        };
        let notice = format!("hear; notify '{length}\\x0a{moment}\\x10\\x01'; {restored}");
        let error = Peer::new("crustranger", &notice).restore();
        says(
            &error,
            ErrorKind::Criu,
            &["pid 1 is the restored init", "no child of this program"],
        );
    }
    // A terminal that does not come.
    let terminal = "hear; notify '\\x13\\x0a\\x11orphan-pts-master'";
    let error = Peer::new("cruterminal", terminal).restore();
    says(
        &error,
        ErrorKind::Criu,
        &["tells of a terminal and does not give it"],
    );
}

#[test]
fn what_a_criu_leaves_behind_goes_with_it() {
    needs!(Root);
    // Its children are in the container's cgroup, in a session of their own or not.
    let script = "sleep 1000 & setsid sleep 1000 & hear; exit 1";
    let error = Peer::new("criuchildren", script).restore();
    says(&error, ErrorKind::Criu, &["ended without an answer"]);
}

#[test]
fn an_option_of_a_newer_criu_is_refused_by_its_version() {
    needs!(Root);
    // 3.17.1, as criu says it.
    let version = "hear; say '\\x08\\x0a\\x10\\x01\\x52\\x06\\x08\\x03\\x10\\x11\\x20\\x01'";
    let error = Peer::new("criuold", version).dump(|options| {
        options.network_lock = Some(runtime_core::NetworkLock::Skip);
    });
    says(
        &error,
        ErrorKind::Unsupported,
        &["network_lock needs criu 3.18 or newer, and this one is 3.17.1"],
    );
}

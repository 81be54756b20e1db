//! Peers that say nothing: every wait ends, and the error says whom it waited for.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish, needs};

const LIMIT: Duration = Duration::from_secs(120);

struct Mute {
    residue: Residue,
    runtime: Runtime,
    bundle: TestBundle,
}

impl Mute {
    fn new(topic: &str, change: impl FnOnce(TestBundle) -> TestBundle) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
        let bundle = TestBundle::busybox(&marker)
            .args(&["sleep", "1000"])
            .set("/linux/cgroupsPath", format!("/{marker}").into());
        let bundle = change(bundle);
        bundle.save();
        Self {
            residue,
            runtime,
            bundle,
        }
    }

    fn call(&self, before: &[&str]) -> Finished {
        let path = self
            .bundle
            .path()
            .to_str()
            .expect("a temporary path is text");
        let words = [before, &["--bundle", path, self.bundle.id()]].concat();
        finish(&mut self.runtime.command(&words), LIMIT)
    }

    /// It failed in one line with these words, and nothing is left.
    fn failed(self, finished: &Finished, says: &[&str]) {
        assert_eq!(finished.code, 1, "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        for word in says {
            assert!(finished.stderr.contains(word), "{word}: {finished}");
        }
        self.check_gone();
    }

    fn check_gone(self) {
        let state = self.runtime.call(&["state", self.bundle.id()]);
        assert!(state.stderr.contains("does not exist"), "{state}");
        drop(self.bundle);
        self.residue.assert_none(&[&self.runtime]);
    }
}

#[test]
fn a_hook_that_never_ends_is_killed_at_its_timeout() {
    needs!(Root);
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
    ] {
        let shell = if kind == "startContainer" {
            "/bin/sh"
        } else {
            "/bin/sleep"
        };
        let args = if kind == "startContainer" {
            vec!["sh", "-c", "sleep 1000"]
        } else {
            vec!["sleep", "1000"]
        };
        let hook = json!({"path": shell, "args": args, "timeout": 1});
        let mute = Mute::new(kind, |bundle| bundle.set("/hooks", json!({kind: [hook]})));
        let run = mute.call(&["run", "--detach"]);
        mute.failed(&run, &[kind, "hook #0", "timed out after 1 s"]);
    }
}

#[test]
fn a_poststop_hook_that_never_ends_does_not_keep_the_container() {
    needs!(Root);
    let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1});
    let mute = Mute::new("poststop", |bundle| {
        bundle.set("/hooks", json!({"poststop": [hook]}))
    });
    mute.call(&["run", "--detach"]).succeeded();
    let delete = ["delete", "--force", mute.bundle.id()];
    let delete = finish(&mut mute.runtime.command(&delete), LIMIT);
    assert_eq!(delete.code, 0, "{delete}");
    mute.check_gone();
}

#[test]
fn a_hook_that_keeps_the_state_unread_and_its_output_open_is_no_trap() {
    needs!(Root);
    // Its grandchild holds the output open when the hook itself has long ended.
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; sleep 3 & exit 0"]});
    let mute = Mute::new("output", |bundle| {
        bundle.set("/hooks", json!({"createRuntime": [hook]}))
    });
    let run = mute.call(&["run", "--detach"]);
    run.succeeded();
    assert!(
        run.took < LIMIT / 2,
        "it waited for the output: {:?}",
        run.took
    );
    mute.runtime
        .call(&["delete", "--force", mute.bundle.id()])
        .succeeded();
    mute.check_gone();
}

#[test]
fn a_console_socket_that_nobody_reads_does_not_block() {
    needs!(Root);
    let mute = Mute::new("console", |bundle| {
        bundle.set("/process/terminal", true.into())
    });
    let socket = mute.bundle.path().join("console.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket can be bound");
    let socket = socket
        .to_str()
        .expect("a temporary path is text")
        .to_owned();
    // It is sent without waiting for a reader: the connection is in the listener's queue.
    let create = mute.call(&["create", "--console-socket", &socket]);
    create.succeeded();
    mute.runtime
        .call(&["delete", "--force", mute.bundle.id()])
        .succeeded();
    drop(_listener);
    mute.check_gone();
}

#[test]
fn a_listener_whose_queue_is_full_is_named_in_time() {
    needs!(Root);
    let mute = Mute::new("full", |bundle| {
        bundle.set("/process/terminal", true.into())
    });
    let path = mute.bundle.path().join("full.sock");
    let listener = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket can be made");
    let address = nix::sys::socket::UnixAddr::new(&path).expect("a short path");
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address)
        .expect("it can be bound");
    let backlog = nix::sys::socket::Backlog::new(0).expect("none");
    nix::sys::socket::listen(&listener, backlog).expect("it can listen");
    let _first = std::os::unix::net::UnixStream::connect(&path).expect("there is room for one");
    let socket = path.to_str().expect("a temporary path is text").to_owned();
    let create = mute.call(&["create", "--console-socket", &socket]);
    drop((_first, listener));
    mute.failed(&create, &["--console-socket", "full.sock"]);
}

#[test]
fn a_pidfd_socket_that_is_closed_at_once_is_an_error_that_leaves_nothing() {
    needs!(Root);
    let mute = Mute::new("pidfd", |bundle| bundle);
    let path = mute.bundle.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).expect("a socket can be bound");
    let closer = std::thread::spawn(move || drop(listener.accept()));
    let socket = path.to_str().expect("a temporary path is text").to_owned();
    let create = mute.call(&["create", "--pidfd-socket", &socket]);
    closer.join().expect("it has accepted");
    if create.code == 0 {
        // It was sent before the other end was closed.
        mute.runtime
            .call(&["delete", "--force", mute.bundle.id()])
            .succeeded();
        mute.check_gone();
    } else {
        mute.failed(&create, &["pidfd"]);
    }
}

#[test]
fn output_that_nobody_reads_blocks_the_process_and_not_the_runtime() {
    needs!(Root);
    let mute = Mute::new("pipe", |bundle| bundle.args(&["yes"]));
    let path = mute
        .bundle
        .path()
        .to_str()
        .expect("a temporary path is text");
    let mut run = mute
        .runtime
        .command(&["run", "--bundle", path, mute.bundle.id()]);
    let mut run = run
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runtime starts");
    let mut first = [0; 2];
    let stdout = run.stdout.as_mut().expect("it was asked for");
    stdout.read_exact(&mut first).expect("the process prints");
    mute.runtime.wait_for_status(mute.bundle.id(), "running");
    mute.runtime
        .call(&["kill", mute.bundle.id(), "KILL"])
        .succeeded();
    let ended = run.wait().expect("it is ours");
    assert_eq!(ended.code(), Some(137));
    drop(run);
    mute.check_gone();
}

//! sd_notify(3): a service manager that runs the runtime hears when the container is ready.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;
use testkit::{Fact, Marker, Residue, Runtime, TestBundle, finish, finish_with_input, needs};

const LIMIT: Duration = Duration::from_secs(30);

/// Sends each of its arguments as a message to the socket that its environment names.
const SAY: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main(int count, char **words) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
    for (int i = 1; i < count; i++)
        if (sendto(fd, words[i], strlen(words[i]), 0, (void *)&to, sizeof(to)) < 0) return 1;
    return 0;
}"#;

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    runtime: Runtime,
    marker: Marker,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new(marker: &Marker) -> Self {
        let directory = marker.directory();
        let path = directory.path().join("manager.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            socket,
            path,
            runtime: Runtime::new(env!("CARGO_BIN_EXE_tare"), marker),
            marker: marker.clone(),
            _directory: directory,
        }
    }

    fn spawn(&self, words: &[&str]) -> Child {
        // It may wait for the manager, which ends with the test.
        let command = self.runtime.command(words);
        let mut bound = Command::new("setpriv");
        bound
            .args(["--pdeathsig", "KILL"])
            .arg(command.get_program());
        bound.args(command.get_args());
        bound.env("NOTIFY_SOCKET", &self.path);
        bound.stdin(Stdio::null()).stdout(Stdio::null());
        bound.spawn().unwrap()
    }

    /// The next message, and what came with it.
    fn hear(&self) -> (String, Option<OwnedFd>) {
        let mut payload = [0; 1024];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut payload)];
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .unwrap();
        let descriptor = message.cmsgs().unwrap().find_map(|part| match part {
            ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel has just installed this descriptor for this message alone.
        let descriptor = descriptor.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
        let length = message.bytes;
        (
            String::from_utf8(payload[..length].to_vec()).unwrap(),
            descriptor,
        )
    }

    /// What is said of a container that is ready.
    fn hears_that_it_is_ready(&self, bundle: &TestBundle) {
        let pid = || self.runtime.state(bundle.id())["pid"].clone();
        assert_eq!(self.hear().0, "READY=1\n");
        assert_eq!(self.hear().0, format!("MAINPID={}\n", pid()));
    }

    /// Who tells it waits until it was understood.
    fn answers_the_barrier(&self) {
        let (word, pipe) = self.hear();
        assert_eq!((word.as_str(), pipe.is_some()), ("BARRIER=1", true));
    }

    /// A container with `/say` that runs this.
    fn bundle(&self, script: &str) -> TestBundle {
        let bundle = TestBundle::busybox(&self.marker).script(script);
        let mut compiler = Command::new("gcc");
        compiler.args(["-static", "-O1", "-x", "c", "-", "-o"]);
        compiler.arg(bundle.rootfs().join("say"));
        finish_with_input(&mut compiler, SAY.as_bytes(), LIMIT).succeeded();
        bundle
    }

    fn delete(&self, bundle: &TestBundle) {
        let deleted = self.runtime.call(&["delete", "--force", bundle.id()]);
        deleted.succeeded();
    }
}

/// Whatever the state says, within a while.
fn ended_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().ok();
    child.wait().unwrap();
    None
}

/// Says so when it is ready, after something that is nobody's business.
const READY: &str = "test $NOTIFY_SOCKET = /run/notify/notify.sock || exit 9; \
    /say STATUS=starting \"$(printf 'STATUS=x\\nREADY=1')\" && exec sleep 100";

fn path(bundle: &TestBundle) -> &str {
    bundle.path().to_str().unwrap()
}

#[test]
fn run_in_the_background_returns_when_the_container_is_ready() {
    needs!(Fact::Root, Fact::Program("gcc"));
    let marker = Marker::new("notifyrun");
    let residue = Residue::watch(&marker);
    let manager = Manager::new(&marker);
    let bundle = manager.bundle(READY);
    bundle.save();
    let words = ["run", "--detach", "--bundle", path(&bundle), bundle.id()];
    let mut run = manager.spawn(&words);
    manager.hears_that_it_is_ready(&bundle);
    manager.answers_the_barrier();
    assert_eq!(ended_within(&mut run, LIMIT), Some(0));
    // It can be heard, and not be changed.
    let write = ["exec", bundle.id(), "touch", "/run/notify/x"];
    let refused = manager.runtime.call(&write);
    assert!(refused.stderr.contains("Read-only"), "{refused}");
    manager.delete(&bundle);
    drop((manager, bundle));
    residue.assert_none(&[]);
}

#[test]
fn start_waits_for_a_container_that_another_program_has_created() {
    needs!(Fact::Root, Fact::Program("gcc"));
    let marker = Marker::new("notifystart");
    let residue = Residue::watch(&marker);
    let manager = Manager::new(&marker);
    // An unprivileged user may speak, and a user of a namespace of its own.
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = manager
        .bundle(READY)
        .set("/process/user/uid", json!(1000))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .push("/linux/namespaces", json!({"type": "user"}));
    // Its root may not make it in a rootfs of somebody else's.
    std::fs::create_dir_all(bundle.rootfs().join("run/notify")).unwrap();
    bundle.save();
    let words = ["create", "--bundle", path(&bundle), bundle.id()];
    let mut create = manager.spawn(&words);
    assert_eq!(ended_within(&mut create, LIMIT), Some(0));
    let mut start = manager.spawn(&["start", bundle.id()]);
    manager.hears_that_it_is_ready(&bundle);
    assert!(start.try_wait().unwrap().is_none(), "the barrier holds it");
    manager.answers_the_barrier();
    assert_eq!(ended_within(&mut start, LIMIT), Some(0));
    manager.delete(&bundle);
    drop((manager, bundle));
    residue.assert_none(&[]);
}

#[test]
fn in_the_foreground_the_container_is_heard_and_its_status_is_kept() {
    needs!(Fact::Root, Fact::Program("gcc"));
    let marker = Marker::new("notifyfg");
    let residue = Residue::watch(&marker);
    let manager = Manager::new(&marker);
    let bundle = manager.bundle("/say READY=1; while ! test -e /go; do sleep 0.05; done; exit 7");
    bundle.save();
    let mut run = manager.spawn(&["run", "--bundle", path(&bundle), bundle.id()]);
    manager.hears_that_it_is_ready(&bundle);
    std::fs::write(bundle.rootfs().join("go"), "").unwrap();
    assert_eq!(ended_within(&mut run, LIMIT), Some(7));
    drop((manager, bundle));
    residue.assert_none(&[]);
}

#[test]
fn a_container_that_ends_without_a_word_holds_nobody_up() {
    needs!(Fact::Root, Fact::Program("gcc"));
    let marker = Marker::new("notifyend");
    let residue = Residue::watch(&marker);
    let manager = Manager::new(&marker);
    let bundle = manager.bundle("/say STATUS=bye; exit 3");
    bundle.save();
    let words = ["run", "--detach", "--bundle", path(&bundle), bundle.id()];
    let mut run = manager.spawn(&words);
    assert_eq!(ended_within(&mut run, LIMIT), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let heard = manager.socket.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    manager.delete(&bundle);
    drop((manager, bundle));
    residue.assert_none(&[]);
}

#[test]
fn a_manager_that_is_gone_is_named() {
    needs!(Fact::Root, Fact::Program("gcc"));
    let marker = Marker::new("notifygone");
    let residue = Residue::watch(&marker);
    let manager = Manager::new(&marker);
    let bundle = manager.bundle(READY);
    bundle.save();
    for socket in ["/nonexistent/manager", "vsock:2:1"] {
        let words = ["run", "--detach", "--bundle", path(&bundle), bundle.id()];
        let mut run = manager.runtime.command(&words);
        let failed = finish(run.env("NOTIFY_SOCKET", socket), LIMIT);
        assert_eq!(failed.code, 1, "{failed}");
        let words = format!("connect to NOTIFY_SOCKET={socket}: ");
        assert!(failed.stderr.contains(&words), "{failed}");
    }
    drop((manager, bundle));
    residue.assert_none(&[]);
}

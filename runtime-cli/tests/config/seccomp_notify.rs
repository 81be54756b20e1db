//! `SCMP_ACT_NOTIFY`: an agent is told of the container's process, and answers its calls.
#![allow(unsafe_code, reason = "ioctl(2), and descriptors that were received")]

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};
use testkit::needs;

use crate::container::{Container, eventually, proc_file, status_line};

/// How long the agent waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// struct seccomp_notif (linux/seccomp.h).
#[derive(Default)]
#[repr(C)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// struct seccomp_notif_resp.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

nix::ioctl_readwrite!(next_notification, b'!', 0, Notification);
nix::ioctl_readwrite!(send_answer, b'!', 1, Answer);

/// Who listens at listenerPath.
struct Agent {
    socket: UnixListener,
}

fn agent_path(container: &Container) -> PathBuf {
    container.path("agent.sock").into()
}

/// What it was told of one process.
struct Told {
    document: Value,
    listener: OwnedFd,
}

fn wait_for(fd: &impl std::os::fd::AsFd, what: &str) {
    let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut polled, timeout).expect("it can be polled");
    assert_eq!(ready, 1, "{what}: not within {PATIENCE:?}");
}

impl Agent {
    /// Goes before its container, which looks for what is left.
    fn of(container: &Container) -> Self {
        let path = agent_path(container);
        let socket = UnixListener::bind(&path).expect("the path is free");
        Self { socket }
    }

    /// The one message of the next connection, which then has to end.
    fn told(&self) -> Told {
        wait_for(&self.socket, "a connection");
        let (mut stream, _) = self.socket.accept().expect("there is one");
        let mut text = vec![0; 1 << 16];
        let mut room = nix::cmsg_space!([std::os::fd::RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), flags)
            .expect("a message comes");
        let rights = message
            .cmsgs()
            .expect("there is room for them")
            .map(|part| match part {
                ControlMessageOwned::ScmRights(numbers) => numbers,
                other => panic!("{other:?}"),
            });
        let numbers: Vec<_> = rights.flatten().collect();
        assert_eq!(numbers.len(), 1, "one descriptor");
        // SAFETY: the kernel has just installed it for this message alone.
        let listener = unsafe { OwnedFd::from_raw_fd(numbers[0]) };
        let length = message.bytes;
        text.truncate(length);
        stream.set_read_timeout(Some(PATIENCE)).expect("it has one");
        stream.read_to_end(&mut text).expect("it ends");
        let document = serde_json::from_slice(&text).expect("it is JSON");
        Told { document, listener }
    }
}

impl Told {
    /// Answers one call with an error; who made it.
    fn refuse(&self, errno: i32) -> u32 {
        wait_for(&self.listener, "a notification");
        let mut notification = Notification::default();
        // SAFETY: a zeroed structure of the size that the request's number has.
        unsafe { next_notification(self.listener.as_raw_fd(), &raw mut notification) }
            .expect("there is one");
        let mut answer = Answer {
            id: notification.id,
            value: 0,
            error: -errno,
            flags: 0,
        };
        // SAFETY: as above.
        unsafe { send_answer(self.listener.as_raw_fd(), &raw mut answer) }
            .expect("the caller waits");
        notification.pid
    }
}

fn profile(path: &str, names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "any text",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

const MAKE: &[&str] = &["mkdir", "mkdirat"];

#[test]
fn an_agent_answers_what_the_container_and_its_execs_ask() {
    needs!(Root);
    for nnp in [true, false] {
        let container = Container::new("notify");
        let path = agent_path(&container).display().to_string();
        let mut filter = profile(&path, MAKE);
        filter["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let container = container
            .set("/process/noNewPrivileges", nnp)
            .set("/linux/seccomp", filter)
            .script("mkdir /x 2>&1; ls -d /x 2>&1; sleep 1000");
        let agent = Agent::of(&container);
        let run = container.runtime.run_detached(container.bundle()).success();
        let pid = container.pid();
        let told = agent.told();
        assert_eq!(told.document["ociVersion"], "1.3.0");
        assert_eq!(told.document["fds"], json!(["seccompFd"]));
        assert_eq!(told.document["metadata"], "any text");
        assert_eq!(told.document["pid"], pid);
        let state = &told.document["state"];
        assert_eq!(state["status"], "creating");
        assert_eq!(state["id"], container.id());
        assert_eq!(state["pid"], pid);
        assert_ne!(told.refuse(libc::EXDEV), 0);
        eventually("it has printed", || run.stdout_now().lines().count() == 2);
        let printed = run.stdout_now();
        assert!(printed.contains("Invalid cross-device link"), "{printed}");
        assert!(printed.contains("No such file"), "{printed}");
        assert_eq!(status_line(&proc_file(pid, "status"), "Seccomp"), "2");
        // Nobody in the container has the listener.
        let open = container.exec_answered(&agent, |told| {
            assert_eq!(told.document["state"]["status"], "running");
            assert_eq!(told.document["state"]["pid"], pid);
            assert_ne!(told.document["pid"], pid);
            told.refuse(libc::ENOSPC);
        });
        assert!(open.contains("No space left"), "{open}");
        assert!(!open.contains("seccomp"), "{open}");
    }
}

impl Container {
    /// What an exec prints that makes a directory and lists descriptors.
    fn exec_answered(&self, agent: &Agent, answer: impl FnOnce(Told)) -> String {
        let script = "mkdir /y 2>&1; ls -l /proc/1/fd /proc/self/fd";
        std::thread::scope(|scope| {
            let exec = scope.spawn(|| self.exec(script));
            answer(agent.told());
            exec.join().expect("exec succeeds")
        })
    }
}

#[test]
fn without_an_agent_nothing_is_created() {
    needs!(Root);
    let container = Container::new("noagent");
    let path = container.path("agent.sock");
    let said = container
        .set("/linux/seccomp", profile(&path, MAKE))
        .refused();
    assert!(said.contains("agent.sock (listenerPath)"), "{said}");
    assert!(said.contains("no agent listens there"), "{said}");
    // Who is never asked need not be there.
    let mut never = profile(&path, &["no_such_call"]);
    never["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    let container = Container::new("noagent").set("/linux/seccomp", never);
    assert_eq!(container.prints_of("echo ran"), "ran\n");
}

#[test]
fn a_filter_by_which_the_runtime_would_wait_for_itself_is_refused() {
    needs!(Root);
    let path = "/run/no-such-agent.sock";
    let mut default = profile(path, MAKE);
    default["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    let mut nowhere = profile(path, MAKE);
    nowhere["listenerPath"] = json!("");
    nowhere["listenerMetadata"] = json!("");
    let mut relative = profile(path, MAKE);
    relative["listenerPath"] = json!("agent.sock");
    for (filter, place, why) in [
        (
            profile(path, &["write"]),
            "/linux/seccomp/syscalls/0/action",
            "the write syscall",
        ),
        (
            profile(path, &["sendmsg"]),
            "/linux/seccomp/syscalls/0/action",
            "the sendmsg syscall",
        ),
        (default, "/linux/seccomp/defaultAction", "as default action"),
        (nowhere, "/linux/seccomp/listenerPath", "is required"),
        (
            relative,
            "/linux/seccomp/listenerPath",
            "not an absolute path",
        ),
    ] {
        let said = Container::new("selfask")
            .set("/linux/seccomp", filter)
            .refused();
        assert!(said.contains(place), "{said}");
        assert!(said.contains(why), "{said}");
    }
    // What the filter forbids is told as well.
    for nnp in [true, false] {
        let container = Container::new("mute");
        let mut filter = profile(&agent_path(&container).display().to_string(), MAKE);
        let forbidden = json!({"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"});
        filter["syscalls"]
            .as_array_mut()
            .expect("it is one")
            .push(forbidden);
        let container = container
            .set("/process/noNewPrivileges", nnp)
            .set("/linux/seccomp", filter);
        let _agent = Agent::of(&container);
        let said = container.refused();
        assert!(
            said.contains("load the seccomp filter: sendmsg(2)"),
            "{said}"
        );
        assert!(said.contains("allow it"), "{said}");
    }
}

//! The container's terminal.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests end by a panic, and say aloud what they skip"
)]

mod kit;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use kit::{Outcome, Root, failure, keep, proc, tmpfs};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use runtime_init::{Call, Console, Mount, Source, Step};

fn devpts() -> Mount<'static> {
    let options = keep(&[
        (c"newinstance", None),
        (c"ptmxmode", Some(c"0666")),
        (c"mode", Some(c"0620")),
    ]);
    let source = Source::Filesystem {
        kind: c"devpts",
        device: Some(c"devpts"),
        options,
    };
    Mount {
        source,
        ..tmpfs("/dev/pts")
    }
}

fn console(socket: RawFd) -> Console<'static> {
    Console {
        socket,
        size: Some((31, 97)),
        bind: true,
        uid: 0,
        multiplexer: c"/dev/pts/ptmx",
    }
}

fn steps(console: Console<'static>) -> Vec<Step<'static>> {
    vec![
        Step::Mount(proc("/proc")),
        Step::NewSession,
        Step::Mount(tmpfs("/dev")),
        Step::Mount(devpts()),
        Step::Console(console),
        Step::ControllingTerminal,
    ]
}

/// The terminal's master and the name that came with it.
fn receive_master(socket: &UnixStream) -> (fs::File, String) {
    let mut name = [0; 64];
    let mut slices = [std::io::IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let received = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .unwrap();
    let master = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let length = received.bytes;
    // SAFETY: the descriptor has just been received, and nothing else owns it.
    let master = unsafe { OwnedFd::from_raw_fd(master.expect("a descriptor")) };
    (
        master.into(),
        String::from_utf8(name[..length].to_vec()).unwrap(),
    )
}

fn run(root: &Root, script: &str) -> (Outcome, String, String) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let outcome = root
        .scene()
        .before(&steps(console(theirs.as_raw_fd())))
        .run(script);
    let (mut master, name) = receive_master(&ours);
    let mut text = [0; 4096];
    let mut output = Vec::new();
    // EIO: the other end is closed.
    while let Ok(length @ 1..) = master.read(&mut text) {
        output.extend_from_slice(&text[..length]);
    }
    (outcome, name, String::from_utf8(output).unwrap())
}

#[test]
fn the_terminal_is_console_controlling_terminal_and_streams() {
    let root = Root::new();
    let script = "tty; stat -c '%t:%T %u' /dev/console; stat -c '%t:%T' /dev/pts/0; \
         readlink /proc/self/fd/0; readlink /proc/self/fd/2; /bin/busybox stty size; \
         /bin/busybox mknod /dev/tty c 5 0 && echo to-tty > /dev/tty";
    let (outcome, name, text) = run(&root, script);
    assert!(outcome.failure.is_none(), "{outcome:?}");
    assert_eq!(name, "/dev/pts/0");
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "/dev/pts/0",
        "88:0 0",
        "88:0",
        "/dev/pts/0",
        "/dev/pts/0",
        "31 97",
    ];
    assert_eq!(&lines[..6], expected, "{text}");
    if kit::is_root() {
        assert_eq!(&lines[6..], ["to-tty"], "{text}");
    }
}

#[test]
fn the_master_talks_with_the_program() {
    let root = Root::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let steps = steps(console(theirs.as_raw_fd()));
    let talk = std::thread::spawn(move || {
        let (mut master, _) = receive_master(&ours);
        master.write_all(b"hello\n").unwrap();
        let mut text = [0; 256];
        let mut output = Vec::new();
        while let Ok(length @ 1..) = master.read(&mut text) {
            output.extend_from_slice(&text[..length]);
        }
        String::from_utf8(output).unwrap()
    });
    let outcome = root.scene().before(&steps).run("read word; echo got $word");
    assert!(outcome.failure.is_none(), "{outcome:?}");
    assert!(talk.join().unwrap().contains("got hello"));
}

#[test]
fn a_link_in_place_of_console_is_refused() {
    let root = Root::new();
    root.file("victim", "").link("/victim", "dev/console");
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut steps = steps(console(theirs.as_raw_fd()));
    // The image's own /dev.
    steps.remove(2);
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Open, libc::ELOOP));
}

#[test]
fn a_multiplexer_that_is_none_is_not_opened() {
    let root = Root::new();
    root.file("file", "").link("/dev/pts/ptmx", "link");
    nix::unistd::mkfifo(&root.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    for multiplexer in [c"/file", c"/fifo", c"/bin"] {
        let console = Console {
            multiplexer,
            ..console(theirs.as_raw_fd())
        };
        let failed = root.scene().before(&steps(console)).run("true").failure();
        assert_eq!(
            failed,
            failure(Call::DeviceNumbers, libc::ENODEV),
            "{multiplexer:?}"
        );
    }
    let linked = Console {
        multiplexer: c"/link",
        ..console(theirs.as_raw_fd())
    };
    assert!(
        root.scene()
            .before(&steps(linked))
            .run("true")
            .failure
            .is_none()
    );
}

#[test]
fn without_bind_there_is_no_console() {
    let root = Root::new();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let console = Console {
        bind: false,
        size: None,
        ..console(theirs.as_raw_fd())
    };
    let outcome = root
        .scene()
        .before(&steps(console))
        .run("test ! -e /dev/console");
    assert_eq!((outcome.exit, outcome.failure.is_none()), (0, true));
}

#[test]
fn a_socket_without_a_reader_fails() {
    let root = Root::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let steps = steps(console(theirs.as_raw_fd()));
    drop(ours);
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Send, libc::EPIPE));
}

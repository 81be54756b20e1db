//! A terminal: its master arrives by the console socket, as from a runtime.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::termios::tcgetattr;
use shim::failure::{Code, Failure};
use shim::io::{ChildStdio, Prepared, Streams};

use crate::rig::{Ask, Rig, assert_same, collect, fifo, noise, open_reader, open_writer, short};

/// A terminal with its streams.
struct Terminal {
    rig: Rig,
    dir: tempfile::TempDir,
    slave: Option<OwnedFd>,
}

fn send(socket: &OwnedFd, fds: &[i32]) {
    let rights = [ControlMessage::ScmRights(fds)];
    let payload = [IoSlice::new(b"/dev/pts/0")];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &payload,
        &rights,
        MsgFlags::empty(),
        None,
    )
    .unwrap();
}

fn prepare(ask: &Ask) -> (Streams, OwnedFd) {
    let Prepared { child, streams } = ask.prepare(short()).unwrap();
    let ChildStdio::Console(socket) = child else {
        panic!("a console socket, not pipes");
    };
    (streams, socket)
}

impl Terminal {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ask = Ask {
            stdin: fifo(dir.path(), "in").to_str().unwrap().to_owned(),
            stderr: "not looked at".to_owned(),
            terminal: true,
            ..Ask::stdout(fifo(dir.path(), "out").to_str().unwrap())
        };
        Self::of(&ask, dir)
    }

    fn of(ask: &Ask, dir: tempfile::TempDir) -> Self {
        let (mut streams, socket) = prepare(ask);
        let pair = openpty(None, None).unwrap();
        for fd in [&pair.master, &pair.slave] {
            let cloexec = nix::fcntl::FdFlag::FD_CLOEXEC;
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(cloexec)).unwrap();
        }
        send(&socket, &[pair.master.as_raw_fd()]);
        drop((socket, pair.master));
        streams
            .receive_console(Instant::now() + Duration::from_secs(5))
            .unwrap();
        Self {
            rig: Rig::new(streams),
            dir,
            slave: Some(pair.slave),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a script in a session whose terminal this is; nobody else keeps it open.
    /// A shell that ends with 9 when its terminal hangs up, and is ready to.
    fn shell_that_traps_the_end(&mut self) -> Child {
        let ready = self.path("ready");
        let script = format!(
            "trap 'exit 9' HUP; : > {}; while :; do sleep 0.05; done",
            ready.display()
        );
        let child = self.shell(&script);
        let started = Instant::now();
        while !ready.exists() {
            assert!(started.elapsed().as_secs() < 30, "the shell is not ready");
            self.rig.run_for(Duration::from_millis(50));
        }
        child
    }

    fn shell(&mut self, script: &str) -> Child {
        let slave = self.slave.take().unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        Command::new("setsid")
            .args(["--ctty", "--wait", "sh", "-c", script])
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap()
    }
}

#[test]
fn a_terminal_carries_input_and_output() {
    let mut terminal = Terminal::new();
    let out = collect(open_reader(&terminal.path("out")));
    let mut child = terminal.shell("tty >/dev/null && read x && echo got $x >&2; exit 6");
    let mut client = open_writer(&terminal.path("in"));
    client.write_all(b"word\n").unwrap();
    assert_eq!(terminal.rig.finish(&mut child), Some(6));
    // The mode of the terminal is as the kernel makes it: echo, and NL as CR NL.
    let got = out.join().unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), "word\r\ngot word\r\n");
}

#[test]
fn much_output_of_a_terminal_arrives_whole() {
    let mut terminal = Terminal::new();
    let mut out = open_reader(&terminal.path("out"));
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        thread::sleep(Duration::from_millis(300));
        out.read_to_end(&mut all).unwrap();
        all
    });
    let sent: Vec<u8> = noise(4 << 20)
        .into_iter()
        .map(|byte| b'0' + byte % 64)
        .collect();
    let mut writer = File::from(terminal.slave.take().unwrap());
    let writing = thread::spawn({
        let sent = sent.clone();
        move || writer.write_all(&sent).unwrap()
    });
    terminal
        .rig
        .until("the output is drained", Streams::is_drained);
    terminal.rig.close();
    writing.join().unwrap();
    assert_same(&reader.join().unwrap(), &sent);
}

#[test]
fn a_resize_reaches_the_process_and_is_checked() {
    let mut terminal = Terminal::new();
    terminal.rig.streams.resize(132, 43).unwrap();
    let out = collect(open_reader(&terminal.path("out")));
    let mut child = terminal.shell("stty size");
    assert_eq!(terminal.rig.finish(&mut child), Some(0));
    assert_eq!(out.join().unwrap(), b"43 132\r\n");
    assert_eq!(terminal.rig.streams.resize(1, 1), Ok(()), "after the close");

    let terminal = Terminal::new();
    for (width, height) in [(65_536, 1), (1, u32::MAX)] {
        let failure = terminal.rig.streams.resize(width, height).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
    }
    let (rig, _pipes) = Rig::pipes(&Ask::default(), short());
    assert_eq!(rig.streams.resize(80, 25), Ok(()));
}

#[test]
fn the_end_of_input_hangs_the_terminal_up() {
    let mut terminal = Terminal::new();
    let out = collect(open_reader(&terminal.path("out")));
    let mut child = terminal.shell_that_traps_the_end();
    let client = open_writer(&terminal.path("in"));
    drop(client);
    terminal.rig.run_for(Duration::from_millis(200));
    assert!(
        child.try_wait().unwrap().is_none(),
        "a client's going is no end"
    );
    terminal.rig.streams.close_stdin(&terminal.rig.poller);
    assert_eq!(terminal.rig.finish(&mut child), Some(9));
    out.join().unwrap();
}

#[test]
fn the_close_hangs_the_terminal_up() {
    let mut terminal = Terminal::new();
    let mut child = terminal.shell_that_traps_the_end();
    terminal.rig.close();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    let mut terminal = Terminal::new();
    let slave = terminal.slave.take().unwrap();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
    let out = collect(open_reader(&terminal.path("out")));
    for word in ["one", "two", "three"] {
        let mut slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(&name)
            .unwrap();
        slave.write_all(word.as_bytes()).unwrap();
        if word == "one" {
            terminal.slave = None;
        }
        drop(slave);
        terminal.rig.run_for(Duration::from_millis(350));
    }
    drop(slave);
    terminal.rig.run_for(Duration::from_millis(350));
    // Open, and silent so far: no end, whatever was seen before.
    let mut again = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(&name)
        .unwrap();
    assert!(!terminal.rig.streams.is_drained());
    again.write_all(b"four").unwrap();
    drop(again);
    assert!(
        !terminal.rig.streams.is_drained(),
        "there is something to read"
    );
    terminal
        .rig
        .until("the output is drained", Streams::is_drained);
    terminal.rig.close();
    assert_eq!(out.join().unwrap(), b"onetwothreefour");
}

#[test]
fn a_terminal_that_nobody_has_open_wakes_the_loop_rarely() {
    let mut terminal = Terminal::new();
    terminal.slave = None;
    terminal.rig.run_for(Duration::from_secs(2));
    terminal.rig.turns = 0;
    terminal.rig.run_for(Duration::from_secs(2));
    assert!(
        terminal.rig.turns <= 3,
        "{} turns in 2 s",
        terminal.rig.turns
    );
    // Input that comes meanwhile waits.
    let mut client = open_writer(&terminal.path("in"));
    client.write_all(b"x").unwrap();
    terminal.rig.turns = 0;
    terminal.rig.run_for(Duration::from_secs(1));
    assert!(
        terminal.rig.turns <= 40,
        "{} turns in 1 s",
        terminal.rig.turns
    );
    assert!(terminal.rig.streams.is_drained());
}

#[test]
fn a_terminal_with_a_dead_reader_does_not_hold_its_process_up() {
    let mut terminal = Terminal::new();
    let mut child = terminal.shell("head -c 3000000 /dev/zero");
    assert_eq!(terminal.rig.finish(&mut child), Some(0));
    assert!(terminal.rig.streams.dropped() > 2_500_000);
}

#[test]
fn the_output_of_a_terminal_goes_to_files_and_loggers_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let terminal = |stdout: String, dir| {
        let ask = Ask {
            terminal: true,
            ..Ask::stdout(stdout)
        };
        let mut terminal = Terminal::of(&ask, dir);
        let mut child = terminal.shell("echo a line");
        assert_eq!(terminal.rig.finish(&mut child), Some(0));
    };
    terminal(
        format!("file://{}", log.display()),
        tempfile::tempdir().unwrap(),
    );
    assert_eq!(std::fs::read(&log).unwrap(), b"a line\r\n");
    let script = format!(
        "trap '' TERM%3B echo >%265%3B cat <%263 >>{}%3B cat <%264",
        log.display()
    );
    let logger = format!("binary-v2:///bin/sh?-c={}", script.replace(' ', "%20"));
    terminal(logger, tempfile::tempdir().unwrap());
    assert_eq!(std::fs::read(&log).unwrap(), b"a line\r\na line\r\n");
}

#[test]
fn a_master_keeps_its_mode() {
    let mut terminal = Terminal::new();
    let fresh = openpty(None, None).unwrap();
    let ours = tcgetattr(terminal.slave.as_ref().unwrap()).unwrap();
    assert_eq!(ours, tcgetattr(fresh.slave.as_fd()).unwrap());
    terminal.rig.close();
}

#[test]
fn what_is_not_one_terminal_in_time_is_an_error() {
    let ask = Ask {
        terminal: true,
        ..Ask::default()
    };
    let received = |act: &dyn Fn(OwnedFd) -> Option<OwnedFd>| -> Failure {
        let (mut streams, socket) = prepare(&ask);
        let kept = act(socket);
        let deadline = Instant::now() + Duration::from_millis(200);
        let failure = streams.receive_console(deadline).unwrap_err();
        drop(kept);
        failure
    };
    let late = received(&Some);
    assert_eq!(late.code, Code::DEADLINE_EXCEEDED);
    let closed = received(&|_| None);
    assert!(
        closed.message.contains("has closed the console socket"),
        "{closed}"
    );
    let null = File::open("/dev/null").unwrap();
    let other = received(&|socket| {
        send(&socket, &[null.as_raw_fd()]);
        None
    });
    assert!(other.message.contains("not a terminal's master"), "{other}");
    let two = received(&|socket| {
        let pair = openpty(None, None).unwrap();
        send(&socket, &[pair.master.as_raw_fd(), pair.master.as_raw_fd()]);
        None
    });
    assert!(two.message.contains("more than one"), "{two}");
    let slave = received(&|socket| {
        let pair = openpty(None, None).unwrap();
        send(&socket, &[pair.slave.as_raw_fd()]);
        None
    });
    assert!(slave.message.contains("not a terminal's master"), "{slave}");
}

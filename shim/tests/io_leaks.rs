//! What streams leave behind: nothing. A test binary of its own, since it counts the descriptors,
//! children and memory of its process, one test at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitPidFlag, waitpid};
use shim::io::{ChildStdio, Streams};

use rig::{Ask, Rig, fifo, open_reader, shell, short};

#[path = "io/rig.rs"]
mod rig;

/// What this process has, besides the tests' own.
#[derive(Debug)]
struct Stock {
    descriptors: Vec<String>,
    memory: u64,
}

impl Stock {
    fn take() -> Self {
        let entries = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
        // The descriptor of the directory itself is gone by the time of the question.
        let target = |path: &Path| fs::read_link(path).ok()?.to_str().map(str::to_owned);
        let mut descriptors: Vec<_> = entries.filter_map(|entry| target(&entry.path())).collect();
        descriptors.retain(|target| !target.ends_with("/fd"));
        descriptors.sort();
        Self {
            descriptors,
            memory: anonymous_memory(),
        }
    }

    #[track_caller]
    fn compare(&self, most_memory: u64) {
        let now = Self::take();
        assert_eq!(now.descriptors, self.descriptors);
        let grown = now.memory.saturating_sub(self.memory);
        assert!(grown <= most_memory, "{grown} bytes more");
        let child = waitpid(None, Some(WaitPidFlag::WNOHANG));
        assert_eq!(child, Err(Errno::ECHILD), "a child is left");
    }
}

/// Resident memory that is no file's, in bytes.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn terminal(dir: &Path) -> (Rig, OwnedFd) {
    let ask = Ask {
        stdin: text(&dir.join("in")),
        terminal: true,
        ..Ask::stdout(text(&dir.join("out")))
    };
    let prepared = ask.prepare(short()).unwrap();
    let ChildStdio::Console(socket) = prepared.child else {
        panic!("a console socket, not pipes");
    };
    let pair = nix::pty::openpty(None, None).unwrap();
    let numbers = [pair.master.as_raw_fd()];
    let rights = [nix::sys::socket::ControlMessage::ScmRights(&numbers)];
    let payload = [std::io::IoSlice::new(b"x")];
    let flags = nix::sys::socket::MsgFlags::empty();
    nix::sys::socket::sendmsg::<()>(socket.as_raw_fd(), &payload, &rights, flags, None).unwrap();
    drop((socket, pair.master));
    let mut streams = prepared.streams;
    let soon = Instant::now() + Duration::from_secs(5);
    streams.receive_console(soon).unwrap();
    (Rig::new(streams), pair.slave)
}

/// S03, for the streams alone; the whole shim is in `threats/flood.rs`.
#[test]
fn a_thousand_attach_resize_detach_leave_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for name in ["in", "out"] {
        fifo(dir.path(), name);
    }
    let before = Stock::take();
    let (mut rig, slave) = terminal(dir.path());
    let mut slave = File::from(slave);
    let attached = Stock::take();
    for round in 0..1000 {
        let mut out = open_reader(&dir.path().join("out"));
        rig.streams.resize(80 + round % 7, 25).unwrap();
        std::io::Write::write_all(&mut slave, b"x").unwrap();
        rig.turn(Instant::now() + Duration::from_secs(1));
        out.read_exact(&mut [0]).unwrap();
    }
    attached.compare(512 * 1024);
    drop(slave);
    rig.close();
    drop(rig);
    before.compare(512 * 1024);
}

#[test]
fn whole_lives_leave_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [input, out, err] = ["in", "out", "err"].map(|name| text(&fifo(dir.path(), name)));
    let file = format!("file://{}", dir.path().join("log").display());
    let logger = "binary:///bin/sh?-c=echo%20>%265%3B%20exec%205>%26-%3B%20exec%20cat%20<%263";
    let asks = [
        (out.as_str(), err.as_str()),
        (&out, &out),
        (&file, &file),
        (logger, ""),
        ("", ""),
    ];
    let live = |count: usize| {
        for (stdout, stderr) in asks.iter().cycle().take(count) {
            let ask = Ask {
                stdin: input.clone(),
                stderr: (*stderr).to_owned(),
                ..Ask::stdout(stdout)
            };
            let (mut rig, pipes) = Rig::pipes(&ask, short());
            let mut child = shell("echo x; echo y >&2", pipes);
            assert_eq!(rig.finish(&mut child), Some(0));
        }
    };
    live(asks.len());
    let before = Stock::take();
    live(40 * asks.len());
    before.compare(512 * 1024);
}

#[test]
fn preparations_that_fail_halfway_leave_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&dir.path().join(name));
    for name in ["in", "out"] {
        fifo(dir.path(), name);
    }
    std::os::unix::fs::symlink("/dev/null", at("link")).unwrap();
    let ask = |stdout: &str, stderr: &str, terminal| Ask {
        stdin: at("in"),
        stderr: stderr.to_owned(),
        terminal,
        ..Ask::stdout(stdout)
    };
    let asks = [
        ask(&at("out"), &at("missing"), false),
        ask(&at("out"), &format!("file://{}", at("link")), false),
        ask("binary-v2:///bin/true", "", false),
        ask("binary:///nonexistent", "", false),
        ask("binary-v2:///bin/true", "", true),
        ask(&at("missing"), "", true),
    ];
    let fail = |count: usize| {
        for ask in asks.iter().cycle().take(count) {
            ask.prepare(short()).unwrap_err();
        }
    };
    fail(asks.len());
    let before = Stock::take();
    fail(500);
    before.compare(512 * 1024);
}

/// Every call that makes a descriptor fails once, one after the other.
#[test]
fn preparations_without_descriptors_fail_at_every_step_and_leave_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [input, out, err] = ["in", "out", "err"].map(|name| text(&fifo(dir.path(), name)));
    let logger = "binary:///bin/sh?-c=echo%20>%265%3B%20exec%205>%26-%3B%20exec%20cat%20<%263";
    let before = Stock::take();
    let limit = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for (stdout, stderr, terminal) in [
        (out.as_str(), err.as_str(), false),
        (logger, "", false),
        (&out, "", true),
        (logger, "", true),
    ] {
        let ask = Ask {
            stdin: input.clone(),
            stderr: stderr.to_owned(),
            terminal,
            ..Ask::stdout(stdout)
        };
        let mut failures = 0;
        loop {
            let soft = 4 + failures;
            assert!(soft < 200, "it never succeeds");
            setrlimit(Resource::RLIMIT_NOFILE, soft, limit.1).unwrap();
            let prepared = ask.prepare(short());
            setrlimit(Resource::RLIMIT_NOFILE, limit.0, limit.1).unwrap();
            match prepared {
                Ok(prepared) => break drop(prepared),
                Err(failure) => {
                    let said = &failure.message;
                    let names_it = said.contains("EMFILE")
                        || said.contains("EBADF")
                        || said.contains("EINVAL");
                    assert!(names_it, "{said}");
                }
            }
            before.compare(512 * 1024);
            failures += 1;
        }
        assert!(failures > 5, "only {failures} failures");
        before.compare(512 * 1024);
    }
}

/// S03, 2 GiB of it.
#[test]
fn a_flood_to_a_dead_reader_takes_no_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let before = Stock::take();
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(text(&path)), short());
    drop(open_reader(&path));
    let mut child = shell("exec head -c 2G /dev/zero", pipes);
    let mut most = 0;
    rig.until("the process ends", |_| {
        most = most.max(anonymous_memory());
        child.try_wait().unwrap().is_some()
    });
    rig.until("the output is drained", Streams::is_drained);
    assert!(rig.streams.dropped() > (2 << 30) - (1 << 20));
    let grown = most.saturating_sub(before.memory);
    assert!(grown < 2 << 20, "{grown} bytes more");
    rig.close();
    drop(rig);
    before.compare(1 << 20);
}

//! A loop with one process's streams, its client's side, and a process to go with it.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use shim::failure::Failure;
use shim::io::{ChildStdio, Limits, Prepared, Request, Streams, prepare_with};
use shim::poller::{Owner, Poller};

/// How long anything may take before a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const SERIAL: u64 = 7;

/// Limits that a test can wait for.
pub(crate) fn short() -> Limits {
    Limits {
        no_reader: Duration::from_millis(300),
        slow_reader: Duration::from_millis(900),
        logger_ready: Duration::from_secs(5),
        logger_end: Duration::from_millis(400),
    }
}

/// What a request says, with room for changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
    pub(crate) owner: (u32, u32),
}

impl Ask {
    pub(crate) fn stdout(text: impl AsRef<str>) -> Self {
        Self {
            stdout: text.as_ref().to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn prepare(&self, limits: Limits) -> Result<Prepared, Failure> {
        let request = Request {
            stdin: &self.stdin,
            stdout: &self.stdout,
            stderr: &self.stderr,
            terminal: self.terminal,
            owner: self.owner,
            id: "c1",
            namespace: "n1",
            bundle: Path::new("/bundle"),
        };
        prepare_with(&request, limits)
    }
}

/// Streams in their loop.
pub(crate) struct Rig {
    pub(crate) poller: Poller,
    pub(crate) streams: Streams,
    /// How often the loop was woken.
    pub(crate) turns: usize,
}

impl Rig {
    /// Prepares streams, registers them, and gives what the process gets.
    pub(crate) fn pipes(ask: &Ask, limits: Limits) -> (Self, [OwnedFd; 3]) {
        let prepared = ask.prepare(limits).unwrap();
        let ChildStdio::Pipes(pipes) = prepared.child else {
            panic!("pipes, not a terminal");
        };
        (Self::new(prepared.streams), pipes)
    }

    pub(crate) fn new(mut streams: Streams) -> Self {
        let poller = Poller::new().unwrap();
        streams.register(&poller, SERIAL);
        Self {
            poller,
            streams,
            turns: 0,
        }
    }

    /// One turn of the loop, at most until then.
    pub(crate) fn turn(&mut self, until: Instant) {
        let deadline = self.streams.next_deadline();
        let wake = deadline.map_or(until, |deadline| deadline.min(until));
        if let Some(ready) = self.poller.next(Some(wake)).unwrap() {
            assert!(ready.token.owner == Owner::Streams && ready.token.serial == SERIAL);
            self.streams.ready(&self.poller, ready);
            self.turns += 1;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.streams.tick(&self.poller, now);
            self.turns += 1;
        }
    }

    /// Turns until it holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Streams) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(&mut self.streams) {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
            self.turn(Instant::now() + Duration::from_millis(10));
        }
    }

    /// Turns for so long.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(until);
        }
    }

    /// Turns until the process has ended and its output is handed on, then closes.
    #[track_caller]
    pub(crate) fn finish(&mut self, child: &mut Child) -> Option<i32> {
        self.until("the process ends", |_| child.try_wait().unwrap().is_some());
        self.until("the output is drained", Streams::is_drained);
        self.close();
        child.wait().unwrap().code()
    }

    #[track_caller]
    pub(crate) fn close(&mut self) {
        self.streams.close(&self.poller);
        self.until("everything is closed", |streams| streams.is_closed());
    }
}

/// Runs a shell script with these streams.
pub(crate) fn shell(script: &str, [stdin, stdout, stderr]: [OwnedFd; 3]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0)
        .spawn()
        .unwrap()
}

/// A new FIFO in the directory; its path.
pub(crate) fn fifo(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    mkfifo(&path, Mode::from_bits_truncate(0o700)).unwrap();
    path
}

/// The client's reading end; it does not wait for a writer, its reads do.
pub(crate) fn open_reader(path: &Path) -> File {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .unwrap();
    let flags = nix::fcntl::OFlag::O_RDONLY;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    file
}

/// The client's writing end.
pub(crate) fn open_writer(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Reads to the end of file in a thread, as a client does.
pub(crate) fn collect(mut reader: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    })
}

/// Opens a FIFO in the way that waits for a writer, and reads to its end.
pub(crate) fn collect_blocking(path: &Path) -> JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || std::fs::read(path).unwrap())
}

/// Bytes that no mistake in their order leaves the same.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Equal, without printing megabytes when they are not.
#[track_caller]
pub(crate) fn assert_same(left: &[u8], right: &[u8]) {
    assert_eq!(left.len(), right.len(), "lengths differ");
    let differs = left.iter().zip(right).position(|(l, r)| l != r);
    assert_eq!(differs, None, "the first byte that differs");
}

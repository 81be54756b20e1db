//! Cases side by side, each in a process of its own: what a runtime does to the mounts, names and
//! devices around it ends with that process, and so does a case that comes to no end.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, pipe2};

use crate::outcome::Result as Told;
use crate::sys;

/// How long a case may take, and how long one that was asked to take long.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);
pub(crate) const LONG_LIMIT: Duration = Duration::from_secs(3600);

/// Processes that are at a case each.
#[derive(Debug)]
pub(crate) struct Lanes {
    limit: Duration,
    running: Vec<Running>,
}

/// A process that tells its case's result over a pipe.
#[derive(Debug)]
struct Running {
    index: usize,
    pid: Pid,
    pipe: std::fs::File,
    said: Vec<u8>,
    started: Instant,
}

/// A case that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which one.
    pub(crate) index: usize,
    /// Its result; without one, how it came to its end.
    pub(crate) told: Result<Told, String>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Lanes {
    /// None is at work.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            running: Vec::new(),
        }
    }

    /// How many are at work.
    pub(crate) fn count(&self) -> usize {
        self.running.len()
    }

    /// Which cases they are at.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> {
        self.running.iter().map(|one| one.index)
    }

    /// A process begins with a case. It ends with this program, too.
    ///
    /// # Errors
    ///
    /// When the kernel gives no process.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        act: impl FnOnce() -> Told,
    ) -> Result<(), nix::Error> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        match sys::fork()? {
            ForkResult::Child => perform(writer, act),
            ForkResult::Parent { child } => self.running.push(Running {
                index,
                pid: child,
                pipe: reader.into(),
                said: Vec::new(),
                started: Instant::now(),
            }),
        }
        Ok(())
    }

    /// Waits until one at least is over; none are at work when none is given.
    pub(crate) fn wait(&mut self) -> Vec<Ended> {
        while !self.running.is_empty() {
            self.listen();
            let limit = self.limit;
            let is_over = |running: &mut Running| running.is_silent() || running.is_late(limit);
            let over: Vec<Running> = self.running.extract_if(.., is_over).collect();
            if !over.is_empty() {
                return over.into_iter().map(|one| one.end(limit)).collect();
            }
        }
        Vec::new()
    }

    /// Waits for words of any of them, or for the end of somebody's time.
    fn listen(&self) {
        let left = self.running.iter().map(|one| one.left(self.limit)).min();
        let timeout = left.and_then(|left| PollTimeout::try_from(left).ok());
        let pipes = self.running.iter().map(|one| one.pipe.as_fd());
        let mut pipes: Vec<PollFd<'_>> = pipes
            .map(|pipe| PollFd::new(pipe, PollFlags::POLLIN))
            .collect();
        // A signal that comes meanwhile is no failure: it is asked again.
        poll(&mut pipes, timeout.unwrap_or(PollTimeout::MAX)).ok();
    }
}

impl Running {
    fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.started.elapsed())
    }

    fn is_late(&self, limit: Duration) -> bool {
        self.left(limit).is_zero()
    }

    /// Takes what it has said; whether it says no more.
    fn is_silent(&mut self) -> bool {
        let mut buffer = [0; 65536];
        while self.has_words() {
            match self.pipe.read(&mut buffer) {
                Ok(count @ 1..) => self.said.extend_from_slice(&buffer[..count]),
                _ => return true,
            }
        }
        false
    }

    fn has_words(&self) -> bool {
        let mut pipe = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut pipe, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    fn end(self, limit: Duration) -> Ended {
        let is_late = self.is_late(limit);
        if is_late {
            // It may end in this moment.
            kill(self.pid, Signal::SIGKILL).ok();
        }
        let status = waitpid(self.pid, None);
        let told = serde_json::from_slice(&self.said);
        Ended {
            index: self.index,
            told: told.map_err(|_| match is_late {
                true => format!("no end within {} s", limit.as_secs()),
                false => format!("the process of the case ended without a word: {status:?}"),
            }),
            took: self.started.elapsed(),
        }
    }
}

/// The new process, to its end.
fn perform(writer: OwnedFd, act: impl FnOnce() -> Told) -> ! {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok();
    let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
    let code = match acted.map(|told| serde_json::to_vec(&told)) {
        Ok(Ok(text)) if std::fs::File::from(writer).write_all(&text).is_ok() => 0,
        // A check that can't go on has said why on standard error.
        _ => 101,
    };
    sys::exit_at_once(code)
}

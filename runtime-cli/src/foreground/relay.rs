//! Copying between the caller's terminal and the process's.

use std::io::{self, Stdin, Stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

use crate::failure::{Failure, While};
use crate::terminal::{self, RawMode};

/// How long a terminal that nobody has open is left alone before it is looked at again: a
/// process may close its terminal and open it anew.
const REST_MS: u16 = 100;
/// How long after the process's end its last output may take to come.
const LAST_OUTPUT_MS: u16 = 100;
/// How long after the process's end our own stdout may refuse to take more.
const STALL_MS: u16 = 10_000;
/// At least as many bytes as the kernel keeps for a terminal that is not read.
const TERMINAL_HOLDS: usize = 128 * 1024;

/// Both directions between our stdin and stdout and the master of the process's terminal.
#[derive(Debug)]
pub(super) struct Relay {
    /// Non-blocking.
    master: OwnedFd,
    /// Read without its buffer.
    stdin: Stdin,
    /// Written without its buffer.
    stdout: Stdout,
    /// What the user typed.
    input: Chunk,
    /// What the process wrote.
    output: Chunk,
    /// Whether the process has got an unfinished line.
    in_line: bool,
    /// Whether stdin may have more.
    stdin_open: bool,
    /// Whether stdout still takes anything.
    stdout_open: bool,
    /// Whether nobody had the terminal open when it was last read.
    resting: bool,
    /// Restores the caller's terminal when the relay ends.
    _raw: Option<RawMode>,
}

impl Relay {
    /// Takes over the caller's terminal.
    pub(super) fn new(master: OwnedFd) -> Result<Self, Failure> {
        set_nonblocking(&master).doing("make the terminal non-blocking")?;
        let raw = RawMode::enter()?;
        Ok(Self {
            master,
            stdin: io::stdin(),
            stdout: io::stdout(),
            input: Chunk::default(),
            output: Chunk::default(),
            in_line: false,
            stdin_open: true,
            stdout_open: true,
            resting: false,
            _raw: raw,
        })
    }

    /// Gives the process's terminal the size of the caller's, if that has one.
    pub(super) fn resize(&self) {
        terminal::resize(self.master.as_fd());
    }

    /// Adds what this relay waits for, and says how long at most.
    pub(super) fn wishes<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> PollTimeout {
        if self.stdin_open && self.input.is_empty() {
            fds.push(PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN));
        }
        if self.stdout_open && !self.output.is_empty() {
            fds.push(PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT));
        }
        if self.resting {
            return PollTimeout::from(REST_MS);
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.output.is_empty());
        events.set(PollFlags::POLLOUT, !self.input.is_empty());
        if !events.is_empty() {
            fds.push(PollFd::new(self.master.as_fd(), events));
        }
        PollTimeout::NONE
    }

    /// Copies what can be copied without waiting.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        self.read_stdin();
        self.write_master()?;
        self.read_master()?;
        self.write_stdout();
        Ok(())
    }

    /// Passes the last output on, for as long as it comes and is taken.
    pub(super) fn drain(mut self) -> Result<(), Failure> {
        // Whoever else has the terminal may write for ever, but the process's own output
        // comes first and is no more than a terminal holds.
        let mut chunks_left = TERMINAL_HOLDS / self.output.bytes.len();
        while chunks_left > 0 {
            if self.output.is_empty() {
                chunks_left -= 1;
                self.read_master()?;
            }
            self.write_stdout();
            if (self.output.is_empty() && self.resting) || !self.wait_for_last_output()? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for more to come or for what came to be taken; false when neither happens soon.
    fn wait_for_last_output(&self) -> Result<bool, Failure> {
        let (fd, events, limit_ms) = if self.output.is_empty() {
            (self.master.as_fd(), PollFlags::POLLIN, LAST_OUTPUT_MS)
        } else {
            (self.stdout.as_fd(), PollFlags::POLLOUT, STALL_MS)
        };
        let mut fds = [PollFd::new(fd, events)];
        match poll(&mut fds, PollTimeout::from(limit_ms)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(true),
            Err(error) => Err(error).doing("wait for the last output"),
        }
    }

    /// A terminal has no end of file. At that of stdin the process gets the character that
    /// stands for it, or it would wait for input that can't come; twice after an unfinished
    /// line, since the first only sends that off (termios(3), VEOF).
    fn read_stdin(&mut self) {
        let wanted = self.stdin_open && self.input.is_empty();
        if wanted && is_ready(self.stdin.as_fd(), PollFlags::POLLIN) {
            self.stdin_open = match self.input.fill(&self.stdin) {
                Ok(count) => count > 0,
                Err(errno) => is_passing(errno),
            };
            if self.stdin_open {
                self.in_line = self.input.last().map_or(self.in_line, |byte| byte != b'\n');
            } else {
                let end = terminal::end_of_input(self.master.as_fd());
                self.input.put(&[end; 2][..1 + usize::from(self.in_line)]);
            }
        }
    }

    fn write_master(&mut self) -> Result<(), Failure> {
        match self.input.empty_into(&self.master) {
            // Nobody reads this terminal now; what was typed at it is lost.
            Err(Errno::EIO) => self.input = Chunk::default(),
            Err(errno) if !is_passing(errno) => {
                return Err(errno).doing("write to the process's terminal");
            }
            _ => {}
        }
        Ok(())
    }

    fn read_master(&mut self) -> Result<(), Failure> {
        self.resting = false;
        if !self.output.is_empty() {
            return Ok(());
        }
        match self.output.fill(&self.master) {
            Ok(0) | Err(Errno::EIO) => self.resting = true,
            Err(errno) if !is_passing(errno) => {
                return Err(errno).doing("read the process's terminal");
            }
            _ => {}
        }
        Ok(())
    }

    /// A stdout that takes nothing any more must not keep the process from writing.
    fn write_stdout(&mut self) {
        let wanted = self.stdout_open && !self.output.is_empty();
        if wanted && is_ready(self.stdout.as_fd(), PollFlags::POLLOUT) {
            let written = self.output.empty_into(&self.stdout);
            self.stdout_open = written.is_ok() || written.is_err_and(is_passing);
        }
        if !self.stdout_open {
            self.output = Chunk::default();
        }
    }
}

/// Bytes on their way. No larger than PIPE_BUF: a pipe that is ready takes so many at once.
#[derive(Debug)]
struct Chunk {
    bytes: [u8; 4096],
    start: usize,
    end: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            bytes: [0; 4096],
            start: 0,
            end: 0,
        }
    }
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn fill(&mut self, from: impl AsFd) -> nix::Result<usize> {
        let count = unistd::read(from, &mut self.bytes)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// The last byte that is on its way.
    fn last(&self) -> Option<u8> {
        self.bytes[self.start..self.end].last().copied()
    }

    /// Becomes these few bytes.
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        (self.start, self.end) = (0, bytes.len());
    }

    fn empty_into(&mut self, to: impl AsFd) -> nix::Result<()> {
        if !self.is_empty() {
            self.start += unistd::write(to, &self.bytes[self.start..self.end])?;
        }
        Ok(())
    }
}

/// Whether poll(2) says at once that a call on this descriptor would not wait.
fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// No error, or one that the next event makes good.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EINTR)
}

fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

//! The parent's side of the talk with a child: what is said when is drawn in the module above.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use runtime_init::{Failure, Gate, Message, Phase};

use super::LaunchError;
use crate::network::MovedDevices;
use crate::process::Process;

/// How long the child may take from one word to the next. Mounting is what takes time (a
/// network filesystem, say); hooks of the child have their own limits on top.
const CHILD_DEADLINE: Duration = Duration::from_secs(120);

/// A connected pair of SOCK_SEQPACKET sockets that close at execve(2).
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// A process that has nothing left to do but to execute its program.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) process: Process,
    /// Index of the first step that comes after `start`: what a later failure is counted from.
    pub(crate) start_step: usize,
    sync: OwnedFd,
    /// They go back unless the process lives on.
    devices: Option<MovedDevices>,
}

/// The parent's end of the talk with one child.
pub(super) struct Conversation<'a> {
    pub(super) process: Process,
    pub(super) sync: OwnedFd,
    pub(super) explain: &'a dyn Fn(FailureAt, &str) -> LaunchError,
    /// Whether a second process is still to take over.
    pub(super) expects_second: bool,
    /// A seccomp listener that came from the process before the second one.
    pub(super) listener: Option<OwnedFd>,
}

/// A failure as it crossed the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailureAt {
    pub(crate) step: usize,
    pub(crate) failure: Failure,
}

/// One message of the child.
enum Word {
    Phase(Phase),
    /// [`Phase::Filtered`], and the listener.
    Filtered(OwnedFd),
    /// [`Phase::UserNamespace`], and the namespace.
    UserNamespace(OwnedFd),
    Respawned(i32),
    Failed(FailureAt, String),
    Silence,
}

impl Conversation<'_> {
    /// Answers the child until it is ready. On an error the child is gone and reaped.
    pub(super) fn until_ready(
        &mut self,
        mut answer: impl FnMut(&mut Self, Phase) -> Result<(), LaunchError>,
        ask: impl Fn(i32, OwnedFd) -> Result<(), LaunchError>,
    ) -> Result<(), LaunchError> {
        loop {
            let answered = match self.listen()? {
                Word::Phase(Phase::Ready) => return Ok(()),
                Word::Phase(phase) => answer(self, phase),
                Word::Filtered(listener) if self.expects_second => {
                    self.listener = Some(listener);
                    Ok(())
                }
                Word::Filtered(listener) => ask(self.process.pid(), listener),
                Word::Respawned(pid) => {
                    self.follow(pid).and_then(|()| match self.listener.take() {
                        Some(listener) => ask(self.process.pid(), listener),
                        None => Ok(()),
                    })
                }
                // Nothing in a container's steps lets the child say this.
                Word::UserNamespace(_) => {
                    Err(LaunchError::call("follow container init", Errno::EPROTO))
                }
                Word::Failed(at, text) => Err((self.explain)(at, &text)),
                Word::Silence => return Err(self.died()),
            };
            if let Err(error) = answered {
                self.end();
                return Err(error);
            }
        }
    }

    pub(super) fn tell(&self, gate: Gate) -> Result<(), LaunchError> {
        tell(self.sync.as_fd(), gate)
    }

    /// The next message; the child is ended when none comes in time.
    fn listen(&mut self) -> Result<Word, LaunchError> {
        match hear(self.sync.as_fd(), Instant::now() + CHILD_DEADLINE) {
            Ok(word) => Ok(word),
            Err(Errno::ETIMEDOUT) => {
                self.end();
                Err(LaunchError::TimedOut(CHILD_DEADLINE))
            }
            Err(errno) => {
                self.end();
                Err(LaunchError::call("recv(2) from container init", errno))
            }
        }
    }

    /// Goes on with the process that the first one has made; both are children of this one.
    ///
    /// The second process may be in sight of a container with CAP_SYS_PTRACE, which then speaks
    /// with its voice: a number is believed once, and only of a child.
    fn follow(&mut self, pid: i32) -> Result<(), LaunchError> {
        if !std::mem::take(&mut self.expects_second) {
            return Err(LaunchError::call("follow container init", Errno::EPROTO));
        }
        let second =
            Process::open(pid).map_err(|errno| LaunchError::call("pidfd_open(2)", errno))?;
        if !second.is_child() {
            return Err(LaunchError::call("follow container init", Errno::ECHILD));
        }
        let first = std::mem::replace(&mut self.process, second);
        first
            .wait()
            .map_err(|errno| LaunchError::call("waitid(2)", errno))
            .map(|_| ())
    }

    /// What the end of a silent child means.
    fn died(&mut self) -> LaunchError {
        match self.process.wait() {
            Ok(exit) => LaunchError::Died(exit),
            Err(errno) => LaunchError::call("waitid(2)", errno),
        }
    }

    /// Kills and reaps the child.
    fn end(&mut self) {
        end(&self.process);
    }

    pub(super) fn launched(self, start_step: usize, devices: Option<MovedDevices>) -> Launched {
        Launched {
            devices,
            process: self.process,
            start_step,
            sync: self.sync,
        }
    }
}

/// How long a killed child may take to end. One that stands still in a paused container ends
/// when that goes on.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// Kills and reaps a child; one that is gone already is no error.
pub(crate) fn end(process: &Process) {
    // A child that nobody has reaped keeps its number, so without pidfds that serves as well.
    let by_number = |errno| {
        if !process.is_child() {
            return Err(errno);
        }
        let pid = nix::unistd::Pid::from_raw(process.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
    };
    let killed = process.kill().or_else(by_number).is_ok();
    if killed && process.ended_within(DEATH_DEADLINE) == Ok(true) {
        // ECHILD means that it is reaped already: there is nothing left to do.
        let _reaped = process.wait();
    }
}

fn tell(sync: BorrowedFd<'_>, gate: Gate) -> Result<(), LaunchError> {
    let message = Message {
        kind: Message::GATE,
        subject: gate as u16,
        call: 0,
        reserved: 0,
        code: 0,
    };
    let bytes = message.to_bytes();
    let sent = sendmsg::<()>(
        sync.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        &[],
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    match sent {
        // A child that has just failed has closed its end: its message is still to be read.
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
        Err(errno) => Err(LaunchError::call("send(2) to container init", errno)),
    }
}

/// The user namespace of a child that has nothing else to say.
pub(super) fn user_namespace(sync: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match hear(sync, Instant::now() + CHILD_DEADLINE)? {
        Word::UserNamespace(namespace) => Ok(namespace),
        Word::Failed(at, _) => Err(Errno::from_raw(at.failure.code)),
        // It was killed, for want of memory say.
        Word::Silence => Err(Errno::ECHILD),
        _ => Err(Errno::EPROTO),
    }
}

/// Reads one message until the deadline: ETIMEDOUT after it.
fn hear(sync: BorrowedFd<'_>, deadline: Instant) -> Result<Word, Errno> {
    let mut buffer = [0; Message::SIZE + Message::TEXT_MAX];
    let (length, descriptor) = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(sync, PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => {}
        }
        match crate::sys::receive(sync, &mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(Errno::ECONNRESET) => break (0, None),
            result => break result?,
        }
    };
    if length == 0 {
        return Ok(Word::Silence);
    }
    let message = Message::from_bytes(&buffer[..length]).ok_or(Errno::EPROTO)?;
    let word = parse(message, &buffer[Message::SIZE..length]);
    match (word, descriptor) {
        (Some(Word::Phase(Phase::Filtered)), Some(listener)) => Ok(Word::Filtered(listener)),
        (Some(Word::Phase(Phase::UserNamespace)), Some(namespace)) => {
            Ok(Word::UserNamespace(namespace))
        }
        (Some(Word::Phase(Phase::Filtered | Phase::UserNamespace)) | None, _) => Err(Errno::EPROTO),
        (Some(word), _) => Ok(word),
    }
}

fn parse(message: Message, text: &[u8]) -> Option<Word> {
    match message.kind {
        Message::PHASE => {
            let phases = [
                Phase::NeedsIds,
                Phase::Joined,
                Phase::Ready,
                Phase::Executing,
                Phase::Filtered,
                Phase::UserNamespace,
            ];
            phases
                .into_iter()
                .find(|phase| *phase as u16 == message.subject)
                .map(Word::Phase)
        }
        Message::RESPAWNED => Some(Word::Respawned(message.code)),
        Message::FAILURE => {
            let call = runtime_init::Call::from_number(message.call)?;
            let at = FailureAt {
                step: usize::from(message.subject),
                failure: Failure {
                    call,
                    code: message.code,
                },
            };
            Some(Word::Failed(
                at,
                String::from_utf8_lossy(text).trim().to_owned(),
            ))
        }
        _ => None,
    }
}

impl Launched {
    /// Lets a created container's init go on to wait for `start`.
    pub(crate) fn commit(mut self) -> Result<Process, LaunchError> {
        tell(self.sync.as_fd(), Gate::Committed)?;
        self.leave_devices();
        Ok(self.process)
    }

    /// Lets the process execute its program, and waits until it has.
    ///
    /// End of file without a failure means that execve(2) has closed the socket, or that a
    /// signal has ended the process just before: its exit status tells the caller the same in
    /// both cases.
    pub(crate) fn execute(
        mut self,
        explain: &dyn Fn(FailureAt, &str) -> LaunchError,
    ) -> Result<Process, LaunchError> {
        tell(self.sync.as_fd(), Gate::Committed)?;
        let deadline = Instant::now() + start_deadline();
        match executed(self.sync.as_fd(), deadline, explain) {
            Ok(()) | Err(StartError::Silence) => {
                self.leave_devices();
                Ok(self.process)
            }
            Err(StartError::Failed(error)) => {
                end(&self.process);
                Err(error)
            }
        }
    }

    fn leave_devices(&mut self) {
        if let Some(devices) = &mut self.devices {
            devices.stay();
        }
    }

    /// Gives the process up.
    pub(crate) fn abandon(self) {
        end(&self.process);
    }
}

/// startContainer hooks run between the word to start and execve, each with its own limit.
pub(crate) fn start_deadline() -> Duration {
    CHILD_DEADLINE + crate::hooks::LONGEST_HOOK
}

/// Why a process did not execute its program.
pub(crate) enum StartError {
    /// It ended without a word.
    Silence,
    /// It said why.
    Failed(LaunchError),
}

/// Waits for the end of file that execve(2) makes, after [`Phase::Executing`].
pub(crate) fn executed(
    connection: BorrowedFd<'_>,
    deadline: Instant,
    explain: &dyn Fn(FailureAt, &str) -> LaunchError,
) -> Result<(), StartError> {
    let mut executing = false;
    loop {
        match hear(connection, deadline) {
            Ok(Word::Phase(Phase::Executing)) => executing = true,
            Ok(Word::Failed(at, text)) => return Err(StartError::Failed(explain(at, &text))),
            Ok(Word::Silence) if executing => return Ok(()),
            Ok(Word::Silence) => return Err(StartError::Silence),
            Ok(_) => {}
            Err(Errno::ETIMEDOUT) => {
                return Err(StartError::Failed(LaunchError::TimedOut(start_deadline())));
            }
            Err(errno) => {
                return Err(StartError::Failed(LaunchError::call(
                    "recv(2) from container init",
                    errno,
                )));
            }
        }
    }
}

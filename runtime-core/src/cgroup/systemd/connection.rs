//! One connection to systemd, with a deadline on everything.
//!
//! ```text
//!  tare                                   systemd, or a bus
//!  NUL, AUTH EXTERNAL, DATA, BEGIN   -->              whoever the kernel says it is
//!                                    <--  DATA
//!                                    <--  OK guid
//!  Hello, AddMatch, Subscribe        -->              a bus only
//!  call                              -->
//!                                    <--  signals of all units, skipped; the reply
//! ```

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};

use super::address::{Candidate, Socket};
use super::error::SystemdError;
use super::message::{Call, Incoming, LONGEST_BODY, PROLOGUE, Prologue};
use super::wire::{Encoder, LONGEST_MESSAGE};

/// The longest line of the greeting.
const LONGEST_LINE: usize = 512;

/// How long to wait while the socket's backlog is full.
const BACKLOG_WAIT: Duration = Duration::from_millis(5);

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// A connection that has been let in.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    peer: String,
    is_direct: bool,
    serial: u32,
    wait: Wait,
}

/// What is waited for, and until when.
#[derive(Clone, Debug)]
struct Wait {
    what: String,
    limit: Duration,
    until: Instant,
}

impl Wait {
    fn new(what: impl Into<String>, limit: Duration) -> Self {
        Self {
            what: what.into(),
            limit,
            until: Instant::now() + limit,
        }
    }
}

impl Connection {
    /// Connects and is let in, within `limit`.
    pub(super) fn open(candidate: &Candidate, limit: Duration) -> Result<Self, SystemdError> {
        let peer = candidate.socket.to_string();
        let wait = Wait::new("accept the connection", limit);
        let socket = open_socket(&candidate.socket, &wait).map_err(|source| match source {
            Errno::ETIMEDOUT => timeout(&peer, &wait),
            source => SystemdError::Call {
                peer: peer.clone(),
                call: "connect",
                source,
            },
        })?;
        let mut connection = Self {
            socket,
            peer,
            is_direct: candidate.is_direct,
            serial: 0,
            wait,
        };
        connection.authenticate()?;
        if !connection.is_direct {
            connection.greet_bus()?;
        }
        Ok(connection)
    }

    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether systemd itself is at the other end.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// From now on `what` is waited for, for so long in all.
    pub(super) fn wait_for(&mut self, what: &str, limit: Duration) {
        self.wait = Wait::new(what, limit);
    }

    /// The kernel tells who this is; a user id in the greeting would be that of this user
    /// namespace, which may be another one than systemd's.
    ///
    /// Everything is said at once. systemd reads on from BEGIN when there is more to read, and
    /// so it would take a call that comes with BEGIN for a part of the greeting, and leave it
    /// lying until the next one.
    fn authenticate(&mut self) -> Result<(), SystemdError> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let first = self.line()?;
        if first.starts_with("OK ") {
            // An older one lets in at the first word, and has an answer to the second as well.
            return self.line().map(drop);
        }
        let answer = match first.starts_with("DATA") {
            true => self.line()?,
            false => first,
        };
        if answer.starts_with("OK ") {
            return Ok(());
        }
        Err(SystemdError::NotAccepted {
            peer: self.peer.clone(),
            uid: nix::unistd::geteuid().as_raw(),
            answer,
        })
    }

    /// Takes a name on the bus, and asks for systemd's word that a job is over.
    fn greet_bus(&mut self) -> Result<(), SystemdError> {
        let call = |member, signature, wants_reply| Call {
            destination: Some(BUS),
            path: BUS_PATH,
            interface: BUS,
            member,
            signature,
            wants_reply,
        };
        let hello = self.send_call(&call("Hello", "", true), Encoder::default())?;
        loop {
            match self.receive()? {
                Incoming::Returned { reply_to, .. } if reply_to == hello => break,
                Incoming::Refused {
                    reply_to, message, ..
                } if reply_to == hello => {
                    return Err(SystemdError::NotAccepted {
                        peer: self.peer.clone(),
                        uid: nix::unistd::geteuid().as_raw(),
                        answer: message,
                    });
                }
                _ => {}
            }
        }
        let mut rule = Encoder::default();
        rule.string(&format!(
            "type='signal',sender='{}',interface='{}',member='JobRemoved'",
            super::calls::SYSTEMD,
            super::calls::MANAGER
        ));
        self.send_call(&call("AddMatch", "s", false), rule)?;
        Ok(())
    }

    /// Sends a call; gives the number that its answer refers to.
    pub(super) fn send_call(
        &mut self,
        call: &Call<'_>,
        body: Encoder,
    ) -> Result<u32, SystemdError> {
        if body.len() > LONGEST_MESSAGE {
            return Err(SystemdError::TooLong {
                what: self.wait.what.clone(),
            });
        }
        self.serial += 1;
        let bytes = call.to_bytes(self.serial, &body.into_bytes());
        self.send(&bytes)?;
        Ok(self.serial)
    }

    /// The next message; one that is too long to be of interest is read past.
    pub(super) fn receive(&mut self) -> Result<Incoming, SystemdError> {
        let mut prologue = [0; PROLOGUE];
        self.fill(&mut prologue)?;
        let prologue = Prologue::parse(&prologue)
            .ok_or_else(|| self.broken("a message with an impossible beginning"))?;
        let mut fields = vec![0; prologue.fields];
        self.fill(&mut fields)?;
        if prologue.body > LONGEST_BODY {
            self.skip(prologue.body)?;
            return Ok(Incoming::Other);
        }
        let mut body = vec![0; prologue.body];
        self.fill(&mut body)?;
        Incoming::parse(prologue.kind, &fields, &body)
            .ok_or_else(|| self.broken("a message whose parts do not fit together"))
    }

    fn broken(&self, what: &'static str) -> SystemdError {
        SystemdError::Protocol {
            peer: self.peer.clone(),
            what,
        }
    }

    fn skip(&self, mut length: usize) -> Result<(), SystemdError> {
        let mut room = [0; 4096];
        while length > 0 {
            let part = length.min(room.len());
            self.fill(&mut room[..part])?;
            length -= part;
        }
        Ok(())
    }

    /// One line of the greeting, without its end. What follows it may be a message already, and
    /// stays where it is.
    fn line(&self) -> Result<String, SystemdError> {
        let mut line = Vec::new();
        loop {
            let mut room = [0; LONGEST_LINE];
            let seen = self.receive_some(&mut room, MsgFlags::MSG_PEEK)?;
            let end = room[..seen].iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(seen, |end| end + 1);
            self.fill(&mut room[..taken])?;
            line.extend_from_slice(&room[..taken]);
            if let Some(text) = line.strip_suffix(b"\r\n") {
                return Ok(String::from_utf8_lossy(text).into_owned());
            }
            if end.is_some() || line.len() >= LONGEST_LINE {
                return Err(self.broken("a line without an end"));
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), SystemdError> {
        while !bytes.is_empty() {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EAGAIN) => self.ready(PollFlags::POLLOUT)?,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(self.closed()),
                Err(source) => return Err(self.failed("send", source)),
            }
        }
        Ok(())
    }

    /// Reads so many bytes, and no fewer.
    fn fill(&self, mut room: &mut [u8]) -> Result<(), SystemdError> {
        while !room.is_empty() {
            let length = self.receive_some(room, MsgFlags::empty())?;
            room = &mut room[length..];
        }
        Ok(())
    }

    /// Reads at least one byte.
    fn receive_some(&self, room: &mut [u8], flags: MsgFlags) -> Result<usize, SystemdError> {
        loop {
            match recv(self.socket.as_raw_fd(), room, flags) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(self.closed()),
                // Whoever sends without a pause must not make this wait for ever, either.
                Ok(_) if Instant::now() >= self.wait.until => {
                    return Err(timeout(&self.peer, &self.wait));
                }
                Ok(length) => return Ok(length),
                Err(Errno::EAGAIN) => self.ready(PollFlags::POLLIN)?,
                Err(Errno::EINTR) => {}
                Err(source) => return Err(self.failed("receive", source)),
            }
        }
    }

    fn ready(&self, event: PollFlags) -> Result<(), SystemdError> {
        match poll_until(self.socket.as_fd(), event, self.wait.until) {
            Ok(true) => Ok(()),
            Ok(false) => Err(timeout(&self.peer, &self.wait)),
            Err(source) => Err(self.failed("poll(2)", source)),
        }
    }

    fn closed(&self) -> SystemdError {
        SystemdError::Closed {
            peer: self.peer.clone(),
            what: format!("to {}", self.wait.what),
        }
    }

    fn failed(&self, call: &'static str, source: Errno) -> SystemdError {
        SystemdError::Call {
            peer: self.peer.clone(),
            call,
            source,
        }
    }
}

fn timeout(peer: &str, wait: &Wait) -> SystemdError {
    SystemdError::Timeout {
        peer: peer.to_owned(),
        what: wait.what.clone(),
        secs: wait.limit.as_secs(),
    }
}

/// Whether the event has come before the deadline.
fn poll_until(
    fd: std::os::fd::BorrowedFd<'_>,
    event: PollFlags,
    until: Instant,
) -> Result<bool, Errno> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Rounded up, so that the last millisecond is not spent without a pause.
        let left = left + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, event)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            result => return result.map(|_| true),
        }
    }
}

/// A connected socket that never blocks; ETIMEDOUT when the backlog stays full.
fn open_socket(at: &Socket, wait: &Wait) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = match at {
        Socket::Path(path) => UnixAddr::new::<Path>(path)?,
        Socket::Abstract(name) => UnixAddr::new_abstract(name)?,
    };
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if Instant::now() >= wait.until => return Err(Errno::ETIMEDOUT),
            Err(Errno::EAGAIN) => sleep(BACKLOG_WAIT),
            Err(errno) => return Err(errno),
        }
    }
}

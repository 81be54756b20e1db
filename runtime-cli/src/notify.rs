//! `NOTIFY_SOCKET`: whoever runs this program wants to know when the container is ready
//! (sd_notify(3)), as systemd does of a unit with `Type=notify`.
//!
//! ```text
//!  container ── STATUS=…, READY=1 ──▶ notify.sock ──▶ READY=1, MAINPID=<init> ──▶ NOTIFY_SOCKET
//! ```
//!
//! Only `READY=` is passed on: the rest would let a container speak for its whole unit.

use std::env;
use std::ffi::OsString;
use std::io::{self, IoSlice, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use runtime_core::{Container, Process};

use crate::failure::{Failure, While};
use crate::log::Log;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// How long a service manager may take to have read what it was told.
const BARRIER: Duration = Duration::from_secs(30);

/// More than a message of sd_notify(3) ever has.
const LONGEST: usize = 4096;

/// Whether somebody wants to know.
pub(crate) fn is_wanted() -> bool {
    host_socket().is_some()
}

fn host_socket() -> Option<OsString> {
    env::var_os(VARIABLE).filter(|name| !name.is_empty())
}

/// What a container says, until it has said that it is ready.
#[derive(Debug)]
pub(crate) struct Readiness {
    inside: UnixDatagram,
    host: UnixDatagram,
}

impl Readiness {
    /// Listens to a container that is about to be started; none if nobody wants to know, or the
    /// container was created without being able to say it.
    pub(crate) fn listen(container: &mut Container) -> Result<Option<Self>, Failure> {
        let Some(name) = host_socket() else {
            return Ok(None);
        };
        let Some(inside) = container.listen_for_readiness()? else {
            return Ok(None);
        };
        let host = UnixDatagram::unbound().doing("make a socket")?;
        let connected = address(&name).and_then(|address| host.connect_addr(&address));
        connected.doing(format_args!("connect to {VARIABLE}={}", name.display()))?;
        Ok(Some(Self {
            inside: inside.into(),
            host,
        }))
    }

    /// What becomes readable when the container says something.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }

    /// Takes what the container has said; true once it was ready and the host was told. Never
    /// waits for the container.
    pub(crate) fn hear(&self, process: &Process) -> Result<bool, Failure> {
        let mut message = [0; LONGEST];
        loop {
            // Descriptors that come along are closed by the kernel: there is no room for them.
            let length = match self.inside.recv(&mut message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received.doing("hear whether the container is ready")?,
            };
            let message = message.get(..length).unwrap_or_default();
            if let Some(line) = ready_line(message) {
                self.tell(&[line, b"\n"].concat())?;
                self.tell(format!("MAINPID={}\n", process.pid()).as_bytes())?;
                return Ok(true);
            }
        }
    }

    /// Waits until the container is ready or has ended, and then until the host has understood.
    pub(crate) fn wait(&self, process: &Process, log: &Log) -> Result<(), Failure> {
        loop {
            let ended = wait_for_either(self.as_fd(), process)?;
            if self.hear(process)? {
                return self.pass_barrier(log);
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn tell(&self, message: &[u8]) -> Result<(), Failure> {
        let told = self.host.send(message);
        told.map(drop)
            .doing(format_args!("tell {VARIABLE} that the container is ready"))
    }

    /// A message counts only as long as its sender lives or has waited for this:
    /// sd_notify_barrier(3).
    fn pass_barrier(&self, log: &Log) -> Result<(), Failure> {
        let (reader, writer) = io::pipe().doing("make a pipe")?;
        let numbers = [writer.as_raw_fd()];
        sendmsg::<()>(
            self.host.as_raw_fd(),
            &[IoSlice::new(b"BARRIER=1")],
            &[ControlMessage::ScmRights(&numbers)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .doing(format_args!("send a barrier to {VARIABLE}"))?;
        drop(writer);
        if !is_closed_in_time(reader)? {
            log.warning(&format!(
                "{VARIABLE}: nobody has answered the barrier within {} s",
                BARRIER.as_secs()
            ));
        }
        Ok(())
    }
}

/// The address that a value of the variable means: a path, or an abstract name after `@`.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

/// The first line of a message that says whether the service is ready.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split(|byte| *byte == b'\n');
    lines.find(|line| line.starts_with(b"READY="))
}

/// Waits until there is something to hear or the process has ended; true for the end.
fn wait_for_either(inside: BorrowedFd<'_>, process: &Process) -> Result<bool, Failure> {
    loop {
        let mut fds = [
            PollFd::new(inside, PollFlags::POLLIN),
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            polled => {
                polled.doing("wait for the container to be ready")?;
                return Ok(fds[1].any().unwrap_or(true));
            }
        }
    }
}

/// Whether the other end is closed within the time that there is for it.
fn is_closed_in_time(mut reader: PipeReader) -> Result<bool, Failure> {
    let deadline = Instant::now() + BARRIER;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Ok(false),
            polled => {
                polled.doing("wait for the barrier")?;
                // A byte would be as good as the end.
                reader.read(&mut [0]).doing("read the barrier")?;
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_a_line_of_its_own() {
        assert_eq!(ready_line(b"READY=1"), Some(&b"READY=1"[..]));
        assert_eq!(
            ready_line(b"STATUS=x\nREADY=1\nERRNO=0"),
            Some(&b"READY=1"[..])
        );
        assert_eq!(ready_line(b"STATUS=READY=1"), None);
        assert_eq!(ready_line(b""), None);
    }

    #[test]
    fn a_name_is_a_path_or_abstract() {
        let address = |name: &str| address(&name.into());
        assert!(address("/run/x").unwrap().as_pathname().is_some());
        assert_eq!(address("@x").unwrap().as_abstract_name(), Some(&b"x"[..]));
        assert!(address("vsock:2:1234").is_err());
    }
}

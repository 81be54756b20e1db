//! A socket that a runtime sends descriptors to: a console's, a seccomp filter's.

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::case::{Trouble, failed};

/// How long a message is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stream socket with a name in the file system.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

/// What came over one connection.
#[derive(Debug)]
pub struct Message {
    /// All bytes, until the sender closed it.
    pub text: String,
    /// The descriptors, all of which came with the first bytes.
    pub descriptors: Vec<OwnedFd>,
}

impl Listener {
    /// Listens at a path.
    ///
    /// # Errors
    ///
    /// When the path is too long for a socket.
    pub fn new(path: &Path) -> Result<Self, Trouble> {
        match UnixListener::bind(path) {
            Ok(socket) => Ok(Self {
                socket,
                path: path.to_owned(),
            }),
            Err(error) => failed("a socket", format!("{}: {error}", path.display())),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The message of the one connection that is there, or comes soon.
    ///
    /// # Errors
    ///
    /// The failure that says that none came.
    pub fn receive(&self) -> Result<Message, Trouble> {
        if !is_readable(&self.socket, PATIENCE) {
            return failed("the runtime connects to the socket", "not within 5 s");
        }
        let told = self.socket.accept().and_then(|(mut stream, _)| {
            stream.set_read_timeout(Some(PATIENCE))?;
            let (mut bytes, descriptors) = first(&stream)?;
            stream.read_to_end(&mut bytes)?;
            Ok(Message {
                text: String::from_utf8_lossy(&bytes).into_owned(),
                descriptors,
            })
        });
        told.or_else(|error| {
            failed(
                "a message, and the end of the connection",
                error.to_string(),
            )
        })
    }

    /// Whether another connection is there.
    #[must_use]
    pub fn has_more(&self) -> bool {
        is_readable(&self.socket, Duration::ZERO)
    }
}

fn is_readable(descriptor: &impl AsFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut descriptors = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut descriptors, timeout).is_ok_and(|count| count > 0)
}

fn first(stream: &impl AsRawFd) -> std::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 65536];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            descriptors.extend(numbers.into_iter().map(own));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, descriptors))
}

#[allow(
    unsafe_code,
    reason = "a received descriptor is a number until somebody owns it"
)]
fn own(number: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for this process; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// What a terminal's other end has written, until that end is closed or time is over.
#[must_use]
pub fn read_terminal(terminal: OwnedFd) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut file = std::fs::File::from(terminal);
    let mut text = Vec::new();
    let mut buffer = [0; 8192];
    while is_readable(&file, deadline.saturating_duration_since(Instant::now())) {
        // When all have closed the other end, reading is an error (EIO).
        match file.read(&mut buffer) {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

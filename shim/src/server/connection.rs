//! One connection of containerd's: frames in, replies out, nothing that blocks.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use containerd_shim_protos::protobuf::{Message, MessageField};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use ttrpc::proto::{Response, Status};

use crate::failure::Failure;
use crate::frame::{self, Decoder, Frame, Kind};
use crate::poller::{Interest, Poller, Token};

/// What one look at the socket reads; a frame may come in many.
const READ_BYTES: usize = 16 << 10;

/// Replies that nobody reads, before the connection is given up.
const UNREAD_BYTES: usize = 16 << 20;

/// A call's result: the reply's message, encoded.
pub(super) type Reply = Result<Vec<u8>, Failure>;

/// The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// A connection and what is on its way through it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    token: Token,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// The other side sends nothing more.
    is_at_end: bool,
    /// Calls that have not been answered.
    pub(super) unanswered: usize,
}

impl Connection {
    /// Takes a non-blocking socket, and has it watched.
    ///
    /// # Errors
    ///
    /// epoll_ctl(2)'s.
    pub(super) fn new(socket: OwnedFd, poller: &Poller, token: Token) -> Result<Self, Errno> {
        poller.add(&socket, Interest::READ, token)?;
        Ok(Self {
            socket,
            token,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            is_at_end: false,
            unanswered: 0,
        })
    }

    /// The next frames, as far as they are there.
    ///
    /// # Errors
    ///
    /// [`Closed`] at the end.
    pub(super) fn receive(&mut self) -> Result<Vec<Frame>, Closed> {
        let mut buffer = [0; READ_BYTES];
        match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => {
                self.is_at_end = true;
                Err(Closed)
            }
            Ok(count) => {
                let mut input = &buffer[..count];
                Ok(std::iter::from_fn(|| self.decoder.next(&mut input)).collect())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(_) => Err(Closed),
        }
    }

    /// Sends the reply of a call, or keeps what the socket does not take yet.
    ///
    /// # Errors
    ///
    /// [`Closed`] when nobody reads.
    pub(super) fn reply(
        &mut self,
        poller: &Poller,
        stream: u32,
        reply: Reply,
    ) -> Result<(), Closed> {
        let payload = response(reply).write_to_bytes().map_err(|_| Closed)?;
        let frame = frame::encode(Kind::Response, stream, 0, &payload).ok_or(Closed)?;
        if self.outgoing.len() + frame.len() > UNREAD_BYTES {
            return Err(Closed);
        }
        self.outgoing.extend_from_slice(&frame);
        self.flush(poller)
    }

    /// Sends what is kept.
    ///
    /// # Errors
    ///
    /// [`Closed`] when nobody reads.
    pub(super) fn flush(&mut self, poller: &Poller) -> Result<(), Closed> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !self.outgoing.is_empty() {
            match send(self.socket.as_raw_fd(), &self.outgoing, flags) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => return Err(Closed),
            }
        }
        let interest = Interest {
            read: !self.is_at_end,
            write: !self.outgoing.is_empty(),
        };
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        poller
            .modify(&self.socket, interest, self.token)
            .map_err(|_| Closed)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn response(reply: Reply) -> Response {
    let (payload, status) = match reply {
        Ok(payload) => (payload, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let status = status.map(|failure| Status {
        code: failure.code.into(),
        message: failure.message,
        ..Status::default()
    });
    Response {
        payload,
        status: MessageField::from_option(status),
        ..Response::default()
    }
}

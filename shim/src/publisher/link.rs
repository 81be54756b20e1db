//! One connection to containerd, and at most one call on it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use protobuf::Message;
use runtime_core::errno::Words;
use ttrpc::proto::{Code, Response, Status};

use crate::frame::{self, Decoder, Frame, Kind};
use crate::poller::{Interest, Owner, Poller, Ready, Token};

/// What a call has come to.
pub(super) type Answer = Result<(), Status>;

/// How many times the socket is read before others have their turn.
const READS: usize = 16;

/// A connection. Why it is of no use any more is told in words.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    token: Token,
    decoder: Decoder,
    /// Of the last call; a client's are odd.
    stream: u32,
    call: Option<Call>,
}

#[derive(Debug)]
struct Call {
    frame: Vec<u8>,
    sent: usize,
    deadline: Instant,
}

impl Link {
    /// Connects. A unix socket's connection is there at once or not at all.
    pub(super) fn open(poller: &Poller, address: &Path, serial: u64) -> Result<Self, String> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let connected = (|| {
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            connect(socket.as_raw_fd(), &UnixAddr::new(address)?)?;
            Ok(socket)
        })();
        let socket: OwnedFd = match connected {
            Ok(socket) => socket,
            Err(Errno::EAGAIN) => {
                let words = "too many wait to be heard (EAGAIN: its backlog is full)";
                return Err(format!("connect to {}: {words}", address.display()));
            }
            Err(errno) => {
                return Err(format!(
                    "connect to {}: {}",
                    address.display(),
                    Words(errno)
                ));
            }
        };
        let token = Token {
            serial,
            ..Token::of(Owner::Publisher)
        };
        poller
            .add(&socket, Interest::READ, token)
            .map_err(|errno| format!("watch the connection: {}", Words(errno)))?;
        Ok(Self {
            socket,
            token,
            decoder: Decoder::new(),
            stream: u32::MAX,
            call: None,
        })
    }

    /// Its descriptor's name.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Whether a call is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.call.is_some()
    }

    /// When the call on its way has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.call.as_ref().map(|call| call.deadline)
    }

    /// Sends a call as far as the socket takes it now.
    pub(super) fn call(
        &mut self,
        poller: &Poller,
        request: &[u8],
        deadline: Instant,
    ) -> Result<(), String> {
        self.stream = self.stream.wrapping_add(2);
        let frame = frame::encode(Kind::Request, self.stream, 0, request)
            .ok_or("the event is longer than a message may be")?;
        self.call = Some(Call {
            frame,
            sent: 0,
            deadline,
        });
        self.send(poller)
    }

    fn send(&mut self, poller: &Poller) -> Result<(), String> {
        let Some(call) = &mut self.call else {
            return Ok(());
        };
        while let Some(rest) = call.frame.get(call.sent..).filter(|rest| !rest.is_empty()) {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => call.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(format!("send: {}", Words(errno))),
            }
        }
        let interest = Interest {
            read: true,
            write: call.sent < call.frame.len(),
        };
        poller
            .modify(&self.socket, interest, self.token)
            .map_err(|errno| format!("watch the connection: {}", Words(errno)))
    }

    /// Sends what is left of the call, and reads its answer as far as it has come.
    pub(super) fn proceed(
        &mut self,
        poller: &Poller,
        ready: Ready,
    ) -> Result<Option<Answer>, String> {
        if ready.write {
            self.send(poller)?;
        }
        let mut answer = None;
        let mut bytes = [0; 1024];
        for _ in 0..READS {
            match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(0) if answer.is_some() => return Ok(answer),
                Ok(0) => return Err("containerd has closed the connection".into()),
                Ok(count) => {
                    let got = self.take(bytes.get(..count).unwrap_or_default())?;
                    answer = answer.or(got);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(format!("receive: {}", Words(errno))),
            }
        }
        Ok(answer)
    }

    /// The answer to the call, if it is among these bytes. Others' answers are those that came
    /// too late.
    fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Answer>, String> {
        let mut answer = None;
        while let Some(frame) = self.decoder.next(&mut bytes) {
            let Frame::Whole(header, payload) = frame else {
                return Err("an answer is longer than a message may be".into());
            };
            let ours = header.kind == Kind::Response && header.stream == self.stream;
            if ours && self.call.is_some() {
                answer = Some(decode(&payload)?);
                self.call = None;
            }
        }
        Ok(answer)
    }

    pub(super) fn close(self, poller: &Poller) {
        // The descriptor is closed now; its failure would tell that it is not watched.
        poller.remove(&self.socket).ok();
    }
}

fn decode(payload: &[u8]) -> Result<Answer, String> {
    let response = Response::parse_from_bytes(payload)
        .map_err(|error| format!("an answer can't be decoded: {error}"))?;
    let status = response.status.into_option();
    let refusal = status.filter(|status| status.code.value() != Code::OK as i32);
    Ok(refusal.map_or(Ok(()), Err))
}

//! netlink(7): requests and their replies, as bytes with bounds on everything.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// NLM_F_ACK: the last reply says that it is done.
pub(super) const ACK: u16 = 0x4;
/// NLM_F_DUMP: all there are.
pub(super) const DUMP: u16 = 0x300;
const REQUEST: u16 = 0x1;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The kernel writes no longer messages of links and addresses.
const BUFFER: usize = 1 << 16;
/// The kernel answers at once, but when it holds a lock for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket of NETLINK_ROUTE.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// One message of the kernel.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: u16,
    pub(super) payload: Vec<u8>,
}

/// Kinds and values.
#[derive(Debug)]
pub(super) struct Attributes(pub(super) Vec<(u16, Vec<u8>)>);

impl Netlink {
    /// A socket belongs to the network namespace of the thread that makes it: one that is made
    /// for this joins the namespace, and ends.
    pub(super) fn inside(namespace: BorrowedFd<'_>) -> Result<Self, Errno> {
        let socket = std::thread::scope(|scope| {
            let make = || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                open()
            };
            let thread = std::thread::Builder::new()
                .spawn_scoped(scope, make)
                .map_err(|error| crate::errno::of_io(&error))?;
            thread.join().unwrap_or(Err(Errno::ECANCELED))
        });
        socket.map(Self)
    }

    /// Sends one request and gives what the kernel answers.
    pub(super) fn request(
        &self,
        kind: u16,
        flags: u16,
        payload: &[u8],
    ) -> Result<Vec<Reply>, Errno> {
        let length = u32::try_from(HEADER + payload.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(payload);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut replies = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                length => length?,
            };
            let messages = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
            if read(messages, &mut replies)? {
                return Ok(replies);
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    Ok(socket)
}

/// Takes the messages apart; whether the last one is among them.
fn read(mut messages: &[u8], replies: &mut Vec<Reply>) -> Result<bool, Errno> {
    while !messages.is_empty() {
        let word = |at: usize| <[u8; 4]>::try_from(messages.get(at..at + 4)?).ok();
        let length = word(0).map(u32::from_ne_bytes).ok_or(Errno::EPROTO)? as usize;
        let kind = messages.get(4..6).and_then(|kind| kind.try_into().ok());
        let kind = kind.map(u16::from_ne_bytes).ok_or(Errno::EPROTO)?;
        let payload = messages.get(HEADER..length).ok_or(Errno::EPROTO)?;
        if matches!(kind, ERROR | DONE) {
            let code = payload.get(..4).and_then(|code| code.try_into().ok());
            return match code.map(i32::from_ne_bytes) {
                Some(0) => Ok(true),
                Some(error) if error < 0 => Err(Errno::from_raw(-error)),
                _ => Err(Errno::EPROTO),
            };
        }
        replies.push(Reply {
            kind,
            payload: payload.to_vec(),
        });
        messages = messages.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

impl Attributes {
    /// Those that are whole.
    pub(super) fn of(mut bytes: &[u8]) -> Self {
        let mut all = Vec::new();
        while let &[low, high, first, second, ..] = bytes {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let Some(value) = bytes.get(4..length) else {
                break;
            };
            // The highest bits say how the value is made.
            let kind = u16::from_ne_bytes([first, second]) & 0x3fff;
            all.push((kind, value.to_vec()));
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
        }
        Self(all)
    }

    /// The number that an attribute has.
    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        let (_, value) = self.0.iter().find(|(of, _)| *of == kind)?;
        value.as_slice().try_into().ok().map(u32::from_ne_bytes)
    }
}

/// Appends an attribute.
pub(super) fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Names, numbers and addresses: none has as much as a hundred bytes.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(aligned(message.len()), 0);
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 3, b"eth0\0");
        attribute(&mut bytes, 8, &7_u32.to_ne_bytes());
        let all = Attributes::of(&bytes);
        assert_eq!(all.0[0], (3, b"eth0\0".to_vec()));
        assert_eq!(all.number(8), Some(7));
        assert_eq!(all.number(3), None);
    }

    #[test]
    fn an_error_ends_the_replies() {
        let message = |kind: u16, payload: &[u8]| {
            let length = u32::try_from(HEADER + payload.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(payload);
            bytes
        };
        let mut replies = Vec::new();
        let link = message(16, &[1, 2, 3, 4]);
        assert_eq!(read(&link, &mut replies), Ok(false));
        assert_eq!(read(&message(DONE, &[0; 4]), &mut replies), Ok(true));
        let refused = message(ERROR, &(-19_i32).to_ne_bytes());
        assert_eq!(read(&refused, &mut replies), Err(Errno::ENODEV));
        assert_eq!(read(&refused[..12], &mut replies), Err(Errno::EPROTO));
        assert_eq!(replies.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut replies = Vec::new();
            let read = read(&bytes, &mut replies);
            prop_assert!(read.is_ok() || replies.len() < bytes.len());
            prop_assert!(Attributes::of(&bytes).0.len() <= bytes.len() / 4);
        }
    }
}

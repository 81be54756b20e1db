//! What the loop waits for: epoll(7), level-triggered, with names in place of numbers.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// How many descriptors one look at the kernel may report.
const BATCH: usize = 64;

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// The socket that containerd connects to.
    Listener,
    /// One connection.
    Connection,
    /// SIGTERM and SIGINT.
    Signals,
    /// Finished work of other threads.
    Jobs,
    /// A container's init or a further process has ended.
    Process,
    /// Standard input, output or error of a process.
    Streams,
    /// The memory limit of a container has been met.
    Memory,
    /// The connection to containerd's event service.
    Publisher,
}

const OWNERS: [Owner; 8] = [
    Owner::Listener,
    Owner::Connection,
    Owner::Signals,
    Owner::Jobs,
    Owner::Process,
    Owner::Streams,
    Owner::Memory,
    Owner::Publisher,
];

/// A descriptor's name: its owner, which of the owner's descriptors it is, and the owner's
/// serial number. Serial numbers are never used twice, so an event that was reported before its
/// descriptor was closed meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The kind of owner.
    pub owner: Owner,
    /// Which descriptor of the owner.
    pub part: u8,
    /// Which owner of this kind; at most 48 bits.
    pub serial: u64,
}

impl Token {
    /// The token of an owner of which there is one, with one descriptor.
    #[must_use]
    pub const fn of(owner: Owner) -> Self {
        Self {
            owner,
            part: 0,
            serial: 0,
        }
    }

    const fn pack(self) -> u64 {
        (self.owner as u64) << 56 | (self.part as u64) << 48 | self.serial & 0xffff_ffff_ffff
    }

    fn unpack(packed: u64) -> Option<Self> {
        let [owner, part, serial @ ..] = packed.to_be_bytes();
        let serial = serial
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        Some(Self {
            owner: *OWNERS.get(usize::from(owner))?,
            part,
            serial,
        })
    }
}

/// What a descriptor is watched for. Its closing and its errors are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Something can be read.
    pub read: bool,
    /// Something can be written.
    pub write: bool,
}

impl Interest {
    /// Closing and errors only.
    pub const NONE: Self = Self {
        read: false,
        write: false,
    };
    /// To be read.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// To be written.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.read);
        flags.set(EpollFlags::EPOLLOUT, self.write);
        flags
    }
}

/// What has become of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whose it is.
    pub token: Token,
    /// It can be read, or its end can.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// The other side is gone (EPOLLHUP, EPOLLERR).
    pub hangup: bool,
}

/// The descriptors that are watched.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    ready: VecDeque<Ready>,
}

impl Poller {
    /// One that watches nothing.
    ///
    /// # Errors
    ///
    /// epoll_create1(2)'s.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            ready: VecDeque::new(),
        })
    }

    /// Watches a descriptor, which its owner keeps open until [`Poller::remove`].
    ///
    /// # Errors
    ///
    /// epoll_ctl(2)'s: EPERM for a regular file, which is always ready.
    pub fn add(&self, fd: impl AsFd, interest: Interest, token: Token) -> Result<(), Errno> {
        self.epoll
            .add(fd, EpollEvent::new(interest.flags(), token.pack()))
    }

    /// Watches it for something else from now on.
    ///
    /// # Errors
    ///
    /// ENOENT when it is not watched.
    pub fn modify(&self, fd: impl AsFd, interest: Interest, token: Token) -> Result<(), Errno> {
        let mut event = EpollEvent::new(interest.flags(), token.pack());
        self.epoll.modify(fd, &mut event)
    }

    /// Watches it no more. A descriptor that others hold open too is reported until then, even
    /// when its owner has closed its own.
    ///
    /// # Errors
    ///
    /// ENOENT when it is not watched.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        self.epoll.delete(fd)
    }

    /// The next descriptor that is ready; none when `until` has passed first.
    ///
    /// # Errors
    ///
    /// epoll_wait(2)'s, but for EINTR, after which it waits on.
    pub fn next(&mut self, until: Option<Instant>) -> Result<Option<Ready>, Errno> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            let timeout = match until {
                None => EpollTimeout::NONE,
                Some(until) => timeout(until),
            };
            let mut events = [EpollEvent::empty(); BATCH];
            match self.epoll.wait(&mut events, timeout) {
                Ok(0) if until.is_some_and(|until| until <= Instant::now()) => return Ok(None),
                Ok(count) => self
                    .ready
                    .extend(events.iter().take(count).filter_map(ready)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The whole milliseconds until then, rounded up.
fn timeout(until: Instant) -> EpollTimeout {
    let left = until.saturating_duration_since(Instant::now());
    let rounded = left + Duration::from_micros(999);
    EpollTimeout::try_from(rounded).unwrap_or(EpollTimeout::MAX)
}

fn ready(event: &EpollEvent) -> Option<Ready> {
    let flags = event.events();
    let hangup = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
    Some(Ready {
        token: Token::unpack(event.data())?,
        read: flags.contains(EpollFlags::EPOLLIN),
        write: flags.contains(EpollFlags::EPOLLOUT),
        hangup,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        for owner in OWNERS {
            let token = Token {
                owner,
                part: 7,
                serial: 0xffff_ffff_fffe,
            };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }

    #[test]
    fn what_is_ready_is_reported_until_it_is_removed() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut poller = Poller::new().unwrap();
        let token = Token::of(Owner::Streams);
        poller.add(&reader, Interest::READ, token).unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(poller.next(soon()), Ok(None));
        nix::unistd::write(&writer, b"x").unwrap();
        let ready = poller.next(None).unwrap().unwrap();
        assert!(ready.read && !ready.hangup && ready.token == token);
        poller.modify(&reader, Interest::NONE, token).unwrap();
        assert_eq!(poller.next(soon()), Ok(None));
        drop(writer);
        assert!(poller.next(None).unwrap().unwrap().hangup);
        poller.remove(&reader).unwrap();
        assert_eq!(poller.next(soon()), Ok(None));
    }
}

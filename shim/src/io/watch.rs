//! A descriptor, and what the loop watches it for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::io::Limits;
use crate::poller::{Interest, Owner, Poller, Token};

/// How long after a failure it is tried again to watch a descriptor.
const AGAIN: Duration = Duration::from_millis(100);

/// What every step of the relay gets from the loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desk<'a> {
    pub(super) poller: &'a Poller,
    /// The number that the loop knows these streams by.
    pub(super) serial: u64,
    pub(super) now: Instant,
    pub(super) limits: Limits,
}

/// A descriptor of ours that the loop may watch.
///
/// What is not wanted is not registered at all: epoll reports the end of the other side of a
/// registered descriptor for ever, whatever it is registered for.
#[derive(Debug)]
pub(super) struct Watch {
    fd: OwnedFd,
    part: u8,
    wanted: Option<Interest>,
    registered: Option<Interest>,
    /// The kernel would not watch it (no memory, too many watches); when to ask again.
    again: Option<Instant>,
}

impl Watch {
    /// One that is not watched yet; `part` is its number among those of its streams.
    pub(super) fn new(fd: OwnedFd, part: u8) -> Self {
        Self {
            fd,
            part,
            wanted: None,
            registered: None,
            again: None,
        }
    }

    /// Whether a report about it still means something.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Watches it for this from now on; for nothing, not even its end, with `None`.
    pub(super) fn set(&mut self, desk: &Desk<'_>, interest: Option<Interest>) {
        self.wanted = interest;
        self.settle(desk);
    }

    /// Tries again what could not be watched.
    pub(super) fn tick(&mut self, desk: &Desk<'_>) {
        if self.again.is_some_and(|again| again <= desk.now) {
            self.settle(desk);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.again
    }

    /// Closes it.
    pub(super) fn retire(mut self, desk: &Desk<'_>) {
        self.set(desk, None);
    }

    fn settle(&mut self, desk: &Desk<'_>) {
        let token = Token {
            owner: Owner::Streams,
            part: self.part,
            serial: desk.serial,
        };
        let done = match (self.registered, self.wanted) {
            (None, None) => Ok(()),
            (Some(now), Some(wanted)) if now == wanted => Ok(()),
            (None, Some(interest)) => desk.poller.add(&self.fd, interest, token),
            (Some(_), Some(interest)) => desk.poller.modify(&self.fd, interest, token),
            // Only a descriptor that is not watched can't be removed.
            (Some(_), None) => desk.poller.remove(&self.fd).or(Ok(())),
        };
        match done {
            Ok(()) => (self.registered, self.again) = (self.wanted, None),
            Err(_) => self.again = Some(desk.now + AGAIN),
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The earlier of two instants that may not be there.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

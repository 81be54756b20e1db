//! Where a lane leads.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::open::{self, FifoEnds};
use super::pending::{End, Wrote, write_some};
use super::watch::{Desk, Watch};
use crate::poller::Interest;

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    /// To nobody.
    Nothing,
    /// To whoever reads the client's FIFO.
    Fifo(Fifo),
    /// To the end of a file.
    File(OwnedFd),
    /// To a logger, by a pipe of ours (the output of a terminal).
    Logger(Watch),
}

/// The shim's two ends of a client's FIFO.
///
/// The reading end, the keeper, is never read. While it is open a client may go and another may
/// come: what is in the FIFO stays there for the next one, a write meets no EPIPE, and epoll
/// doesn't report the writing end's error for ever.
#[derive(Debug)]
pub(super) struct Fifo {
    writer: Watch,
    keeper: Option<OwnedFd>,
}

impl Fifo {
    pub(super) fn new(ends: FifoEnds, part: u8) -> Self {
        Self {
            writer: Watch::new(ends.writer, part),
            keeper: Some(ends.reader),
        }
    }

    /// Whether nobody else has it open for reading: for the moment of the question the keeper is
    /// closed, and the writing end tells.
    fn reader_is_gone(&mut self) -> bool {
        self.keeper = None;
        let mut fds = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
        let asked = poll(&mut fds, PollTimeout::ZERO);
        let error = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLERR));
        let is_gone = asked.is_ok() && fds.iter().any(error);
        self.keep();
        is_gone
    }

    /// Opens the keeper if it is not open. No descriptor may be left for it; then it is missing
    /// until the next time.
    fn keep(&mut self) -> bool {
        if self.keeper.is_none() {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
            self.keeper = open::reopen(self.writer.as_fd(), flags).ok();
        }
        self.keeper.is_some()
    }
}

impl Sink {
    /// Writes as much as goes without waiting.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Wrote {
        match self {
            Self::Nothing => Wrote {
                count: bytes.len(),
                end: End::All,
            },
            Self::File(file) => write_some(file, bytes),
            Self::Logger(pipe) => write_some(pipe, bytes),
            Self::Fifo(fifo) => {
                fifo.keep();
                match write_some(&fifo.writer, bytes) {
                    // Without the keeper: nobody reads now, as if the FIFO were full.
                    Wrote {
                        count,
                        end: End::Failed(Errno::EPIPE),
                    } => Wrote {
                        count,
                        end: End::Full,
                    },
                    wrote => wrote,
                }
            }
        }
    }

    /// Whether the reader is known to have gone, and might come back.
    pub(super) fn reader_is_gone(&mut self) -> bool {
        match self {
            Self::Fifo(fifo) => fifo.reader_is_gone(),
            _ => false,
        }
    }

    /// Has the loop say when it takes bytes again.
    pub(super) fn await_room(&mut self, desk: &Desk<'_>) {
        match self {
            Self::Nothing | Self::File(_) => {}
            Self::Logger(pipe) => pipe.set(desk, Some(Interest::WRITE)),
            Self::Fifo(fifo) => {
                // Without the keeper the end would be reported for ever, if there is no reader.
                let wanted = fifo.keep().then_some(Interest::WRITE);
                fifo.writer.set(desk, wanted);
            }
        }
    }

    /// The loop watches it no more.
    pub(super) fn rest(&mut self, desk: &Desk<'_>) {
        if let Some(watch) = self.watch_mut() {
            watch.set(desk, None);
        }
    }

    /// Whether a report about it still means something.
    pub(super) fn is_awaited(&self) -> bool {
        self.watch().is_some_and(Watch::is_wanted)
    }

    /// Closes it: a FIFO's reader meets the end of file if nobody else writes.
    pub(super) fn retire(&mut self, desk: &Desk<'_>) {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing | Self::File(_) => {}
            Self::Logger(watch) | Self::Fifo(Fifo { writer: watch, .. }) => watch.retire(desk),
        }
    }

    pub(super) fn watch(&self) -> Option<&Watch> {
        match self {
            Self::Nothing | Self::File(_) => None,
            Self::Logger(watch) | Self::Fifo(Fifo { writer: watch, .. }) => Some(watch),
        }
    }

    pub(super) fn watch_mut(&mut self) -> Option<&mut Watch> {
        match self {
            Self::Nothing | Self::File(_) => None,
            Self::Logger(watch) | Self::Fifo(Fifo { writer: watch, .. }) => Some(watch),
        }
    }
}

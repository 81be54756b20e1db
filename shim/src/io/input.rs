//! Standard input on its way from the client's FIFO to the process.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::open::FifoEnds;
use super::pending::{End, ONE_READ, Pending, Wrote, read_some, write_some};
use super::watch::{Desk, Watch, earlier};
use crate::poller::{Interest, Ready};

/// How soon a terminal that no process has open is tried again.
const TERMINAL_AGAIN: Duration = Duration::from_millis(100);

/// The parts of the input among the descriptors of its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) reader: u8,
    pub(super) writer: u8,
}

/// The input of a process.
#[derive(Debug)]
pub(super) struct Input {
    reader: Watch,
    /// A writing end of the FIFO of our own: while it is open, a client that goes ends nothing.
    hold: Option<OwnedFd>,
    /// The process's pipe, or the master of its terminal once that is here.
    writer: Option<Watch>,
    parts: Parts,
    terminal: bool,
    pending: Pending,
    /// The client's end has been reached, and only what is pending is left.
    ended: bool,
    again: Option<Instant>,
}

/// Whether the input goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    GoesOn,
    /// Its end was handed on, or the process reads no more.
    IsOver,
}

impl Input {
    /// Input that goes to a pipe.
    pub(super) fn to_pipe(ends: FifoEnds, pipe: OwnedFd, parts: Parts) -> Self {
        Self {
            writer: Some(Watch::new(pipe, parts.writer)),
            terminal: false,
            ..Self::to_terminal(ends, parts)
        }
    }

    /// Input that goes to a terminal which is not here yet.
    pub(super) fn to_terminal(ends: FifoEnds, parts: Parts) -> Self {
        Self {
            reader: Watch::new(ends.reader, parts.reader),
            hold: Some(ends.writer),
            writer: None,
            parts,
            terminal: true,
            pending: Pending::default(),
            ended: false,
            again: None,
        }
    }

    /// The terminal is here; `master` is a descriptor of the input's own.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) {
        self.writer = Some(Watch::new(master, self.parts.writer));
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Begins to read.
    pub(super) fn start(&mut self, desk: &Desk<'_>) {
        if self.writer.is_some() {
            self.reader.set(desk, Some(Interest::READ));
        }
    }

    /// From now on the end of file passes when no client has the FIFO open.
    pub(super) fn release(&mut self) {
        self.hold = None;
    }

    pub(super) fn ready(&mut self, desk: &Desk<'_>, ready: Ready) -> Course {
        if ready.token.part == self.parts.reader {
            self.reader_ready(desk)
        } else {
            self.writer_ready(desk, ready)
        }
    }

    pub(super) fn tick(&mut self, desk: &Desk<'_>) -> Course {
        self.reader.tick(desk);
        if let Some(writer) = &mut self.writer {
            writer.tick(desk);
        }
        match self.again {
            Some(again) if again <= desk.now => {
                self.again = None;
                self.flush(desk)
            }
            _ => Course::GoesOn,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let writer = self.writer.as_ref().and_then(Watch::next_deadline);
        [self.reader.next_deadline(), writer]
            .into_iter()
            .fold(self.again, earlier)
    }

    /// Closes both sides: the process meets the end of file, a client that writes EPIPE.
    pub(super) fn retire(self, desk: &Desk<'_>) {
        self.reader.retire(desk);
        if let Some(writer) = self.writer {
            writer.retire(desk);
        }
    }

    fn reader_ready(&mut self, desk: &Desk<'_>) -> Course {
        if !self.reader.is_wanted() {
            return Course::GoesOn;
        }
        let mut buffer = [0; ONE_READ];
        match read_some(&self.reader, &mut buffer) {
            Ok(None) => Course::GoesOn,
            Ok(Some(length @ 1..)) => {
                self.pending = Pending::of(buffer.get(..length).unwrap_or_default());
                self.flush(desk)
            }
            Ok(Some(0)) | Err(_) => {
                self.ended = true;
                self.flush(desk)
            }
        }
    }

    fn writer_ready(&mut self, desk: &Desk<'_>, ready: Ready) -> Course {
        match &mut self.writer {
            Some(writer) if writer.is_wanted() => {}
            _ => return Course::GoesOn,
        }
        if self.terminal && ready.hangup {
            self.try_later(desk);
            return Course::GoesOn;
        }
        self.flush(desk)
    }

    fn flush(&mut self, desk: &Desk<'_>) -> Course {
        let Some(writer) = &mut self.writer else {
            return Course::GoesOn;
        };
        let Wrote { count, end } = write_some(&*writer, self.pending.rest());
        self.pending.advance(count);
        match end {
            End::All if self.ended => return Course::IsOver,
            End::All => {
                writer.set(desk, None);
                self.reader.set(desk, Some(Interest::READ));
            }
            End::Full => {
                self.reader.set(desk, None);
                writer.set(desk, Some(Interest::WRITE));
            }
            // No process has the terminal open just now.
            End::Failed(Errno::EIO) if self.terminal => {
                self.reader.set(desk, None);
                self.try_later(desk);
            }
            // EPIPE: the process has closed its input.
            End::Failed(_) => return Course::IsOver,
        }
        Course::GoesOn
    }

    fn try_later(&mut self, desk: &Desk<'_>) {
        if let Some(writer) = &mut self.writer {
            writer.set(desk, None);
        }
        self.again = Some(desk.now + TERMINAL_AGAIN);
    }
}

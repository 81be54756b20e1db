//! Bytes that were read and could not be written yet.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::unistd::{read, write};

/// How much one report of readiness may move, in bytes: a container that floods its output gets
/// its turn, and no more.
pub(super) const ONE_READ: usize = 32 * 1024;

/// At most one read; takes no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    start: usize,
}

impl Pending {
    /// What is left of a read.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            start: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The first `count` bytes have been handed on.
    pub(super) fn advance(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Forgets the bytes; how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let count = count(self.rest());
        *self = Self::default();
        count
    }
}

/// A length as a counter's step.
pub(super) fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrote {
    pub(super) count: usize,
    pub(super) end: End,
}

/// Why a write came no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything is written.
    All,
    /// It would have to wait.
    Full,
    /// It failed.
    Failed(Errno),
}

/// Writes as much as goes without waiting.
pub(super) fn write_some(fd: impl AsFd, bytes: &[u8]) -> Wrote {
    let mut written = 0;
    let end = loop {
        match bytes.get(written..) {
            None | Some([]) => break End::All,
            Some(rest) => match write(&fd, rest) {
                Ok(0) | Err(Errno::EAGAIN) => break End::Full,
                Ok(count) => written += count,
                Err(Errno::EINTR) => {}
                Err(errno) => break End::Failed(errno),
            },
        }
    };
    Wrote {
        count: written,
        end,
    }
}

/// One read; `Ok(None)` when there is nothing yet.
pub(super) fn read_some(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    match read(fd, buffer) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

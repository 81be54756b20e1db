//! What an operation tells while it goes on.

use crate::digest::Digest;

/// Where an operation's progress goes: a terminal's bars, plain lines, JSON, or nowhere.
///
/// Called from several threads at once; it must not block for long.
pub trait Progress: Sync {
    /// Something has happened.
    fn report(&self, event: Event<'_>);
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on a blob has begun; `total` bytes if known. Of a resumed download, `done` bytes
    /// are there already.
    Began {
        /// Which blob.
        digest: &'a Digest,
        /// What is done with it.
        work: Work,
        /// In bytes.
        total: Option<u64>,
        /// In bytes.
        done: u64,
    },
    /// So many further bytes.
    Advanced {
        /// Which blob.
        digest: &'a Digest,
        /// What is done with it.
        work: Work,
        /// In bytes.
        bytes: u64,
    },
    /// Work on a blob has ended well.
    Ended {
        /// Which blob.
        digest: &'a Digest,
        /// What was done with it.
        work: Work,
    },
    /// Nothing was to be done.
    Existed {
        /// Which blob.
        digest: &'a Digest,
        /// What would have been done with it.
        work: Work,
    },
    /// A sentence for people: a retry, a registry's warning.
    Note(&'a str),
}

/// What is done with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Work {
    /// From a registry.
    Download,
    /// To a registry.
    Upload,
    /// Into a directory.
    Unpack,
    /// Out of a directory.
    Pack,
    /// From an archive, or into one.
    Copy,
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _event: Event<'_>) {}
}

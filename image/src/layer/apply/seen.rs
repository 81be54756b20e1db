//! What this layer has made, told from what was there before.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Names that the layer has made, by the inode of the directory that they are in.
///
/// Kept as hashes under a random key: eight bytes a name, and nobody can make two names meet.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: RandomState,
    hashes: HashSet<u64>,
}

/// How a name got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Made {
    /// The layer has it, or something below it.
    InAnyWay,
    /// The archive names it.
    ByName,
}

impl Seen {
    pub(super) fn insert(&mut self, directory: (u64, u64), name: &[u8], made: Made) {
        self.hashes
            .insert(self.keys.hash_one((directory, name, made)));
    }

    pub(super) fn contains(&self, directory: (u64, u64), name: &[u8], made: Made) -> bool {
        let hash = self.keys.hash_one((directory, name, made));
        self.hashes.contains(&hash)
    }
}

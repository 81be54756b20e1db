//! Blobs on their way into the store, which others read while they come.
//!
//! ```text
//! registry ──download──▶ ingest/sha256-HEX ──verify, fsync, rename──▶ blobs/sha256/HEX
//!                            └─▶ Follower: what is there, then what comes, then the end
//! ```
//!
//! The end is only read when the blob is in the store under its name, so verified. Who has read
//! an end has read the blob; who has read less has nothing that he may use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// Where layers are read from.
pub(crate) trait Blobs: Sync {
    /// Opens one for reading.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>>;

    /// Whether what [`Blobs::open`] gave may have been something else than the blob, which is
    /// there now. Waits until that is known.
    fn was_premature(&self, descriptor: &Descriptor) -> bool;
}

impl Blobs for Store {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.open_blob(descriptor)?))
    }

    fn was_premature(&self, _: &Descriptor) -> bool {
        false
    }
}

/// Blobs that are downloaded, each by one thread.
#[derive(Debug)]
pub(crate) struct Arrivals {
    store: Store,
    blobs: BTreeMap<Digest, Arrival>,
}

#[derive(Debug, Default)]
struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is there of it, once it has begun.
    file: Option<Arc<File>>,
    /// In bytes.
    length: u64,
    /// How many times it has begun: what came before doesn't count.
    beginning: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is in the store.
    Whole,
    /// It doesn't come any more.
    Lost,
}

impl Arrivals {
    /// Waits for these.
    pub(crate) fn new<'d>(
        store: &Store,
        descriptors: impl IntoIterator<Item = &'d Descriptor>,
    ) -> Self {
        let expected = |descriptor: &Descriptor| (descriptor.digest.clone(), Arrival::default());
        Self {
            store: store.clone(),
            blobs: descriptors.into_iter().map(expected).collect(),
        }
    }

    /// It begins, or begins again; `length` bytes are in its file from an earlier attempt.
    pub(crate) fn begin(&self, digest: &Digest, file: File, length: u64) {
        self.change(digest, |state| {
            state.file = Some(Arc::new(file));
            state.length = length;
            state.beginning += 1;
        });
    }

    /// So many bytes are there; fewer than before if it begins again.
    pub(crate) fn reach(&self, digest: &Digest, length: u64) {
        self.change(digest, |state| {
            if length < state.length {
                state.beginning += 1;
            }
            state.length = length;
        });
    }

    /// It is in the store.
    pub(crate) fn finish(&self, digest: &Digest) {
        self.change(digest, |state| state.end = Some(End::Whole));
    }

    /// Nothing comes any more: what isn't here is lost. Must be called, or readers wait.
    pub(crate) fn close(&self) {
        for digest in self.blobs.keys() {
            self.change(digest, |state| {
                state.end.get_or_insert(End::Lost);
            });
        }
    }

    fn change(&self, digest: &Digest, change: impl FnOnce(&mut State)) {
        if let Some(arrival) = self.blobs.get(digest) {
            change(&mut arrival.lock());
            arrival.changed.notify_all();
        }
    }
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long as `is_too_early`. The download has deadlines of its own, and tells its
    /// end whatever it is.
    fn wait(&self, is_too_early: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed
            .wait_while(self.lock(), |state| is_too_early(state))
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for Arrivals {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let Some(arrival) = self.blobs.get(&descriptor.digest) else {
            return self.store.open(descriptor);
        };
        let state = arrival.wait(|state| state.file.is_none() && state.end.is_none());
        match (state.end, &state.file) {
            (Some(End::Whole), _) => {
                drop(state);
                self.store.open(descriptor)
            }
            (None, Some(file)) => Ok(Box::new(Follower {
                file: Arc::clone(file),
                beginning: state.beginning,
                arrival,
                position: 0,
            })),
            _ => Err(lost(&descriptor.digest)),
        }
    }

    fn was_premature(&self, descriptor: &Descriptor) -> bool {
        let Some(arrival) = self.blobs.get(&descriptor.digest) else {
            return false;
        };
        let state = arrival.wait(|state| state.end.is_none());
        state.end == Some(End::Whole) && state.beginning > 0
    }
}

fn lost(digest: &Digest) -> Error {
    let message = format!("content {digest} did not arrive");
    Error::new(ErrorKind::NotFound, message)
}

/// Reads a blob from its beginning to its verified end.
struct Follower<'a> {
    arrival: &'a Arrival,
    file: Arc<File>,
    beginning: u64,
    position: u64,
}

impl Read for Follower<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position;
        let is_ours = |state: &State| state.beginning == self.beginning;
        let state = self
            .arrival
            .wait(|state| is_ours(state) && state.length <= position && state.end.is_none());
        let left = usize::try_from(state.length.saturating_sub(position)).unwrap_or(usize::MAX);
        match state.end {
            _ if !is_ours(&state) => return Err(io::Error::other("its download began again")),
            Some(End::Lost) => return Err(io::Error::other("its download has failed")),
            Some(End::Whole) if left == 0 => return Ok(0),
            _ => drop(state),
        }
        let length = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], position)?;
        if count == 0 && length > 0 {
            return Err(io::Error::other("its download began again"));
        }
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::document::{Compression, MediaType};

    fn layer(bytes: &[u8]) -> Descriptor {
        Descriptor::of(MediaType::layer(Compression::None), bytes)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        (directory, store)
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("it is written");
        file
    }

    #[test]
    fn an_end_is_read_only_when_the_blob_is_whole() {
        let (_directory, store) = store();
        let descriptor = layer(b"content");
        let arrivals = Arrivals::new(&store, [&descriptor]);
        let digest = &descriptor.digest;
        let is_told = AtomicBool::new(false);
        arrivals.begin(digest, file(b"content"), 3);
        let mut reader = arrivals.open(&descriptor).expect("it begins");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).expect("it arrives");
                assert!(is_told.load(Ordering::SeqCst));
                all
            });
            arrivals.reach(digest, 5);
            arrivals.reach(digest, 7);
            is_told.store(true, Ordering::SeqCst);
            arrivals.finish(digest);
            assert_eq!(reading.join().expect("it reads"), b"content");
        });
        assert!(arrivals.was_premature(&descriptor));
    }

    #[test]
    fn what_begins_again_or_is_lost_is_no_blob() {
        let (_directory, store) = store();
        let descriptor = layer(b"content");
        let digest = &descriptor.digest;
        let arrivals = Arrivals::new(&store, [&descriptor]);
        arrivals.begin(digest, file(b"wrong"), 5);
        let mut reader = arrivals.open(&descriptor).expect("it begins");
        let mut buffer = [0; 3];
        assert_eq!(reader.read(&mut buffer).expect("it is there"), 3);
        arrivals.reach(digest, 0);
        arrivals.reach(digest, 5);
        assert!(reader.read(&mut buffer).is_err());
        let mut reader = arrivals.open(&descriptor).expect("it has begun again");
        arrivals.close();
        assert!(reader.read(&mut buffer).is_err());
        assert!(arrivals.open(&descriptor).is_err());
        assert!(!arrivals.was_premature(&descriptor));
    }

    #[test]
    fn what_is_there_is_read_from_the_store() {
        let (_directory, store) = store();
        let descriptor = layer(b"content");
        store
            .put(descriptor.media_type.clone(), b"content")
            .expect("it is kept");
        let arrivals = Arrivals::new(&store, [&descriptor]);
        arrivals.finish(&descriptor.digest);
        let mut all = String::new();
        let mut reader = arrivals.open(&descriptor).expect("it is there");
        reader.read_to_string(&mut all).expect("it can be read");
        assert_eq!(all, "content");
        assert!(!arrivals.was_premature(&descriptor));
    }
}

//! Content on its way into the store.
//!
//! ```text
//! ingest/sha256-HEX   grows, under flock ──verify, fsync──▶ rename ──▶ blobs/sha256/HEX
//! ingest/unnamed-N    the same, where the digest comes out only at the end
//! ```
//!
//! What was killed leaves its file in `ingest/`, without a lock: the next writer of the same
//! digest goes on where it ended, the next unnamed writer and every pruning remove the others.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use super::{Store, blob_name};
use crate::digest::{Algorithm, Digest, Hasher, Verifier};
use crate::document::{Descriptor, MediaType};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Share};

/// What [`Store::ingest`] found.
#[derive(Debug)]
pub enum Ingest {
    /// The content is in the store already: there is nothing to do.
    Present,
    /// It is not, and nobody else writes it while this writer lives.
    Writer(Box<Writer>),
}

/// Writes content whose digest and size are known.
///
/// Dropped without [`Writer::commit`], it keeps what it has for the next attempt; after a full
/// disk or wrong bytes it keeps nothing.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    file: File,
    name: String,
    descriptor: Descriptor,
    verifier: Verifier,
    fate: Fate,
}

/// What becomes of the unfinished file when its writer is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Discard,
    /// It has become a blob.
    Gone,
}

const BUFFER: usize = 128 << 10;

/// Begins the content of `descriptor`, or finds that it is there; see [`Store::ingest`].
pub(super) fn begin(store: &Store, descriptor: &Descriptor, patience: Duration) -> Result<Ingest> {
    let ingest = &store.layout().ingest;
    let name = file_name(&descriptor.digest);
    let file = loop {
        if store.contains(descriptor)? {
            return Ok(Ingest::Present);
        }
        let file = ingest.file_to_write(&name)?;
        lock::wait(&file, &ingest.path_of(&name), Share::Exclusive, patience)?;
        // The one that we waited for has made it a blob, or thrown it away.
        if ingest.is_still(&name, &file)? {
            break file;
        }
    };
    let mut writer = Writer {
        store: store.clone(),
        file,
        name,
        verifier: Verifier::new(&descriptor.digest, descriptor.size),
        descriptor: descriptor.clone(),
        fate: Fate::Keep,
    };
    if store.contains(descriptor)? {
        writer.fate = Fate::Discard;
        return Ok(Ingest::Present);
    }
    if writer.resume()? {
        writer.publish()?;
        return Ok(Ingest::Present);
    }
    Ok(Ingest::Writer(Box::new(writer)))
}

impl Writer {
    /// How many bytes are there: at first those that an earlier attempt has left.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.verifier.seen()
    }

    /// How many bytes it will be.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// A file without a name beside it, for bytes that have arrived before their turn. It is
    /// gone with its last descriptor, whoever is killed.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn spool(&self) -> Result<File> {
        let ingest = &self.store.layout().ingest;
        for number in 0_u64.. {
            let name = unnamed(number);
            if let Some(file) = ingest.create_file(&name)? {
                // A sweep may have been faster: its name is all that it takes.
                ingest.remove(&name)?;
                return Ok(file);
            }
        }
        Err(failed(
            "spool",
            &self.name,
            io::Error::other("no name is left"),
        ))
    }

    /// What is there, to be read while more comes. It has no part in the lock.
    pub(crate) fn open_to_read(&self) -> Result<File> {
        let opened = self.store.layout().ingest.file(&self.name)?;
        opened.ok_or_else(|| {
            let message = format!("unfinished blob {} was removed", self.descriptor.digest);
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Throws away what is there: the next byte is the first.
    ///
    /// # Errors
    /// When the file can't be cut.
    pub fn restart(&mut self) -> Result<()> {
        self.verifier = Verifier::new(&self.descriptor.digest, self.descriptor.size);
        self.fate = Fate::Keep;
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.map_err(|error| self.failed("restart", error))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they are more than were promised, [`ErrorKind::NoSpace`]
    /// when the disk is full: what is there is thrown away then.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.verifier.update(bytes) {
            self.fate = Fate::Discard;
            return Err(error);
        }
        self.file.write_all(bytes).map_err(|error| {
            self.fate = Fate::Discard;
            self.failed("write", error)
        })
    }

    /// Verifies everything, and makes it a blob that survives a power failure.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not what the digest promises; it is thrown away then,
    /// and the next attempt begins at nothing. With too few bytes, they stay.
    pub fn commit(mut self) -> Result<()> {
        if let Err(error) = self.verifier.finish() {
            if self.offset() == self.size() {
                self.fate = Fate::Discard;
            }
            return Err(error);
        }
        self.publish()
    }

    /// Keeps nothing of it, where there is no going on later.
    pub fn discard(mut self) {
        self.fate = Fate::Discard;
    }

    /// Hashes what an earlier attempt has left; says whether that is all of it.
    fn resume(&mut self) -> Result<bool> {
        let kept = self.file.metadata().map_err(|e| self.failed("read", e))?;
        if kept.len() > self.descriptor.size {
            self.restart()?;
            return Ok(false);
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.verifier.update(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        if self.offset() < self.descriptor.size {
            return Ok(false);
        }
        if self.verifier.finish().is_ok() {
            return Ok(true);
        }
        self.restart()?;
        Ok(false)
    }

    fn publish(&mut self) -> Result<()> {
        let done = publish(&self.store, &self.file, &self.name, &self.descriptor.digest);
        self.fate = match done {
            Ok(()) => Fate::Gone,
            Err(_) => Fate::Discard,
        };
        done
    }

    fn failed(&self, act: &str, error: io::Error) -> Error {
        failed(act, &self.descriptor.digest.to_string(), error)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::from)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let is_useless = self.fate == Fate::Keep && self.verifier.seen() == 0;
        if self.fate == Fate::Discard || is_useless {
            // It is locked, so the name is still this file. If it can't be removed, it is as if
            // this process had been killed.
            self.store.layout().ingest.remove(&self.name).ok();
        }
    }
}

/// Writes content whose digest is not known before.
///
/// Dropped without [`UnnamedWriter::commit`], it keeps nothing.
#[derive(Debug)]
pub struct UnnamedWriter {
    store: Store,
    file: File,
    name: String,
    hasher: Hasher,
    size: u64,
    is_named: bool,
}

const UNNAMED: &str = "unnamed-";

fn unnamed(number: u64) -> String {
    format!("{UNNAMED}{}-{number}", std::process::id())
}

/// Begins content without a name; see [`Store::writer_unnamed`].
pub(super) fn begin_unnamed(store: &Store) -> Result<UnnamedWriter> {
    sweep(store, |name| name.starts_with(UNNAMED))?;
    let ingest = &store.layout().ingest;
    let mut number: u64 = 0;
    let (file, name) = loop {
        let name = unnamed(number);
        number += 1;
        let Some(file) = ingest.create_file(&name)? else {
            continue;
        };
        // A sweep may have come between the making and the lock.
        if lock::attempt(&file, &ingest.path_of(&name), Share::Exclusive)?
            && ingest.is_still(&name, &file)?
        {
            break (file, name);
        }
    };
    Ok(UnnamedWriter {
        store: store.clone(),
        file,
        name,
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
        is_named: false,
    })
}

impl UnnamedWriter {
    /// How many bytes it has.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] when the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| failed("write", "content of a digest still unknown", error))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes it a blob that survives a power failure, and says what its digest is.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], or whatever else the kernel refuses; nothing is left then.
    pub fn commit(mut self, media_type: MediaType) -> Result<Descriptor> {
        let digest = self.hasher.clone().finish();
        let descriptor = Descriptor::new(media_type, digest, self.size);
        if !self.store.contains(&descriptor)? {
            publish(&self.store, &self.file, &self.name, &descriptor.digest)?;
            self.is_named = true;
        }
        Ok(descriptor)
    }
}

impl Write for UnnamedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::from)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for UnnamedWriter {
    fn drop(&mut self) {
        if !self.is_named {
            // Without its lock the next sweep removes it, if this can't.
            self.store.layout().ingest.remove(&self.name).ok();
        }
    }
}

/// Removes unfinished content that nobody is at work on; returns how many bytes that were.
pub(super) fn sweep(store: &Store, is_wanted: impl Fn(&str) -> bool) -> Result<u64> {
    let ingest = &store.layout().ingest;
    let mut bytes = 0;
    for name in ingest.names()? {
        if !is_wanted(&name) {
            continue;
        }
        let Some(file) = ingest.file(&name)? else {
            continue;
        };
        if lock::attempt(&file, &ingest.path_of(&name), Share::Exclusive)?
            && ingest.is_still(&name, &file)?
        {
            bytes += file.metadata().map_or(0, |found| found.len());
            ingest.remove(&name)?;
        }
    }
    Ok(bytes)
}

/// fsync, rename, fsync: after this the blob is there, whatever happens to the machine.
fn publish(store: &Store, file: &File, name: &str, digest: &Digest) -> Result<()> {
    let synced = file.sync_all();
    synced.map_err(|error| failed("write", &digest.to_string(), error))?;
    let directory = store.algorithm_directory(digest.algorithm())?;
    let ingest = &store.layout().ingest;
    ingest.rename(name, &directory, blob_name(digest))?;
    directory.sync()
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

fn failed(act: &str, object: &str, error: io::Error) -> Error {
    let error = Error::system(format!("{act} blob {object}"), error);
    match error.kind() {
        ErrorKind::NoSpace => error.advise("`tare image prune` removes what nothing refers to"),
        _ => error,
    }
}

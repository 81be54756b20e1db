//! The content that is here: an OCI image layout, which skopeo and umoci read as it is.
//!
//! ```text
//! ROOT/oci-layout, index.json    which images there are: one descriptor a tag, with the whole
//!                                reference as annotation; without it where there is no tag
//! ROOT/blobs/ALGORITHM/HEX       content, whole and verified
//! ROOT/ingest/                   content that is not whole yet
//! ROOT/reserve                   blocks for an index.json on a full disk
//! ROOT/locks/                    index: who changes index.json; lease: who needs content that
//!                                no image refers to yet; gate: on the way to the latter
//! ```
//!
//! Any number of processes and threads may use one store at once. What is seen is whole:
//! content gets its name by rename(2) after it was verified and synced, index.json as well. A
//! process that is killed leaves files in `ingest/` alone, and none of its locks.

mod directory;
mod find;
mod ingest;
pub(crate) mod layout;
mod lease;
pub(crate) mod list;
mod prune;
mod reserve;
mod resolve;
pub(crate) mod tree;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use ingest::{Ingest, UnnamedWriter, Writer};
pub use lease::Lease;
pub use list::Image;
pub use prune::{Pruned, Untagged};

pub(crate) use directory::Directory;

use layout::Layout;

use crate::digest::{Algorithm, Digest, Verifier};
use crate::document::{Descriptor, MAX_DOCUMENT, MediaType};
use crate::error::{Error, ErrorKind, Result};

/// An open store. Cloning it is cheap, and both are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Arc<Layout>,
    patience: Duration,
    leases: lease::Held,
}

impl Store {
    /// How long another process may hold a lock without getting on, unless said otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(120);

    /// Opens the store at `root`, which is made if it is missing. An image layout that another
    /// program has made becomes a store as it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a directory with other things in it;
    /// [`ErrorKind::Corrupt`] when a part of the layout is a link, a FIFO, a device;
    /// [`ErrorKind::Unsupported`] for a layout of another version.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_patiently(root, Self::PATIENCE)
    }

    /// The same, with another patience: how long another process may hold a lock without
    /// getting on, before an operation fails with [`ErrorKind::TimedOut`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_patiently(root: &Path, patience: Duration) -> Result<Self> {
        let layout = Layout::open(root, patience)
            .map_err(|error| error.within(format!("open image store {}", root.display())))?;
        Ok(Self {
            layout: Arc::new(layout),
            patience,
            leases: lease::Held::default(),
        })
    }

    /// The same store, with another patience.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Its directory's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.layout.root.path()
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.layout.root
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the content is here, with the size that the descriptor says. (Its bytes were
    /// verified when they came, and are verified again when they are used.)
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when something else than a regular file has its name.
    pub fn contains(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.size_of(&descriptor.digest)? == Some(descriptor.size))
    }

    /// The size in bytes of the content with this digest; none if it is not here.
    ///
    /// # Errors
    /// As [`Store::contains`].
    pub fn size_of(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.layout.blobs.child(digest.algorithm().name())? {
            Some(directory) => directory.size_of(blob_name(digest)),
            None => Ok(None),
        }
    }

    /// The content of a document, verified. If it is not here, but in the descriptor itself,
    /// then that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Corrupt`] when the bytes are not what was promised,
    /// or more than a document may have.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let size = descriptor.size;
        if size > MAX_DOCUMENT {
            let message = format!(
                "document {} has {size} bytes, and {MAX_DOCUMENT} is the most",
                descriptor.digest
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if self.size_of(&descriptor.digest)?.is_none()
            && let Some(bytes) = descriptor.embedded()?
        {
            return Ok(bytes);
        }
        let file = self.open_blob(descriptor)?;
        let mut bytes = Vec::new();
        file.take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::system(format!("read blob {}", descriptor.digest), error))?;
        let mut verifier = Verifier::new(&descriptor.digest, size);
        verifier
            .update(&bytes)
            .and_then(|()| verifier.finish())
            .map_err(damaged)?;
        Ok(bytes)
    }

    /// Whether the image can be used as it is here: nothing of a manifest is missing (but layers
    /// that may lie elsewhere), and its configuration belongs to it; of an index, this holds for
    /// one image at least, and no other is malformed. [`Store::tag`] asks the same.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], which names what is missing; [`ErrorKind::Corrupt`] for documents
    /// that are none, or don't belong together.
    pub fn check(&self, descriptor: &Descriptor) -> Result<()> {
        tree::check_complete(self, descriptor)
    }

    /// The content as an open file, whose size is right. Its bytes are not verified: whoever
    /// reads them does that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Corrupt`] when its size is another one.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File> {
        let digest = &descriptor.digest;
        let directory = self.layout.blobs.child(digest.algorithm().name())?;
        let file = match directory {
            Some(directory) => directory.file(blob_name(digest))?,
            None => None,
        };
        let file = file.ok_or_else(|| {
            let message = format!("content {digest} is not in the store (pull the image again)");
            Error::new(ErrorKind::NotFound, message)
        })?;
        let found = file
            .metadata()
            .map_err(|error| Error::system(format!("look at blob {digest}"), error))?
            .len();
        if found != descriptor.size {
            let message = format!(
                "blob {digest} has {found} bytes, and its descriptor says {} (the descriptor is \
                 wrong, or the store damaged)",
                descriptor.size
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(file)
    }

    /// Begins to write the content of `descriptor`, or finds that it is here. Of several that
    /// want to write the same, one does; the others wait for it and then find it present.
    ///
    /// Content that no image refers to is safe from [`Store::prune`] only under a
    /// [`Store::lease`].
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when another writer of it doesn't get on.
    pub fn ingest(&self, descriptor: &Descriptor) -> Result<Ingest> {
        ingest::begin(self, descriptor, self.patience)
    }

    /// Begins to write content whose digest comes out at the end.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], or whatever else the kernel refuses.
    pub fn writer_unnamed(&self) -> Result<UnnamedWriter> {
        ingest::begin_unnamed(self)
    }

    /// Writes a document, unless it is here.
    ///
    /// # Errors
    /// As [`Store::ingest`] and [`Writer::commit`].
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        if let Ingest::Writer(mut writer) = self.ingest(&descriptor)? {
            writer.restart()?;
            writer.append(bytes)?;
            writer.commit()?;
        }
        Ok(descriptor)
    }

    /// The directory of an algorithm's blobs, made if it is missing.
    fn algorithm_directory(&self, algorithm: Algorithm) -> Result<Directory> {
        let blobs = &self.layout.blobs;
        if let Some(directory) = blobs.child(algorithm.name())? {
            return Ok(directory);
        }
        let directory = blobs.make(algorithm.name(), layout::PRIVATE)?;
        blobs.sync()?;
        Ok(directory)
    }
}

/// A blob's name in its algorithm's directory.
fn blob_name(digest: &Digest) -> &str {
    digest.hex()
}

fn damaged(error: Error) -> Error {
    error.advise("the store is damaged: remove the blob's file and pull the image again")
}

#[cfg(test)]
mod tests;

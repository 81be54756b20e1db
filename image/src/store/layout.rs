//! The store's directories, and what makes them an image layout.
//!
//! image-spec, image-layout.md.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::directory::Directory;
use crate::digest::Algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Lock, Share};

/// The file that says what the directory is, and of which version.
pub(crate) const HEADER: &str = "oci-layout";
/// The list of images.
pub(crate) const INDEX: &str = "index.json";
/// The content.
pub(crate) const BLOBS: &str = "blobs";

const INGEST: &str = "ingest";
const LOCKS: &str = "locks";
const VERSION: &str = "1.0.0";

/// What may stand in a directory that is to become a store: what a store that was killed while
/// it was made leaves, and what a new file system has.
const OURS: [&str; 6] = [INDEX, BLOBS, INGEST, LOCKS, "snapshots", "lost+found"];

/// Images of private registries are nobody else's business.
pub(super) const PRIVATE: u32 = 0o700;
/// Containers of other users reach their root filesystem through it, and see no names.
const SEARCHABLE: u32 = 0o711;

/// The open directories of a store.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Directory,
    pub(super) blobs: Directory,
    pub(super) ingest: Directory,
    pub(super) locks: Directory,
}

impl Layout {
    /// Opens the store at `path`, and makes what is missing. The header comes last: where it is,
    /// everything is.
    pub(super) fn open(path: &Path, patience: Duration) -> Result<Self> {
        make_all(path)?;
        let root = Directory::open(path)?;
        if root.size_of(HEADER)?.is_none() {
            refuse_foreign(&root)?;
        }
        let locks = root.make(LOCKS, PRIVATE)?;
        let layout = Self {
            blobs: root.make(BLOBS, PRIVATE)?,
            ingest: root.make(INGEST, PRIVATE)?,
            locks,
            root,
        };
        layout.blobs.make(Algorithm::Sha256.name(), PRIVATE)?;
        if layout.root.size_of(HEADER)?.is_none() {
            let _lock = layout.lock_index(patience)?;
            layout.complete()?;
        }
        check_header(&layout.root)?;
        if layout.root.size_of(INDEX)?.is_none() {
            let message = format!(
                "{} is missing, so nothing says which images there are (a pruning would remove \
                 them all): put it back, or remove the whole directory",
                layout.root.path_of(INDEX).display()
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        layout.see_to_reserve()?;
        Ok(layout)
    }

    fn complete(&self) -> Result<()> {
        self.blobs.sync()?;
        if self.root.size_of(INDEX)?.is_none() {
            let index = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            });
            self.replace(INDEX, index.to_string().as_bytes())?;
        }
        let header = json!({"imageLayoutVersion": VERSION});
        self.replace(HEADER, header.to_string().as_bytes())
    }

    /// Waits until nobody else changes index.json.
    pub(super) fn lock_index(&self, patience: Duration) -> Result<Lock> {
        let file = self.locks.file_to_write("index")?;
        Lock::of(
            file,
            &self.locks.path_of("index"),
            Share::Exclusive,
            patience,
        )
    }

    /// As [`Self::lock_index`], unless somebody else has it.
    pub(super) fn try_lock_index(&self) -> Result<Option<Lock>> {
        match self.lock_index(Duration::ZERO) {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
            lock => lock.map(Some),
        }
    }

    /// Puts a whole file of these bytes at `name` in the root, or leaves everything as it is.
    /// The caller holds the lock on the index, so the temporary name is nobody else's. On a full
    /// disk a file can be replaced by one that is no longer than it: see [`super::reserve`].
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // A killed one may have left it.
        self.ingest.remove(name)?;
        let mut is_full = false;
        let written = match self.write_new(name, bytes) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                is_full = true;
                self.write_reserved(name, bytes, error)
            }
            written => written,
        };
        let renamed = written.and_then(|()| self.ingest.rename(name, &self.root, name));
        if renamed.is_err() {
            // The error that is told is the first one.
            self.ingest.remove(name).ok();
        }
        renamed?;
        self.root.sync()?;
        if is_full {
            self.fill_reserve();
        }
        Ok(())
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.ingest.path_of(name);
        let failed =
            |error: std::io::Error| Error::system(format!("write {}", path.display()), error);
        let Some(mut file) = self.ingest.create_file(name)? else {
            let message = format!("{} appeared meanwhile", path.display());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        };
        std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
        file.sync_all().map_err(failed)
    }
}

/// Makes the directory itself; its parents, too, as every program does with its own directory.
fn make_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(SEARCHABLE)
        .create(path)
        .map_err(|error| Error::system(format!("make directory {}", path.display()), error))
}

/// A directory without the header may become a store only if there is nothing else in it.
fn refuse_foreign(root: &Directory) -> Result<()> {
    let names = root.names()?;
    match names.iter().find(|name| !OURS.contains(&name.as_str())) {
        // Made by another process meanwhile.
        Some(name) if name == HEADER => Ok(()),
        Some(name) => {
            let message = format!(
                "{} is no image layout and not empty (there is {name} in it): name a directory \
                 that is a store, an OCI image layout, or new",
                root.path().display()
            );
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        None => Ok(()),
    }
}

/// Whether the directory is an image layout of the version that we know.
pub(crate) fn check_header(root: &Directory) -> Result<()> {
    let path = root.path_of(HEADER);
    let Some(file) = root.file(HEADER)? else {
        let message = format!("{} is missing: this is no OCI image layout", path.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let mut bytes = Vec::new();
    file.take(4096)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::system(format!("read {}", path.display()), error))?;
    check_version(&bytes).map_err(|error| error.within(path.display()))
}

/// Whether the content of `oci-layout` names the version that we know.
pub(crate) fn check_version(bytes: &[u8]) -> Result<()> {
    let header: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::with_source(ErrorKind::Corrupt, error.to_string(), error))?;
    match header.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(VERSION) => Ok(()),
        Some(other) => {
            let message = format!("image layout version {other:?}, and only {VERSION} is known");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None => Err(Error::new(
            ErrorKind::Corrupt,
            "it has no imageLayoutVersion",
        )),
    }
}

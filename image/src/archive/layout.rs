//! OCI layouts that other programs have made, in directories.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::blob::write_blob;
use super::load::{Found, found};
use crate::digest::Digest;
use crate::document::{Descriptor, Document};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress, Work};
use crate::store::layout::{BLOBS, check_header};
use crate::store::list::List;
use crate::store::{Directory, Ingest, Store, tree};

/// Copies what the layout's images consist of into the store. What is missing there (other
/// platforms, say) is left out.
pub(super) fn read(store: &Store, path: &Path, progress: &dyn Progress) -> Result<Vec<Found>> {
    let directory = Directory::open(path)?;
    check_header(&directory)?;
    let list = List::read(&directory)?;
    let blobs = directory.child(BLOBS)?.ok_or_else(|| {
        let message = format!("{} is missing", directory.path_of(BLOBS).display());
        Error::new(ErrorKind::NotFound, message)
    })?;
    let images: Vec<Found> = list.images().into_iter().map(found).collect();
    let mut copy = Copy {
        store,
        blobs,
        progress,
        done: BTreeSet::new(),
    };
    for image in &images {
        copy.tree(&image.descriptor, 0)?;
    }
    Ok(images)
}

struct Copy<'a> {
    store: &'a Store,
    blobs: Directory,
    progress: &'a dyn Progress,
    done: BTreeSet<tree::Seen>,
}

impl Copy<'_> {
    fn tree(&mut self, descriptor: &Descriptor, depth: usize) -> Result<()> {
        if depth > tree::MAX_DEPTH + 1 {
            return Err(tree::too_deep());
        }
        if !self.done.insert(tree::seen(descriptor)) || !self.content(descriptor)? {
            return Ok(());
        }
        let media_type = &descriptor.media_type;
        if !media_type.is_manifest() && !media_type.is_index() {
            return Ok(());
        }
        let children: Vec<Descriptor> = match tree::document(self.store, descriptor)? {
            Document::Manifest(manifest) => manifest.children().cloned().collect(),
            Document::Index(index) => index.manifests,
        };
        children
            .iter()
            .try_for_each(|child| self.tree(child, depth + 1))
    }

    /// Copies one blob; says whether it is in the store then.
    fn content(&self, descriptor: &Descriptor) -> Result<bool> {
        let (digest, work) = (&descriptor.digest, Work::Copy);
        if self.store.contains(descriptor)? {
            self.progress.report(Event::Existed { digest, work });
            return Ok(true);
        }
        let directory = self.blobs.child(digest.algorithm().name())?;
        let file = match directory {
            Some(directory) => directory.file(digest.hex())?,
            None => None,
        };
        let Some(file) = file else {
            return Ok(false);
        };
        let Ingest::Writer(writer) = self.store.ingest(descriptor)? else {
            return Ok(true);
        };
        write_blob(writer, descriptor, self.progress, |take| {
            read_pieces(file, digest, take)
        })?;
        Ok(true)
    }
}

/// Reads a blob's file to its end.
pub(super) fn read_pieces(
    mut file: File,
    digest: &Digest,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system(format!("read blob {digest}"), error)),
        }
    }
}

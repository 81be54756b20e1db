//! What an image consists of: the tree of documents and layers below a descriptor.

use std::collections::{BTreeMap, BTreeSet};

use super::Store;
use crate::digest::Digest;
use crate::document::{Descriptor, Document, Index, MAX_DOCUMENT, Manifest, MediaType};
use crate::error::{Error, ErrorKind, Result};

/// How deep indexes may be nested.
pub(crate) const MAX_DEPTH: usize = 8;

/// What a document leads to; nothing for layers and configurations. `None` if it is not here.
pub(crate) fn children(store: &Store, descriptor: &Descriptor) -> Result<Option<Vec<Descriptor>>> {
    let media_type = &descriptor.media_type;
    if !media_type.is_manifest() && !media_type.is_index() {
        return Ok(store.size_of(&descriptor.digest)?.map(|_| Vec::new()));
    }
    let document = match document(store, descriptor) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Ok(Some(match document {
        Document::Manifest(manifest) => manifest.children().cloned().collect(),
        Document::Index(index) => index.manifests,
    }))
}

/// Reads and parses a manifest or an index.
pub(crate) fn document(store: &Store, descriptor: &Descriptor) -> Result<Document> {
    let bytes = store.read(descriptor)?;
    Document::parse(&bytes, &descriptor.media_type)
        .map_err(|error| error.within(format!("image {}", descriptor.digest)))
}

/// Whether the image can be used as it is here: all of a manifest's parts are, but for layers
/// that may lie elsewhere, and its configuration belongs to it; of an index, this holds for one
/// image at least, and no other is malformed.
///
/// # Errors
/// [`ErrorKind::NotFound`], which names what is missing; [`ErrorKind::Corrupt`] for documents
/// that are none, or don't belong together.
pub(super) fn check_complete(store: &Store, descriptor: &Descriptor) -> Result<()> {
    let mut check = Check {
        store,
        known: BTreeMap::new(),
    };
    check.document(descriptor, 0)
}

/// Content, and as what it is looked at: one document's layer may be another one's manifest.
pub(crate) type Seen = (Digest, MediaType);

pub(crate) fn seen(descriptor: &Descriptor) -> Seen {
    (descriptor.digest.clone(), descriptor.media_type.clone())
}

/// Looks at everything once, however often it is named.
struct Check<'a> {
    store: &'a Store,
    /// Whether a document that was looked at is whole.
    known: BTreeMap<Seen, bool>,
}

impl Check<'_> {
    fn document(&mut self, descriptor: &Descriptor, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        if !descriptor.media_type.is_manifest() && !descriptor.media_type.is_index() {
            return check_present(self.store, descriptor);
        }
        match document(self.store, descriptor)? {
            Document::Manifest(manifest) => check_manifest(self.store, &manifest),
            Document::Index(index) => self.index(descriptor, &index, depth),
        }
    }

    fn index(&mut self, descriptor: &Descriptor, index: &Index, depth: usize) -> Result<()> {
        let mut is_any_whole = false;
        let mut missing = None;
        for child in &index.manifests {
            let seen = seen(child);
            let is_whole = match self.known.get(&seen) {
                Some(is_whole) => *is_whole,
                None => match self.document(child, depth + 1) {
                    Ok(()) => true,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        missing.get_or_insert(error);
                        false
                    }
                    Err(error) => return Err(error),
                },
            };
            is_any_whole |= is_whole;
            self.known.insert(seen, is_whole);
        }
        if is_any_whole {
            return Ok(());
        }
        Err(missing.unwrap_or_else(|| {
            let message = format!("index {} has no whole image in it", descriptor.digest);
            Error::new(ErrorKind::NotFound, message)
        }))
    }
}

fn check_manifest(store: &Store, manifest: &Manifest) -> Result<()> {
    manifest
        .children()
        .filter(|child| !child.media_type.is_foreign())
        .try_for_each(|child| check_present(store, child))?;
    if manifest.is_image() {
        store.config(manifest)?;
    }
    Ok(())
}

fn check_present(store: &Store, descriptor: &Descriptor) -> Result<()> {
    if store.contains(descriptor)? || descriptor.data.is_some() {
        return Ok(());
    }
    let message = format!(
        "content {} ({}, {} bytes) is not in the store",
        descriptor.digest, descriptor.media_type, descriptor.size
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// Content that can be reached, and is here.
#[derive(Debug, Default)]
pub(super) struct Reached {
    seen: BTreeSet<Seen>,
    digests: BTreeSet<Digest>,
}

impl Reached {
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Adds everything that can be reached from `roots`.
    ///
    /// # Errors
    /// When a document can't be read: nobody knows then what it leads to.
    pub(super) fn add(&mut self, store: &Store, roots: Vec<Descriptor>) -> Result<()> {
        let mut open = roots;
        while let Some(descriptor) = open.pop() {
            if !self.seen.insert(seen(&descriptor)) {
                continue;
            }
            if let Some(children) = children(store, &descriptor)? {
                open.extend(children);
                self.digests.insert(descriptor.digest);
            }
        }
        Ok(())
    }
}

/// Describes content of which only the digest is known: a manifest and an index are recognized.
/// `None` if it is not here.
pub(super) fn describe(store: &Store, digest: &Digest) -> Result<Option<Descriptor>> {
    let Some(size) = store.size_of(digest)? else {
        return Ok(None);
    };
    let unknown = MediaType::Other("application/octet-stream".into());
    let mut descriptor = Descriptor::new(unknown, digest.clone(), size);
    if size <= MAX_DOCUMENT {
        let bytes = store.read(&descriptor)?;
        if let Some(media_type) = recognize(&bytes) {
            descriptor.media_type = media_type;
        }
    }
    Ok(Some(descriptor))
}

/// What a document is, by its own words: `mediaType`, or the members that only one kind has.
pub(crate) fn recognize(bytes: &[u8]) -> Option<MediaType> {
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let own = value.get("mediaType").and_then(serde_json::Value::as_str);
    match own.map(|name| MediaType::from(name.to_owned())) {
        Some(known) if known.is_manifest() || known.is_index() => Some(known),
        _ if value.get("manifests").is_some() => Some(MediaType::OciIndex),
        _ if value.get("layers").is_some() => Some(MediaType::OciManifest),
        _ => None,
    }
}

pub(crate) fn too_deep() -> Error {
    let message = format!("an index within an index, more than {MAX_DEPTH} deep");
    Error::new(ErrorKind::Corrupt, message)
}

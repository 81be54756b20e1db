//! What people call images by: references, digests, and the beginnings of ids.

use std::collections::{BTreeMap, BTreeSet};

use super::{Image, Store, tree};
use crate::digest::Digest;
use crate::document::{Descriptor, Document};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;

impl Store {
    /// The image that `text` means, in this order: a name in the list; a digest of an index, a
    /// manifest or a configuration; the beginning of such a digest's digits (an id, as Docker
    /// shows it).
    ///
    /// A configuration's digest means the manifest that it belongs to. With `name@digest` the
    /// image must be listed under that name's repository.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidInput`] when an id's beginning is that of
    /// several, which are listed.
    pub fn find(&self, text: &str) -> Result<Image> {
        let images = self.images()?;
        if let Some(image) = by_name(&images, text) {
            return Ok(image.clone());
        }
        let found = self.by_id(&images, text.strip_prefix("sha256:").unwrap_or(text), text);
        match found.len() {
            1 => found.into_values().next().ok_or_else(|| not_found(text)),
            0 => Err(not_found(text)),
            _ => Err(ambiguous(text, found.into_values())),
        }
    }

    /// All manifests and indexes whose own digest, or whose configuration's, begins so.
    fn by_id(&self, images: &[Image], hex: &str, text: &str) -> BTreeMap<Digest, Image> {
        let is_id = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let whole: Option<Digest> = text.parse().ok();
        let mut search = Search {
            store: self,
            matches: |digest: &Digest| match &whole {
                Some(whole) => digest == whole,
                None => is_id && digest.hex().starts_with(hex),
            },
            seen: BTreeSet::new(),
            found: BTreeMap::new(),
        };
        if is_id || whole.is_some() {
            images.iter().for_each(|image| search.look_at(image, 0));
        }
        search.found
    }
}

/// Looks at everything once, however often it is named.
struct Search<'a, M> {
    store: &'a Store,
    matches: M,
    seen: BTreeSet<tree::Seen>,
    found: BTreeMap<Digest, Image>,
}

impl<M: Fn(&Digest) -> bool> Search<'_, M> {
    /// An image that can't be read has no ids but its own; others are found nevertheless.
    fn look_at(&mut self, image: &Image, depth: usize) {
        let descriptor = &image.descriptor;
        if !self.seen.insert(tree::seen(descriptor)) {
            return;
        }
        let mut is_found = (self.matches)(&descriptor.digest);
        if !is_found {
            match tree::document(self.store, descriptor) {
                Ok(Document::Manifest(manifest)) => {
                    is_found = (self.matches)(&manifest.config.digest);
                }
                Ok(Document::Index(index)) if depth < tree::MAX_DEPTH => {
                    for child in index.manifests {
                        self.look_at(&nameless(child), depth + 1);
                    }
                }
                _ => {}
            }
        }
        if is_found {
            let digest = descriptor.digest.clone();
            self.found.entry(digest).or_insert_with(|| image.clone());
        }
    }
}

fn nameless(descriptor: Descriptor) -> Image {
    Image {
        reference: None,
        name: None,
        descriptor,
    }
}

fn by_name<'a>(images: &'a [Image], text: &str) -> Option<&'a Image> {
    let called = |image: &&Image| image.name.as_deref() == Some(text);
    if let Some(image) = images.iter().find(called) {
        return Some(image);
    }
    let wanted: Reference = text.parse().ok()?;
    let exact = images
        .iter()
        .find(|image| image.reference.as_ref() == Some(&wanted));
    let digest = wanted.digest();
    exact.or_else(|| {
        images.iter().find(|image| {
            let is_same_repository = image.reference.as_ref().is_some_and(|reference| {
                reference.registry() == wanted.registry()
                    && reference.repository() == wanted.repository()
            });
            is_same_repository && Some(&image.descriptor.digest) == digest
        })
    })
}

fn not_found(text: &str) -> Error {
    let shown: String = text.chars().take(300).collect();
    let message = format!("no image {shown} in the store (pull or load it first)");
    Error::new(ErrorKind::NotFound, message)
}

fn ambiguous(text: &str, found: impl Iterator<Item = Image>) -> Error {
    let list: Vec<String> = found
        .map(|image| match &image.name {
            Some(_) => format!("{} ({})", image.shown(), image.descriptor.digest.short()),
            None => image.descriptor.digest.to_string(),
        })
        .collect();
    let message = format!(
        "{text} is the beginning of several images' ids: {}",
        list.join(", ")
    );
    Error::new(ErrorKind::InvalidInput, message)
}

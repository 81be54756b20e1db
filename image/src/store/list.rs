//! index.json: which images there are, and what they are called.
//!
//! It is changed as JSON, entry by entry, so that what other programs have written into it
//! stays: umoci and skopeo work on the same file.

use std::io::Read;

use serde_json::{Value, json};

use super::layout::INDEX;
use super::{Directory, Store, tree};
use crate::digest::Digest;
use crate::document::{Descriptor, Index, MAX_DOCUMENT};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;

/// The annotation that names an image in an image layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image in the store, under one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is called; none for an untagged image, and for one that another program has
    /// put here by a name that is no whole reference.
    pub reference: Option<Reference>,
    /// The name as it stands in index.json, whosoever wrote it.
    pub name: Option<String>,
    /// Its manifest, or its index.
    pub descriptor: Descriptor,
}

impl Image {
    fn of(descriptor: Descriptor) -> Self {
        let name = descriptor.annotation(REF_NAME).map(str::to_owned);
        let reference = name.as_deref().and_then(whole_reference);
        Self {
            reference,
            name,
            descriptor,
        }
    }

    /// The shortest name that finds it: reference, foreign name, or digest.
    #[must_use]
    pub fn shown(&self) -> String {
        match (&self.reference, &self.name) {
            (Some(reference), _) => reference.familiar(),
            (None, Some(name)) => name.clone(),
            (None, None) => self.descriptor.digest.to_string(),
        }
    }
}

/// A name that means the same everywhere. `latest`, as other programs write it, is none.
fn whole_reference(name: &str) -> Option<Reference> {
    let reference: Reference = name.parse().ok()?;
    (reference.to_string() == name).then_some(reference)
}

/// The content of an index.json.
#[derive(Debug)]
pub(crate) struct List {
    whole: Value,
    descriptors: Vec<Descriptor>,
}

impl List {
    /// Reads index.json of an image layout.
    pub(crate) fn read(root: &Directory) -> Result<Self> {
        let path = root.path_of(INDEX);
        let file = root.file(INDEX)?.ok_or_else(|| {
            let message = format!("{} is missing", path.display());
            Error::new(ErrorKind::NotFound, message)
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::system(format!("read {}", path.display()), error))?;
        Self::parse(&bytes).map_err(|error| error.within(path.display()))
    }

    /// Reads the bytes of an index.json.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let index = Index::parse(bytes)?;
        let mut whole: Value = serde_json::from_slice(bytes)
            .map_err(|error| Error::with_source(ErrorKind::Corrupt, error.to_string(), error))?;
        // Index::parse has seen an array there.
        if !whole["manifests"].is_array() {
            whole["manifests"] = json!([]);
        }
        Ok(Self {
            whole,
            descriptors: index.manifests,
        })
    }

    /// All of it, in the order of the file.
    pub(crate) fn images(self) -> Vec<Image> {
        self.descriptors.into_iter().map(Image::of).collect()
    }

    pub(super) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// Leaves only the entries that `is_kept`; says whether that changed anything.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Descriptor) -> bool) -> bool {
        let kept: Vec<bool> = self.descriptors.iter().map(is_kept).collect();
        if let Some(entries) = self.whole["manifests"].as_array_mut() {
            let mut next = kept.iter();
            entries.retain(|_| next.next().copied().unwrap_or(true));
        }
        let mut next = kept.iter();
        self.descriptors
            .retain(|_| next.next().copied().unwrap_or(true));
        kept.contains(&false)
    }

    fn push(&mut self, descriptor: Descriptor) -> Result<()> {
        let value = serde_json::to_value(&descriptor).map_err(|error| {
            Error::with_source(ErrorKind::InvalidInput, error.to_string(), error)
        })?;
        if let Some(entries) = self.whole["manifests"].as_array_mut() {
            entries.push(value);
        }
        self.descriptors.push(descriptor);
        Ok(())
    }

    fn has(&self, digest: &Digest) -> bool {
        self.descriptors.iter().any(|entry| entry.digest == *digest)
    }

    /// As it is written. One that could not be read again is not.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = self.whole.to_string().into_bytes();
        if bytes.len() as u64 > MAX_DOCUMENT {
            let message = format!(
                "{INDEX} would have more than {MAX_DOCUMENT} bytes: there are too many images \
                 (remove some)"
            );
            return Err(Error::new(ErrorKind::NoSpace, message));
        }
        Ok(bytes)
    }
}

impl Store {
    /// All images, one for each of their names, in the order in which they came.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when index.json is no index.
    pub fn images(&self) -> Result<Vec<Image>> {
        Ok(List::read(self.directory())?.images())
    }

    /// Gives the image this name, which it takes from another image if need be; that one stays
    /// without it. Afterwards it is safe from pruning.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a part of the image is not here: nothing half-done gets a
    /// name.
    pub fn tag(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        self.tag_as(&reference.to_string(), descriptor)
            .map_err(|error| error.within(format!("tag {}", reference.familiar())))
    }

    fn tag_as(&self, name: &str, descriptor: &Descriptor) -> Result<()> {
        self.change(|list| {
            tree::check_complete(self, descriptor)?;
            let is_named = |entry: &Descriptor| entry.annotation(REF_NAME) == Some(name);
            let is_same = |entry: &Descriptor| entry.digest == descriptor.digest;
            let mut all = list.descriptors().iter();
            if all.any(|entry| is_named(entry) && is_same(entry)) {
                return Ok(false);
            }
            let before: Vec<Descriptor> = list
                .descriptors()
                .iter()
                .filter(|entry| is_named(entry))
                .cloned()
                .collect();
            list.retain(|entry| {
                let is_nameless = entry.annotation(REF_NAME).is_none();
                !(is_named(entry) || is_nameless && is_same(entry))
            });
            list.push(named(descriptor, Some(name)))?;
            for old in before {
                add_untagged(list, &old)?;
            }
            Ok(true)
        })
    }

    /// Lists the image without a name, unless it is listed. Afterwards it is safe from a pruning
    /// that keeps untagged images.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn add(&self, descriptor: &Descriptor) -> Result<()> {
        self.change(|list| {
            tree::check_complete(self, descriptor)?;
            add_untagged(list, descriptor)
        })
    }

    /// Takes the name away, and says from which image. If that was its last name, it stays as an
    /// untagged image.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nothing has this name.
    pub fn untag(&self, reference: &Reference) -> Result<Descriptor> {
        let name = reference.to_string();
        let mut found = None;
        self.change(|list| {
            let is_named = |entry: &Descriptor| entry.annotation(REF_NAME) == Some(&name);
            let entry = list.descriptors().iter().find(|entry| is_named(entry));
            let Some(entry) = entry.cloned() else {
                let message = format!("no image is called {}", reference.familiar());
                return Err(Error::new(ErrorKind::NotFound, message));
            };
            list.retain(|entry| !is_named(entry));
            add_untagged(list, &entry)?;
            found = Some(named(&entry, None));
            Ok(true)
        })?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "the image vanished"))
    }

    /// Takes the image with this digest out of the list, with all of its names, which are
    /// returned. Its content stays until the next pruning.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no image in the list has this digest.
    pub fn forget(&self, digest: &Digest) -> Result<Vec<Image>> {
        let mut gone = Vec::new();
        self.change(|list| {
            let of_it = list
                .descriptors()
                .iter()
                .filter(|entry| entry.digest == *digest);
            gone = of_it.cloned().map(Image::of).collect();
            if gone.is_empty() {
                let message = format!("no image has the digest {digest}");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            Ok(list.retain(|entry| entry.digest != *digest))
        })?;
        Ok(gone)
    }

    /// Changes index.json if `change` says that there is a change; nobody else does meanwhile.
    pub(super) fn change<C>(&self, change: C) -> Result<()>
    where
        C: FnOnce(&mut List) -> Result<bool>,
    {
        let _lock = self.layout().lock_index(self.patience())?;
        let mut list = List::read(self.directory())?;
        if change(&mut list)? {
            self.layout().replace(INDEX, &list.to_bytes()?)?;
        }
        Ok(())
    }
}

fn add_untagged(list: &mut List, descriptor: &Descriptor) -> Result<bool> {
    if list.has(&descriptor.digest) {
        return Ok(false);
    }
    list.push(named(descriptor, None))?;
    Ok(true)
}

/// The same descriptor with this name, or with none; without content of its own, which is in
/// the store.
fn named(descriptor: &Descriptor, name: Option<&str>) -> Descriptor {
    let mut entry = descriptor.clone();
    entry.data = None;
    let mut annotations = entry.annotations.take().unwrap_or_default();
    match name {
        Some(name) => annotations.insert(REF_NAME.into(), name.into()),
        None => annotations.remove(REF_NAME),
    };
    entry.annotations = (!annotations.is_empty()).then_some(annotations);
    entry
}

//! The documents of image-spec: descriptors, manifests, indexes, configurations.
//!
//! A document is known by its digest, so its bytes are what counts: what is parsed here is for
//! reading, and is never written back in another form.

mod config;
mod descriptor;
mod index;
mod json;
mod manifest;
mod media;

pub use config::{Execution, Health, History, ImageConfig, RootFilesystem};
pub use descriptor::Descriptor;
pub use index::Index;
pub use json::MAX_DOCUMENT;
pub(crate) use json::{strict, typed};
pub use manifest::Manifest;
pub use media::{Compression, MediaType};

use crate::error::{Error, ErrorKind, Result};

/// What a descriptor of an image may lead to.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// A choice among images.
    Index(Box<Index>),
}

impl Document {
    /// Reads a manifest or an index; `media_type` is what the descriptor or the registry's
    /// Content-Type says it is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the bytes are no such document, are both, name a field
    /// twice, or contradict `media_type`; [`ErrorKind::Unsupported`] for schema 1 and for
    /// media types that are neither.
    pub fn parse(bytes: &[u8], media_type: &MediaType) -> Result<Self> {
        let value = json::object(bytes, "manifest")?;
        let has = |name: &str| value.get(name).is_some_and(|value| !value.is_null());
        if value
            .get("schemaVersion")
            .and_then(serde_json::Value::as_u64)
            == Some(1)
            || *media_type == MediaType::Schema1
        {
            let message = "this image has Docker's old format (schema 1), which Docker itself has \
                           given up: its publisher has to push it again";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if has("manifests") && (has("layers") || has("config")) || has("fsLayers") {
            // CVE-2021-41190: two readers would see two different images.
            let message = "a document that is a manifest and an index at once";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if let Some(own) = value.get("mediaType").and_then(serde_json::Value::as_str) {
            let own = MediaType::from(own.to_owned());
            if own != *media_type {
                let message =
                    format!("a document that calls itself {own} is offered as {media_type}");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
        }
        if media_type.is_manifest() {
            Manifest::from_value(value).map(|manifest| Self::Manifest(Box::new(manifest)))
        } else if media_type.is_index() {
            Index::from_value(value).map(|index| Self::Index(Box::new(index)))
        } else {
            let message = format!("{media_type} is neither an image's manifest nor an index");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

#[cfg(test)]
mod tests;

//! Descriptors: what content is, how long it is, and its digest.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::MediaType;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Platform;

/// image-spec, descriptor.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else it can be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Sentences about it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The content itself, base64, if it is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the artifact is that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// For which machine, within an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Describes `bytes`.
    #[must_use]
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes content by its digest and its length in bytes.
    #[must_use]
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: None,
            data: None,
            artifact_type: None,
            platform: None,
        }
    }

    /// An annotation, if it has it.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The content that stands in the descriptor itself, verified.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is no base64, or not what the digest promises.
    pub fn embedded(&self) -> Result<Option<Vec<u8>>> {
        let Some(text) = &self.data else {
            return Ok(None);
        };
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| {
                let message = format!("data of descriptor {}: {error}", self.digest);
                Error::with_source(ErrorKind::Corrupt, message, error)
            })?;
        let mut verifier = crate::digest::Verifier::new(&self.digest, self.size);
        verifier.update(&bytes)?;
        verifier.finish()?;
        Ok(Some(bytes))
    }
}

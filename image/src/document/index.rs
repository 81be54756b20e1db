//! Indexes: a choice among images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Descriptor, MediaType, json};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Platform;

/// image-spec, image-index.md; Docker's manifest list has the same shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What the artifact is, if it is none of a container's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What can be chosen, the publisher's preference first.
    pub manifests: Vec<Descriptor>,
    /// Another manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Sentences about it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Index {
    pub(super) fn from_value(value: Value) -> Result<Self> {
        let index: Self = json::typed(value, "index")?;
        if index.schema_version != 2 {
            let message = format!("index: schemaVersion {}, not 2", index.schema_version);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(index)
    }

    /// Reads an index's bytes, such as `index.json` of an image layout.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value = json::object(bytes, "index")?;
        if value.get("layers").is_some_and(|layers| !layers.is_null()) {
            let message = "a document that is a manifest and an index at once";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Self::from_value(value)
    }

    /// The entry that suits `platform` best; of equals the first. Attestations and other things
    /// that are no images are left out. An entry without a platform suits only when no other does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], which lists what there is.
    pub fn choose(&self, platform: &Platform) -> Result<&Descriptor> {
        let candidates = || self.manifests.iter().filter(|entry| is_image(entry));
        let ranked = candidates().filter_map(|entry| {
            let offered = entry.platform.as_ref()?;
            Some((platform.rank(offered)?, entry))
        });
        // min_by_key keeps the first of equals.
        let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
        best.or_else(|| candidates().find(|entry| entry.platform.is_none()))
            .ok_or_else(|| self.none_for(platform))
    }

    fn none_for(&self, platform: &Platform) -> Error {
        let offered: Vec<String> = self
            .manifests
            .iter()
            .filter(|entry| is_image(entry))
            .filter_map(|entry| Some(entry.platform.as_ref()?.normalized().to_string()))
            .collect();
        let offered = match offered.len() {
            0 => "there is no image in it".to_owned(),
            _ => format!("there are {}", offered.join(", ")),
        };
        let message = format!("no image for {platform} in this index: {offered}");
        Error::new(ErrorKind::NotFound, message)
    }
}

/// Whether an entry can be an image: no attestation, and a type that leads to one.
fn is_image(entry: &Descriptor) -> bool {
    let is_attestation = entry.annotation("vnd.docker.reference.type").is_some();
    let is_unknown = entry.platform.as_ref().is_some_and(Platform::is_unknown);
    let is_document = entry.media_type.is_manifest() || entry.media_type.is_index();
    is_document && !is_attestation && !is_unknown
}

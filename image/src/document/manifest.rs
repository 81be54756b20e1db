//! Manifests: the parts of one image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Descriptor, MediaType, json};
use crate::error::{Error, ErrorKind, Result};

/// image-spec, manifest.md; Docker's schema 2 has the same shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What the artifact is, if it is none of a container's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Another manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Sentences about it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    pub(super) fn from_value(value: Value) -> Result<Self> {
        let manifest: Self = json::typed(value, "manifest")?;
        if manifest.schema_version != 2 {
            let message = format!("manifest: schemaVersion {}, not 2", manifest.schema_version);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(manifest)
    }

    /// Whether it is an image that can become a container: a configuration of images, and
    /// layers that are tar archives.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.config.media_type.is_config()
            && self
                .layers
                .iter()
                .all(|layer| matches!(layer.media_type, MediaType::Layer { .. }))
    }

    /// Everything that it leads to: configuration and layers.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

//! From an image to what a container needs: the manifest for this machine, its configuration.

use std::collections::BTreeSet;

use super::{Store, tree};
use crate::document::{Descriptor, Document, ImageConfig, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Platform;

impl Store {
    /// The manifest of the image for this platform, through indexes in between, and its
    /// descriptor. An image that is one manifest is taken as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none for the platform, or it is not here;
    /// [`ErrorKind::Corrupt`] when a document is none, or indexes are nested too deeply.
    pub fn manifest(
        &self,
        descriptor: &Descriptor,
        platform: &Platform,
    ) -> Result<(Descriptor, Manifest)> {
        let mut current = descriptor.clone();
        for _ in 0..=tree::MAX_DEPTH {
            match tree::document(self, &current)? {
                Document::Manifest(manifest) => return Ok((current, *manifest)),
                Document::Index(index) => {
                    let chosen = index
                        .choose(platform)
                        .map_err(|error| error.within(format!("image {}", descriptor.digest)))?;
                    if self.size_of(&chosen.digest)?.is_none() && chosen.data.is_none() {
                        let message = format!(
                            "the image's variant for {platform} ({}) is not in the store (pull \
                             it for this platform)",
                            chosen.digest
                        );
                        return Err(Error::new(ErrorKind::NotFound, message));
                    }
                    current = chosen.clone();
                }
            }
        }
        Err(tree::too_deep())
    }

    /// All manifests of the image that are here, for whichever platform.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when a document is none, or indexes are nested too deeply.
    pub fn manifests(&self, descriptor: &Descriptor) -> Result<Vec<(Descriptor, Manifest)>> {
        let mut manifests = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![(descriptor.clone(), 0)];
        while let Some((current, depth)) = open.pop() {
            if depth > tree::MAX_DEPTH {
                return Err(tree::too_deep());
            }
            let is_document = current.media_type.is_manifest() || current.media_type.is_index();
            if !is_document
                || !seen.insert(tree::seen(&current))
                || self.size_of(&current.digest)?.is_none()
            {
                continue;
            }
            match tree::document(self, &current)? {
                Document::Manifest(manifest) => manifests.push((current, *manifest)),
                Document::Index(index) => {
                    open.extend(index.manifests.into_iter().map(|child| (child, depth + 1)));
                }
            }
        }
        Ok(manifests)
    }

    /// The configuration of an image that can become a container: one layer at least, and as
    /// many as the configuration has diff_ids.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for artifacts that are no images; [`ErrorKind::Corrupt`] when
    /// manifest and configuration don't belong together.
    pub fn config(&self, manifest: &Manifest) -> Result<ImageConfig> {
        if !manifest.is_image() {
            let what = manifest
                .artifact_type
                .clone()
                .unwrap_or_else(|| manifest.config.media_type.to_string());
            let message = format!("this is no image of a container, but an artifact ({what})");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let bytes = self.read(&manifest.config)?;
        let config = ImageConfig::parse(&bytes)
            .map_err(|error| error.within(format!("image {}", manifest.config.digest)))?;
        check_layers(manifest, &config)?;
        Ok(config)
    }
}

/// Whether the two lists of layers can be the same layers.
pub(crate) fn check_layers(manifest: &Manifest, config: &ImageConfig) -> Result<()> {
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    let why = if layers == 0 {
        "it has no layers, so there is nothing that a container could run".to_owned()
    } else if layers != diff_ids {
        format!("its manifest has {layers} layers, its configuration {diff_ids} diff_ids")
    } else {
        return Ok(());
    };
    let message = format!("image {}: {why}", manifest.config.digest);
    Err(Error::new(ErrorKind::Corrupt, message))
}

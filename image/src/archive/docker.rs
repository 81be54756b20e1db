//! manifest.json: how Docker described the images of an archive before 25, and skopeo and
//! podman do it in their docker-archives.
//!
//! It has neither digests nor sizes: what proves that the layers are the right ones is the
//! configuration's list of diff_ids.

use serde::Deserialize;
use serde_json::{Value, json};

use super::contents::{self, Contents};
use super::load::{Found, check_count};
use crate::digest::Digest;
use crate::document::{Compression, Descriptor, ImageConfig, MediaType, strict, typed};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::detect;
use crate::reference::Reference;
use crate::store::Store;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// The images that manifest.json describes, each with a manifest that is written for it.
pub(super) fn images(store: &Store, contents: &Contents, manifest: &[u8]) -> Result<Vec<Found>> {
    let value: Value = strict(manifest, "manifest.json")?;
    let items: Vec<Item> = typed(value, "manifest.json")?;
    if items.is_empty() {
        let message = "manifest.json: there is no image in it";
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    check_count(items.len())?;
    items
        .into_iter()
        .map(|item| {
            let names = names(&item)?;
            let descriptor = image(store, contents, &item)?;
            Ok(Found { names, descriptor })
        })
        .collect()
}

fn names(item: &Item) -> Result<Vec<Reference>> {
    let tags = item.repo_tags.iter().flatten();
    tags.map(|tag| {
        tag.parse().map_err(|error: Error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("manifest.json: RepoTags: {error}"),
            )
        })
    })
    .collect()
}

fn image(store: &Store, contents: &Contents, item: &Item) -> Result<Descriptor> {
    let mut config = contents.file(&item.config)?.clone();
    config.media_type = MediaType::OciConfig;
    let parsed =
        ImageConfig::parse(&store.read(&config)?).map_err(|error| error.within(&item.config))?;
    let diff_ids = &parsed.rootfs.diff_ids;
    let names = item.layers.as_deref().unwrap_or_default();
    if names.len() != diff_ids.len() {
        let message = format!(
            "manifest.json lists {} layers for {}, which has {} diff_ids",
            names.len(),
            item.config,
            diff_ids.len()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let layers = names.iter().zip(diff_ids);
    let layers = layers.map(|(name, diff_id)| layer(store, contents, name, diff_id));
    let layers: Vec<Descriptor> = layers.collect::<Result<_>>()?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "config": config,
        "layers": layers,
    });
    store.put(MediaType::OciManifest, manifest.to_string().as_bytes())
}

/// A layer, which is verified here if it is not compressed; else when it is unpacked.
fn layer(store: &Store, contents: &Contents, name: &str, diff_id: &Digest) -> Result<Descriptor> {
    let mut descriptor = contents.file(name)?.clone();
    let compression = detect(&contents::magic(store.open_blob(&descriptor)?)?);
    if compression == Compression::None && descriptor.digest != *diff_id {
        let message = format!(
            "layer {name} is not the one of its configuration: its digest is {}, not {diff_id}",
            descriptor.digest
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    descriptor.media_type = MediaType::layer(compression);
    Ok(descriptor)
}

//! Images in the store become an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Value, json};

use super::layout::read_pieces;
use super::{CONTAINERD_NAME, writer::Writer};
use crate::digest::{Algorithm, Digest, Verifier};
use crate::document::{Descriptor, MediaType};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Platform;
use crate::progress::{Event, Progress, Work};
use crate::reference::Reference;
use crate::store::layout::{HEADER, INDEX};
use crate::store::list::REF_NAME;
use crate::store::{Image, Store, tree};

/// In which format an archive is written. Both are OCI layouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// With manifest.json, by which every Docker since 1.10 loads it, too.
    #[default]
    Docker,
    /// Without.
    Oci,
}

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// In which format.
    pub format: Format,
    /// Of an image for several platforms, only the one for this; none: everything of it that is
    /// here.
    pub only: Option<Platform>,
    /// The platform whose image manifest.json describes, since it can have only one.
    pub host: Platform,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            only: None,
            host: Platform::host(),
        }
    }
}

/// Writes the images as an archive. The same images make the same bytes every time, and all
/// digests stay what they are.
///
/// # Errors
/// [`ErrorKind::NotFound`] when a part of an image is not here; [`ErrorKind::Corrupt`] when a
/// blob is not what its digest says. The archive is incomplete then: throw it away.
pub fn save(
    store: &Store,
    images: &[Image],
    out: impl Write,
    options: &SaveOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let _lease = store.lease()?;
    let plan = Plan::new(store, images, options)?;
    let mut writer = Writer::new(out);
    plan.write_blobs(store, &mut writer, progress)?;
    writer.whole(INDEX, plan.index().to_string().as_bytes())?;
    if options.format == Format::Docker {
        writer.whole("manifest.json", plan.manifest.to_string().as_bytes())?;
    }
    let header = json!({"imageLayoutVersion": "1.0.0"});
    writer.whole(HEADER, header.to_string().as_bytes())?;
    writer.finish()
}

/// All that the archive will have in it.
#[derive(Debug)]
struct Plan {
    entries: Vec<Descriptor>,
    seen: BTreeSet<tree::Seen>,
    blobs: BTreeMap<Digest, Descriptor>,
    manifest: Value,
}

impl Plan {
    fn new(store: &Store, images: &[Image], options: &SaveOptions) -> Result<Self> {
        let mut plan = Self {
            entries: Vec::new(),
            seen: BTreeSet::new(),
            blobs: BTreeMap::new(),
            manifest: json!([]),
        };
        let mut described = Described::default();
        for image in images {
            let within = |error: Error| error.within(format!("save {}", image.shown()));
            plan.add(store, image, options, &mut described)
                .map_err(within)?;
        }
        if options.format == Format::Docker {
            plan.manifest = described.to_json(store)?;
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        store: &Store,
        image: &Image,
        options: &SaveOptions,
        described: &mut Described,
    ) -> Result<()> {
        let descriptor = match &options.only {
            Some(platform) => store.manifest(&image.descriptor, platform)?.0,
            None => image.descriptor.clone(),
        };
        store.check(&descriptor)?;
        self.collect(store, &descriptor)?;
        if options.format == Format::Docker {
            described.add(store, image, &descriptor, &options.host)?;
        }
        self.entries.push(named(&descriptor, image));
        Ok(())
    }

    /// Everything that the image consists of and that is here.
    fn collect(&mut self, store: &Store, root: &Descriptor) -> Result<()> {
        let mut open = vec![root.clone()];
        while let Some(descriptor) = open.pop() {
            if !self.seen.insert(tree::seen(&descriptor)) {
                continue;
            }
            if let Some(children) = tree::children(store, &descriptor)? {
                open.extend(children);
                self.blobs.insert(descriptor.digest.clone(), descriptor);
            }
        }
        Ok(())
    }

    fn write_blobs(
        &self,
        store: &Store,
        writer: &mut Writer<impl Write>,
        progress: &dyn Progress,
    ) -> Result<()> {
        writer.directory("blobs")?;
        for algorithm in Algorithm::ALL {
            let of_it = |digest: &&Digest| digest.algorithm() == algorithm;
            if self.blobs.keys().any(|digest| of_it(&digest)) {
                writer.directory(&format!("blobs/{}", algorithm.name()))?;
            }
            for descriptor in self.blobs.values() {
                if of_it(&&descriptor.digest) {
                    write_blob(store, writer, descriptor, progress)?;
                }
            }
        }
        Ok(())
    }

    fn index(&self) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciIndex,
            "manifests": self.entries,
        })
    }
}

fn write_blob(
    store: &Store,
    writer: &mut Writer<impl Write>,
    descriptor: &Descriptor,
    progress: &dyn Progress,
) -> Result<()> {
    let (digest, work) = (&descriptor.digest, Work::Copy);
    let total = Some(descriptor.size);
    if store.size_of(digest)?.is_none() {
        // It stands in the descriptor itself.
        return writer.whole(&path_of(digest), &store.read(descriptor)?);
    }
    let file = store.open_blob(descriptor)?;
    let mut verifier = Verifier::new(digest, descriptor.size);
    progress.report(Event::Began {
        digest,
        work,
        total,
        done: 0,
    });
    writer.file(&path_of(digest), descriptor.size)?;
    read_pieces(file, digest, |piece| {
        verifier.update(piece)?;
        writer.append(piece)?;
        let bytes = piece.len() as u64;
        progress.report(Event::Advanced {
            digest,
            work,
            bytes,
        });
        Ok(())
    })?;
    verifier.finish()?;
    progress.report(Event::Ended { digest, work });
    Ok(())
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The descriptor as an entry of index.json. The whole name stands there twice: where
/// image-spec has it, and where containerd and Docker look for it.
fn named(descriptor: &Descriptor, image: &Image) -> Descriptor {
    let mut entry = descriptor.clone();
    let mut annotations = entry.annotations.take().unwrap_or_default();
    annotations.remove(CONTAINERD_NAME);
    annotations.remove(REF_NAME);
    if let Some(reference) = &image.reference {
        annotations.insert(CONTAINERD_NAME.into(), reference.to_string());
        annotations.insert(REF_NAME.into(), reference.to_string());
    } else if let Some(name) = &image.name {
        annotations.insert(REF_NAME.into(), name.clone());
    }
    entry.annotations = (!annotations.is_empty()).then_some(annotations);
    entry
}

/// What manifest.json will say: one item for an image, with all of its names.
#[derive(Debug, Default)]
struct Described {
    order: Vec<Descriptor>,
    names: BTreeMap<Digest, BTreeSet<String>>,
}

impl Described {
    fn add(
        &mut self,
        store: &Store,
        image: &Image,
        descriptor: &Descriptor,
        host: &Platform,
    ) -> Result<()> {
        let (manifest_descriptor, manifest) = match store.manifest(descriptor, host) {
            // Of another platform only: Docker of this one could not use it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if !manifest.is_image() {
            return Ok(());
        }
        let digest = &manifest_descriptor.digest;
        if !self.names.contains_key(digest) {
            self.order.push(manifest_descriptor.clone());
        }
        let names = self.names.entry(digest.clone()).or_default();
        names.extend(image.reference.as_ref().and_then(tag_of));
        Ok(())
    }

    fn to_json(&self, store: &Store) -> Result<Value> {
        let items = self.order.iter().map(|descriptor| {
            let (_, manifest) = store.manifest(descriptor, &Platform::host())?;
            let layers = manifest.layers.iter().map(|layer| path_of(&layer.digest));
            Ok(json!({
                "Config": path_of(&manifest.config.digest),
                "RepoTags": self.names.get(&descriptor.digest),
                "Layers": layers.collect::<Vec<String>>(),
            }))
        });
        items.collect::<Result<Vec<Value>>>().map(Value::from)
    }
}

/// A name as Docker has it in RepoTags: there is no digest in it.
fn tag_of(reference: &Reference) -> Option<String> {
    let familiar = reference.familiar();
    let name = familiar.split('@').next().unwrap_or_default();
    reference.tag().map(|_| name.to_owned())
}

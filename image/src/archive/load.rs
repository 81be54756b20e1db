//! Archives and layouts become images in the store.

use std::io::{BufReader, Read};
use std::path::Path;

use super::contents::{self, Contents};
use super::{CONTAINERD_NAME, docker, layout};
use crate::digest::Algorithm;
use crate::document::{Compression, Descriptor};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{Limits, detect, pipeline};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::layout::{HEADER, INDEX, check_version};
use crate::store::list::{List, REF_NAME};
use crate::store::{Image, Store};

/// How an archive is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What its image is called if it says nothing itself; only for an archive of one image.
    pub reference: Option<Reference>,
}

/// An image that was found, and what it is called there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) names: Vec<Reference>,
    pub(super) descriptor: Descriptor,
}

/// Loads the images of an archive, in whichever format, and says which they are: one for each
/// name, and one for each image without a name.
///
/// All of them are verified before any gets a name. On an error none does; what was written of
/// them goes with the next pruning.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the archive is malformed, or its content is not what the digests
/// in it promise; [`ErrorKind::Unsupported`] for compressions that are not known.
pub fn load(
    store: &Store,
    archive: impl Read,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Image>> {
    let _lease = store.lease()?;
    let mut stream = BufReader::with_capacity(BUFFER, archive);
    let first = contents::peek(&mut stream)?;
    check_compression(first)?;
    let contents = match detect(first) {
        Compression::None => Contents::read(store, stream, progress)?,
        compression => decompressed(store, stream, compression, progress)?,
    };
    let found = images_of(store, &contents).map_err(|error| error.within("load archive"))?;
    register(store, found, options)
}

/// The same for an OCI layout in a directory.
///
/// # Errors
/// As [`load`]; [`ErrorKind::Corrupt`] when a part of the layout is a link, a FIFO, a device.
pub fn load_layout(
    store: &Store,
    directory: &Path,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Image>> {
    let _lease = store.lease()?;
    let found = layout::read(store, directory, progress)
        .map_err(|error| error.within(format!("load {}", directory.display())))?;
    register(store, found, options)
}

/// What is read from an archive at once.
pub(super) const BUFFER: usize = 256 << 10;

/// The whole archive may be compressed, whatever is in it.
fn decompressed(
    store: &Store,
    stream: impl Read,
    compression: Compression,
    progress: &dyn Progress,
) -> Result<Contents> {
    let limits = Limits::default();
    let read = pipeline::run(stream, compression, Algorithm::Sha256, &limits, |pieces| {
        Contents::read(store, pieces, progress)
    });
    Ok(read?.0)
}

/// Refuses streams that can't be read, and says what to do.
pub(super) fn check_compression(first: &[u8]) -> Result<()> {
    const UNKNOWN: [(&[u8], &str); 3] = [
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ];
    if first.is_empty() {
        return Err(Error::new(ErrorKind::Corrupt, "the archive is empty"));
    }
    match UNKNOWN.iter().find(|(magic, _)| first.starts_with(magic)) {
        Some((_, name)) => {
            let message = format!(
                "the archive is compressed by {name}, and only gzip and zstd are known: \
                 uncompress it first (`{name} -d`)"
            );
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None => Ok(()),
    }
}

/// Docker's archives since 25 are both; their index has more to say.
fn images_of(store: &Store, contents: &Contents) -> Result<Vec<Found>> {
    let parts = (
        contents.document(HEADER),
        contents.document(INDEX),
        contents.document("manifest.json"),
    );
    match parts {
        (Some(header), Some(index), _) => {
            check_version(header).map_err(|error| error.within(HEADER))?;
            let list = List::parse(index).map_err(|error| error.within(INDEX))?;
            Ok(list.images().into_iter().map(found).collect())
        }
        (_, _, Some(manifest)) => docker::images(store, contents, manifest),
        _ => {
            let message = format!(
                "there is neither {HEADER} with {INDEX} nor manifest.json in it: it is no archive \
                 of images (`tare image import` takes a file system)"
            );
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

/// An image of an index.json: containerd and Docker have the whole name in an annotation of
/// their own, others in the one of image-spec, which may as well be just a tag.
pub(super) fn found(image: Image) -> Found {
    let mut descriptor = image.descriptor;
    // A word alone may be a tag as well as a repository.
    let whole = |name: &str| match name.contains([':', '/']) {
        true => name.parse::<Reference>().ok(),
        false => None,
    };
    let containerd = descriptor.annotation(CONTAINERD_NAME).and_then(whole);
    let name = containerd.or_else(|| descriptor.annotation(REF_NAME).and_then(whole));
    if let Some(annotations) = &mut descriptor.annotations {
        annotations.remove(CONTAINERD_NAME);
        annotations.remove(REF_NAME);
    }
    Found {
        names: name.into_iter().collect(),
        descriptor,
    }
}

/// Gives the images their names, after all of them were found to be whole.
fn register(store: &Store, mut found: Vec<Found>, options: &LoadOptions) -> Result<Vec<Image>> {
    check_count(found.iter().map(|image| image.names.len().max(1)).sum())?;
    if let ([one], Some(reference)) = (found.as_mut_slice(), &options.reference)
        && one.names.is_empty()
    {
        one.names.push(reference.clone());
    }
    for image in &found {
        store.check(&image.descriptor)?;
    }
    let mut images = Vec::new();
    for Found { names, descriptor } in found {
        if names.is_empty() {
            store.add(&descriptor)?;
            images.push(image(None, &descriptor));
        }
        for name in names {
            store.tag(&name, &descriptor)?;
            images.push(image(Some(name), &descriptor));
        }
    }
    Ok(images)
}

/// Each of them is work of its own, also where one byte of the archive names it.
pub(super) fn check_count(images: usize) -> Result<()> {
    if images <= MOST_IMAGES {
        return Ok(());
    }
    let message =
        format!("{images} images and names in one archive, and {MOST_IMAGES} is the most");
    Err(Error::new(ErrorKind::Corrupt, message))
}

const MOST_IMAGES: usize = 1000;

fn image(reference: Option<Reference>, descriptor: &Descriptor) -> Image {
    Image {
        name: reference.as_ref().map(Reference::to_string),
        reference,
        descriptor: descriptor.clone(),
    }
}

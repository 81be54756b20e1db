//! A file system in a tar archive becomes an image of one layer.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::json;

use super::contents::peek;
use super::load::{BUFFER, check_compression};
use crate::digest::Algorithm;
use crate::document::{Descriptor, Execution, History, ImageConfig, MediaType, RootFilesystem};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::tar::Reader;
use crate::layer::{Limits, detect, pipeline};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Image, Store, UnnamedWriter};

/// What an imported image is to be.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// What it is called.
    pub reference: Option<Reference>,
    /// For which machine its programs are.
    pub platform: Platform,
    /// How its containers run.
    pub execution: Execution,
    /// When it was made, RFC 3339. Without it, the same archive makes the same image.
    pub created: Option<String>,
    /// A sentence for its history.
    pub comment: Option<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            reference: None,
            platform: Platform::host(),
            execution: Execution::default(),
            created: None,
            comment: None,
        }
    }
}

/// Imports a tar archive, plain or compressed. Its bytes become the layer as they are, after
/// they were read as the archive that they will be unpacked as.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is no tar archive, or an empty one;
/// [`ErrorKind::Unsupported`] for compressions that no layer has.
pub fn import(store: &Store, archive: impl Read, options: &ImportOptions) -> Result<Image> {
    let _lease = store.lease()?;
    let mut stream = BufReader::with_capacity(BUFFER, archive);
    let first = peek(&mut stream)?;
    check_compression(first)?;
    let compression = detect(first);
    let mut writer = store.writer_unnamed()?;
    let source = Tee {
        stream,
        writer: &mut writer,
    };
    let limits = Limits::default();
    let (_, passed) = pipeline::run(source, compression, Algorithm::Sha256, &limits, |pieces| {
        check_archive(pieces)
    })
    .map_err(|error| error.within("import"))?;
    let layer = writer.commit(MediaType::layer(compression))?;
    let manifest = describe(store, layer, passed.digest, options)?;
    match &options.reference {
        Some(reference) => store.tag(reference, &manifest)?,
        None => store.add(&manifest)?,
    }
    Ok(Image {
        reference: options.reference.clone(),
        name: options.reference.as_ref().map(Reference::to_string),
        descriptor: manifest,
    })
}

/// Whether it is an archive with something in it, to its end.
fn check_archive(stream: impl BufRead) -> Result<()> {
    let mut reader = Reader::new(stream);
    let mut is_empty = true;
    while reader.next_entry()?.is_some() {
        is_empty = false;
    }
    if is_empty {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the archive has no files in it",
        ));
    }
    Ok(())
}

fn describe(
    store: &Store,
    layer: Descriptor,
    diff_id: crate::Digest,
    options: &ImportOptions,
) -> Result<Descriptor> {
    let config = ImageConfig {
        created: options.created.clone(),
        platform: options.platform.clone(),
        config: options.execution.clone(),
        rootfs: RootFilesystem {
            kind: "layers".into(),
            diff_ids: vec![diff_id],
        },
        history: vec![History {
            created: options.created.clone(),
            comment: options.comment.clone(),
            created_by: Some("tare image import".into()),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let config = store.put(MediaType::OciConfig, json!(config).to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "config": config,
        "layers": [layer],
    });
    store.put(MediaType::OciManifest, manifest.to_string().as_bytes())
}

/// Writes what is read into the store.
struct Tee<'a, R> {
    stream: R,
    writer: &'a mut UnnamedWriter,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(out)?;
        self.writer.append(&out[..length])?;
        Ok(length)
    }
}

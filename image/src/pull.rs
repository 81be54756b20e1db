//! Pulls images: from a registry into the store.
//!
//! Documents first, from the root down, each verified before what it leads to is looked at; then
//! configurations and layers, several at once; the name last, when everything is there. What a
//! pull that was killed has left is where the next one goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use crate::digest::Digest;
use crate::document::{Descriptor, Document, Index, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::parallel;
use crate::platform::Platform;
use crate::progress::{Event, Progress, Work};
use crate::reference::Reference;
use crate::registry::{Client, Fetched, Repository, Resolved, Sink, lock};
use crate::store::{Ingest, Store, Writer};

/// Indexes in indexes, and no deeper.
const MAX_DEPTH: u32 = 8;

/// Which images of an index are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// The best one for each of these. An image that is in no index is what it is.
    These(Vec<Platform>),
    /// All, and everything else that is in it: attestations, signatures.
    All,
}

/// How an image is pulled.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Which images of an index.
    pub platforms: Platforms,
    /// How many blobs at once; at least one.
    pub parallel: usize,
}

impl Default for PullOptions {
    /// The image for this machine, four blobs at once.
    fn default() -> Self {
        Self {
            platforms: Platforms::These(vec![Platform::host()]),
            parallel: 4,
        }
    }
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What the reference means: a manifest or an index. It has the reference's name now.
    pub descriptor: Descriptor,
    /// The manifests whose parts are all in the store.
    pub manifests: Vec<Descriptor>,
    /// How many bytes came over the network.
    pub bytes: u64,
}

/// Pulls what `reference` means. Afterwards it is in the store, whole, under this name.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such image, or none for the platform;
/// [`ErrorKind::Denied`]; [`ErrorKind::Corrupt`] when the registry sends something else than the
/// digests promise; [`ErrorKind::Unsupported`] for schema 1. What came until then stays for the
/// next attempt, and has no name.
pub fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let pull = Pull {
        repository: client.repository(reference, progress),
        store,
        options,
        progress,
        stop: AtomicBool::new(false),
        bytes: Mutex::new(0),
    };
    let step = format!("pull {}", reference.familiar());
    pull.run(reference).map_err(|error| error.within(step))
}

struct Pull<'a> {
    repository: Repository<'a>,
    store: &'a Store,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    /// One part has failed; the others need not go on.
    stop: AtomicBool,
    bytes: Mutex<u64>,
}

/// What is to be downloaded, each once.
#[derive(Default)]
struct Wanted {
    manifests: Vec<(Descriptor, Manifest)>,
    blobs: BTreeMap<Digest, Descriptor>,
}

impl Pull<'_> {
    fn run(&self, reference: &Reference) -> Result<Pulled> {
        // Until it has its name, nothing of it may be pruned.
        let _lease = self.store.lease()?;
        let (root, document) = self.root(reference)?;
        let mut wanted = Wanted::default();
        self.walk(&root, document, &mut wanted, 0)?;
        self.download_all(wanted.blobs.into_values().collect())?;
        for (descriptor, manifest) in &wanted.manifests {
            self.check(descriptor, manifest)?;
        }
        self.store.tag(reference, &root)?;
        Ok(Pulled {
            descriptor: root,
            manifests: wanted.manifests.into_iter().map(|(d, _)| d).collect(),
            bytes: *lock(&self.bytes),
        })
    }

    /// What the reference means, from the store if it is there: a look at a tag costs no pull
    /// where registries count them.
    fn root(&self, reference: &Reference) -> Result<(Descriptor, Document)> {
        match self.repository.resolve(reference)? {
            Resolved::Said(descriptor) => {
                let document = self.document(&descriptor)?;
                Ok((*descriptor, document))
            }
            Resolved::Fetched(fetched) => {
                self.keep(&fetched)?;
                Ok((fetched.descriptor.clone(), fetched.document))
            }
        }
    }

    /// A manifest or an index, from the store or the registry.
    fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        if self.store.contains(descriptor)? {
            let bytes = self.store.read(descriptor)?;
            return Document::parse(&bytes, &descriptor.media_type);
        }
        let fetched = self.repository.manifest(descriptor)?;
        self.keep(&fetched)?;
        Ok(fetched.document)
    }

    fn keep(&self, fetched: &Fetched) -> Result<()> {
        if let Ingest::Writer(mut writer) = self.store.ingest(&fetched.descriptor)? {
            // A few kilobytes: not worth to go on where somebody was killed.
            writer.restart()?;
            writer.append(&fetched.bytes)?;
            writer.commit()?;
            self.count(fetched.bytes.len() as u64);
        }
        Ok(())
    }

    /// Collects everything below a document, which may be an index of indexes.
    fn walk(
        &self,
        descriptor: &Descriptor,
        document: Document,
        wanted: &mut Wanted,
        depth: u32,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            let message = format!("an index in an index, more than {MAX_DEPTH} deep");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        match document {
            Document::Manifest(manifest) => {
                for blob in manifest.children() {
                    wanted.blobs.insert(blob.digest.clone(), blob.clone());
                }
                wanted.manifests.push((descriptor.clone(), *manifest));
            }
            Document::Index(index) => {
                for entry in self.chosen(&index)? {
                    if entry.media_type.is_manifest() || entry.media_type.is_index() {
                        let child = self.document(entry)?;
                        self.walk(entry, child, wanted, depth + 1)?;
                    } else {
                        wanted.blobs.insert(entry.digest.clone(), entry.clone());
                    }
                }
            }
        }
        Ok(())
    }

    fn chosen<'i>(&self, index: &'i Index) -> Result<Vec<&'i Descriptor>> {
        match &self.options.platforms {
            Platforms::All => Ok(index.manifests.iter().collect()),
            Platforms::These(platforms) => {
                let mut chosen: Vec<&Descriptor> = Vec::new();
                for platform in platforms {
                    let entry = index.choose(platform)?;
                    if !chosen.iter().any(|known| known.digest == entry.digest) {
                        chosen.push(entry);
                    }
                }
                Ok(chosen)
            }
        }
    }

    /// Several at once. The first failure ends the others, and is the one that is told.
    fn download_all(&self, blobs: Vec<Descriptor>) -> Result<()> {
        // Large ones first: otherwise the last one would be alone for long.
        let mut blobs = blobs;
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        let download = |blob: Descriptor| self.download(&blob);
        parallel::each(blobs, self.options.parallel, &self.stop, download)
    }

    fn download(&self, blob: &Descriptor) -> Result<()> {
        let digest = &blob.digest;
        let work = Work::Download;
        let mut repository = self.repository;
        loop {
            let writer = match self.store.ingest(blob)? {
                Ingest::Present => {
                    self.progress.report(Event::Existed { digest, work });
                    return Ok(());
                }
                Ingest::Writer(writer) => writer,
            };
            let done = writer.offset();
            self.progress.report(Event::Began {
                digest,
                work,
                total: Some(blob.size),
                done,
            });
            match self.fill(&repository, blob, *writer) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    match repository.itself()? {
                        // A mirror's bytes were the wrong ones, or an earlier attempt's.
                        Some(itself) => repository = itself,
                        None if done > 0 => {}
                        None => return Err(error),
                    }
                    let note = format!("{error}; it is fetched again from the beginning");
                    self.progress.report(Event::Note(&note));
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    self.progress.report(Event::Ended { digest, work });
                    return Ok(());
                }
            }
        }
    }

    fn fill(&self, repository: &Repository<'_>, blob: &Descriptor, writer: Writer) -> Result<()> {
        let mut writer = writer;
        if let Some(bytes) = blob.embedded()? {
            writer.restart()?;
            writer.append(&bytes)?;
            return writer.commit();
        }
        let before = writer.offset();
        let mut sink = StoreSink(writer);
        let outcome = repository.download(blob, &mut sink, &self.stop);
        self.count(sink.0.offset().saturating_sub(before));
        outcome?;
        sink.0.commit()
    }

    /// An image whose configuration and layers don't belong together gets no name.
    fn check(&self, descriptor: &Descriptor, manifest: &Manifest) -> Result<()> {
        if !manifest.is_image() {
            return Ok(());
        }
        self.store
            .config(manifest)
            .map(|_| ())
            .map_err(|error| error.within(format_args!("image {}", descriptor.digest)))
    }

    fn count(&self, bytes: u64) {
        *lock(&self.bytes) += bytes;
    }
}

/// Blobs go into the store piece by piece.
struct StoreSink(Writer);

impl io::Write for StoreSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for StoreSink {
    fn offset(&self) -> u64 {
        self.0.offset()
    }

    fn restart(&mut self) -> Result<()> {
        self.0.restart()
    }

    fn spool(&self) -> Result<Option<File>> {
        self.0.spool().map(Some)
    }
}

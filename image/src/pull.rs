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

use crate::arrival::Arrivals;
use crate::digest::Digest;
use crate::document::{Descriptor, Document, Index, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::parallel;
use crate::platform::Platform;
use crate::progress::{Event, Progress, Work};
use crate::reference::Reference;
use crate::registry::{Client, Fetched, Repository, Resolved, Sink, lock};
use crate::snapshot::{Chain, Snapshots, UnpackOptions};
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
    let pull = Pull::new(client, store, reference, options, progress);
    let step = format!("pull {}", reference.familiar());
    pull.run(reference, None)
        .map(|(pulled, _)| pulled)
        .map_err(|error| error.within(step))
}

/// The same, and unpacks the image meanwhile: layers are read as they come. No layer is named
/// before its blob has been verified and is in the store.
///
/// Nothing is unpacked, and the second part of the result is none, unless the reference means
/// one image (not several platforms'). That the image can't be unpacked is told there; it has
/// been pulled then all the same.
///
/// # Errors
/// As [`pull`]; the second part's are those of [`Snapshots::unpack`].
pub fn pull_and_unpack(
    client: &Client,
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    unpacking: &Unpacking<'_>,
    progress: &dyn Progress,
) -> Result<(Pulled, Option<Result<Chain>>)> {
    let pull = Pull::new(client, store, reference, options, progress);
    let step = format!("pull {}", reference.familiar());
    pull.run(reference, Some(unpacking))
        .map_err(|error| error.within(step))
}

/// Where an image goes while it is pulled, and how.
#[derive(Debug)]
pub struct Unpacking<'a> {
    /// Of the same root as the store.
    pub snapshots: &'a Snapshots,
    /// How its layers are unpacked.
    pub options: &'a UnpackOptions,
}

struct Pull<'a> {
    repository: Repository<'a>,
    store: &'a Store,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    /// One part has failed; the others need not go on.
    stop: AtomicBool,
    bytes: Mutex<u64>,
    /// What others read while it comes.
    arrivals: Option<Arrivals>,
}

/// What is to be downloaded, each once.
#[derive(Default)]
struct Wanted {
    manifests: Vec<(Descriptor, Manifest)>,
    blobs: BTreeMap<Digest, Descriptor>,
}

impl<'a> Pull<'a> {
    fn new(
        client: &'a Client,
        store: &'a Store,
        reference: &'a Reference,
        options: &'a PullOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            repository: client.repository(reference, progress),
            store,
            options,
            progress,
            stop: AtomicBool::new(false),
            bytes: Mutex::new(0),
            arrivals: None,
        }
    }

    fn run(
        mut self,
        reference: &Reference,
        unpacking: Option<&Unpacking<'_>>,
    ) -> Result<(Pulled, Option<Result<Chain>>)> {
        // Until it has its name, nothing of it may be pruned.
        let _lease = self.store.lease()?;
        let (root, document) = self.root(reference)?;
        let mut wanted = Wanted::default();
        self.walk(&root, document, &mut wanted, 0)?;
        let blobs: Vec<Descriptor> = wanted.blobs.into_values().collect();
        let manifests = &wanted.manifests[..];
        let download_and_name = |pull: &Self| {
            pull.download_all(blobs)?;
            for (descriptor, manifest) in manifests {
                pull.check(descriptor, manifest)?;
            }
            pull.store.tag(reference, &root)
        };
        let unpacked = match (unpacking, manifests) {
            (Some(unpacking), [(_, manifest)]) if manifest.is_image() => {
                self.arrivals = Some(Arrivals::new(self.store, &manifest.layers));
                Some(self.unpack_during(manifest, unpacking, || download_and_name(&self))?)
            }
            _ => {
                download_and_name(&self)?;
                None
            }
        };
        let pulled = Pulled {
            descriptor: root,
            manifests: wanted.manifests.into_iter().map(|(d, _)| d).collect(),
            bytes: *lock(&self.bytes),
        };
        Ok((pulled, unpacked))
    }

    /// Unpacks while `download` goes on, which doesn't end sooner whatever becomes of the layers:
    /// the outer result is its. It need not wait for them: the image is in the store without.
    fn unpack_during(
        &self,
        manifest: &Manifest,
        unpacking: &Unpacking<'_>,
        download: impl FnOnce() -> Result<()>,
    ) -> Result<Result<Chain>> {
        // It says what the layers are to be.
        self.download(&manifest.config)?;
        let config = self.store.config(manifest)?;
        std::thread::scope(|scope| {
            let unpack = || {
                let Some(arrivals) = &self.arrivals else {
                    return Err(Error::new(
                        ErrorKind::System,
                        "there is nothing to wait for",
                    ));
                };
                let (snapshots, options) = (unpacking.snapshots, unpacking.options);
                snapshots.unpack_from(arrivals, manifest, &config, options, self.progress)
            };
            let unpacking = scope.spawn(unpack);
            let downloaded = {
                let _end = Close(self.arrivals.as_ref());
                download()
            };
            let unpacked = unpacking.join().unwrap_or_else(|_| {
                let message = "the thread that unpacks has panicked";
                Err(Error::new(ErrorKind::System, message))
            });
            downloaded.map(|()| unpacked)
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
                    self.arrived(digest);
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
                    self.arrived(digest);
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
        if let Some(arrivals) = &self.arrivals {
            arrivals.begin(&blob.digest, writer.open_to_read()?, before);
        }
        let mut sink = StoreSink {
            writer,
            digest: &blob.digest,
            arrivals: self.arrivals.as_ref(),
        };
        let outcome = repository.download(blob, &mut sink, &self.stop);
        self.count(sink.writer.offset().saturating_sub(before));
        outcome?;
        sink.writer.commit()
    }

    /// It is in the store: whoever waits for it may go on.
    fn arrived(&self, digest: &Digest) {
        if let Some(arrivals) = &self.arrivals {
            arrivals.finish(digest);
        }
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

/// When it is dropped, nothing comes any more.
struct Close<'a>(Option<&'a Arrivals>);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        if let Some(arrivals) = self.0 {
            arrivals.close();
        }
    }
}

/// Blobs go into the store piece by piece, and whoever waits for them hears of each.
struct StoreSink<'a> {
    writer: Writer,
    digest: &'a Digest,
    arrivals: Option<&'a Arrivals>,
}

impl StoreSink<'_> {
    fn tell(&self) {
        if let Some(arrivals) = self.arrivals {
            arrivals.reach(self.digest, self.writer.offset());
        }
    }
}

impl io::Write for StoreSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.append(bytes).map_err(io::Error::other)?;
        self.tell();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for StoreSink<'_> {
    fn offset(&self) -> u64 {
        self.writer.offset()
    }

    fn restart(&mut self) -> Result<()> {
        self.writer.restart()?;
        self.tell();
        Ok(())
    }

    fn spool(&self) -> Result<Option<File>> {
        self.writer.spool().map(Some)
    }
}

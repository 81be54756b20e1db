//! Pushes images: from the store to a registry.
//!
//! Blobs first, several at once; then manifests, each after everything that it leads to; the tag
//! last. So whoever pulls meanwhile sees the old image or the new one, whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::digest::Digest;
use crate::document::{Descriptor, Document};
use crate::error::{Error, ErrorKind, Result};
use crate::parallel;
use crate::platform::Platform;
use crate::progress::{Event, Progress, Work};
use crate::reference::Reference;
use crate::registry::{Client, Repository, Source, UploadOptions, Uploaded};
use crate::store::Store;

/// Indexes in indexes, and no deeper.
const MAX_DEPTH: u32 = 8;

/// How an image is pushed.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Of an index only the image for this platform, in the index's place.
    pub platform: Option<Platform>,
    /// How many blobs at once; at least one.
    pub parallel: usize,
    /// Blobs are sent in pieces of this many bytes, instead of whole.
    pub piece: Option<u64>,
}

impl Default for PushOptions {
    /// Everything, four blobs at once, each whole.
    fn default() -> Self {
        Self {
            platform: None,
            parallel: 4,
            piece: None,
        }
    }
}

/// Pushes an image of the store. Afterwards `reference` means it; the descriptor is returned.
///
/// # Errors
/// [`ErrorKind::Denied`]; [`ErrorKind::NotFound`] when a part is neither in the store nor in the
/// registry. What was sent until then stays in the registry, without a tag.
pub fn push(
    client: &Client,
    store: &Store,
    descriptor: &Descriptor,
    reference: &Reference,
    options: &PushOptions,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let references = std::slice::from_ref(reference);
    push_all(client, store, descriptor, references, options, progress)
}

/// Pushes an image under several names of one repository. Afterwards all of them mean it; what
/// it consists of is sent once, and its tags in one request, if the registry knows that.
///
/// # Errors
/// As [`push`], but some of the tags may have been set; [`ErrorKind::InvalidInput`] when the
/// names are not all of one repository, or when there is none.
pub fn push_all(
    client: &Client,
    store: &Store,
    descriptor: &Descriptor,
    references: &[Reference],
    options: &PushOptions,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let first = first_of_one_repository(references)?;
    let push = Push {
        repository: client.repository(first, progress),
        references,
        store,
        options,
        progress,
        stop: AtomicBool::new(false),
    };
    let names: Vec<_> = references.iter().map(Reference::familiar).collect();
    push.run(descriptor)
        .map_err(|error| error.within(format!("push {}", names.join(", "))))
}

fn first_of_one_repository(references: &[Reference]) -> Result<&Reference> {
    let Some(first) = references.first() else {
        let message = "push: there is no name to push to";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    };
    match references.iter().find(|other| !other.is_beside(first)) {
        None => Ok(first),
        Some(other) => {
            let message = format!("push: {other} and {first} are of different repositories");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

struct Push<'a> {
    repository: Repository<'a>,
    /// All of this repository; at least one.
    references: &'a [Reference],
    store: &'a Store,
    options: &'a PushOptions,
    progress: &'a dyn Progress,
    stop: AtomicBool,
}

/// What is to be sent: manifests in an order in which none comes before what it leads to.
#[derive(Default)]
struct Plan {
    blobs: BTreeMap<Digest, Descriptor>,
    manifests: Vec<(Descriptor, Vec<u8>, Document)>,
}

impl Push<'_> {
    fn run(&self, descriptor: &Descriptor) -> Result<Descriptor> {
        let _lease = self.store.lease()?;
        let root = match &self.options.platform {
            None => descriptor.clone(),
            Some(platform) => self.store.manifest(descriptor, platform)?.0,
        };
        let mut wanted = self.references.iter().filter_map(Reference::digest);
        if let Some(wanted) = wanted.find(|wanted| **wanted != root.digest) {
            let message = format!("the target asks for {wanted}, but this is {}", root.digest);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let mut plan = Plan::default();
        self.collect(&root, &mut plan, 0)?;
        self.upload_all(plan.blobs.into_values().collect(), &self.mounts()?)?;
        let tags = self.tags();
        for (descriptor, bytes, document) in &plan.manifests {
            let tags = match descriptor.digest == root.digest {
                true => tags.as_slice(),
                false => &[],
            };
            put(&self.repository, tags, descriptor, bytes, document)?;
        }
        Ok(root)
    }

    /// Each once, as they were given.
    fn tags(&self) -> Vec<&str> {
        let mut tags = Vec::new();
        for tag in self.references.iter().filter_map(Reference::tag) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    fn collect(&self, descriptor: &Descriptor, plan: &mut Plan, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            let message = format!("an index in an index, more than {MAX_DEPTH} deep");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let is_planned = |(known, _, _): &(Descriptor, _, _)| known.digest == descriptor.digest;
        if plan.manifests.iter().any(is_planned) {
            return Ok(());
        }
        let bytes = self.store.read(descriptor)?;
        let document = Document::parse(&bytes, &descriptor.media_type)?;
        match &document {
            Document::Manifest(manifest) => {
                for blob in manifest.children() {
                    plan.blobs.insert(blob.digest.clone(), blob.clone());
                }
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    self.collect_entry(entry, plan, depth)?;
                }
            }
        }
        plan.manifests.push((descriptor.clone(), bytes, document));
        Ok(())
    }

    /// An index is often here with one of its images only; the others must be there then.
    fn collect_entry(&self, entry: &Descriptor, plan: &mut Plan, depth: u32) -> Result<()> {
        if !entry.media_type.is_manifest() && !entry.media_type.is_index() {
            plan.blobs.insert(entry.digest.clone(), entry.clone());
            return Ok(());
        }
        if self.store.contains(entry)? {
            return self.collect(entry, plan, depth + 1);
        }
        if self.repository.has_manifest(&entry.digest)? {
            return Ok(());
        }
        let platform = entry.platform.as_ref().map(ToString::to_string);
        let message = format!(
            "the index has an image for {} ({}), which is neither in the store nor in the registry",
            platform.as_deref().unwrap_or("an unnamed platform"),
            entry.digest
        );
        Err(Error::new(ErrorKind::NotFound, message)
            .advise("pull all platforms first, or push the image for one platform"))
    }

    /// Which other repository of this registry has which blob, as far as the store knows: from
    /// there they need not be sent.
    fn mounts(&self) -> Result<BTreeMap<Digest, String>> {
        let mut mounts = BTreeMap::new();
        for image in self.store.images()? {
            let Some(other) = image.reference.filter(|other| {
                other.registry() == self.repository.registry()
                    && other.repository() != self.repository.name()
            }) else {
                continue;
            };
            let name = other.repository();
            for digest in self.known_blobs(&image.descriptor, 0) {
                mounts.entry(digest).or_insert_with(|| name.to_owned());
            }
        }
        Ok(mounts)
    }

    /// The blobs of an image, as far as its documents are here. One that is not whole, or not
    /// sound, is no reason not to push another one.
    fn known_blobs(&self, descriptor: &Descriptor, depth: u32) -> Vec<Digest> {
        let document = self
            .store
            .read(descriptor)
            .and_then(|bytes| Document::parse(&bytes, &descriptor.media_type));
        match document {
            Ok(Document::Manifest(manifest)) => manifest
                .children()
                .map(|blob| blob.digest.clone())
                .collect(),
            Ok(Document::Index(index)) if depth < MAX_DEPTH => index
                .manifests
                .iter()
                .flat_map(|entry| self.known_blobs(entry, depth + 1))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn upload_all(&self, blobs: Vec<Descriptor>, mounts: &BTreeMap<Digest, String>) -> Result<()> {
        let upload = |blob: Descriptor| self.upload(&blob, mounts);
        parallel::each(blobs, self.options.parallel, &self.stop, upload)
    }

    fn upload(&self, blob: &Descriptor, mounts: &BTreeMap<Digest, String>) -> Result<()> {
        let (digest, work) = (&blob.digest, Work::Upload);
        let is_here = self.store.contains(blob)?;
        if !is_here && blob.media_type.is_foreign() {
            // It lies where its descriptor says; registries may not have it.
            return Ok(());
        }
        let source: Box<dyn Source> = match blob.embedded()? {
            Some(bytes) if !is_here => Box::new(Embedded(bytes)),
            _ if is_here => Box::new(Stored {
                file: self.store.open_blob(blob)?,
                stop: &self.stop,
            }),
            _ if self.repository.has_blob(digest)? => {
                self.progress.report(Event::Existed { digest, work });
                return Ok(());
            }
            _ => {
                let message =
                    format!("content {digest} is neither in the store nor in the registry");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        };
        self.progress.report(Event::Began {
            digest,
            work,
            total: Some(blob.size),
            done: 0,
        });
        let options = UploadOptions {
            mount_from: mounts.get(digest).map(String::as_str),
            piece: self.options.piece,
        };
        let uploaded = self.repository.upload(blob, source.as_ref(), options)?;
        self.progress.report(match uploaded {
            Uploaded::Sent => Event::Ended { digest, work },
            Uploaded::Existed | Uploaded::Mounted => Event::Existed { digest, work },
        });
        Ok(())
    }
}

/// A blob of the store. (The registry verifies what it gets.)
struct Stored<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl Source for Stored<'_> {
    fn open(&self, offset: u64) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(Reader {
            stored: self,
            offset,
        }))
    }
}

/// Reads at its own place: several attempts share one file.
struct Reader<'a> {
    stored: &'a Stored<'a>,
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stored.stop.load(Ordering::Relaxed) {
            let message = "given up, since another part has failed";
            let error = Error::new(ErrorKind::Unreachable, message);
            return Err(std::io::Error::other(error));
        }
        let count = self.stored.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Content that stands in its descriptor.
struct Embedded(Vec<u8>);

impl Source for Embedded {
    fn open(&self, offset: u64) -> Result<Box<dyn Read + '_>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Box::new(self.0.get(start..).unwrap_or_default()))
    }
}

/// Gives a registry a manifest whose children it has, under these tags or its digest alone, and
/// tells it what the manifest is about.
pub(crate) fn put(
    repository: &Repository<'_>,
    tags: &[&str],
    descriptor: &Descriptor,
    bytes: &[u8],
    document: &Document,
) -> Result<()> {
    let accepted = repository.put_manifest(tags, descriptor, bytes)?;
    let (subject, artifact_type, annotations) = match document {
        Document::Manifest(manifest) => (
            &manifest.subject,
            // distribution-spec: what has no type of its own is of its configuration's type.
            manifest
                .artifact_type
                .clone()
                .or_else(|| Some(manifest.config.media_type.to_string())),
            &manifest.annotations,
        ),
        Document::Index(index) => (
            &index.subject,
            index.artifact_type.clone(),
            &index.annotations,
        ),
    };
    let Some(subject) = subject.as_ref().filter(|_| !accepted.knows_subject) else {
        return Ok(());
    };
    let mut entry = Descriptor::new(
        descriptor.media_type.clone(),
        descriptor.digest.clone(),
        descriptor.size,
    );
    entry.artifact_type = artifact_type;
    entry.annotations.clone_from(annotations);
    repository.add_tagged_referrer(&subject.digest, entry)
}

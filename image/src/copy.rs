//! Copies images from one registry to another without keeping them.

use std::io::Read;

use crate::digest::Verifier;
use crate::document::{Descriptor, Document};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Platform;
use crate::progress::{Event, Progress, Work};
use crate::reference::Reference;
use crate::registry::{Client, Fetched, Repository, Source, UploadOptions, Uploaded};

/// Indexes in indexes, and no deeper.
const MAX_DEPTH: u32 = 4;

/// What is copied.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// Only the image for this platform, under the tag in the index's place. Without it
    /// everything, and every digest stays as it was.
    pub platform: Option<Platform>,
    /// Sent in pieces of this many bytes, instead of whole.
    pub piece: Option<u64>,
}

/// Copies what `from` means to `to`: blobs first, manifests after what they lead to, the tag
/// last. Nothing is written to disk; what both registries are, or a blob that is there already,
/// is not sent.
///
/// # Errors
/// Those of both registries. What was copied until then stays, without a tag.
pub fn copy(
    client: &Client,
    from: &Reference,
    to: &Reference,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let copy = Copy {
        source: client.repository(from, progress),
        target: client.repository(to, progress),
        piece: options.piece,
        progress,
    };
    let step = format!("copy {from} to {to}");
    copy.run(from, to, options)
        .map_err(|error| error.within(step))
}

struct Copy<'a> {
    source: Repository<'a>,
    target: Repository<'a>,
    piece: Option<u64>,
    progress: &'a dyn Progress,
}

impl Copy<'_> {
    fn run(&self, from: &Reference, to: &Reference, options: &CopyOptions) -> Result<Descriptor> {
        let mut root = self.source.manifest_by_reference(from)?;
        if let Some(platform) = &options.platform {
            root = self.choose(root, platform, 0)?;
        }
        let digest = &root.descriptor.digest;
        if let Some(wanted) = to.digest().filter(|wanted| *wanted != digest) {
            let message = format!("the target asks for {wanted}, but this is {digest}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.children(&root, 0)?;
        self.put(to.tag().as_slice(), &root)?;
        Ok(root.descriptor)
    }

    fn choose(&self, fetched: Fetched, platform: &Platform, depth: u32) -> Result<Fetched> {
        let Document::Index(index) = &fetched.document else {
            return Ok(fetched);
        };
        check_depth(depth)?;
        let chosen = self.source.manifest(index.choose(platform)?)?;
        self.choose(chosen, platform, depth + 1)
    }

    /// Copies what a manifest leads to.
    fn children(&self, fetched: &Fetched, depth: u32) -> Result<()> {
        check_depth(depth)?;
        match &fetched.document {
            Document::Manifest(manifest) => {
                for blob in manifest.children() {
                    self.blob(blob)?;
                }
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    self.child(entry, depth)?;
                }
            }
        }
        Ok(())
    }

    fn child(&self, entry: &Descriptor, depth: u32) -> Result<()> {
        if !entry.media_type.is_manifest() && !entry.media_type.is_index() {
            return self.blob(entry);
        }
        if self.target.has_manifest(&entry.digest)? {
            return Ok(());
        }
        let child = self.source.manifest(entry)?;
        self.children(&child, depth + 1)?;
        self.put(&[], &child)
    }

    fn put(&self, tags: &[&str], fetched: &Fetched) -> Result<()> {
        crate::push::put(
            &self.target,
            tags,
            &fetched.descriptor,
            &fetched.bytes,
            &fetched.document,
        )
    }

    fn blob(&self, blob: &Descriptor) -> Result<()> {
        let digest = &blob.digest;
        if blob.media_type.is_foreign() && !blob.urls.is_empty() {
            return Ok(());
        }
        let is_same_registry = self.source.registry() == self.target.registry();
        let source = Remote {
            repository: self.source,
            blob,
        };
        self.progress.report(Event::Began {
            digest,
            work: Work::Upload,
            total: Some(blob.size),
            done: 0,
        });
        let options = UploadOptions {
            mount_from: is_same_registry.then_some(self.source.name()),
            piece: self.piece,
        };
        let work = Work::Upload;
        let uploaded = self.target.upload(blob, &source, options)?;
        self.progress.report(match uploaded {
            Uploaded::Sent => Event::Ended { digest, work },
            Uploaded::Existed | Uploaded::Mounted => Event::Existed { digest, work },
        });
        Ok(())
    }
}

/// A blob in another registry.
struct Remote<'a> {
    repository: Repository<'a>,
    blob: &'a Descriptor,
}

impl Source for Remote<'_> {
    fn open(&self, offset: u64) -> Result<Box<dyn Read + '_>> {
        let reader = self.repository.read_blob(self.blob, offset)?;
        if offset > 0 {
            // Only the registry that takes it sees all of it, and it verifies it.
            return Ok(reader);
        }
        Ok(Box::new(Verified {
            inner: reader,
            verifier: Some(Verifier::new(&self.blob.digest, self.blob.size)),
            left: self.blob.size,
        }))
    }
}

/// Bytes that are wrong don't even arrive whole at the target.
struct Verified<'a> {
    inner: Box<dyn Read + 'a>,
    verifier: Option<Verifier>,
    left: u64,
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(verifier) = &mut self.verifier {
            verifier
                .update(&buffer[..count])
                .map_err(std::io::Error::other)?;
            self.left = self.left.saturating_sub(count as u64);
        }
        if (self.left == 0 || count == 0)
            && let Some(verifier) = self.verifier.take()
        {
            verifier.finish().map_err(std::io::Error::other)?;
        }
        Ok(count)
    }
}

fn check_depth(depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        let message = format!("an index in an index in an index, more than {MAX_DEPTH} deep");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}

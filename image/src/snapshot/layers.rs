//! Layers, each unpacked once into a directory of its own.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Chain, Kind, Snapshots, file_name, make_directory, open_directory};
use crate::arrival::Blobs;
use crate::digest::Digest;
use crate::document::{Compression, Descriptor, ImageConfig, Manifest, MediaType};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{self, Applied, ApplyOptions, Devices, Whiteouts};
use crate::lock::{Lock, Share};
use crate::parallel;
use crate::progress::{Event, Progress, Work};
use crate::registry::lock;
use crate::store::Store;

/// How layers are unpacked.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    /// How many at once.
    pub parallel: usize,
    /// How long another process may take with a layer that both need.
    pub patience: Duration,
    /// What else is said of each layer: limits, owners.
    pub apply: ApplyOptions,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            // As many as a pull has on their way: they come as slowly as they like.
            parallel: 4,
            patience: Duration::from_secs(600),
            apply: ApplyOptions::default(),
        }
    }
}

/// A layer that isn't there yet.
struct Missing<'a> {
    chain: &'a Digest,
    diff_id: &'a Digest,
    descriptor: &'a Descriptor,
    compression: Compression,
    new: NewDirectory,
}

impl Snapshots {
    /// Unpacks the layers of an image that aren't there yet, several at once.
    ///
    /// Afterwards all layers of the result are there, whole, and each has the DiffID that the
    /// configuration promises. What breaks off leaves nothing that anyone would take for a layer.
    /// The caller holds the store's lease.
    ///
    /// image-spec, layer.md, "Applying Changesets".
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when a layer is not what it promises, or no tar archive;
    /// [`ErrorKind::Unsupported`] for a layer of another format; [`ErrorKind::TimedOut`] when
    /// another process unpacks the same layer for too long; [`ErrorKind::NoSpace`].
    pub fn unpack(
        &self,
        store: &Store,
        manifest: &Manifest,
        config: &ImageConfig,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Chain> {
        self.unpack_from(store, manifest, config, options, progress)
    }

    /// The same, with layers that may still be on their way.
    pub(crate) fn unpack_from(
        &self,
        blobs: &dyn Blobs,
        manifest: &Manifest,
        config: &ImageConfig,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Chain> {
        let chain = Chain(config.chain_ids());
        if manifest.layers.len() != chain.0.len() {
            let message = format!(
                "the manifest has {} layers, and the configuration {} diff_ids",
                manifest.layers.len(),
                chain.0.len()
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        // In the order of the chain, which is the same for all who share a part of it: so two
        // processes can't wait for each other.
        let locks = self.lock_missing(&chain, options.patience)?;
        self.clear_unfinished()?;
        let missing = self.missing(manifest, config, &chain, progress)?;
        if missing.is_empty() {
            return Ok(chain);
        }
        let is_noted = self.note_unsynced(missing.iter().map(|layer| layer.chain))?;
        let applied = self.apply_all(blobs, &missing, options, progress)?;
        self.settle_all(&missing, &applied, &chain)?;
        if !is_noted {
            // No name must outlive its content when the machine loses its power.
            self.sync()?;
        }
        for layer in &missing {
            self.name(layer)?;
        }
        drop(locks);
        Ok(chain)
    }

    /// Whether all layers are there.
    #[must_use]
    pub fn has(&self, chain: &Chain) -> bool {
        chain.0.iter().all(|layer| self.layer(layer).is_dir())
    }

    fn lock_missing(&self, chain: &Chain, patience: Duration) -> Result<Vec<Lock>> {
        chain
            .0
            .iter()
            .filter(|layer| !self.layer(layer).is_dir())
            .map(|layer| {
                let path = self.directory.join("locks").join(file_name(layer));
                Lock::take(&path, Share::Exclusive, patience)
            })
            .collect()
    }

    fn missing<'a>(
        &self,
        manifest: &'a Manifest,
        config: &'a ImageConfig,
        chain: &'a Chain,
        progress: &dyn Progress,
    ) -> Result<Vec<Missing<'a>>> {
        let mut missing = Vec::new();
        let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids);
        for ((descriptor, diff_id), chain) in layers.zip(&chain.0) {
            let digest = &descriptor.digest;
            if self.layer(chain).is_dir() {
                progress.report(Event::Existed {
                    digest,
                    work: Work::Unpack,
                });
                continue;
            }
            let MediaType::Layer { compression, .. } = descriptor.media_type else {
                let message = format!(
                    "layer {digest} has the media type {}, which is no layer that can be unpacked",
                    descriptor.media_type
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            };
            missing.push(Missing {
                chain,
                diff_id,
                descriptor,
                compression,
                new: self.new_directory()?,
            });
        }
        Ok(missing)
    }

    /// Several at once, the largest first: otherwise the last one would be alone for long. The
    /// first failure keeps further ones from being begun.
    fn apply_all(
        &self,
        blobs: &dyn Blobs,
        missing: &[Missing<'_>],
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Applied>> {
        let mut order: Vec<usize> = (0..missing.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(missing[*index].descriptor.size));
        let results: Vec<Mutex<Option<Applied>>> =
            missing.iter().map(|_| Mutex::new(None)).collect();
        let apply = |index: usize| {
            let applied = self.apply_one(blobs, &missing[index], options, progress)?;
            *lock(&results[index]) = Some(applied);
            Ok(())
        };
        parallel::each(order, options.parallel, &AtomicBool::new(false), apply)?;
        let results = results.into_iter();
        let applied: Option<Vec<Applied>> = results
            .map(|slot| slot.into_inner().unwrap_or_default())
            .collect();
        applied.ok_or_else(|| {
            let message = "a thread that unpacks layers has ended without a word";
            Error::new(ErrorKind::System, message)
        })
    }

    fn apply_one(
        &self,
        blobs: &dyn Blobs,
        layer: &Missing<'_>,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Applied> {
        match self.apply_from(blobs, layer, options, progress) {
            // Only of verified bytes it is told what is wrong with them.
            Err(_) if blobs.was_premature(layer.descriptor) => {
                self.apply_from(blobs, layer, options, progress)
            }
            result => result,
        }
    }

    fn apply_from(
        &self,
        blobs: &dyn Blobs,
        layer: &Missing<'_>,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Applied> {
        let digest = &layer.descriptor.digest;
        let step = || format!("unpack layer {digest}");
        let source = Counted {
            inner: blobs.open(layer.descriptor)?,
            digest,
            progress,
        };
        progress.report(Event::Began {
            digest,
            work: Work::Unpack,
            total: Some(layer.descriptor.size),
            done: 0,
        });
        let directory = open_directory(&layer.new.fs)?;
        let options = self.apply_options(layer, options);
        let applied = layer::apply(source, layer.compression, directory.as_fd(), &options)
            .map_err(|error| error.within(step()))?;
        for warning in &applied.warnings {
            progress.report(Event::Note(&format!("{}: {warning}", step())));
        }
        progress.report(Event::Ended {
            digest,
            work: Work::Unpack,
        });
        Ok(applied)
    }

    fn apply_options(&self, layer: &Missing<'_>, options: &UnpackOptions) -> ApplyOptions {
        let is_user = self.kind == Kind::User;
        ApplyOptions {
            whiteouts: Whiteouts::Overlay {
                user_xattr: is_user,
            },
            // A container's devices come from its configuration, not from its image.
            devices: match is_user {
                true => Devices::SkipForbidden,
                false => options.apply.devices,
            },
            diff_id: Some(layer.diff_id.clone()),
            ..options.apply.clone()
        }
    }

    /// Completes layers with what they need of the ones below, lowest first.
    fn settle_all(
        &self,
        missing: &[Missing<'_>],
        applied: &[Applied],
        chain: &Chain,
    ) -> Result<()> {
        for (layer, applied) in missing.iter().zip(applied) {
            let below = chain.0.iter().take_while(|other| *other != layer.chain);
            let mut lowers = Vec::new();
            for lower in below {
                let new = missing.iter().find(|other| other.chain == lower);
                let named = || self.layer(lower).join("fs");
                lowers.push(open_directory(
                    &new.map_or_else(named, |other| other.new.fs.clone()),
                )?);
            }
            lowers.reverse();
            let lowers: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
            let directory = open_directory(&layer.new.fs)?;
            layer::settle(directory.as_fd(), &lowers, applied).map_err(|error| {
                error.within(format!("unpack layer {}", layer.descriptor.digest))
            })?;
        }
        Ok(())
    }

    fn name(&self, layer: &Missing<'_>) -> Result<()> {
        let target = self.layer(layer.chain);
        fs::rename(&layer.new.path, &target)
            .map_err(|error| Error::system(format!("name {}", target.display()), error))
    }

    /// A name for something unfinished, and the lock that says that somebody works on it.
    pub(super) fn new_directory_name(&self) -> Result<(PathBuf, Lock)> {
        let path = self.directory.join("new").join(unique_name());
        let lock = Lock::take(
            &path.with_extension("lock"),
            Share::Exclusive,
            Duration::from_secs(5),
        )?;
        Ok((path, lock))
    }

    fn new_directory(&self) -> Result<NewDirectory> {
        let (path, lock) = self.new_directory_name()?;
        make_directory(&path)?;
        let fs = path.join("fs");
        make_directory(&fs)?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&fs, std::fs::Permissions::from_mode(0o755))
            .map_err(|error| Error::system(format!("make {}", fs.display()), error))?;
        Ok(NewDirectory {
            path,
            fs,
            _lock: lock,
        })
    }
}

/// A name that nothing else has.
pub(super) fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{}-{}-{}",
        std::process::id(),
        now.as_nanos(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A directory for an unfinished layer; what is left of it is removed when this is dropped.
struct NewDirectory {
    path: PathBuf,
    fs: PathBuf,
    _lock: Lock,
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // What fails here is found by whoever unpacks next.
        fs::remove_dir_all(&self.path).ok();
        fs::remove_file(self.path.with_extension("lock")).ok();
    }
}

/// Tells how much of a blob has been read.
struct Counted<'a> {
    inner: Box<dyn Read + Send + 'a>,
    digest: &'a Digest,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.report(Event::Advanced {
            digest: self.digest,
            work: Work::Unpack,
            bytes: count as u64,
        });
        Ok(count)
    }
}

//! What all commands work with, and everything that comes from the environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use image::Platform;
use image::document::{ImageConfig, Manifest};
use image::error::{Error, ErrorKind, Result};
use image::progress::Progress;
use image::snapshot::{Chain, Snapshots, UnpackOptions};
use image::store::{Image, Lease, Store};

use super::arguments::Globals;
use super::{output, progress};

/// How long another process may keep a lock.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct Context {
    root: PathBuf,
    pub(crate) store: Store,
    pub(crate) progress: Box<dyn Progress + Send>,
}

/// An image's parts, for one machine.
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Context {
    pub(crate) fn open(globals: &Globals) -> Result<Self> {
        let root = match &globals.root {
            Some(root) => root.clone(),
            None => default_root()?,
        };
        Ok(Self {
            store: Store::open_patiently(&root, PATIENCE)?,
            root,
            progress: progress::open(globals.progress, globals.quiet),
        })
    }

    pub(crate) fn snapshots(&self) -> Result<Snapshots> {
        Snapshots::open(&self.root, Snapshots::kind_for_this_process())
    }

    /// Whether anything was ever unpacked here.
    pub(crate) fn has_snapshots(&self) -> bool {
        self.root.join("snapshots").symlink_metadata().is_ok()
    }

    /// While it lives, nothing of the store is pruned.
    pub(crate) fn lease(&self) -> Result<Lease> {
        self.store.lease()
    }

    /// The image that `text` means, and its parts for a platform.
    pub(crate) fn parts(&self, text: &str, platform: Option<&str>) -> Result<Parts> {
        let image = self.store.find(text)?;
        let (_, manifest) = self
            .store
            .manifest(&image.descriptor, &self::platform(platform)?)?;
        let config = self.store.config(&manifest)?;
        if let Some(text) = platform {
            check_platform(&image, &config, &text.parse()?)?;
        }
        Ok(Parts { manifest, config })
    }

    /// Unpacks what isn't yet. The caller holds a lease.
    pub(crate) fn unpack(&self, snapshots: &Snapshots, parts: &Parts) -> Result<Chain> {
        snapshots.unpack(
            &self.store,
            &parts.manifest,
            &parts.config,
            &Self::unpack_options(),
            &*self.progress,
        )
    }

    pub(crate) fn unpack_options() -> UnpackOptions {
        UnpackOptions {
            patience: PATIENCE,
            ..UnpackOptions::default()
        }
    }
}

/// An image that is in no index is for one machine, which must be the one that was asked for.
fn check_platform(image: &Image, config: &ImageConfig, wanted: &Platform) -> Result<()> {
    if wanted.rank(&config.platform).is_some() {
        return Ok(());
    }
    let message = format!(
        "image {} is for {}, not for {wanted}",
        image.shown(),
        config.platform.normalized()
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// A platform as given, else this machine's.
pub(crate) fn platform(text: Option<&str>) -> Result<Platform> {
    text.map_or_else(|| Ok(Platform::host()), str::parse)
}

/// Where images are when nobody says so. In a user's namespace they are that user's.
fn default_root() -> Result<PathBuf> {
    if image::snapshot::Snapshots::kind_for_this_process() == image::snapshot::Kind::Trusted {
        return Ok("/var/lib/tare/image".into());
    }
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    match data.filter(|path| path.is_absolute()).or(home) {
        Some(data) => Ok(data.join("tare/image")),
        None => {
            let message = "neither XDG_DATA_HOME nor HOME says where images go: give --root DIR";
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// The variable's value, or an error that names it.
pub(crate) fn variable(name: &str) -> Option<String> {
    match env::var(name) {
        Ok(value) => Some(value),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => {
            output::warning(&format!("variable {name} is not UTF-8, and is left out"));
            None
        }
    }
}

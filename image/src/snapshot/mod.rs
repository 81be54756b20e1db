//! Root filesystems made of layers: each layer a directory, unpacked once; a container's own
//! changes in one above them.
//!
//! ```text
//! snapshots/
//!   kind                    "trusted" or "user": whose xattrs mark what a layer hides
//!   locks/<chain>           held while a layer is unpacked
//!   layers/<chain>/fs       a finished layer, named after its ChainID
//!   new/<random>/fs         an unfinished one; its lock is held by whoever works on it
//!   active/<name>/          a container's or a mount's own: see `active`
//! ```
//!
//! A layer's directory is an overlayfs layer: what it hides of the layers below is marked by
//! character devices 0:0 and by the xattr `trusted.overlay.opaque` (`user.…` without privilege).

mod active;
mod layers;
mod native;
mod overlay;
mod prune;

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};

pub use active::{Active, MountOptions, Use};
pub use layers::UnpackOptions;
pub(crate) use native::copy_tree;
pub use overlay::MAX_LAYERS;
pub use prune::Pruned;

/// The directory of layers and root filesystems.
#[derive(Clone, Debug)]
pub struct Snapshots {
    directory: PathBuf,
    kind: Kind,
}

/// Whose extended attributes mark what a layer hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `trusted.overlay.*`: root of the initial user namespace.
    Trusted,
    /// `user.overlay.*`: anyone else.
    User,
}

/// The layers of one image, lowest first, each named by its ChainID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(pub Vec<Digest>);

impl Snapshots {
    /// Opens, and makes where it is missing, `snapshots` below `root`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when it was made with the other kind of privilege;
    /// [`ErrorKind::System`] when it can't be made.
    pub fn open(root: &Path, kind: Kind) -> Result<Self> {
        let root = std::path::absolute(root)
            .map_err(|error| Error::system(format!("find {}", root.display()), error))?;
        let snapshots = Self {
            directory: root.join("snapshots"),
            kind,
        };
        for name in ["", "locks", "layers", "new", "active"] {
            make_directory(&snapshots.directory.join(name))?;
        }
        snapshots.settle_kind()?;
        Ok(snapshots)
    }

    /// Which kind the running process needs: it is root of the initial user namespace, or not.
    #[must_use]
    pub fn kind_for_this_process() -> Kind {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let words: Vec<&str> = map.split_whitespace().collect();
        if rustix::process::geteuid().is_root() && words == ["0", "0", "4294967295"] {
            Kind::Trusted
        } else {
            Kind::User
        }
    }

    /// Whose extended attributes mark what a layer hides.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn settle_kind(&self) -> Result<()> {
        let path = self.directory.join("kind");
        let own = self.kind.word();
        let step = || format!("write {}", path.display());
        match fs::read_to_string(&path) {
            Ok(word) if word.trim_end() == own => Ok(()),
            Ok(word) => {
                let message = format!(
                    "{} was made with {:?} attributes, and this process needs {own:?} ones",
                    self.directory.display(),
                    word.trim_end()
                );
                let advice = "root and users can't share one: give each its own --root";
                Err(Error::new(ErrorKind::Unsupported, message).advise(advice))
            }
            Err(error) if error.kind() == IoErrorKind::NotFound => {
                // Whole or not at all, whoever else does the same at this moment.
                let temporary = self.directory.join(format!("kind.{}", std::process::id()));
                fs::write(&temporary, own)
                    .and_then(|()| fs::rename(&temporary, &path))
                    .map_err(|error| Error::system(step(), error))
            }
            Err(error) => Err(Error::system(format!("read {}", path.display()), error)),
        }
    }

    fn layer(&self, chain: &Digest) -> PathBuf {
        self.directory.join("layers").join(file_name(chain))
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::User => "user",
        }
    }
}

/// A digest as a file's name; of sha256, which nearly all are, the digits alone.
fn file_name(digest: &Digest) -> String {
    match digest.algorithm() {
        Algorithm::Sha256 => digest.hex().to_owned(),
        other => format!("{}-{}", other.name(), digest.hex()),
    }
}

/// Opens a directory to read it.
pub(crate) fn open_directory(path: &Path) -> Result<fs::File> {
    fs::File::open(path).map_err(|error| Error::system(format!("open {}", path.display()), error))
}

/// Makes a directory, and those on the way to it, for the process's own user alone.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::system(format!("make directory {}", path.display()), error))
}

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
//!   unsynced/<boot>.<n>     which layers may not be on the disk yet: see `unsynced`
//! ```
//!
//! A layer's directory is an overlayfs layer: what it hides of the layers below is marked by
//! character devices 0:0 and by the xattr `trusted.overlay.opaque` (`user.…` without privilege).

mod active;
mod layers;
mod native;
mod overlay;
mod prune;
mod unsynced;

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};

pub use active::{Active, MountOptions, Use};
pub use layers::UnpackOptions;
pub(crate) use native::copy_tree;
pub use overlay::MAX_LAYERS;
pub use prune::Pruned;

/// The directory itself, and those in it.
const PARTS: [&str; 6] = ["", "locks", "layers", "new", "active", "unsynced"];

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
    /// Opens, and makes where it is missing, `snapshots` below `root`. Layers that the machine may
    /// have lost since they were unpacked, since it was stopped too early, are none any more.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when it was made with the other kind of privilege;
    /// [`ErrorKind::Corrupt`] when a part of it is a link, or somebody else's, who could have put
    /// anything in it; [`ErrorKind::System`] when it can't be made.
    pub fn open(root: &Path, kind: Kind) -> Result<Self> {
        let root = std::path::absolute(root)
            .map_err(|error| Error::system(format!("find {}", root.display()), error))?;
        let snapshots = Self {
            directory: root.join("snapshots"),
            kind,
        };
        for name in PARTS {
            // Without a slash at its end, which would follow a link.
            let path: PathBuf = snapshots.directory.join(name).components().collect();
            if !check_own(&path)? {
                make_directory(&path)?;
                // Unless somebody else was faster.
                check_own(&path)?;
            }
        }
        snapshots.settle_kind()?;
        snapshots.settle_unsynced()?;
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
                // Whole or not at all, whoever else does the same at this moment, and whatever
                // becomes of the machine.
                let temporary = self.directory.join(format!("kind.{}", std::process::id()));
                fs::File::create(&temporary)
                    .and_then(|mut file| {
                        file.write_all(own.as_bytes())?;
                        file.sync_all()
                    })
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

/// What is in these directories is used unseen, and removed: nobody else may have made them. Says
/// whether it is there.
fn check_own(path: &Path) -> Result<bool> {
    let refuse = |why: &str| {
        let message = format!("{} {why}", path.display());
        let error = Error::new(ErrorKind::Corrupt, message);
        Err(error.advise("was it made by somebody else? Remove it: layers are unpacked again"))
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::system(format!("look at {}", path.display()), error)),
    };
    if !metadata.is_dir() {
        return refuse("is not a directory");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse(&format!("belongs to user {}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("can be written by others");
    }
    Ok(true)
}

/// Makes a directory, and those on the way to it, for the process's own user alone.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::system(format!("make directory {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// U10: a layout that somebody hands over brings no layers along, and no way out of it.
    #[test]
    fn directories_that_lead_elsewhere_or_are_open_to_others_are_refused() {
        let elsewhere = tempfile::tempdir().expect("a directory");
        for name in PARTS {
            let root = tempfile::tempdir().expect("a directory");
            let kind = Snapshots::kind_for_this_process();
            Snapshots::open(root.path(), kind).expect("it is new");
            let path = root.path().join("snapshots").join(name);
            let path: PathBuf = path.components().collect();
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(&path, open).expect("set");
            let error = Snapshots::open(root.path(), kind).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            fs::remove_dir_all(&path).expect("removed");
            symlink(elsewhere.path(), &path).expect("linked");
            let error = Snapshots::open(root.path(), kind).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }

    #[test]
    fn a_lock_without_a_directory_is_cleared_unless_somebody_holds_it() {
        let root = tempfile::tempdir().expect("a directory");
        let kind = Snapshots::kind_for_this_process();
        let snapshots = Snapshots::open(root.path(), kind).expect("it is new");
        let dead = root.path().join("snapshots/new/1-2-3.lock");
        fs::write(&dead, "").expect("written");
        let (living, lock) = snapshots.new_directory_name().expect("a name");
        snapshots.clear_unfinished().expect("cleared");
        assert!(!dead.exists());
        assert!(living.with_extension("lock").exists());
        drop(lock);
        snapshots.clear_unfinished().expect("cleared");
        assert!(!living.with_extension("lock").exists());
    }
}

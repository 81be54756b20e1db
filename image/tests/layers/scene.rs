//! A directory for a layer, and beside it what no layer may touch.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use image::document::Compression;
use image::error::Result;
use image::layer::{Applied, ApplyOptions, Whiteouts, apply};
use tempfile::TempDir;

use crate::tree::{self, Tree};

/// A private directory with a `root` and a `canary`, which must not change.
pub(crate) struct Scene {
    directory: TempDir,
    canary: Tree,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tare-layer-")
            .tempdir()
            .expect("a directory");
        let canary = directory.path().join("canary");
        fs::create_dir(&canary).expect("made");
        fs::create_dir(directory.path().join("root")).expect("made");
        fs::write(canary.join("file"), "sings").expect("written");
        fs::create_dir(canary.join("directory")).expect("made");
        symlink("file", canary.join("link")).expect("linked");
        fs::set_permissions(canary.join("file"), fs::Permissions::from_mode(0o640)).expect("set");
        let canary = tree::read(&canary);
        Self { directory, canary }
    }

    /// Where layers go.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A further directory for a layer.
    pub(crate) fn other(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).expect("made");
        path
    }

    /// A directory that [`Self::other`] has made.
    pub(crate) fn other_again(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The absolute name of what must not change.
    pub(crate) fn canary(&self) -> String {
        let path = self.directory.path().join("canary");
        path.to_str().expect("UTF-8").to_owned()
    }

    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        let now = tree::read(Path::new(&self.canary()));
        tree::assert_same(&self.canary, &now);
    }

    /// Applies a layer over what is there.
    pub(crate) fn apply(&self, archive: &[u8]) -> Result<Applied> {
        apply_to(&self.root(), archive, &over())
    }

    /// Applies a layer as one of an overlay.
    pub(crate) fn apply_alone(&self, archive: &[u8]) -> Result<Applied> {
        apply_to(&self.root(), archive, &alone())
    }

    pub(crate) fn tree(&self) -> Tree {
        tree::read(&self.root())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tree()
            .into_keys()
            .filter_map(|name| name.strip_prefix("./").map(str::to_owned))
            .collect()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).expect("a file")
    }

    pub(crate) fn metadata(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root().join(name)).expect("a file")
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        self.metadata(name).mode() & 0o7777
    }
}

/// Removed files are removed.
pub(crate) fn over() -> ApplyOptions {
    let mut options = ApplyOptions::default();
    options.whiteouts = Whiteouts::Remove;
    options
}

/// One layer of an overlay.
pub(crate) fn alone() -> ApplyOptions {
    ApplyOptions::default()
}

pub(crate) fn apply_to(root: &Path, archive: &[u8], options: &ApplyOptions) -> Result<Applied> {
    let directory = File::open(root).expect("a directory");
    apply(archive, Compression::None, directory.as_fd(), options)
}

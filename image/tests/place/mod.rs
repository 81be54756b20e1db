//! A store of the test's own, and the program's commands on it.

#![allow(dead_code, reason = "not every test file needs everything")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use testkit::{Finished, Marker, Residue, TestBundle, finish};

/// The longest that a command may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A directory of images, and the oracle that watches what is left of it.
pub(crate) struct Place {
    pub(crate) marker: Marker,
    pub(crate) directory: tempfile::TempDir,
    residue: Residue,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let marker = Marker::new(name);
        Self {
            residue: Residue::watch(&marker),
            directory: marker.directory(),
            marker,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `tare-image --root … WORDS`.
    pub(crate) fn command<W: AsRef<OsStr>>(&self, words: &[W]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare-image"));
        command
            .arg("--root")
            .arg(self.path("root"))
            .arg("--quiet")
            .args(words);
        command
    }

    pub(crate) fn image<W: AsRef<OsStr>>(&self, words: &[W]) -> Finished {
        finish(&mut self.command(words), DEADLINE)
    }

    /// The same, which has to succeed; what it says.
    pub(crate) fn must<W: AsRef<OsStr>>(&self, words: &[W]) -> String {
        self.image(words).success().stdout
    }

    /// `tare-image run WORDS` with the runtime under test; `marker` is part of the id.
    pub(crate) fn run(&self, words: &[&str]) -> Finished {
        finish(&mut self.run_command(words), DEADLINE)
    }

    pub(crate) fn run_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(&["run"]);
        command
            .arg("--runtime")
            .arg(tare())
            .arg("--name")
            .arg(self.id());
        command.args(words);
        command
    }

    /// The only container's id.
    pub(crate) fn id(&self) -> String {
        format!("{}-c", self.marker.as_str())
    }

    /// Imports busybox under this name, with these instructions.
    pub(crate) fn import_busybox(&self, name: &str, changes: &[&str]) {
        let archive = self.path("busybox.tar");
        if !archive.exists() {
            let bundle = TestBundle::busybox(&self.marker);
            pack(&bundle.rootfs(), &archive);
        }
        let mut words = vec![
            "import".to_owned(),
            archive.display().to_string(),
            name.to_owned(),
        ];
        words.extend(
            changes
                .iter()
                .flat_map(|change| ["--change".to_owned(), (*change).to_owned()]),
        );
        self.must(&words);
    }

    /// Ends the test: nothing may be left on the host, and no root filesystem in use.
    pub(crate) fn finish(self) {
        let actives = self.path("root/snapshots/active");
        if actives.exists() {
            let left: Vec<_> = fs::read_dir(&actives).expect("it is ours").collect();
            assert!(left.is_empty(), "{left:?}");
        }
        drop(self.directory);
        self.residue.assert_none(&[]);
    }
}

/// Packs a directory with GNU tar.
pub(crate) fn pack(directory: &Path, archive: &Path) {
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(directory)
        .arg("-cf")
        .arg(archive)
        .arg(".");
    finish(&mut tar, DEADLINE).succeeded();
}

/// The tare of this workspace: built once, since it belongs to another crate.
pub(crate) fn tare() -> &'static Path {
    static TARE: OnceLock<PathBuf> = OnceLock::new();
    TARE.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--package",
            "runtime-cli",
            "--bin",
            "tare",
        ]);
        finish(&mut build, Duration::from_secs(600)).succeeded();
        let own = Path::new(env!("CARGO_BIN_EXE_tare-image"));
        own.with_file_name("tare")
    })
}

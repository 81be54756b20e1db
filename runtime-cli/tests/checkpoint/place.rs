//! A container that counts, and the directory of its images.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish};

/// A dump and a restore take seconds where the processor is emulated.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Counts in /tmp/count, a file of the rootfs, and says each number; ends with 7 when
/// /tmp/stop is there.
pub(crate) const COUNTER: &str = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i >/tmp/new; \
     mv /tmp/new /tmp/count; echo number $i; sleep 0.1; done; exit 7";

pub(crate) struct Place {
    pub(crate) marker: Marker,
    residue: Residue,
    pub(crate) runtime: Runtime,
    pub(crate) bundle: TestBundle,
    images: TempDir,
}

impl Place {
    /// A bundle that counts, changed.
    pub(crate) fn new(topic: &str, change: impl FnOnce(TestBundle) -> TestBundle) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
        let bundle = change(TestBundle::busybox(&marker).script(COUNTER));
        bundle.save();
        Self {
            residue,
            runtime,
            bundle,
            images: marker.directory(),
            marker,
        }
    }

    /// Another config.json for the same rootfs.
    pub(crate) fn change(mut self, change: impl FnOnce(TestBundle) -> TestBundle) -> Self {
        self.bundle = change(self.bundle);
        self.bundle.save();
        self
    }

    pub(crate) fn id(&self) -> &str {
        self.bundle.id()
    }

    /// A directory beside the images' default one.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.images.path().join(name)
    }

    pub(crate) fn call(&self, words: &[&str]) -> Finished {
        finish(&mut self.runtime.command(words), LIMIT)
    }

    /// Runs the bundle and waits until it counts.
    pub(crate) fn start(&self) -> Finished {
        let started = self.runtime.run_detached(&self.bundle).success();
        self.wait_beyond(2);
        started
    }

    /// `checkpoint` into `cp`, with more flags.
    pub(crate) fn checkpoint(&self, flags: &[&str]) -> Finished {
        self.checkpoint_into("cp", flags)
    }

    pub(crate) fn checkpoint_into(&self, name: &str, flags: &[&str]) -> Finished {
        let images = self.directory(name);
        let words = [
            &["checkpoint", "--image-path", text(&images)],
            flags,
            &[self.id()],
        ];
        self.call(&words.concat())
    }

    /// `restore --detach` from `cp`, with more flags.
    pub(crate) fn restore(&self, flags: &[&str]) -> Finished {
        self.restore_from("cp", flags)
    }

    pub(crate) fn restore_from(&self, name: &str, flags: &[&str]) -> Finished {
        let images = self.directory(name);
        let words = [
            &["restore", "--detach"],
            &["--bundle", text(self.bundle.path())] as &[&str],
            &["--image-path", text(&images)],
            flags,
            &[self.id()],
        ];
        self.call(&words.concat())
    }

    /// The number that was reached.
    pub(crate) fn count(&self) -> u64 {
        let path = self.bundle.rootfs().join("tmp/count");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Waits for a number above this one, and gives it.
    pub(crate) fn wait_beyond(&self, number: u64) -> u64 {
        let started = Instant::now();
        loop {
            let count = self.count();
            if count > number {
                return count;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the count is {count} and stays there"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a file, some output, has a word in it.
    pub(crate) fn wait_for_word(&self, word: &str, output: &Path) {
        let started = Instant::now();
        loop {
            let said = std::fs::read_to_string(output).unwrap_or_default();
            if said.contains(word) {
                return;
            }
            let patience = Duration::from_secs(30);
            assert!(started.elapsed() < patience, "{}: {said}", self.id());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The output of a command in the container.
    pub(crate) fn exec(&self, words: &[&str]) -> String {
        let words = [&["exec", self.id()], words].concat();
        self.call(&words).success().stdout
    }

    /// It failed in one line with these words, and there is no container.
    pub(crate) fn refused(&self, finished: &Finished, says: &[&str]) {
        assert_eq!(finished.code, 1, "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        for word in says {
            assert!(finished.stderr.contains(word), "{word}: {finished}");
        }
        let state = self.call(&["state", self.id()]);
        assert!(state.stderr.contains("does not exist"), "{state}");
    }

    /// Deletes what runs, and looks for what is left.
    pub(crate) fn finish(self) {
        self.call(&["delete", "--force", self.id()]).succeeded();
        drop((self.bundle, self.images));
        self.residue.assert_none(&[&self.runtime]);
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

//! Layers that are named before the disk has them.
//!
//! Writing a large layer to the disk takes longer than to unpack it, and nobody needs that before
//! the machine stops. So an unpacking notes first, on the disk, in which boot it happens: when
//! that boot is over, its layers are good for nothing, and are unpacked once more. Whoever opens
//! the snapshots a minute later, when the kernel has long written them, makes sure of that by
//! syncfs(2) and takes the note away.
//!
//! ```text
//! unsynced/<boot id>.<random>     the layers, by file name, a line each
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::prune::entries;
use super::{Snapshots, file_name, open_directory};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::lock::{Lock, Share};

/// The kernel writes what is older than half a minute (vm.dirty_expire_centisecs) by itself.
const AGE: Duration = Duration::from_secs(60);

/// How long another process may take to remove a layer, or to unpack it again.
const PATIENCE: Duration = Duration::from_secs(600);

/// One unpacking that may not be on the disk yet.
struct Note {
    path: PathBuf,
    boot: String,
}

impl Snapshots {
    /// Notes that these layers are good for this boot alone, before they get their names. The
    /// caller holds their locks. Returns false where it isn't known which boot this is: then
    /// layers must be on the disk first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::System`] when it can't be written.
    pub(super) fn note_unsynced<'a>(
        &self,
        layers: impl Iterator<Item = &'a Digest>,
    ) -> Result<bool> {
        let Some(boot) = boot_id() else {
            return Ok(false);
        };
        let directory = self.unsynced();
        let path = directory.join(format!("{boot}.{}", super::layers::unique_name()));
        let lines: String = layers.map(|layer| file_name(layer) + "\n").collect();
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            File::open(&directory)?.sync_all()
        };
        write().map_err(|error| Error::system(format!("write {}", path.display()), error))?;
        Ok(true)
    }

    /// Removes layers that another boot has noted and not written, and the notes about those that
    /// are on the disk by now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::System`] when something can't be read or removed;
    /// [`crate::ErrorKind::TimedOut`] when another process holds a layer for too long.
    pub(super) fn settle_unsynced(&self) -> Result<()> {
        let notes = self.notes()?;
        if notes.is_empty() {
            return Ok(());
        }
        let boot = boot_id();
        for note in notes {
            match boot.as_ref() == Some(&note.boot) {
                true => self.sync_if_old(&note)?,
                false => self.distrust(&note)?,
            }
        }
        Ok(())
    }

    fn notes(&self) -> Result<Vec<Note>> {
        let note = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let boot = name.split_once('.')?.0.to_owned();
            Some(Note { path, boot })
        };
        let entries = entries(&self.unsynced())?.into_iter();
        Ok(entries.filter_map(|entry| note(entry.path())).collect())
    }

    /// Nothing is done to layers that somebody still works on.
    fn sync_if_old(&self, note: &Note) -> Result<()> {
        if note.is_young() {
            return Ok(());
        }
        let mut locks = Vec::new();
        for layer in note.layers()? {
            match Lock::try_take(&self.lock_of(&layer), Share::Exclusive)? {
                Some(lock) => locks.push(lock),
                None => return Ok(()),
            }
        }
        self.sync()?;
        note.remove()
    }

    /// Under its lock a layer is one of the earlier boot for as long as the note is there: who
    /// unpacks it again has removed the note before.
    fn distrust(&self, note: &Note) -> Result<()> {
        let layers = self.directory.join("layers");
        for layer in note.layers()? {
            let _lock = Lock::take(&self.lock_of(&layer), Share::Exclusive, PATIENCE)?;
            let directory = layers.join(&layer);
            if note.path.exists() && directory.is_dir() {
                self.discard(&directory)?;
            }
        }
        let step = || format!("write {}", layers.display());
        open_directory(&layers)?
            .sync_all()
            .map_err(|error| Error::system(step(), error))?;
        note.remove()
    }

    /// Writes everything to the disk that is on the layers' file system.
    pub(super) fn sync(&self) -> Result<()> {
        let directory = open_directory(&self.directory.join("layers"))?;
        rustix::fs::syncfs(directory)
            .map_err(|errno| Error::system("write the layers to the disk", errno))
    }

    fn unsynced(&self) -> PathBuf {
        self.directory.join("unsynced")
    }

    fn lock_of(&self, layer: &str) -> PathBuf {
        self.directory.join("locks").join(layer)
    }
}

impl Note {
    fn is_young(&self) -> bool {
        let modified = fs::metadata(&self.path).and_then(|status| status.modified());
        // One from the future is as old as it likes: the clock was set.
        modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < AGE))
    }

    /// File names of layers. Anything else is no layer, and nothing is to be done about it.
    fn layers(&self) -> Result<Vec<String>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            // Somebody was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Error::system(
                    format!("read {}", self.path.display()),
                    error,
                ));
            }
        };
        let is_name = |line: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !line.is_empty() && line.bytes().all(is_part)
        };
        Ok(text.lines().filter(is_name).map(str::to_owned).collect())
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::system(
                format!("remove {}", self.path.display()),
                error,
            )),
            _ => Ok(()),
        }
    }
}

/// random(4): of this boot alone, the same for all of its processes.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).ok()?;
    let id = text.trim_end();
    let is_id = !id.is_empty() && !id.contains(['.', '/']);
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Snapshots with one layer that was just unpacked.
    struct Scene {
        root: tempfile::TempDir,
        layer: Digest,
    }

    impl Scene {
        fn new() -> Self {
            let scene = Self {
                root: tempfile::tempdir().expect("a directory"),
                layer: Digest::of(b"a layer"),
            };
            let snapshots = scene.open();
            let is_noted = snapshots.note_unsynced([&scene.layer].into_iter());
            assert!(is_noted.expect("it is written"));
            let layer = scene.directory().join("fs");
            fs::create_dir_all(layer).expect("it is made");
            scene
        }

        fn open(&self) -> Snapshots {
            let kind = Snapshots::kind_for_this_process();
            Snapshots::open(self.root.path(), kind).expect("it opens")
        }

        fn directory(&self) -> PathBuf {
            let layers = self.root.path().join("snapshots/layers");
            layers.join(file_name(&self.layer))
        }

        fn notes(&self) -> Vec<PathBuf> {
            let directory = self.root.path().join("snapshots/unsynced");
            let entries = fs::read_dir(directory).expect("it is there");
            entries.map(|entry| entry.expect("read").path()).collect()
        }

        fn age(&self) {
            for note in self.notes() {
                let file = File::options().write(true).open(note).expect("it opens");
                let long_ago = SystemTime::now() - 2 * AGE;
                file.set_modified(long_ago).expect("it is set");
            }
        }

        fn reboot(&self) {
            for note in self.notes() {
                let other = note.with_file_name("00000000-0000-4000-8000-000000000000.1");
                fs::rename(note, other).expect("it is renamed");
            }
        }
    }

    #[test]
    fn in_its_own_boot_a_layer_is_good_and_after_a_minute_for_ever() {
        let scene = Scene::new();
        scene.open();
        assert!(scene.directory().is_dir());
        assert_eq!(scene.notes().len(), 1);
        scene.age();
        scene.open();
        assert!(scene.directory().is_dir());
        assert!(scene.notes().is_empty());
        scene.reboot();
        scene.open();
        assert!(scene.directory().is_dir());
    }

    #[test]
    fn in_another_boot_a_layer_that_was_not_written_is_gone() {
        let scene = Scene::new();
        scene.reboot();
        let snapshots = scene.open();
        assert!(!scene.directory().exists());
        assert!(scene.notes().is_empty());
        let new = snapshots.directory.join("new");
        assert_eq!(fs::read_dir(new).expect("it is there").count(), 0);
    }

    #[test]
    fn a_layer_that_somebody_works_on_keeps_its_note() {
        let scene = Scene::new();
        scene.age();
        let snapshots = scene.open();
        snapshots
            .note_unsynced([&scene.layer].into_iter())
            .expect("it is written");
        scene.age();
        let path = snapshots.lock_of(&file_name(&scene.layer));
        let lock = Lock::take(&path, Share::Exclusive, Duration::ZERO).expect("nobody has it");
        scene.open();
        assert_eq!(scene.notes().len(), 1);
        drop(lock);
        scene.open();
        assert!(scene.notes().is_empty());
    }

    #[test]
    fn a_note_leads_to_layers_and_nowhere_else() {
        let scene = Scene::new();
        let victim = scene.root.path().join("victim");
        fs::create_dir(&victim).expect("it is made");
        for note in scene.notes() {
            fs::write(note, "../../victim\n/etc\n..\n\n").expect("it is written");
        }
        scene.reboot();
        scene.open();
        assert!(victim.is_dir());
        assert!(scene.directory().is_dir());
    }
}

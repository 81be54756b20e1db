//! What nobody needs any more is removed.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::path::Path;

use super::active::{CHAIN, Use, read_chain, read_use};
use super::{Chain, Snapshots, file_name};
use crate::error::{Error, Result};
use crate::lock::{Lock, Share};

/// What [`Snapshots::prune`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Layers.
    pub layers: usize,
    /// Root filesystems whose container or mount is gone.
    pub actives: usize,
    /// What was begun and never finished.
    pub unfinished: usize,
}

impl Snapshots {
    /// Removes layers that neither one of the `chains` nor a root filesystem needs, root
    /// filesystems that nobody needs, and what was never finished.
    ///
    /// The caller holds the store's lease exclusively, so that no one unpacks meanwhile.
    ///
    /// # Errors
    /// [`crate::ErrorKind::System`] when something can't be removed.
    pub fn prune(&self, chains: &[Chain]) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let mut needed: HashSet<String> = chains
            .iter()
            .flat_map(|chain| chain.0.iter().map(file_name))
            .collect();
        for entry in entries(&self.directory.join("active"))? {
            if remove_if_abandoned(self, &entry.path())? {
                pruned.actives += 1;
            } else {
                needed.extend(read_chain(&entry.path())?.0.iter().map(file_name));
            }
        }
        for entry in entries(&self.directory.join("layers"))? {
            if !needed.contains(entry.file_name().to_string_lossy().as_ref()) {
                self.discard(&entry.path())?;
                pruned.layers += 1;
            }
        }
        pruned.unfinished = self.clear_unfinished()?;
        for entry in entries(&self.directory.join("locks"))? {
            // Under the lease nobody holds one for long, and a lock of a removed file is none.
            if Lock::try_take(&entry.path(), Share::Exclusive)?.is_some() {
                fs::remove_file(entry.path()).ok();
            }
        }
        Ok(pruned)
    }

    /// Removes what others began and never finished: those that nobody holds the lock of.
    pub(super) fn clear_unfinished(&self) -> Result<usize> {
        let mut count = 0;
        for entry in entries(&self.directory.join("new"))? {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "lock")
            {
                remove_lone_lock(&path)?;
                continue;
            }
            let lock_path = path.with_extension("lock");
            let Some(lock) = Lock::try_take(&lock_path, Share::Exclusive)? else {
                continue;
            };
            remove_tree(&path)?;
            fs::remove_file(&lock_path).ok();
            drop(lock);
            count += 1;
        }
        Ok(count)
    }

    /// Takes a directory out of sight at once, then removes it.
    pub(super) fn discard(&self, directory: &Path) -> Result<()> {
        let (hidden, lock) = self.new_directory_name()?;
        fs::rename(directory, &hidden)
            .map_err(|error| Error::system(format!("remove {}", directory.display()), error))?;
        let removed = remove_tree(&hidden);
        fs::remove_file(hidden.with_extension("lock")).ok();
        drop(lock);
        removed
    }
}

/// Removes a root filesystem whose lock the caller holds, where it is. Whoever is killed meanwhile
/// leaves one that nobody needs, which is removed by the next one who wants its name, or prunes.
pub(super) fn remove_in_place(directory: &Path) -> Result<()> {
    let step = |error| Error::system(format!("remove {}", directory.display()), error);
    for entry in entries(directory)? {
        if entry.file_name() == CHAIN {
            continue;
        }
        match entry.file_type().map_err(step)?.is_dir() {
            true => remove_directory(&entry.path())?,
            false => fs::remove_file(entry.path()).map_err(step)?,
        }
    }
    // Whoever comes between these two takes the lock of a new file, and removes the rest.
    fs::remove_file(directory.join(CHAIN)).map_err(step)?;
    match fs::remove_dir(directory) {
        Err(error) if !is_in_other_hands(&error) => Err(step(error)),
        _ => Ok(()),
    }
}

fn is_in_other_hands(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
    )
}

/// Removes a directory, which is empty as a rule, or else with all that is in it.
fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => remove_tree(path),
        Err(error) => Err(Error::system(format!("remove {}", path.display()), error)),
        Ok(()) => Ok(()),
    }
}

/// Removes a lock whose holder was killed before it had made the directory that it is for.
fn remove_lone_lock(path: &Path) -> Result<()> {
    let is_lone = || !path.with_extension("").exists();
    if !is_lone() {
        return Ok(());
    }
    let lock = Lock::try_take(path, Share::Exclusive)?;
    if lock.is_some() && is_lone() {
        fs::remove_file(path).ok();
    }
    Ok(())
}

/// Removes a root filesystem if nobody needs it, and says whether it did.
pub(super) fn remove_if_abandoned(snapshots: &Snapshots, directory: &Path) -> Result<bool> {
    let Some(lock) = Lock::try_take(&directory.join(CHAIN), Share::Exclusive)? else {
        return Ok(false);
    };
    let is_needed = match read_use(directory) {
        Use::Process => false,
        Use::Mount(path) => is_mounted(&path),
        Use::Container(state) => state.exists(),
    };
    if !is_needed {
        snapshots.discard(directory)?;
    }
    drop(lock);
    Ok(!is_needed)
}

/// Whether something is mounted exactly there: its parent is of another mount.
fn is_mounted(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let Ok(status) = statx(CWD, path, flags, StatxFlags::BASIC_STATS) else {
        return false;
    };
    status
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT)
}

pub(super) fn entries(directory: &Path) -> Result<Vec<DirEntry>> {
    fs::read_dir(directory)
        .and_then(Iterator::collect)
        .map_err(|error| Error::system(format!("read {}", directory.display()), error))
}

/// std removes through descriptors, and follows no link.
fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(root: &Path) -> Snapshots {
        Snapshots::open(root, Snapshots::kind_for_this_process()).expect("it is new")
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        let snapshots = snapshots(root.path());
        let none = Chain(Vec::new());
        for purpose in [Use::Process, Use::Mount("/nowhere".into())] {
            let active = snapshots
                .prepare("one", &none, &purpose)
                .expect("it is new");
            fs::create_dir_all(active.upper().join("a/b")).expect("it is ours");
            fs::write(active.upper().join("a/file"), "x").expect("it is ours");
            std::os::unix::fs::symlink("/", active.upper().join("a/link")).expect("it is ours");
            active.remove().expect("nothing is in the way");
            for place in ["active", "new"] {
                let left = entries(&snapshots.directory.join(place)).expect("it is there");
                assert!(left.is_empty(), "{place}: {left:?}");
            }
        }
    }

    /// A removal that is killed anywhere is finished by whoever comes next.
    #[test]
    fn what_is_half_removed_is_in_nobodys_way() {
        let root = tempfile::tempdir().expect("a directory");
        let snapshots = snapshots(root.path());
        let none = Chain(Vec::new());
        let directory = snapshots.directory.join("active/one");
        for left in [&["chain", "upper", "work"][..], &["upper"], &["chain"], &[]] {
            let make = || {
                fs::create_dir(&directory).expect("it is new");
                for name in left {
                    match *name {
                        "chain" => fs::write(directory.join(name), "").expect("it is new"),
                        _ => fs::create_dir(directory.join(name)).expect("it is new"),
                    }
                }
            };
            make();
            let active = snapshots.prepare("one", &none, &Use::Process);
            active
                .expect("its maker is dead")
                .remove()
                .expect("it is ours");
            make();
            let pruned = snapshots.prune(&[]).expect("nobody is in the way");
            assert_eq!((pruned.actives, directory.exists()), (1, false), "{left:?}");
        }
    }

    #[test]
    fn what_somebody_works_with_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let snapshots = snapshots(root.path());
        let active = snapshots.prepare("one", &Chain(Vec::new()), &Use::Process);
        let active = active.expect("it is new");
        assert_eq!(snapshots.prune(&[]).expect("pruned").actives, 0);
        assert!(active.upper().is_dir());
        assert!(snapshots.take("one").is_err());
    }
}

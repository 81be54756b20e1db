//! Files and directories outside of the store, which have their names only when they are whole.
//!
//! A file has no name at all before (`O_TMPFILE`, open(2)), so whoever is killed leaves nothing.
//! What must have one (a directory; for a moment, a file that takes the place of another one; a
//! file on a file system that knows no others) has one beside the name that it will have:
//!
//! ```text
//! NAME.<random>.partial           what is not whole
//! ROOT/locks/partial.<random>     its record: the path of that; locked by who works on it
//! ```
//!
//! The record comes first. One that nobody locks was left by somebody who was killed, and leads
//! to what he has left: [`clear`] removes both. Nothing else is ever removed, whatever its name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufWriter, ErrorKind as IoErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Lock, Share};
use crate::store::Store;

/// What a record's name begins with.
const RECORD: &str = "partial.";

/// Writes a file, in place of the file that has its name. Whatever happens, the name is the old
/// content's or the new one's, whole and on the disk.
///
/// # Errors
/// What `write` fails with, or [`ErrorKind::System`], [`ErrorKind::NoSpace`]: all is as before.
pub fn write_file(
    store: &Store,
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    clear(store);
    let Some(file) = nameless_beside(path) else {
        let partial = Partial::file_beside(path, store)?;
        let file = File::create_new(&partial.path).map_err(|error| failed("write", path, error))?;
        fill(&file, path, write)?;
        return partial.take_the_place_of(path);
    };
    fill(&file, path, write)?;
    match link(&file, path) {
        Err(Errno::EXIST) => {
            let partial = Partial::file_beside(path, store)?;
            link(&file, &partial.path).map_err(|errno| failed("write", path, errno))?;
            partial.take_the_place_of(path)
        }
        linked => linked.map_err(|errno| failed("write", path, errno)),
    }
}

/// Makes a directory, which `fill` gets under another name.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] if there is something by the name; what `fill` fails with, or
/// [`ErrorKind::System`]: there is no such directory then.
pub fn make_directory(
    store: &Store,
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    clear(store);
    if path.symlink_metadata().is_ok() {
        return Err(failed("make", path, Errno::EXIST));
    }
    let mut partial = Partial::beside(path, store)?;
    partial.put_on_record()?;
    fs::create_dir(&partial.path).map_err(|error| failed("make", path, error))?;
    fill(&partial.path)?;
    match renameat_with(CWD, &partial.path, CWD, path, RenameFlags::NOREPLACE) {
        // A file system that can't tell.
        Err(Errno::INVAL) => partial.take_the_place_of(path),
        renamed => renamed.map_err(|errno| failed("make", path, errno)),
    }
}

/// Removes what those have left who were killed while they wrote a file or made a directory.
///
/// What can't be removed stays on record.
pub fn clear(store: &Store) {
    let Ok(entries) = fs::read_dir(store.path().join("locks")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(random) = name.to_str().and_then(|name| name.strip_prefix(RECORD)) {
            clear_record(&entry.path(), random).ok();
        }
    }
}

fn clear_record(record: &Path, random: &str) -> Result<()> {
    let Some(_nobody_works) = Lock::try_take(record, Share::Exclusive)? else {
        return Ok(());
    };
    let content = fs::read(record).map_err(|error| failed("read", record, error))?;
    let path = Path::new(OsStr::from_bytes(&content));
    // One that was not written to its end is of something that was not begun.
    let is_whole = path.is_absolute() && content.ends_with(suffix(random).as_bytes());
    if !is_whole || remove(path) {
        fs::remove_file(record).ok();
    }
    Ok(())
}

/// Removes a file or a directory, and says whether it is gone.
fn remove(path: &Path) -> bool {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.is_ok() || is_missing(path)
}

fn is_missing(path: &Path) -> bool {
    let found = path.symlink_metadata();
    found.is_err_and(|error| error.kind() == IoErrorKind::NotFound)
}

/// Something that is not whole, with its record. What is left of it is removed when this is
/// dropped.
struct Partial {
    path: PathBuf,
    record: PathBuf,
    /// Of the record.
    lock: Option<Lock>,
}

impl Partial {
    /// A name beside `target`, which nothing has yet.
    fn beside(target: &Path, store: &Store) -> Result<Self> {
        let Some(name) = target.file_name() else {
            let message = format!("{} has no name of its own", target.display());
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let random = format!("{:016x}", RandomState::new().build_hasher().finish());
        let mut name = name.to_owned();
        name.push(suffix(&random));
        Ok(Self {
            path: std::path::absolute(target.with_file_name(name))
                .map_err(|error| failed("find", target, error))?,
            record: store.path().join("locks").join(format!("{RECORD}{random}")),
            lock: None,
        })
    }

    /// The same for a file, on record if that can be: the store's disk may be full, or only be
    /// read, and what is in it still be saved to another one.
    fn file_beside(target: &Path, store: &Store) -> Result<Self> {
        let mut partial = Self::beside(target, store)?;
        partial.put_on_record().ok();
        Ok(partial)
    }

    fn put_on_record(&mut self) -> Result<()> {
        let lock = Lock::take(&self.record, Share::Exclusive, Duration::from_secs(5))?;
        self.lock = Some(lock);
        fs::write(&self.record, self.path.as_os_str().as_bytes())
            .map_err(|error| failed("write", &self.record, error))
    }

    fn take_the_place_of(self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path).map_err(|error| failed("write", path, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What can't be removed stays on record.
        if is_missing(&self.path) || remove(&self.path) {
            fs::remove_file(&self.record).ok();
        }
    }
}

fn suffix(random: &str) -> String {
    format!(".{random}.partial")
}

/// A file in the directory of `path`; none where there can't be one without a name, or none at
/// all, which is told when one with a name is made.
fn nameless_beside(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let fd = openat(CWD, parent.unwrap_or(Path::new(".")), flags, mode);
    fd.ok().map(File::from)
}

fn fill(
    file: &File,
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush().map_err(|error| failed("write", path, error))?;
    drop(out);
    file.sync_all()
        .map_err(|error| failed("write", path, error))
}

/// Gives a file without a name this one. open(2), "O_TMPFILE".
fn link(file: &File, path: &Path) -> std::result::Result<(), Errno> {
    match linkat(file.as_fd(), "", CWD, path, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH only what procfs calls it is taken.
        Err(Errno::NOENT) => {
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, name, CWD, path, AtFlags::SYMLINK_FOLLOW)
        }
        linked => linked,
    }
}

fn failed(act: &str, path: &Path, error: impl Into<std::io::Error>) -> Error {
    Error::system(format!("{act} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let name =
            |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    fn scene() -> (tempfile::TempDir, Store, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let out = directory.path().join("out");
        fs::create_dir(&out).expect("made");
        (directory, store, out)
    }

    #[test]
    fn a_file_is_the_old_one_or_the_new_one_and_has_no_name_before() {
        let (_directory, store, out) = scene();
        let path = out.join("archive");
        let seen_meanwhile = |expected: &[&str], content: &[u8]| {
            write_file(&store, &path, |file| {
                file.write_all(content).expect("written");
                assert_eq!(names(&out), expected);
                Ok(())
            })
            .expect("written");
            assert_eq!(fs::read(&path).expect("there"), content);
            assert_eq!(names(&out), ["archive"]);
        };
        seen_meanwhile(&[], b"first");
        seen_meanwhile(&["archive"], b"second");
        let refused = |_: &mut (dyn Write + Send)| Err(Error::new(ErrorKind::Corrupt, "no"));
        write_file(&store, &path, refused).expect_err("refused");
        assert_eq!(fs::read(&path).expect("there"), b"second");
        assert_eq!(names(&out), ["archive"]);
        assert!(
            names(&store.path().join("locks"))
                .iter()
                .all(|name| !name.starts_with(RECORD))
        );
    }

    #[test]
    fn what_was_left_is_removed_and_what_looks_like_it_is_not() {
        let (_directory, store, out) = scene();
        fs::write(out.join("x.partial"), "a user's own").expect("written");
        fs::create_dir(out.join("tree.0123456789abcdef.partial")).expect("made");
        let on_record = |name: &str| {
            let mut partial = Partial::beside(&out.join(name), &store).expect("begun");
            partial.put_on_record().expect("written");
            partial
        };
        let left = on_record("tree");
        fs::create_dir_all(left.path.join("etc")).expect("made");
        // As a killed process leaves it: nothing is removed, and the lock is gone.
        let mut left = std::mem::ManuallyDrop::new(left);
        let works = on_record("other");
        fs::write(&works.path, "not whole").expect("written");
        clear(&store);
        assert_eq!(names(&out).len(), 4, "somebody works on both");
        drop(left.lock.take());
        // A record of something that isn't named after it.
        let foreign = store.path().join("locks/partial.0000000000000000");
        fs::write(&foreign, out.join("x.partial").as_os_str().as_bytes()).expect("written");
        clear(&store);
        let kept = names(&out);
        let expected = ["other.", "tree.0123456789abcdef.partial", "x.partial"];
        assert_eq!(kept.len(), 3, "{kept:?}");
        assert!(
            kept.iter()
                .zip(expected)
                .all(|(name, start)| name.starts_with(start)),
            "{kept:?}"
        );
        drop(works);
        assert_eq!(names(&out).len(), 2);
        assert!(
            names(&store.path().join("locks"))
                .iter()
                .all(|name| !name.starts_with(RECORD))
        );
    }

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let (_directory, store, out) = scene();
        let path = out.join("tree");
        let refused = |partial: &Path| {
            fs::write(partial.join("file"), "").expect("written");
            Err(Error::new(ErrorKind::Corrupt, "no"))
        };
        make_directory(&store, &path, refused).expect_err("refused");
        assert_eq!(names(&out), [] as [String; 0]);
        let filled = |partial: &Path| {
            assert!(!path.exists());
            fs::write(partial.join("file"), "").expect("written");
            Ok(())
        };
        make_directory(&store, &path, filled).expect("made");
        assert_eq!(names(&path), ["file"]);
        let error = make_directory(&store, &path, |_| Ok(())).expect_err("it is there");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(&out), ["tree"]);
    }
}

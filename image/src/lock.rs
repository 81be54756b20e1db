//! Locks between processes and between threads: flock(2) on a file, waited for with a deadline.
//!
//! A lock ends with its descriptor, so one that was killed holds nobody up.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, fstat, major, minor};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Between the first two tries; doubled up to the longest. flock(2) itself knows no deadline.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A lock that is held; the kernel lets it go when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held by being open")] File);

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// By one.
    Exclusive,
    /// By any number.
    Shared,
}

impl Lock {
    /// Takes the lock of a file, which is made where it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when somebody else holds it for longer than `patience`.
    pub fn take(path: &Path, share: Share, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let file = open(path)?;
            let left = deadline.saturating_duration_since(Instant::now());
            wait(&file, path, share, left).map_err(|error| match error.kind() {
                ErrorKind::TimedOut => timed_out(&file, path, patience),
                _ => error,
            })?;
            // A lock's file is removed with what it guards: one of a removed file guards nothing.
            if is_named(&file, path) {
                return Ok(Self(file));
            }
        }
    }

    /// Takes the lock unless somebody else holds it.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when there can't be such a file.
    pub fn try_take(path: &Path, share: Share) -> Result<Option<Self>> {
        let file = open(path)?;
        let is_held = attempt(&file, path, share)? && is_named(&file, path);
        Ok(is_held.then_some(Self(file)))
    }

    /// Waits for the lock of an open file that stays where it is; its path is for messages.
    ///
    /// # Errors
    /// As [`wait`].
    pub(crate) fn of(file: File, path: &Path, share: Share, patience: Duration) -> Result<Self> {
        wait(&file, path, share, patience)?;
        Ok(Self(file))
    }
}

/// Waits for a lock on the file. `patience` begins anew whenever the file grows: then its holder
/// is at work.
///
/// # Errors
/// [`ErrorKind::TimedOut`], which names the holder.
pub(crate) fn wait(file: &File, path: &Path, share: Share, patience: Duration) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut size = size_of(file);
    let mut since = Instant::now();
    while !attempt(file, path, share)? {
        let now = size_of(file);
        if now != size {
            size = now;
            since = Instant::now();
        }
        if since.elapsed() >= patience {
            return Err(timed_out(file, path, patience));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

/// Takes the lock if nobody is in the way; says whether it has it.
pub(crate) fn attempt(file: &File, path: &Path, share: Share) -> Result<bool> {
    let operation = match share {
        Share::Shared => FlockOperation::NonBlockingLockShared,
        Share::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system(format!("lock {}", path.display()), errno)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| Error::system(format!("lock {}", path.display()), error))
}

/// Whether the path still is this file's.
fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn size_of(file: &File) -> u64 {
    file.metadata().map_or(0, |found| found.len())
}

fn timed_out(file: &File, path: &Path, patience: Duration) -> Error {
    let holder = match holder_of(file) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    let message = format!(
        "lock {}: {holder} has held it for {} s without getting on (if it hangs, end it: its \
         locks end with it)",
        path.display(),
        patience.as_secs()
    );
    Error::new(ErrorKind::TimedOut, message)
}

/// Who holds a lock on the file, as /proc/locks has it: for a message only.
fn holder_of(file: &File) -> Option<u32> {
    let found = fstat(file.as_fd()).ok()?;
    let id = format!(
        "{:02x}:{:02x}:{}",
        major(found.st_dev),
        minor(found.st_dev),
        found.st_ino
    );
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // A waiting one has an arrow as its second word.
            [_, "FLOCK", _, _, pid, of, ..] if of == id => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_others_wait_and_give_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let none = Duration::ZERO;
        let held = Lock::take(&path, Share::Shared, none).expect("nobody holds it");
        let other = Lock::take(&path, Share::Shared, none).expect("it can be shared");
        let error = Lock::take(&path, Share::Exclusive, none).expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop((held, other));
        let held = Lock::take(&path, Share::Exclusive, none).expect("nobody holds it");
        // A new file of the same name is another lock.
        std::fs::remove_file(&path).expect("it is there");
        assert!(Lock::take(&path, Share::Exclusive, none).is_ok());
        drop(held);
    }
}

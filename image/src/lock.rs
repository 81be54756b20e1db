//! Locks between processes: flock(2) on a file, with a deadline.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Between two tries. flock(2) itself knows no deadline.
const PAUSE: Duration = Duration::from_millis(10);

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
            if let Some(lock) = Self::try_take(path, share)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "another process has held the lock {} for {} s",
                    path.display(),
                    patience.as_secs()
                );
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes the lock unless somebody else holds it.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when there can't be such a file.
    pub fn try_take(path: &Path, share: Share) -> Result<Option<Self>> {
        let step = || format!("lock {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| Error::system(step(), error))?;
        let operation = match share {
            Share::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Share::Shared => FlockOperation::NonBlockingLockShared,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system(step(), errno)),
            }
        }
        // A lock's file is removed with what it guards: one of a removed file guards nothing.
        let is_current = match (file.metadata(), path.symlink_metadata()) {
            (Ok(held), Ok(named)) => is_same(&held, &named),
            _ => false,
        };
        Ok(is_current.then_some(Self(file)))
    }
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
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

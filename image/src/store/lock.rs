//! Locks between processes and between threads: flock(2) on a file, waited for with a deadline.
//!
//! A lock ends with its descriptor, so one that was killed holds nobody up.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fstat, major, minor};
use rustix::io::Errno;

use super::directory::Directory;
use crate::error::{Error, ErrorKind, Result};

/// Who else may hold it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Others in the same mode.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock `name` in `directory`. The file stays: only its lock comes and goes.
    pub(crate) fn wait(
        directory: &Directory,
        name: &str,
        mode: Mode,
        patience: Duration,
    ) -> Result<Self> {
        let file = directory.file_to_write(name)?;
        wait(&file, &directory.path_of(name), mode, patience)?;
        Ok(Self { _file: file })
    }
}

/// Waits for a lock on the file. `patience` begins anew whenever the file grows: then its holder
/// is at work.
///
/// # Errors
/// [`ErrorKind::TimedOut`], which names the holder.
pub(crate) fn wait(file: &File, path: &Path, mode: Mode, patience: Duration) -> Result<()> {
    let mut pause = Duration::from_millis(1);
    let mut size = size_of(file);
    let mut since = Instant::now();
    while !attempt(file, path, mode)? {
        let now = size_of(file);
        if now != size {
            size = now;
            since = Instant::now();
        }
        if since.elapsed() >= patience {
            return Err(timed_out(file, path, patience));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// Takes the lock if nobody is in the way; says whether it has it.
pub(crate) fn attempt(file: &File, path: &Path, mode: Mode) -> Result<bool> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system(format!("lock {}", path.display()), errno)),
        }
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

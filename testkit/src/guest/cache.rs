//! Things that take long to make, kept until what they are made of changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{GuestError, failed};

/// Longer than the slowest thing takes to make on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A directory of made things. Several programs may use it at once.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// A made thing: it is not replaced while this lives.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Made {
    /// The directory with what was made.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    /// The cache in this directory, which is made when it is needed.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The directory itself; it is there.
    pub(super) fn directory(&self) -> Result<&Path, GuestError> {
        fs::create_dir_all(&self.directory).map_err(failed("make", &self.directory))?;
        Ok(&self.directory)
    }

    /// The thing of this name that was made of `inputs`, a text that tells everything that it
    /// depends on. If there is none, `make` fills an empty directory, which takes the thing's
    /// place when it is complete and not before.
    pub(super) fn made(
        &self,
        name: &str,
        inputs: &str,
        make: impl FnOnce(&Path) -> Result<(), GuestError>,
    ) -> Result<Made, GuestError> {
        let directory = self.directory()?;
        let made = |lock| Made {
            path: directory.join(name),
            _lock: lock,
        };
        let lock_file = directory.join(format!("{name}.lock"));
        let is_there = || {
            let there = fs::read_to_string(directory.join(name).join("inputs"));
            there.ok().as_deref() == Some(inputs)
        };
        let lock = lock(&lock_file, FlockArg::LockSharedNonblock)?;
        if is_there() {
            return Ok(made(lock));
        }
        drop(lock);
        let lock = self::lock(&lock_file, FlockArg::LockExclusiveNonblock)?;
        if !is_there() {
            replace(directory, name, inputs, make)?;
        }
        let relocked = lock.relock(FlockArg::LockSharedNonblock);
        relocked.map_err(|errno| GuestError(format!("flock {}: {errno}", lock_file.display())))?;
        Ok(made(lock))
    }
}

/// Makes a thing beside its place, and puts it there.
fn replace(
    directory: &Path,
    name: &str,
    inputs: &str,
    make: impl FnOnce(&Path) -> Result<(), GuestError>,
) -> Result<(), GuestError> {
    let path = directory.join(name);
    let partial = directory.join(format!("{name}.partial"));
    remove(&partial)?;
    fs::create_dir(&partial).map_err(failed("make", &partial))?;
    make(&partial)?;
    fs::write(partial.join("inputs"), inputs).map_err(failed("write into", &partial))?;
    remove(&path)?;
    fs::rename(&partial, &path).map_err(failed("rename", &partial))
}

/// Takes the lock: alone to make the thing, together with others to use it.
fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, GuestError> {
    let started = Instant::now();
    let mut file = File::create(path).map_err(failed("make", path))?;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((_, errno)) if errno != Errno::EWOULDBLOCK => {
                return Err(GuestError(format!("flock {}: {errno}", path.display())));
            }
            Err(_) if started.elapsed() > PATIENCE => {
                return Err(GuestError(format!(
                    "another program has held {0} (flock) for {1} s; `fuser {0}` names it",
                    path.display(),
                    PATIENCE.as_secs()
                )));
            }
            Err((returned, _)) => file = returned,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn remove(path: &Path) -> Result<(), GuestError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::Marker;

    fn write(text: &str) -> impl FnOnce(&Path) -> Result<(), GuestError> {
        move |path| fs::write(path.join("text"), text).map_err(failed("write into", path))
    }

    fn read(made: &Made) -> String {
        fs::read_to_string(made.path().join("text")).expect("it is made")
    }

    #[test]
    fn a_thing_is_made_again_when_its_inputs_change_and_not_before() {
        let directory = Marker::new("cache").directory();
        let cache = Cache::at(&directory.path().join("new"));
        let made = |inputs, text| read(&cache.made("thing", inputs, write(text)).expect("made"));
        assert_eq!(made("1", "first"), "first");
        assert_eq!(made("1", "second"), "first");
        assert_eq!(made("2", "third"), "third");
    }

    #[test]
    fn what_fails_halfway_is_not_taken_for_made() {
        let directory = Marker::new("cache").directory();
        let cache = Cache::at(directory.path());
        let halfway = |path: &Path| {
            write("half")(path)?;
            Err(GuestError("no space".into()))
        };
        assert!(cache.made("thing", "1", halfway).is_err());
        let made = cache.made("thing", "1", write("whole")).expect("made");
        assert_eq!(read(&made), "whole");
    }

    #[test]
    fn a_thing_in_use_can_be_used_by_others() {
        let directory = Marker::new("cache").directory();
        let cache = Cache::at(directory.path());
        let one = cache.made("thing", "1", write("text")).expect("made");
        let other = cache.made("thing", "1", write("other")).expect("made");
        assert_eq!((read(&one), read(&other)), ("text".into(), "text".into()));
    }
}

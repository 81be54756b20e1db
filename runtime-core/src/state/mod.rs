//! The state root: a directory for each container, with its record, its lock and its start
//! socket.
//!
//! ```text
//! <root>/                  0700, sticky
//!   <id>/                  0700; flock(2) on it is the container's lock
//!     intent.json          0600; what create is about to do, before it does anything
//!     state.json           0600; the record: counts as soon as it is there, by rename(2)
//!     start.sock           0600; exists while the container waits for `start`
//!     notify/              0755; of a container that may say that it is ready (`readiness`)
//! ```
//!
//! The directory exists before anything else does, so whoever is killed at any moment leaves
//! a name under which `delete --force` finds what there is to remove. Names are resolved once:
//! later operations go through the directory's descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

pub use self::record::{Record, RecordError, RecordedUnit, Stored, VERSION};
pub use self::status::{Operation, Status};
use crate::errno::of_io;
use crate::id::ContainerId;

mod record;
mod status;

const INTENT: &str = "intent.json";
const STATE: &str = "state.json";
const STATE_NEW: &str = ".state.json";
/// The start socket's name in a state directory.
pub(crate) const START_SOCKET: &str = "start.sock";

/// How long an operation waits for another one on the same container.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// A state file is small; what is larger was not written by this program.
const LARGEST_STATE: u64 = 32 << 20;

/// Why the state root or a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No directory of this name.
    #[error("container {0} does not exist")]
    NotFound(ContainerId),
    /// The name is taken.
    #[error("container with given ID already exists: {0}")]
    AlreadyExists(ContainerId),
    /// The directory is there and the record is not usable.
    #[error("container {id}: {source}; `delete --force {id}` removes what is left of it")]
    Record {
        /// Whose.
        id: ContainerId,
        /// What is wrong.
        source: RecordError,
    },
    /// Another operation holds the lock.
    #[error("container {0} is busy: another operation has not ended within {secs} s", secs = LOCK_DEADLINE.as_secs())]
    Busy(ContainerId),
    /// The state root can't be written.
    #[error("make the state directory {}: {}: this user can't write there; name another state root (--root)", .path.display(), crate::errno::Words(*.source))]
    NotWritable {
        /// What was to be made.
        path: PathBuf,
        /// Why it could not be.
        source: Errno,
    },
    /// A file operation failed.
    #[error("{act} {path}: {words}", words = crate::errno::Words(*.source))]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
}

/// The directory of all containers of one caller.
#[derive(Clone, Debug)]
pub struct StateRoot {
    path: PathBuf,
}

impl StateRoot {
    /// A state root at an absolute path. Nothing is touched.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory of a new container and takes its lock.
    ///
    /// # Errors
    ///
    /// [`StateError::AlreadyExists`] when the name is taken, whatever its state.
    pub fn reserve(&self, id: &ContainerId) -> Result<StateDirectory, StateError> {
        loop {
            match self.try_reserve(id) {
                // Deleted by somebody between its making and its lock.
                Err(StateError::NotFound(_)) => {}
                reserved => return reserved,
            }
        }
    }

    fn try_reserve(&self, id: &ContainerId) -> Result<StateDirectory, StateError> {
        let path = self.path.join(id.as_str());
        let made = match mkdir_private(&path) {
            Err(Errno::ENOENT) => self.make_root().and_then(|()| mkdir_private(&path)),
            made => made,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(StateError::AlreadyExists(id.clone())),
            Err(source @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
                return Err(StateError::NotWritable { path, source });
            }
            Err(source) => {
                return Err(StateError::Io {
                    act: "make directory",
                    path,
                    source,
                });
            }
        }
        let reserved = self.open_directory(id).and_then(UnlockedDirectory::lock);
        let reserved = reserved.and_then(StateDirectory::if_new);
        reserved.inspect_err(|error| {
            // Nothing is in it yet, so this takes away no more than was made here.
            if !matches!(error, StateError::NotFound(_)) {
                let _secondary =
                    nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, &path, UnlinkatFlags::RemoveDir);
            }
        })
    }

    /// The directory of a container, unlocked: to look and not to act.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFound`] without one.
    pub fn look(&self, id: &ContainerId) -> Result<UnlockedDirectory, StateError> {
        self.open_directory(id)
    }

    /// The directory of a container, with its lock.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFound`] without one; [`StateError::Busy`] when its lock is not free in
    /// time.
    pub fn lock(&self, id: &ContainerId) -> Result<StateDirectory, StateError> {
        self.open_directory(id)?.lock()
    }

    /// The ids of all containers, sorted. A root that does not exist has none.
    ///
    /// # Errors
    ///
    /// When the root can't be read.
    pub fn ids(&self) -> Result<Vec<ContainerId>, StateError> {
        let io = |error: std::io::Error| StateError::Io {
            act: "read directory",
            path: self.path.clone(),
            source: of_io(&error),
        };
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io)?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Some(Ok(id))) = (is_directory, entry.file_name().to_str().map(str::parse))
            {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn open_directory(&self, id: &ContainerId) -> Result<UnlockedDirectory, StateError> {
        let path = self.path.join(id.as_str());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(UnlockedDirectory {
                id: id.clone(),
                path,
                fd,
            }),
            Err(Errno::ENOENT) => Err(StateError::NotFound(id.clone())),
            Err(source) => Err(StateError::Io {
                act: "open",
                path,
                source,
            }),
        }
    }

    /// Makes the root itself: 0700 and sticky, so that cleaners of temporary files leave it.
    fn make_root(&self) -> Result<(), Errno> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        made.map_err(|error| of_io(&error))?;
        let mode = std::fs::Permissions::from_mode(0o1700);
        std::fs::set_permissions(&self.path, mode).map_err(|error| of_io(&error))
    }
}

fn mkdir_private(path: &Path) -> Result<(), Errno> {
    nix::unistd::mkdir(path, Mode::S_IRWXU)
}

/// A container's directory, open and not locked.
#[derive(Debug)]
pub struct UnlockedDirectory {
    id: ContainerId,
    path: PathBuf,
    fd: OwnedFd,
}

impl UnlockedDirectory {
    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Whether somebody holds the lock now.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let Ok(copy) = self.fd.try_clone() else {
            return false;
        };
        // flock(2) belongs to the open file description, which a duplicate shares: a lock that
        // this takes is let go with LOCK_UN by the guard.
        Flock::lock(copy, FlockArg::LockSharedNonblock).is_err()
    }

    /// Reads the record.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFound`] when there is none: whoever made the directory was ended before
    /// it did anything else. [`StateError::Record`] when it is broken.
    pub fn load(&self) -> Result<Stored, StateError> {
        let Some(bytes) = self.read_state()? else {
            return Err(StateError::NotFound(self.id.clone()));
        };
        Stored::parse(&bytes).map_err(|source| StateError::Record {
            id: self.id.clone(),
            source,
        })
    }

    /// What can be made out of an unusable record: it, if it is of another version, or else the
    /// intent that was written before it.
    pub(crate) fn salvage(&self) -> Option<Stored> {
        [STATE, INTENT]
            .iter()
            .filter_map(|name| self.read_file(name).ok().flatten())
            .find_map(|bytes| Stored::salvage(&bytes))
    }

    /// Whether the container waits for `start`.
    #[must_use]
    pub fn has_start_socket(&self) -> bool {
        nix::sys::stat::fstatat(&self.fd, START_SOCKET, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// The bytes of the state file, or of the intent as long as there is no state file. None
    /// when there is neither: an intent whose writing was interrupted is empty.
    fn read_state(&self) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(bytes) = self.read_file(STATE)? {
            return Ok(Some(bytes));
        }
        Ok(self.read_file(INTENT)?.filter(|intent| !intent.is_empty()))
    }

    /// The bytes of a file; none when it is missing.
    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(source) => return Err(self.io("open", name, source)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST_STATE)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io("read", name, of_io(&error)))?;
        Ok(Some(bytes))
    }

    /// Waits for the lock, and then for the name to still mean this directory.
    fn lock(self) -> Result<StateDirectory, StateError> {
        let deadline = Instant::now() + LOCK_DEADLINE;
        let mut pause = Duration::from_micros(200);
        let copy = self
            .fd
            .try_clone()
            .map_err(|error| self.io("duplicate", "", of_io(&error)))?;
        let mut copy = copy;
        loop {
            match Flock::lock(copy, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return StateDirectory {
                        directory: self,
                        _lock: lock,
                    }
                    .if_still_named();
                }
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => copy = back,
                Err((_, source)) => return Err(self.io("lock", "", source)),
            }
            if Instant::now() >= deadline {
                return Err(StateError::Busy(self.id));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn io(&self, act: &'static str, name: &str, source: Errno) -> StateError {
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.path.join(name)
        };
        StateError::Io { act, path, source }
    }
}

/// A container's directory, with its lock held.
#[derive(Debug)]
pub struct StateDirectory {
    directory: UnlockedDirectory,
    _lock: Flock<OwnedFd>,
}

impl std::ops::Deref for StateDirectory {
    type Target = UnlockedDirectory;

    fn deref(&self) -> &UnlockedDirectory {
        &self.directory
    }
}

impl AsFd for StateDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.fd.as_fd()
    }
}

impl StateDirectory {
    /// Writes the first record, in a file that must not be there.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn write_intent(&self, record: &Record, config: &[u8]) -> Result<(), StateError> {
        self.write_file(INTENT, &record.to_bytes(config))
    }

    /// Notes in the intent that the cgroups are made, and are the container's: one byte, in
    /// place, so that it costs next to nothing and no reader sees half of it.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn mark_cgroups_owned(&self) -> Result<(), StateError> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self, INTENT, flags, Mode::empty())
            .map_err(|source| self.io("open", INTENT, source))?;
        let offset = libc::off_t::try_from(Record::OWNED_AT).unwrap_or(libc::off_t::MAX);
        nix::sys::uio::pwrite(&file, b"1", offset)
            .map(|_| ())
            .map_err(|source| self.io("write", INTENT, source))
    }

    /// Writes the record, which takes the intent's place: readers see the one or the other,
    /// whole.
    ///
    /// The intent is another file, since ext4 writes a file to the disk at once when it is
    /// renamed over an existing one: a tenth of a start.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`]; the intent then still counts.
    pub fn write_record(&self, record: &Record, config: &[u8]) -> Result<(), StateError> {
        self.write_file(STATE_NEW, &record.to_bytes(config))?;
        nix::fcntl::renameat(self, STATE_NEW, self, STATE)
            .map_err(|source| self.io("rename", STATE_NEW, source))
    }

    /// Removes the start socket; it may be gone.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn remove_start_socket(&self) -> Result<(), StateError> {
        self.unlink(START_SOCKET)
    }

    /// Where a socket of this directory is, short enough for sockaddr_un whatever the root.
    #[must_use]
    pub fn socket_path(&self, name: &str) -> PathBuf {
        /// The room in `sun_path`, less the final NUL.
        const ROOM: usize = 107;
        let path = self.path.join(name);
        if path.as_os_str().len() <= ROOM {
            return path;
        }
        PathBuf::from(format!(
            "/proc/self/fd/{}/{name}",
            self.directory.fd.as_raw_fd()
        ))
    }

    /// Removes the directory and everything in it: the last thing that `delete` does.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] for what could not be removed.
    pub fn remove(self) -> Result<(), StateError> {
        for name in [START_SOCKET, STATE_NEW, INTENT, STATE] {
            self.unlink(name)?;
        }
        match nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, &self.path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => self.remove_strangers(),
            Err(source) => Err(self.io("remove", "", source)),
        }
    }

    /// Removes what is seldom there: the directory `notify`, and files that this program did not
    /// put there (an older version's, say).
    fn remove_strangers(&self) -> Result<(), StateError> {
        std::fs::remove_dir_all(&self.path).map_err(|error| self.io("remove", "", of_io(&error)))
    }

    /// The directory, unless it is another's, who made it after the one of this name had been
    /// deleted.
    fn if_new(self) -> Result<Self, StateError> {
        match nix::sys::stat::fstatat(&self, INTENT, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(self),
            Ok(_) => Err(StateError::AlreadyExists(self.id.clone())),
            Err(source) => Err(self.io("stat", INTENT, source)),
        }
    }

    fn if_still_named(self) -> Result<Self, StateError> {
        let here = nix::sys::stat::fstat(&self).map_err(|source| self.io("stat", "", source))?;
        match nix::sys::stat::lstat(&self.path) {
            Ok(there) if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) => Ok(self),
            Ok(_) | Err(Errno::ENOENT) => Err(StateError::NotFound(self.id.clone())),
            Err(source) => Err(self.io("stat", "", source)),
        }
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = openat(self, OsStr::new(name), flags, mode)
            .map_err(|source| self.io("create", name, source))?;
        File::from(fd)
            .write_all(bytes)
            .map_err(|error| self.io("write", name, of_io(&error)))
    }

    fn unlink(&self, name: &str) -> Result<(), StateError> {
        match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(source) => Err(self.io("remove", name, source)),
        }
    }
}

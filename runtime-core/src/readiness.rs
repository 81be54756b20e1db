//! How a container says that it is ready: sd_notify(3), from inside.
//!
//! ```text
//!  create   <state>/<id>/notify/ is made, and mounted in the container at /run/notify, read-only
//!  start    the caller listens at notify.sock in it, and then lets the program go
//!  the container's process writes READY=1 to $NOTIFY_SOCKET; the caller tells whom it likes
//! ```
//!
//! The directory is mounted, and not the socket: whoever listens may be another program than the
//! one that created the container, and makes the socket anew.

use std::borrow::Cow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::container::Container;
use crate::error::{Error, ErrorKind};
use crate::spec::{Mount, Spec, Text};
use crate::state::StateDirectory;

/// The directory's name in the container's state directory.
pub(crate) const DIRECTORY: &str = "notify";

/// The socket's name in it.
const SOCKET: &str = "notify.sock";

/// Where the container has the directory.
const INSIDE: &str = "/run/notify";

/// Adds what the container needs to be heard to its config.json: the last mount and the last
/// variable, as if they had been written there.
pub(crate) fn add_to(spec: &mut Spec<'_>, directory: &Path) -> Result<(), Error> {
    let Some(source) = directory.to_str() else {
        let text = format!(
            "the state root {} is not UTF-8: a container there can't be heard (NOTIFY_SOCKET)",
            directory.display()
        );
        return Err(Error::text(ErrorKind::Unsupported, text));
    };
    let owned = |text: &str| Text(Cow::Owned(text.to_owned()));
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"];
    spec.mounts.get_or_insert_default().push(Mount {
        destination: Some(owned(INSIDE)),
        source: Some(owned(source)),
        options: Some(options.map(owned).to_vec()),
        ..Mount::default()
    });
    if let Some(process) = &mut spec.process {
        let variable = format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}");
        process.env.get_or_insert_default().push(owned(&variable));
    }
    Ok(())
}

/// Makes the directory, which everybody in the container may look into.
pub(crate) fn make_directory(state: &StateDirectory) -> Result<(), Error> {
    let failed = |errno| Error::call("make the directory for the container's readiness", errno);
    mkdirat(state, DIRECTORY, Mode::S_IRWXU).map_err(failed)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = openat(state, DIRECTORY, flags, Mode::empty()).map_err(failed)?;
    // Whatever the umask is.
    fchmod(&directory, Mode::from_bits_truncate(0o755)).map_err(failed)
}

impl Container {
    /// Listens to what the container's processes say of their readiness, from now on: a datagram
    /// socket, which gets the assignments of sd_notify(3), one or several lines a message. To be
    /// called before [`start`](Container::start); who has listened before hears nothing any more.
    ///
    /// None of a container that was created without
    /// [`CreateOptions::notifies`](crate::CreateOptions::notifies).
    ///
    /// # Errors
    ///
    /// When the socket can't be made.
    pub fn listen_for_readiness(&mut self) -> Result<Option<OwnedFd>, Error> {
        let state = self.lock()?;
        match fstatat(&state, DIRECTORY, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(None),
            found => found.map_err(|errno| Error::call("look for the notify directory", errno))?,
        };
        let path = state.socket_path(&format!("{DIRECTORY}/{SOCKET}"));
        let listening = listen(&state, &path);
        let failed = |errno| Error::call(format!("listen at {}", path.display()), errno);
        listening.map(Some).map_err(failed)
    }
}

fn listen(state: &StateDirectory, path: &Path) -> Result<OwnedFd, Errno> {
    let name = format!("{DIRECTORY}/{SOCKET}");
    match unlinkat(state, name.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // Any user of the container may say that it is ready. Nobody else gets here, since the state
    // directory is the owner's, and nobody can put a link here.
    let everybody = Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO;
    fchmodat(
        state,
        name.as_str(),
        everybody,
        FchmodatFlags::FollowSymlink,
    )?;
    Ok(socket)
}

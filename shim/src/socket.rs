//! The socket that containerd connects to: where it is, and who listens on it.
//!
//! There is one for each group of containers, named by a digest, so every `start` of a group
//! finds the same one. Only its owner gets to it: it is born with mode 0600 in a directory that
//! has 0700, and it is never an abstract one (CVE-2020-15257).
//!
//! Whether a socket is served is asked by connecting to it. Between bind(2) and listen(2) it
//! looks like one whose server is gone; so whoever makes or removes one holds the lock of the
//! directory (flock(2)).

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockname,
    getsockopt, listen, recv, send, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod, fstat};
use runtime_core::errno::of_io;
use sha2::{Digest, Sha256};

use crate::bootstrap::is_readable;
use crate::failure::Failure;
use crate::frame;

/// Where sockets are, unless containerd says so.
pub const DIRECTORY: &str = "/run/containerd/s";

/// What Go's programs take for the path of a socket, in bytes.
const LONGEST_PATH: usize = 106;

/// How long somebody else may hold the directory's lock.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// How long a server may take to answer before it counts as busy.
const ANSWER: Duration = Duration::from_millis(500);

/// How often a socket that is gone, or whose server is, may be met before giving up.
const ATTEMPTS: usize = 5;

/// Who listens.
#[derive(Debug)]
pub enum Found {
    /// Nobody did; now this does.
    Nobody(OwnedFd),
    /// The server of the group.
    Server,
}

/// The path of a group's socket: its name is the SHA-256 of
/// `<containerd's address>/<namespace>/<group>`, in hexadecimal.
///
/// # Errors
///
/// INVALID_ARGUMENT for a directory that is not absolute or makes the path too long.
pub fn path(
    directory: &str,
    containerd: &str,
    namespace: &str,
    group: &str,
) -> Result<PathBuf, Failure> {
    let directory = match directory {
        "" => Path::new(DIRECTORY),
        directory => Path::new(directory),
    };
    if !directory.is_absolute() {
        let text = format!(
            "socket directory {}: it must be an absolute path",
            directory.display()
        );
        return Err(Failure::invalid(text));
    }
    let mut name = String::new();
    for byte in Sha256::digest(format!("{containerd}/{namespace}/{group}")) {
        // A String takes any text.
        write!(name, "{byte:02x}").ok();
    }
    let path = directory.join(name);
    check_length(&path)?;
    Ok(path)
}

fn check_length(path: &Path) -> Result<(), Failure> {
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(Failure::invalid(format!(
            "socket {}: {length} bytes are more than the {LONGEST_PATH} of a socket's path: a shorter directory is needed",
            path.display()
        )));
    }
    Ok(())
}

/// The path as containerd takes it.
#[must_use]
pub fn address(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// The path in an address.
#[must_use]
pub fn path_of(address: &str) -> Option<PathBuf> {
    let path = Path::new(address.strip_prefix("unix://")?);
    path.is_absolute().then(|| path.to_owned())
}

/// Listens at the path, unless somebody does already. The socket of a server that is gone is
/// replaced.
///
/// # Errors
///
/// The directory can't be made or belongs to somebody else; so does the server; what is at the
/// path is no socket; the lock is not free in time.
pub fn listen_or_find(path: &Path) -> Result<Found, Failure> {
    check_length(path)?;
    let _lock = lock(path)?;
    for _ in 0..ATTEMPTS {
        match bind_and_listen(path) {
            Ok(listener) => return Ok(Found::Nobody(listener)),
            Err(Errno::EADDRINUSE) => {}
            Err(errno) => {
                return Err(Failure::call(
                    format_args!("listen on {}", path.display()),
                    errno,
                ));
            }
        }
        match ask(path)? {
            Presence::Served => return Ok(Found::Server),
            Presence::Dead => remove(path)?,
            Presence::Missing => {}
        }
    }
    Err(Failure::unknown(format!(
        "listen on {}: others make and remove it all the time",
        path.display()
    )))
}

/// Removes the socket of a server that is gone. One that is served stays.
///
/// # Errors
///
/// As [`listen_or_find`].
pub fn remove_if_dead(path: &Path) -> Result<(), Failure> {
    if matches!(ask_patiently(path)?, Presence::Dead) {
        let _lock = lock(path)?;
        // A new server may have taken its place before the lock was free.
        if matches!(ask(path)?, Presence::Dead) {
            remove(path)?;
        }
    }
    Ok(())
}

/// Where this socket listens; none if it is no socket that listens at a path.
#[must_use]
pub fn listens_at(socket: &OwnedFd) -> Option<PathBuf> {
    let is_listening = getsockopt(socket, sockopt::AcceptConn).ok()?;
    let address: UnixAddr = getsockname(socket.as_raw_fd()).ok()?;
    address.path().filter(|_| is_listening).map(Path::to_owned)
}

/// A socket that listens, with mode 0600 from its birth.
fn bind_and_listen(path: &Path) -> Result<OwnedFd, Errno> {
    let listener = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    // The mode that bind(2) gives the file, whatever the umask.
    fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    let listening = Backlog::new(BACKLOG).and_then(|backlog| listen(&listener, backlog));
    listening.inspect_err(|_| {
        // The failure to listen is the one to report.
        std::fs::remove_file(path).ok();
    })?;
    Ok(listener)
}

/// What is at a path.
enum Presence {
    Served,
    Dead,
    Missing,
}

fn ask(path: &Path) -> Result<Presence, Failure> {
    let (presence, _) = connect_to(path)?;
    Ok(presence)
}

/// The same. What was being made when its server was killed has the socket open until it has
/// noticed and ended, and looks like a server: but it never answers.
fn ask_patiently(path: &Path) -> Result<Presence, Failure> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let (presence, client) = connect_to(path)?;
        let Some(client) = client else {
            return Ok(presence);
        };
        // An end without an answer may be that of the socket: then nobody can connect any more.
        if hears_an_answer(&client, deadline) || Instant::now() >= deadline {
            return Ok(presence);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks for nothing, which every server has an answer to.
fn hears_an_answer(client: &OwnedFd, deadline: Instant) -> bool {
    let question = frame::encode(frame::Kind::Request, 1, 0, &[]).unwrap_or_default();
    let asked = send(client.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL).is_ok();
    asked
        && is_readable(client, deadline).is_ok_and(|readable| readable)
        && recv(client.as_raw_fd(), &mut [0], MsgFlags::empty()).is_ok_and(|count| count > 0)
}

/// What is at a path; if it is served, the connection.
fn connect_to(path: &Path) -> Result<(Presence, Option<OwnedFd>), Failure> {
    let failed = |errno| Failure::call(format_args!("connect to {}", path.display()), errno);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    let address = UnixAddr::new(path).map_err(failed)?;
    match connect(client.as_raw_fd(), &address) {
        Ok(()) => {
            check_owner(&client, path)?;
            Ok((Presence::Served, Some(client)))
        }
        // It listens, and has not come to accept those that were here before.
        Err(Errno::EAGAIN) => Ok((Presence::Served, None)),
        Err(Errno::ECONNREFUSED) => Ok((Presence::Dead, None)),
        Err(Errno::ENOENT) => Ok((Presence::Missing, None)),
        Err(errno) => Err(failed(errno)),
    }
}

/// Whoever serves containers of this user is this user.
fn check_owner(client: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let peer = getsockopt(client, sockopt::PeerCredentials)
        .map_err(|errno| Failure::call("ask who listens: SO_PEERCRED", errno))?;
    let own = nix::unistd::geteuid().as_raw();
    if peer.uid() == own {
        return Ok(());
    }
    Err(Failure::unknown(format!(
        "{} is served by user {} (pid {}), and this is user {own}: it is not connected to",
        path.display(),
        peer.uid(),
        peer.pid()
    )))
}

fn remove(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::call(format_args!("remove {}", path.display()), of_io(&error))
    };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(Failure::unknown(format!(
            "{} is no socket: it is not removed",
            path.display()
        ))),
        Err(error) if of_io(&error) == Errno::ENOENT => Ok(()),
        _ => std::fs::remove_file(path).map_err(failed),
    }
}

/// The lock of the directory that the path is in, which is made if it is missing.
fn lock(path: &Path) -> Result<Flock<OwnedFd>, Failure> {
    let directory = path.parent().unwrap_or(path);
    let mut opened = open_directory(directory)?;
    let deadline = Instant::now() + LOCK_DEADLINE;
    let mut pause = Duration::from_micros(100);
    loop {
        opened = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, errno)) if !matches!(errno, Errno::EAGAIN | Errno::EINTR) => {
                return Err(Failure::call(
                    format_args!("lock {}", directory.display()),
                    errno,
                ));
            }
            Err((opened, _)) => opened,
        };
        if Instant::now() >= deadline {
            return Err(Failure::unknown(format!(
                "lock {}: another start or delete of a shim has held it for {} s",
                directory.display(),
                LOCK_DEADLINE.as_secs()
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The directory, which belongs to this user and admits nobody else.
fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    let failed = |act: &str, errno| Failure::call(format_args!("{act} {}", path.display()), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || nix::fcntl::open(path, flags, Mode::empty());
    let directory = match open() {
        Err(Errno::ENOENT) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| failed("make directory", of_io(&error)))?;
            open()
        }
        opened => opened,
    };
    let directory = directory.map_err(|errno| failed("open", errno))?;
    let status = fstat(&directory).map_err(|errno| failed("stat", errno))?;
    let own = nix::unistd::geteuid().as_raw();
    if status.st_uid != own {
        return Err(Failure::unknown(format!(
            "{} belongs to user {}, and this is user {own}: no socket is made there",
            path.display(),
            status.st_uid
        )));
    }
    if status.st_mode & 0o022 != 0 {
        return Err(Failure::unknown(format!(
            "{} can be written by others (mode {:04o}): no socket is made there",
            path.display(),
            status.st_mode & 0o7777
        )));
    }
    // A directory that an operator has chosen may have other uses.
    if status.st_mode & 0o077 != 0 && path == Path::new(DIRECTORY) {
        fchmod(&directory, Mode::S_IRWXU).map_err(|errno| failed("chmod", errno))?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }

    #[test]
    fn a_groups_path_is_the_digest_of_containerds_address_the_namespace_and_the_group() {
        let path = path("", "/run/containerd/containerd.sock", "default", "web").unwrap();
        // printf %s /run/containerd/containerd.sock/default/web | sha256sum
        let name = "2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883";
        assert_eq!(path, Path::new("/run/containerd/s").join(name));
        assert_eq!(path_of(&address(&path)), Some(path));
        assert_eq!(path_of("unix://x"), None);
        assert_eq!(path_of("vsock://1:2"), None);
    }

    #[test]
    fn a_directory_that_is_relative_or_makes_the_path_too_long_is_refused() {
        let failure = path("s", "a", "b", "c").unwrap_err();
        assert_eq!(
            failure.message,
            "socket directory s: it must be an absolute path"
        );
        assert!(path(&format!("/{}", "x".repeat(40)), "a", "b", "c").is_ok());
        let failure = path(&format!("/{}", "x".repeat(41)), "a", "b", "c").unwrap_err();
        assert!(
            failure.message.contains("107 bytes are more than the 106"),
            "{failure}"
        );
    }

    #[test]
    fn nobody_but_the_owner_gets_to_a_socket() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/s");
        let path = directory.join("x");
        let Found::Nobody(listener) = listen_or_find(&path).unwrap() else {
            panic!("nobody was there")
        };
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        assert_eq!(listens_at(&listener), Some(path.clone()));
        drop(listener);
        for (open, is_accepted) in [(0o755, true), (0o775, false), (0o1777, false)] {
            std::fs::set_permissions(&directory, PermissionsExt::from_mode(open)).unwrap();
            assert_eq!(listen_or_find(&path).is_ok(), is_accepted, "{open:o}");
            assert_eq!(mode(&directory), open, "it may be somebody's directory");
        }
    }

    #[test]
    fn a_socket_that_something_has_open_that_is_about_to_end_is_dead_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let ghost = std::thread::spawn(move || {
            // It is gone before it has said anything.
            drop((listener.accept().unwrap(), listener));
        });
        remove_if_dead(&path).unwrap();
        ghost.join().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn one_who_listens_is_found_and_one_who_is_gone_is_replaced_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        remove_if_dead(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(listen_or_find(&path).unwrap(), Found::Server));
        remove_if_dead(&path).unwrap();
        assert!(path.exists());
        drop(listener);
        let Found::Nobody(listener) = listen_or_find(&path).unwrap() else {
            panic!("its server was gone")
        };
        drop(listener);
        remove_if_dead(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn one_who_listens_and_does_not_accept_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let Found::Nobody(_listener) = listen_or_find(&path).unwrap() else {
            panic!("nobody was there")
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let clients: Vec<OwnedFd> = (0..=BACKLOG)
            .map(|_| {
                let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
                connect(client.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
                client
            })
            .collect();
        assert!(matches!(listen_or_find(&path).unwrap(), Found::Server));
        drop(clients);
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "precious").unwrap();
        let failure = listen_or_find(&path).unwrap_err();
        assert!(
            failure
                .message
                .ends_with("x is no socket: it is not removed"),
            "{failure}"
        );
        assert!(remove_if_dead(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn of_many_at_once_one_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = &directory.path().join("x");
        for _ in 0..20 {
            let listeners: Vec<OwnedFd> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(move || listen_or_find(path).unwrap()))
                    .collect();
                let found = threads.into_iter().map(|thread| thread.join().unwrap());
                found
                    .filter_map(|found| match found {
                        Found::Nobody(listener) => Some(listener),
                        Found::Server => None,
                    })
                    .collect()
            });
            assert_eq!(listeners.len(), 1);
        }
    }
}

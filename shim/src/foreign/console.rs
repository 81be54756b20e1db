//! The terminal's master, from the runtime to whoever has asked for it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, listen, recvmsg, sendmsg, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::sys;
use crate::failure::{Code, Failure};

/// How long after the runtime's end its message may take: it has been sent before.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket in the bundle that a runtime connects to, there as long as this.
#[derive(Debug)]
pub(super) struct Console {
    listener: OwnedFd,
    /// The bundle's.
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

impl Console {
    /// Listens at a name that nobody else has. A bundle's path may be longer than a socket's
    /// address; through the descriptor of its directory it is short.
    pub(super) fn listen(bundle: &Path) -> Result<Self, Failure> {
        Self::try_listen(bundle)
            .map_err(|errno| Failure::call("listen for the terminal in the bundle", errno))
    }

    fn try_listen(bundle: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(bundle, flags, Mode::empty())?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // Two descriptors never have the same number at once.
        let name = format!(".console-{}", listener.as_raw_fd());
        let (pid, number) = (std::process::id(), directory.as_raw_fd());
        let path = PathBuf::from(format!("/proc/{pid}/fd/{number}/{name}"));
        match unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        // The mode that bind(2) gives the socket, whatever the umask.
        nix::sys::stat::fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
        let console = Self {
            listener,
            directory,
            name,
            path,
        };
        listen(&console.listener, Backlog::new(1)?)?;
        Ok(console)
    }

    /// What the runtime connects to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Passes the master on that the runtime has sent.
    pub(super) fn forward(&self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        wait_for(self.listener.as_fd())?;
        let connection = accept4(&self.listener, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| Failure::call("the terminal: accept(2)", errno))?;
        wait_for(connection.as_fd())?;
        let (master, word) = receive(connection.as_fd())
            .map_err(|errno| Failure::call("the terminal: recvmsg(2)", errno))?;
        let numbers = [master.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&numbers)];
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&word)],
            &rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .map_err(|errno| Failure::call("pass the terminal on: sendmsg(2)", errno))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The bundle is removed in the end, and this with it.
        unlinkat(
            &self.directory,
            self.name.as_str(),
            UnlinkatFlags::NoRemoveDir,
        )
        .ok();
    }
}

fn wait_for(fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    loop {
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::call("the terminal: poll(2)", errno)),
            Ok(0) => {
                let text = "the runtime has not sent the terminal's master over --console-socket";
                return Err(Failure::new(Code::DEADLINE_EXCEEDED, text));
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// The descriptor in a message, and the message: the terminal's name.
fn receive(connection: BorrowedFd<'_>) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let mut word = vec![0; 4096];
    let mut room = nix::cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(&mut word)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    let numbers: Vec<RawFd> = message
        .cmsgs()?
        .filter_map(|part| match part {
            ControlMessageOwned::ScmRights(numbers) => Some(numbers),
            _ => None,
        })
        .flatten()
        .collect();
    let length = message.bytes;
    word.truncate(length.max(1));
    let master = sys::own(numbers).into_iter().next().ok_or(Errno::EBADMSG)?;
    Ok((master, word))
}

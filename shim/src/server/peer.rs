//! Who may connect.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{SockFlag, accept4, getsockopt};

use crate::failure::Failure;

/// The next connection, if it is of this user's or of root's; none when there is none waiting.
///
/// # Errors
///
/// For somebody else's, which is closed; and accept4(2)'s.
pub(super) fn accept(listener: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = match accept4(listener, flags) {
        Ok(socket) => socket,
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => return Ok(None),
        Err(errno) => return Err(Failure::call("accept a connection", errno)),
    };
    let peer = getsockopt(&socket, PeerCredentials)
        .map_err(|errno| Failure::call("ask who connects: SO_PEERCRED", errno))?;
    let own = nix::unistd::geteuid().as_raw();
    if peer.uid() != 0 && peer.uid() != own {
        let text = format!(
            "a connection of user {} (process {}) is refused: the shim serves user {own} and root",
            peer.uid(),
            peer.pid()
        );
        return Err(Failure::new(crate::failure::Code::PERMISSION_DENIED, text));
    }
    Ok(Some(socket))
}

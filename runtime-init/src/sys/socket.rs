//! Sockets.

use core::ptr::{from_mut, from_ref};

use super::abi::{InterfaceRequest, MessageHeader, RightsMessage, Vector};
use super::{Fd, Result, arg, syscall};
use crate::program::RawFd;

/// accept4(2), close-on-exec.
pub(crate) fn accept(listener: RawFd) -> Result<Fd> {
    let args = [arg(listener), 0, 0, arg(libc::SOCK_CLOEXEC), 0, 0];
    // SAFETY: numbers, and NULL for the peer's address.
    unsafe { syscall(libc::SYS_accept4, args) }.map(Fd::from_return)
}

/// socket(2), close-on-exec, of datagrams over IPv4.
pub(crate) fn datagram_socket() -> Result<Fd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: numbers.
    unsafe {
        syscall(
            libc::SYS_socket,
            [arg(libc::AF_INET), arg(kind), 0, 0, 0, 0],
        )
    }
    .map(Fd::from_return)
}

/// SIOCGIFFLAGS and SIOCSIFFLAGS: sets IFF_UP on the interface of this NUL-padded name.
pub(crate) fn bring_interface_up(socket: RawFd, name: [u8; 16]) -> Result<()> {
    /// IFF_UP.
    const UP: u16 = 1;
    let mut request = InterfaceRequest {
        name,
        flags: 0,
        unused: [0; 22],
    };
    let address = from_mut(&mut request) as usize;
    let get = [arg(socket), super::SIOCGIFFLAGS as usize, address, 0, 0, 0];
    // SAFETY: a structure of the size that the request's number implies.
    unsafe { syscall(libc::SYS_ioctl, get) }?;

    request.flags |= UP;
    let address = from_ref(&request) as usize;
    let set = [arg(socket), super::SIOCSIFFLAGS as usize, address, 0, 0, 0];
    // SAFETY: as above.
    unsafe { syscall(libc::SYS_ioctl, set) }.map(drop)
}

/// sendmsg(2) of one descriptor (SCM_RIGHTS) with a payload. No signal if the peer is gone.
pub(crate) fn send_descriptor(socket: RawFd, descriptor: RawFd, payload: &[u8]) -> Result<()> {
    let vector = Vector {
        base: payload.as_ptr(),
        length: payload.len(),
    };
    let rights = RightsMessage {
        // The header and one descriptor, without the padding at the end.
        length: 20,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        descriptor,
        end: 0,
    };
    let header = MessageHeader {
        name: 0,
        name_length: 0,
        gap: 0,
        vectors: from_ref(&vector),
        vector_count: 1,
        control: from_ref(&rights),
        control_length: size_of::<RightsMessage>(),
        flags: 0,
        end: 0,
    };
    let args = [
        arg(socket),
        from_ref(&header) as usize,
        arg(libc::MSG_NOSIGNAL),
        0,
        0,
        0,
    ];
    // SAFETY: a structure of the kernel's fixed size, whose pointers are borrowed for the call
    // and have their lengths beside them.
    unsafe { syscall(libc::SYS_sendmsg, args) }.map(drop)
}

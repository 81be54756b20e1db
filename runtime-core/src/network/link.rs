//! Links and their addresses: the few requests of rtnetlink(7) that moving a device takes.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::netlink::{ACK, Attributes, DUMP, Netlink, Reply, attribute};
use super::number_of;

/// linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const CREATE_NEW: u16 = 0x400 | 0x200;

/// linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const UP: u32 = 1;
/// Sizes of ifinfomsg and ifaddrmsg.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// linux/if_addr.h.
const IFA_FLAGS: u16 = 8;
const PERMANENT: u32 = 0x80;
/// IFA_F_NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: what an administrator
/// has asked for; the others say how the address is.
const ASKED_FOR: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
/// IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_ANYCAST, IFA_RT_PRIORITY, IFA_PROTO.
const KEPT: [u16; 6] = [1, 2, 4, 5, 9, 11];
/// RT_SCOPE_UNIVERSE.
const GLOBAL: u8 = 0;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: i32,
    pub(super) name: String,
    pub(super) is_up: bool,
}

/// A permanent address of global scope: family, prefix, and what else is kept of it.
#[derive(Debug)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    attributes: Attributes,
}

/// rtnetlink of one network namespace.
#[derive(Debug)]
pub(super) struct RouteSocket(Netlink);

impl RouteSocket {
    /// For this network namespace, whichever the caller is in.
    pub(super) fn inside(namespace: BorrowedFd<'_>) -> Result<Self, Errno> {
        Netlink::inside(namespace).map(Self)
    }

    /// The device of this name; ENODEV without one.
    pub(super) fn link(&self, name: &str) -> Result<Link, Errno> {
        let mut request = link_header(0, 0);
        attribute(&mut request, IFLA_IFNAME, &terminated(name));
        let replies = self.0.request(GET_LINK, ACK, &request)?;
        let link = replies.iter().find(|reply| reply.kind == NEW_LINK);
        let (index, flags) = link.and_then(index_and_flags).ok_or(Errno::ENODEV)?;
        Ok(Link {
            index,
            name: name.to_owned(),
            is_up: flags & UP != 0,
        })
    }

    /// The indexes of all devices.
    pub(super) fn indexes(&self) -> Result<Vec<i32>, Errno> {
        let replies = self.0.request(GET_LINK, DUMP, &link_header(0, 0))?;
        let indexes = replies.iter().filter_map(index_and_flags);
        Ok(indexes.map(|(index, _)| index).collect())
    }

    /// Moves a device to another namespace, where it gets this name.
    pub(super) fn send_away(
        &self,
        index: i32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), Errno> {
        let mut request = link_header(index, 0);
        attribute(&mut request, IFLA_NET_NS_FD, &number_of(namespace));
        attribute(&mut request, IFLA_IFNAME, &terminated(name));
        self.0.request(SET_LINK, ACK, &request).map(drop)
    }

    /// Sets IFF_UP.
    pub(super) fn bring_up(&self, index: i32) -> Result<(), Errno> {
        self.0
            .request(SET_LINK, ACK, &link_header(index, UP))
            .map(drop)
    }

    /// The permanent addresses of global scope, of every family.
    pub(super) fn addresses(&self, index: i32) -> Result<Vec<Address>, Errno> {
        let replies = self.0.request(GET_ADDRESS, DUMP, &[0; ADDRESS_HEADER])?;
        let own = replies.iter().filter(|reply| reply.kind == NEW_ADDRESS);
        Ok(own.filter_map(|reply| Address::of(reply, index)).collect())
    }

    /// Gives a device an address.
    pub(super) fn add_address(&self, index: i32, address: &Address) -> Result<(), Errno> {
        let mut request = vec![address.family, address.prefix, 0, GLOBAL];
        request.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes.0 {
            attribute(&mut request, *kind, value);
        }
        self.0
            .request(NEW_ADDRESS, ACK | CREATE_NEW, &request)
            .map(drop)
    }
}

impl Address {
    /// None for those of other devices, and for those that do not move.
    fn of(reply: &Reply, index: i32) -> Option<Self> {
        let &[family, prefix, flags, scope, ..] = reply.payload.as_slice() else {
            return None;
        };
        let of = i32::from_ne_bytes(reply.payload.get(4..8)?.try_into().ok()?);
        if of != index || scope != GLOBAL {
            return None;
        }
        let all = Attributes::of(reply.payload.get(ADDRESS_HEADER..)?);
        // The header has room for the first eight flags alone.
        let flags = all.number(IFA_FLAGS).unwrap_or(u32::from(flags));
        if flags & PERMANENT == 0 {
            return None;
        }
        let mut kept = all.0;
        kept.retain(|(kind, _)| KEPT.contains(kind));
        kept.push((IFA_FLAGS, (flags & ASKED_FOR).to_ne_bytes().to_vec()));
        Some(Self {
            family,
            prefix,
            attributes: Attributes(kept),
        })
    }
}

/// struct ifinfomsg, with these flags to be set.
fn link_header(index: i32, flags: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    debug_assert_eq!(header.len(), LINK_HEADER);
    header
}

fn index_and_flags(reply: &Reply) -> Option<(i32, u32)> {
    let word = |at: usize| <[u8; 4]>::try_from(reply.payload.get(at..at + 4)?).ok();
    Some((i32::from_ne_bytes(word(4)?), u32::from_ne_bytes(word(8)?)))
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(index: i32, scope: u8, flags: u32) -> Reply {
        let mut payload = vec![2, 24, 0x80, scope];
        payload.extend(index.to_ne_bytes());
        attribute(&mut payload, 2, &[192, 0, 2, 1]);
        attribute(&mut payload, 3, b"eth0\0");
        attribute(&mut payload, IFA_FLAGS, &flags.to_ne_bytes());
        Reply {
            kind: NEW_ADDRESS,
            payload,
        }
    }

    #[test]
    fn permanent_global_addresses_of_the_device_move_without_its_label() {
        let kept = Address::of(&address(7, GLOBAL, PERMANENT | 0x200 | 0x40), 7).unwrap();
        assert_eq!((kept.family, kept.prefix), (2, 24));
        let flags = 0x200_u32.to_ne_bytes().to_vec();
        assert_eq!(
            kept.attributes.0,
            [(2, vec![192, 0, 2, 1]), (IFA_FLAGS, flags)]
        );
        assert!(Address::of(&address(8, GLOBAL, PERMANENT), 7).is_none());
        assert!(Address::of(&address(7, 253, PERMANENT), 7).is_none());
        assert!(Address::of(&address(7, GLOBAL, 0), 7).is_none());
        let cut = Reply {
            kind: NEW_ADDRESS,
            payload: vec![2, 24, 0x80],
        };
        assert!(Address::of(&cut, 7).is_none());
    }
}

//! Network devices on their way into a container: config-linux.md#network-devices.
//!
//! A device keeps its attributes when the kernel moves it to another namespace, but for its
//! addresses and whether it is up: those are looked at before and set again behind it. Until the
//! container exists, what has been moved goes back when something fails.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;

use self::link::{Address, Link, RouteSocket};
use crate::plan::NetDevicePlan;

mod link;
mod netlink;

/// Why a device could not be moved: what was done with which device, the call, its error, and
/// what that means.
#[derive(Debug)]
pub(crate) struct MoveError {
    pub(crate) device: String,
    pub(crate) act: &'static str,
    pub(crate) errno: Errno,
}

/// Devices that are in the container. They go back when this is dropped, unless they are left
/// there.
#[derive(Debug)]
pub(crate) struct MovedDevices {
    outside: Side,
    inside: Side,
    moved: Vec<Moved>,
}

/// A network namespace, and a way to talk with the kernel about it.
#[derive(Debug)]
struct Side {
    namespace: File,
    socket: RouteSocket,
}

/// A device as it was outside, and its index inside.
#[derive(Debug)]
struct Moved {
    index: i32,
    before: Link,
    addresses: Vec<Address>,
}

impl MovedDevices {
    /// Moves devices from the runtime's network namespace into another one.
    pub(crate) fn into_namespace(
        devices: &[NetDevicePlan],
        own: File,
        container: File,
    ) -> Result<Self, MoveError> {
        let first = devices
            .first()
            .map(|device| device.name.as_str())
            .unwrap_or_default();
        let at_first = |act| move |errno| failure(first, act, errno);
        let is_own = is_same(&own, &container).map_err(at_first("compare network namespaces"))?;
        if is_own {
            return Err(failure(
                first,
                "leave the runtime's network namespace",
                Errno::EINVAL,
            ));
        }
        let open = |namespace: File| {
            let socket = RouteSocket::inside(namespace.as_fd())?;
            Ok(Side { namespace, socket })
        };
        let outside = open(own).map_err(at_first("ask for it"))?;
        let inside =
            open(container).map_err(at_first("enter the container's network namespace"))?;
        let mut moved = Self {
            outside,
            inside,
            moved: Vec::new(),
        };
        let found = moved.look_at(devices)?;
        for (device, link) in devices.iter().zip(found) {
            moved.take(device, link)?;
        }
        Ok(moved)
    }

    /// Leaves the devices where they are.
    pub(crate) fn stay(&mut self) {
        self.moved.clear();
    }

    /// All devices as they are now; nothing is moved when one is missing, or has no place inside.
    fn look_at(&self, devices: &[NetDevicePlan]) -> Result<Vec<Link>, MoveError> {
        let mut found = Vec::with_capacity(devices.len());
        for device in devices {
            let link = self.outside.socket.link(&device.name);
            found.push(link.map_err(|errno| failure(&device.name, "find it", errno))?);
            if device.is_template() {
                continue;
            }
            match self.inside.socket.link(&device.inside) {
                Err(Errno::ENODEV) => {}
                Ok(_) => return Err(failure(&device.name, "name it inside", Errno::EEXIST)),
                Err(errno) => return Err(failure(&device.name, "look for its name inside", errno)),
            }
        }
        Ok(found)
    }

    fn take(&mut self, device: &NetDevicePlan, before: Link) -> Result<(), MoveError> {
        let fail = |act| move |errno| failure(&device.name, act, errno);
        let addresses = self
            .outside
            .socket
            .addresses(before.index)
            .map_err(fail("read its addresses"))?;
        let index = transfer(&self.outside, &self.inside, &before, &device.inside)
            .map_err(fail("move it"))?;
        self.moved.push(Moved {
            index,
            before,
            addresses,
        });
        let Some(Moved { addresses, .. }) = self.moved.last() else {
            return Ok(());
        };
        let socket = &self.inside.socket;
        for address in addresses {
            socket
                .add_address(index, address)
                .map_err(fail("give it an address back"))?;
        }
        socket.bring_up(index).map_err(fail("bring it up"))
    }
}

impl Drop for MovedDevices {
    fn drop(&mut self) {
        for Moved {
            index,
            before,
            addresses,
        } in self.moved.drain(..).rev()
        {
            let here = Link {
                index,
                ..before.clone()
            };
            let Ok(index) = transfer(&self.inside, &self.outside, &here, &before.name) else {
                continue;
            };
            let socket = &self.outside.socket;
            for address in &addresses {
                // The failure that is told is the one for which it goes back.
                let _added = socket.add_address(index, address);
            }
            if before.is_up {
                let _up = socket.bring_up(index);
            }
        }
    }
}

/// Moves one device and gives it a name; its new index. On an error it is where it was.
fn transfer(from: &Side, to: &Side, link: &Link, name: &str) -> Result<i32, Errno> {
    let before = match name.contains('%') {
        true => to.socket.indexes()?,
        false => Vec::new(),
    };
    let moved = from
        .socket
        .send_away(link.index, to.namespace.as_fd(), name);
    if let Err(errno) = moved {
        // The kernel moves first and names then.
        if let Ok(stray) = to.socket.link(&link.name)
            && from.socket.link(&link.name) == Err(Errno::ENODEV)
        {
            let _back = to
                .socket
                .send_away(stray.index, from.namespace.as_fd(), &link.name);
        }
        return Err(errno);
    }
    if !name.contains('%') {
        return to.socket.link(name).map(|link| link.index);
    }
    let now = to.socket.indexes()?;
    now.into_iter()
        .find(|index| !before.contains(index))
        .ok_or(Errno::ENODEV)
}

fn is_same(one: &File, other: &File) -> Result<bool, Errno> {
    let stat = |file: &File| nix::sys::stat::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    Ok(stat(one)? == stat(other)?)
}

fn failure(device: &str, act: &'static str, errno: Errno) -> MoveError {
    MoveError {
        device: device.to_owned(),
        act,
        errno,
    }
}

/// The number of a descriptor as an attribute has it.
fn number_of(fd: BorrowedFd<'_>) -> [u8; 4] {
    fd.as_raw_fd().to_ne_bytes()
}

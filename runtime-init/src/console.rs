//! The container's terminal.

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::paths;
use crate::program::{Call, Console, Failure};
use crate::sys::{self, Errno, Fd};
use crate::text::Text;

impl Init<'_> {
    /// Makes a pseudoterminal of the container's devpts, hands its master out, and takes its
    /// other end as the standard streams.
    ///
    /// The other end comes from the master itself and never from a name: `/dev/pts/N` could be a
    /// link (CVE-2025-52565).
    pub(crate) fn open_console(&mut self, console: &Console<'_>) -> Result<(), Failure> {
        let master = self.open_multiplexer(console)?;
        sys::unlock_terminal(master.raw()).at(Call::Ioctl)?;
        let peer = sys::terminal_peer(
            master.raw(),
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        )
        .at(Call::Ioctl)?;
        if let Some((rows, columns)) = console.size {
            sys::set_terminal_size(peer.raw(), rows, columns).at(Call::Ioctl)?;
        }
        match sys::chown(peer.raw(), console.uid, u32::MAX) {
            // An owner that the user namespace has no id for; the mode lets its group in.
            Err(Errno(libc::EINVAL | libc::EPERM)) => {}
            done => done.at(Call::Fchown)?,
        }
        if console.bind {
            self.bind_console(&peer)?;
        }
        send_master(console, &master)?;
        (0..3).try_for_each(|stream| sys::dup_to(peer.raw(), stream).at(Call::Dup))?;
        if peer.raw() < 3 {
            // It is one of the streams itself, and stays open.
            core::mem::forget(peer);
        }
        Ok(())
    }

    /// Makes standard input the controlling terminal of this session.
    pub(crate) fn take_terminal(&mut self) -> Result<(), Failure> {
        sys::take_terminal(0).at(Call::Ioctl)
    }

    /// Opens the multiplexer once it is known to be one: opening another device may act.
    fn open_multiplexer(&self, console: &Console<'_>) -> Result<Fd, Failure> {
        let node = paths::resolve(self.rootfs()?, console.multiplexer).at(Call::Open)?;
        let is_multiplexer = sys::fstat(node.raw())
            .at(Call::Fstat)?
            .is_device(libc::S_IFCHR, 5, 2);
        let magic = sys::fstatfs(node.raw()).at(Call::Fstatfs)?.magic;
        if !is_multiplexer || magic != sys::DEVPTS_SUPER_MAGIC {
            return refuse(Call::DeviceNumbers, libc::ENODEV);
        }
        paths::reopen(self.proc, node.raw(), libc::O_RDWR | libc::O_NOCTTY).at(Call::Open)
    }

    /// Binds the terminal over /dev/console, which must be no link.
    fn bind_console(&self, peer: &Fd) -> Result<(), Failure> {
        let (directory, name) = paths::ensure_parent(self.rootfs()?, c"/dev/console")?;
        let file = paths::ensure_file(directory.raw(), name.as_c_str())?;
        let flags = sys::OPEN_TREE_CLONE | sys::AT_EMPTY_PATH;
        let tree = sys::open_tree(peer.raw(), c"", flags).at(Call::OpenTree)?;
        sys::move_mount(tree.raw(), file.raw()).at(Call::MoveMount)
    }
}

/// Sends the master, with the other end's name in the container as the payload.
fn send_master(console: &Console<'_>, master: &Fd) -> Result<(), Failure> {
    let number = sys::terminal_number(master.raw()).at(Call::Ioctl)?;
    let mut name = Text::<32>::of(&[b"/dev/pts/"]).at(Call::Send)?;
    name.push_number(number).at(Call::Send)?;
    let send = || sys::send_descriptor(console.socket, master.raw(), name.as_bytes());
    sys::uninterrupted(send).at(Call::Send)
}

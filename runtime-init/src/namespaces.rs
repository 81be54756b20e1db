//! Arriving: namespaces entered and made, and what is set in them.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::paths;
use crate::program::{Call, Failure, Phase, RawFd};
use crate::sys::{self, Errno, Fd, Forked};
use crate::text::Text;

impl Init<'_> {
    pub(crate) fn become_undumpable(&mut self) -> Result<(), Failure> {
        set_dumpable(false).at(Call::Prctl)
    }

    pub(crate) fn enter_cgroups(&mut self, tasks: &[RawFd]) -> Result<(), Failure> {
        tasks.iter().try_for_each(|tasks| write_whole(*tasks, b"0"))
    }

    pub(crate) fn join(&mut self, namespace: RawFd, kind: u64) -> Result<(), Failure> {
        sys::setns(namespace, kind).at(Call::Setns)
    }

    pub(crate) fn unshare(&mut self, flags: u64) -> Result<(), Failure> {
        sys::unshare(flags).at(Call::Unshare)
    }

    /// Goes on as a second process.
    ///
    /// The pid is in the parent's pid namespace: it is the caller's own that clone3(2) counts in,
    /// and a namespace joined by setns(2) is for children only. The second process starts when
    /// the first has told it, so messages keep their order; if the first dies before, so does
    /// the second.
    pub(crate) fn respawn(&mut self, flags: u64) -> Result<(), Failure> {
        let (told, tells) = sys::pipe().at(Call::Clone)?;
        // With CLONE_PARENT the exit signal is the first process's, and must not be given.
        match sys::fork(flags | sys::CLONE_PARENT, 0).at(Call::Clone)? {
            Forked::Parent { pid, .. } => {
                self.tell_respawned(pid)?;
                write_whole(tells.raw(), b"1")?;
                sys::exit(0)
            }
            Forked::Child => {
                drop(tells);
                let mut word = [0];
                match sys::uninterrupted(|| sys::read(told.raw(), &mut word)) {
                    Ok(1) => Ok(()),
                    _ => sys::exit(1),
                }
            }
        }
    }

    pub(crate) fn tell_user_namespace(&self) -> Result<(), Failure> {
        let namespace = self.open_namespace(c"self/ns/user")?;
        self.tell_with(Phase::UserNamespace, &namespace)
    }

    /// Opens a namespace of this process. The link is a magic one: it is the namespace, not a name
    /// of it.
    fn open_namespace(&self, link: &CStr) -> Result<Fd, Failure> {
        sys::uninterrupted(|| sys::openat2(self.proc, link, libc::O_RDONLY, 0, 0)).at(Call::Open)
    }

    /// Makes a time namespace of these offsets and enters it.
    pub(crate) fn enter_time_namespace(&mut self, offsets: &[u8]) -> Result<(), Failure> {
        sys::unshare(sys::CLONE_NEWTIME).at(Call::Unshare)?;
        write_whole(self.open_own(c"self/timens_offsets")?.raw(), offsets)?;
        let namespace = self.open_namespace(c"self/ns/time_for_children")?;
        sys::setns(namespace.raw(), sys::CLONE_NEWTIME).at(Call::Setns)
    }

    /// Opens a file of this process in the procfs to write.
    ///
    /// The files of an undumpable process belong to the initial user namespace's root. In a
    /// user namespace, which a process of its own is alone in at this time, it is dumpable for
    /// as long as this takes.
    fn open_own(&self, path: &CStr) -> Result<Fd, Failure> {
        match paths::open_in_proc(self.proc, path, libc::O_WRONLY) {
            Err(Errno(libc::EACCES)) => {}
            done => return done.at(Call::Open),
        }
        set_dumpable(true).at(Call::Prctl)?;
        let file = paths::open_in_proc(self.proc, path, libc::O_WRONLY);
        set_dumpable(false).at(Call::Prctl)?;
        file.at(Call::Open)
    }

    pub(crate) fn start_session(&mut self) -> Result<(), Failure> {
        sys::setsid().at(Call::Setsid)
    }

    /// Joins a new session keyring and lets its owner search it, as keyctl(1) does.
    pub(crate) fn join_keyring(&mut self, name: &CStr) -> Result<(), Failure> {
        /// KEY_USR_SEARCH.
        const USER_SEARCH: u32 = 0x8_0000;
        let serial = match sys::join_session_keyring(name) {
            Err(Errno(libc::ENOSYS)) => return Ok(()),
            joined => joined.at(Call::Keyctl)?,
        };
        let mut description = Text::<512>::new();
        let length = sys::describe_key(serial, description.room()).at(Call::Keyctl)?;
        description.truncate(length.saturating_sub(1));
        match key_permissions(description.as_bytes()) {
            Some(permissions) => {
                sys::set_key_permissions(serial, permissions | USER_SEARCH).at(Call::Keyctl)
            }
            None => refuse(Call::Keyctl, libc::EPROTO),
        }
    }

    pub(crate) fn set_hostname(&mut self, name: &[u8]) -> Result<(), Failure> {
        sys::sethostname(name).at(Call::Sethostname)
    }

    pub(crate) fn set_domainname(&mut self, name: &[u8]) -> Result<(), Failure> {
        sys::setdomainname(name).at(Call::Setdomainname)
    }

    pub(crate) fn bring_loopback_up(&mut self) -> Result<(), Failure> {
        let socket = sys::datagram_socket().at(Call::Socket)?;
        sys::bring_interface_up(socket.raw(), *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0").at(Call::Ioctl)
    }

    /// Writes a value below `/proc/sys`, in the namespaces of this process.
    pub(crate) fn write_sysctl(&mut self, path: &CStr, value: &[u8]) -> Result<(), Failure> {
        let path = paths::Path::of(&[b"sys/", path.to_bytes()]).at(Call::Open)?;
        let file =
            paths::open_in_proc(self.proc, path.as_c_str(), libc::O_WRONLY).at(Call::Open)?;
        write_whole(file.raw(), value)
    }
}

/// Writes everything in one write(2), as the files of procfs and cgroups need it.
pub(crate) fn write_whole(file: RawFd, bytes: &[u8]) -> Result<(), Failure> {
    let written = sys::uninterrupted(|| sys::write(file, bytes)).at(Call::Write)?;
    if written == bytes.len() {
        Ok(())
    } else {
        refuse(Call::Write, libc::EIO)
    }
}

fn set_dumpable(dumpable: bool) -> sys::Result<()> {
    sys::prctl(libc::PR_SET_DUMPABLE, usize::from(dumpable), 0).map(drop)
}

/// The permissions in a key's description, `type;uid;gid;permissions;name`, as hex digits.
fn key_permissions(description: &[u8]) -> Option<u32> {
    let field = description.split(|byte| *byte == b';').nth(3)?;
    let digits = core::str::from_utf8(field).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::key_permissions;

    #[test]
    fn permissions_are_the_fourth_field_of_a_keys_description() {
        assert_eq!(
            key_permissions(b"keyring;0;0;3f010000;_ses"),
            Some(0x3f01_0000)
        );
        assert_eq!(key_permissions(b"keyring;0;0"), None);
        assert_eq!(key_permissions(b"keyring;0;0;;_ses"), None);
    }
}

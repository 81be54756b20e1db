//! A procfs that is known to be one: every read and write below `/proc` starts here.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::process::Exit;

/// The root of the host's procfs, open.
///
/// Security advisories of the whole field come from writes that were meant for a procfs file
/// and landed elsewhere; so the descriptor is checked once, and nothing below it is reached
/// through a mount or a magic link.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

/// The inode number of a procfs's root directory.
const PROC_ROOT_INO: u64 = 1;

impl Procfs {
    /// Opens `/proc`.
    ///
    /// # Errors
    ///
    /// ENOENT and its like from open(2); ENODEV when what is mounted on `/proc` is no procfs.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open("/proc", flags, Mode::empty())?;
        let magic = nix::sys::statfs::fstatfs(&root)?.filesystem_type();
        let inode = nix::sys::stat::fstat(&root)?.st_ino;
        if magic != nix::sys::statfs::PROC_SUPER_MAGIC || inode != PROC_ROOT_INO {
            return Err(Errno::ENODEV);
        }
        Ok(Self(root))
    }

    /// Opens a file below the root, crossing no mount and no magic link.
    pub(crate) fn file(&self, path: impl AsRef<Path>, flags: OFlag) -> Result<File, Errno> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_XDEV
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        openat2(&self.0, path.as_ref(), how).map(File::from)
    }

    /// Reads a small file whole.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<String, Errno> {
        let mut text = String::new();
        let mut file = self.file(path, OFlag::O_RDONLY)?;
        file.read_to_string(&mut text)
            .map_err(|error| crate::errno::of_io(&error))?;
        Ok(text)
    }

    /// Writes a value in one write(2), as the kernel's files want it.
    pub(crate) fn write(&self, path: impl AsRef<Path>, value: &[u8]) -> Result<(), Errno> {
        let file = self.file(path, OFlag::O_WRONLY)?;
        match nix::unistd::write(&file, value)? {
            written if written == value.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// The root directory of a process, over its magic link.
    pub(crate) fn root_of(&self, pid: i32) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(
            &self.0,
            format!("{pid}/root").as_str(),
            flags,
            Mode::empty(),
        )
    }

    /// The network namespace of a process, or of `thread-self`, over its magic link.
    pub(crate) fn network_of(&self, process: &str) -> Result<File, Errno> {
        let path = format!("{process}/ns/net");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&self.0, path.as_str(), flags, Mode::empty()).map(File::from)
    }

    /// What a magic link of a process says it leads to, such as `net:[4026531840]`.
    pub(crate) fn link(&self, path: &str) -> Result<String, Errno> {
        let text = nix::fcntl::readlinkat(&self.0, path)?;
        text.into_string().map_err(|_| Errno::EPROTO)
    }

    /// The metadata of what a path leads to, over a magic link.
    pub(crate) fn status(&self, path: &str) -> Result<nix::sys::stat::FileStat, Errno> {
        nix::sys::stat::fstatat(&self.0, path, nix::fcntl::AtFlags::empty())
    }

    /// The names in a directory that are numbers: processes, threads, descriptors.
    pub(crate) fn numbers(&self, path: &str) -> Result<Vec<i32>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = nix::dir::Dir::openat(&self.0, path, flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            numbers.extend(
                entry
                    .file_name()
                    .to_str()
                    .ok()
                    .and_then(|name| name.parse::<i32>().ok()),
            );
        }
        Ok(numbers)
    }

    /// When the process of this number started, in clock ticks after boot, and its state
    /// letter: proc_pid_stat(5), fields 22 and 3.
    pub(crate) fn start_time(&self, pid: i32) -> Result<(u64, char), Errno> {
        let stat = self.stat(&format!("{pid}/stat"))?;
        Ok((stat.starttime, stat.state))
    }

    /// Whether the process that started then is on its way out, though no zombie yet: its
    /// memory and files may be gone, and a pid namespace that it is init of takes nobody in any
    /// more. proc_pid_stat(5), field 9.
    pub(crate) fn is_exiting(&self, pid: i32, start_time: u64) -> bool {
        /// PF_EXITING of the kernel's sched.h.
        const EXITING: u32 = 0x4;
        self.stat(&format!("{pid}/stat"))
            .is_ok_and(|stat| stat.starttime == start_time && stat.flags & EXITING != 0)
    }

    /// How the process that started then has ended, if it is a zombie: proc_pid_stat(5),
    /// field 52.
    pub(crate) fn unreaped_exit(&self, pid: i32, start_time: u64) -> Option<Exit> {
        let stat = self.stat(&format!("{pid}/stat")).ok()?;
        let is_it = stat.starttime == start_time && stat.state == 'Z';
        let status = stat.exit_code.filter(|_| is_it)?;
        Some(match libc::WIFSIGNALED(status) {
            true => Exit::Signal(libc::WTERMSIG(status)),
            false => Exit::Code(libc::WEXITSTATUS(status)),
        })
    }

    /// The scheduling policy (SCHED_*) and the niceness in a `stat` file: fields 41 and 19.
    pub(crate) fn scheduling(&self, path: &str) -> Result<(u32, i64), Errno> {
        let stat = self.stat(path)?;
        Ok((stat.policy.ok_or(Errno::EPROTO)?, stat.nice))
    }

    fn stat(&self, path: &str) -> Result<procfs_core::process::Stat, Errno> {
        use procfs_core::FromRead;
        let text = self.read(path)?;
        procfs_core::process::Stat::from_read(text.as_bytes()).map_err(|_| Errno::EPROTO)
    }

    /// The raw descriptor, for the child's program.
    pub(crate) fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// How a child has ended that nobody has waited for.
    fn unreaped(script: &str) -> Option<Exit> {
        let procfs = Procfs::open().unwrap();
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = Instant::now();
        let (start_time, _) = procfs.start_time(pid).unwrap();
        assert_eq!(procfs.unreaped_exit(pid, start_time), None, "it runs");
        while procfs.start_time(pid).unwrap().1 != 'Z' {
            assert!(started.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(procfs.unreaped_exit(pid, start_time + 1), None, "another");
        let exit = procfs.unreaped_exit(pid, start_time);
        child.wait().unwrap();
        assert_eq!(procfs.unreaped_exit(pid, start_time), None, "reaped");
        exit
    }

    #[test]
    fn a_zombie_says_how_it_has_ended() {
        assert_eq!(unreaped("sleep 0.2; exit 3"), Some(Exit::Code(3)));
        assert_eq!(unreaped("sleep 0.2; kill -9 $$"), Some(Exit::Signal(9)));
    }
}

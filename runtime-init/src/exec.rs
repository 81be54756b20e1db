//! The last stretch: working directory, the program and its start.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::paths::{self, Links, Missing, Path};
use crate::program::{Call, Exec, Failure};
use crate::sys::{self, Errno};

impl<'p> Init<'p> {
    /// Keeps the mask for the program; until execve(2) it stays 0 here.
    pub(crate) fn set_umask(&mut self, mask: u32) -> Result<(), Failure> {
        self.umask = mask;
        Ok(())
    }

    /// Enters the working directory and checks that the root can reach it.
    ///
    /// A magic link in `path` is refused: `/proc/self/fd/N` would be a directory of the host, if
    /// a descriptor of one has come from the caller (CVE-2024-21626).
    pub(crate) fn enter_directory(&mut self, path: &CStr, create: bool) -> Result<(), Failure> {
        if create {
            paths::ensure(
                self.rootfs()?,
                path,
                Missing::Directory(0o755),
                Links::Follow,
            )?;
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let resolve = sys::RESOLVE_NO_MAGICLINKS;
        let directory = paths::open_with(libc::AT_FDCWD, path, flags, resolve).at(Call::Chdir)?;
        sys::fchdir(directory.raw()).at(Call::Chdir)?;

        let mut name = Path::new();
        sys::getcwd(name.room()).at(Call::OutsideRoot)?;
        // "(unreachable)…" is what the kernel says of a directory outside of the root.
        if name.as_c_str().to_bytes().starts_with(b"/") {
            Ok(())
        } else {
            refuse(Call::OutsideRoot, libc::ENOENT)
        }
    }

    /// Keeps the first candidate that is a file this process may execute.
    pub(crate) fn find_program(&mut self, candidates: &[&'p CStr]) -> Result<(), Failure> {
        let mut telling = libc::ENOENT;
        for candidate in candidates {
            match check_program(candidate) {
                Ok(()) => {
                    self.found = Some(candidate);
                    return Ok(());
                }
                Err(Errno(code)) => telling = more_telling(telling, code),
            }
        }
        refuse(Call::Faccessat, telling)
    }

    /// Nothing that the caller ignores stays ignored, but SIGPIPE until execve(2).
    pub(crate) fn reset_signals(&mut self) -> Result<(), Failure> {
        sys::default_signals(Some(libc::SIGPIPE)).at(Call::Sigaction)
    }

    /// Starts what was found. Returns only with a failure.
    pub(crate) fn exec(&mut self, exec: &Exec<'_>) -> Result<(), Failure> {
        let Some(path) = self.found else {
            return refuse(Call::Execve, libc::ENOENT);
        };
        sys::umask(self.umask);
        sys::unblock_signals().at(Call::Sigaction)?;
        sys::set_disposition(libc::SIGPIPE, libc::SIG_DFL).at(Call::Sigaction)?;
        let errno = sys::execute(path, exec.argv, exec.envp);
        // The report that follows must not end by a signal.
        sys::set_disposition(libc::SIGPIPE, libc::SIG_IGN).at(Call::Sigaction)?;
        Err(errno).at(Call::Execve)
    }
}

/// Whether execve(2) would take the file, as far as its metadata say.
///
/// A container's filter may hide statx(2) and faccessat2(2), which are younger than many a
/// profile; execve(2) then tells instead.
fn check_program(path: &CStr) -> sys::Result<()> {
    match sys::statx(libc::AT_FDCWD, path, 0).map(|status| status.kind()) {
        Ok(libc::S_IFDIR) => Err(Errno(libc::EISDIR)),
        Ok(libc::S_IFREG) | Err(Errno(libc::ENOSYS | libc::EPERM)) => check_access(path),
        Ok(_) => Err(Errno(libc::EACCES)),
        Err(errno) => Err(errno),
    }
}

fn check_access(path: &CStr) -> sys::Result<()> {
    match sys::may_execute(path) {
        Err(Errno(libc::ENOSYS | libc::EPERM)) => Ok(()),
        done => done,
    }
}

/// Of two reasons the one that says more about what is wrong.
fn more_telling(one: i32, other: i32) -> i32 {
    let weight = |code| match code {
        libc::ENOENT => 0,
        libc::ENOTDIR => 1,
        libc::EISDIR => 3,
        libc::EACCES => 4,
        _ => 2,
    };
    if weight(other) > weight(one) {
        other
    } else {
        one
    }
}

#[cfg(test)]
mod tests {
    use super::more_telling;

    #[test]
    fn a_file_that_may_not_be_run_says_more_than_one_that_is_missing() {
        assert_eq!(more_telling(libc::ENOENT, libc::EACCES), libc::EACCES);
        assert_eq!(more_telling(libc::EACCES, libc::EISDIR), libc::EACCES);
        assert_eq!(more_telling(libc::EISDIR, libc::ENOENT), libc::EISDIR);
    }
}

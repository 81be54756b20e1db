//! Files of a rootfs that the parent reads: an image decides what they are.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::procfs::Procfs;

/// The file at a path of the rootfs, open for reading, if it is a regular one; no link leads
/// out of the rootfs.
///
/// It is opened only when it is known to be regular: opening a FIFO blocks, and opening a
/// device acts (a watchdog starts).
pub(super) fn open_regular(rootfs: &CStr, path: &CStr) -> Option<File> {
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let rootfs = nix::fcntl::open(rootfs, path_only | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
    let how = OpenHow::new()
        .flags(path_only)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(&rootfs, path, how).ok()?;
    if fstat(&file).ok()?.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return None;
    }
    let procfs = Procfs::open().ok()?;
    let name = format!("self/fd/{}", file.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(procfs.as_fd(), name.as_str(), flags, Mode::empty());
    file.ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn only_a_regular_file_inside_is_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let rootfs = tempfile::tempdir().unwrap();
        let at = |name: &str| rootfs.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/file", at("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), at("out")).unwrap();
        let root = CString::new(rootfs.path().as_os_str().as_bytes()).unwrap();
        for path in [c"/file", c"/link"] {
            let mut text = String::new();
            let mut file = open_regular(&root, path).unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        for path in [c"/fifo", c"/out", c"/", c"/missing"] {
            assert!(open_regular(&root, path).is_none(), "{path:?}");
        }
    }
}

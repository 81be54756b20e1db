//! Trees below a descriptor: emptied and removed, without following any link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How deep descriptors are kept open. What lies deeper is moved up first.
const DEPTH: u32 = 48;

/// Empties a directory.
///
/// # Errors
/// What the kernel refuses; what was removed until then is gone.
pub fn clear(directory: BorrowedFd<'_>) -> Result<()> {
    Removal { top: directory }
        .contents(directory, 0)
        .map_err(|errno| Error::system("empty a layer's directory", errno))
}

/// Removes whatever `parent` has by this name, with all below it.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => Removal { top: parent }.directory(parent, name, 0),
        other => other,
    }
}

/// Opens a directory that `parent` has by this name; a link is none.
pub(super) fn open_directory(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Calls `each` with what is in a directory, and its kind if the file system tells it.
pub(super) fn for_each<E: From<Errno>>(
    directory: impl AsFd,
    mut each: impl FnMut(&[u8], FileType) -> Result<(), E>,
) -> Result<(), E> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => each(name, entry.file_type())?,
        }
    }
    Ok(())
}

struct Removal<'a> {
    /// Where what lies too deep is moved.
    top: BorrowedFd<'a>,
}

impl Removal<'_> {
    fn directory(&self, parent: BorrowedFd<'_>, name: &[u8], depth: u32) -> Result<(), Errno> {
        if depth == DEPTH {
            return self.move_up(parent, name);
        }
        let directory = open_directory(parent, name)?;
        self.contents(directory.as_fd(), depth + 1)?;
        unlinkat(parent, name, AtFlags::REMOVEDIR)
    }

    /// Some file systems leave names out while others are removed: read until none is left.
    fn contents(&self, directory: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
        loop {
            let mut is_empty = true;
            for_each(directory, |name, kind| {
                is_empty = false;
                if kind == FileType::Directory {
                    return self.directory(directory, name, depth);
                }
                match unlinkat(directory, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => self.directory(directory, name, depth),
                    other => other,
                }
            })?;
            if is_empty {
                return Ok(());
            }
        }
    }

    /// The names of a chain of directories may be longer than any path, and the descriptors of
    /// one more than a process has.
    fn move_up(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        for number in 0_u64.. {
            let free = format!(".tare-removed-{number}");
            match renameat_with(parent, name, self.top, &free, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
                Ok(()) => return Removal { top: self.top }.directory(self.top, free.as_bytes(), 0),
            }
        }
        Err(Errno::EXIST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn deep_and_wide_trees_are_removed_and_links_stay_links() {
        let outside = tempfile::tempdir().expect("directory");
        std::fs::write(outside.path().join("canary"), "sings").expect("written");
        let top = tempfile::tempdir().expect("directory");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, top.path(), flags, Mode::empty()).expect("open");
        let mut at = root.try_clone().expect("cloned");
        for level in 0..300 {
            for number in 0..3 {
                rustix::fs::symlinkat(outside.path(), &at, format!("link{number}")).expect("link");
            }
            let name = format!("{level:0>200}");
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("directory");
            at = open_directory(&at, name.as_bytes()).expect("open");
        }
        clear(root.as_fd()).expect("cleared");
        assert_eq!(std::fs::read_dir(top.path()).expect("there").count(), 0);
        assert!(outside.path().join("canary").exists());
    }
}

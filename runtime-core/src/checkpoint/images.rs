//! The directories of a checkpoint: where the images are, and where criu's log goes.
//!
//! An image may come from anywhere. No link in such a directory is followed: criu gets a copy of
//! the directory's mount on which the kernel follows none (MOUNT_ATTR_NOSYMFOLLOW), and before
//! that every entry is looked at, so that the refusal has a name. The one link that criu itself
//! makes, `parent` to an earlier dump, is followed only after its whole chain has been checked.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::log;
use crate::errno::{Words, of_io};
use crate::error::{Error, ErrorKind};
use crate::launch;
use crate::plan::IdMapping;
use crate::sys::{self, MountAttributes};

/// criu's own name of the link to the images of an earlier dump.
const PARENT: &str = "parent";

/// Every image has it.
const INVENTORY: &str = "inventory.img";

/// How many dumps may stand on one another.
const LONGEST_CHAIN: usize = 64;

/// One directory, open.
#[derive(Debug)]
pub(crate) struct Directory {
    /// In messages.
    path: PathBuf,
    /// What it is for: "image directory", "work directory".
    what: &'static str,
    fd: OwnedFd,
}

impl Directory {
    /// Opens the directory; with `make` one that is missing is made, for this user alone.
    pub(crate) fn open(path: &Path, what: &'static str, make: bool) -> Result<Self, Error> {
        let failed =
            |act: &str, errno| Error::call(format!("{act} the {what} {}", path.display()), errno);
        if make {
            match nix::unistd::mkdir(path, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed("make", errno)),
            }
        }
        let fd = match nix::fcntl::open(path, directory_flags(), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ELOOP | Errno::ENOTDIR) if is_link(path) => {
                return Err(refusal(format!(
                    "the {what} {} is a symbolic link, which is not followed: name the directory itself",
                    path.display()
                )));
            }
            Err(errno) => return Err(failed("open", errno)),
        };
        Ok(Self {
            path: path.to_owned(),
            what,
            fd,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What criu gets instead of the directory itself: a mount of it that follows no links and
    /// has no devices and no programs. Where the kernel can't say that (before Linux 5.14), or
    /// where a `parent` link has been checked, the directory itself.
    pub(crate) fn for_criu(&self, follows_parent: bool) -> Result<OwnedFd, Error> {
        const NOSUID_NODEV_NOEXEC: u64 = 2 | 4 | 8;
        const NOSYMFOLLOW: u64 = 0x20_0000;
        const OPEN_TREE_CLONE: u32 = 1;
        let copy = || {
            self.fd
                .try_clone()
                .map_err(|error| self.error("duplicate", of_io(&error)))
        };
        if follows_parent {
            return copy();
        }
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_EMPTY_PATH as u32;
        let tree = match sys::open_tree(self.fd.as_fd(), c"", flags) {
            Ok(tree) => tree,
            Err(Errno::ENOSYS) => return copy(),
            Err(errno) => return Err(self.error("copy the mount of", errno)),
        };
        let attributes = MountAttributes {
            set: NOSYMFOLLOW | NOSUID_NODEV_NOEXEC,
            ..MountAttributes::default()
        };
        match sys::mount_setattr(tree.as_fd(), 0, &attributes) {
            Ok(()) => Ok(tree),
            Err(Errno::ENOSYS | Errno::EINVAL) => copy(),
            Err(errno) => Err(self.error("follow no links in", errno)),
        }
    }

    /// The same for a container whose root is another user on the host: what root has in the
    /// directory is that user's there, for criu reads images when it is in the user namespace.
    pub(crate) fn for_user_namespace(&self, uid: u32, gid: u32) -> Result<OwnedFd, Error> {
        let failed = |errno| {
            let hint = match errno {
                Errno::EINVAL => {
                    ": criu reads images as the container's root, so they have to be on a filesystem that knows id-mapped mounts (ext4, xfs, btrfs, …)"
                }
                _ => "",
            };
            let text = format!(
                "give the container's root the {} {}: mount_setattr(2): {}{hint}",
                self.what,
                self.path.display(),
                Words(errno)
            );
            Error::text(ErrorKind::Unsupported, text).with_errno(Some(errno))
        };
        let range = |host_id| IdMapping {
            container_id: 0,
            host_id,
            size: 1,
        };
        let view = self.for_criu(false)?;
        let namespace = launch::user_namespace(&[range(uid)], &[range(gid)]).map_err(failed)?;
        launch::map_tree_as(view.as_fd(), false, namespace.as_fd())
            .map_err(|(_, errno)| failed(errno))?;
        Ok(view)
    }

    /// Refuses what no criu has put here: links, and files that are no files. Whether there is a
    /// `parent` link, which is criu's own; [`Directory::check_parents`] is for that.
    pub(crate) fn refuse_links(&self) -> Result<bool, Error> {
        let mut has_parent = false;
        for name in self.entries()? {
            let status = self.status(&name)?;
            match status.st_mode & SFlag::S_IFMT.bits() {
                kind if kind == SFlag::S_IFREG.bits() || kind == SFlag::S_IFDIR.bits() => {}
                kind if kind == SFlag::S_IFLNK.bits() && name.as_bytes() == PARENT.as_bytes() => {
                    has_parent = true;
                }
                kind if kind == SFlag::S_IFSOCK.bits() => {}
                kind => {
                    let word = if kind == SFlag::S_IFLNK.bits() {
                        "a symbolic link, which is never followed"
                    } else {
                        "no regular file"
                    };
                    return Err(refusal(format!(
                        "the {} {} has {:?} in it: {word}",
                        self.what,
                        self.path.display(),
                        name.to_string_lossy()
                    )));
                }
            }
        }
        Ok(has_parent)
    }

    /// Refuses a directory, or an image in it, that others than root and this user could change
    /// while it is read.
    pub(crate) fn refuse_strangers(&self) -> Result<(), Error> {
        let own = fstat(&self.fd).map_err(|errno| self.error("stat", errno))?;
        let mut suspect = is_strangers(&own).then(|| self.path.clone());
        for name in self.entries()? {
            if is_strangers(&self.status(&name)?) && suspect.is_none() {
                suspect = Some(self.path.join(std::ffi::OsStr::from_bytes(name.as_bytes())));
            }
        }
        match suspect {
            None => Ok(()),
            Some(path) => Err(refusal(format!(
                "{} can be changed by others while it is restored: let it be root's, and writable by nobody else (chown, chmod)",
                path.display()
            ))),
        }
    }

    /// Follows the `parent` links, each of them relative and without a further link on its way,
    /// through directories that hold images.
    pub(crate) fn check_parents(&self) -> Result<(), Error> {
        let text =
            readlinkat(&self.fd, PARENT).map_err(|errno| self.error("read parent of", errno))?;
        let mut here = self.parent(Path::new(&text))?;
        for _ in 0..LONGEST_CHAIN {
            let has_parent = here.refuse_links()?;
            here.refuse_strangers()?;
            if here.status_of(INVENTORY).is_err() {
                return Err(refusal(format!(
                    "the parent image {} has no {INVENTORY}: no dump or pre-dump has written it",
                    here.path.display()
                )));
            }
            if !has_parent {
                return Ok(());
            }
            let text = readlinkat(&here.fd, PARENT)
                .map_err(|errno| here.error("read parent of", errno))?;
            here = here.parent(Path::new(&text))?;
        }
        Err(refusal(format!(
            "the parent images of {} are a chain of more than {LONGEST_CHAIN}",
            self.path.display()
        )))
    }

    /// The directory that a relative path from here leads to, without a link on the way.
    pub(crate) fn parent(&self, relative: &Path) -> Result<Self, Error> {
        let path = self.path.join(relative);
        if relative.is_absolute() || relative.as_os_str().is_empty() {
            return Err(refusal(format!(
                "the parent path {} must be relative to the image directory",
                relative.display()
            )));
        }
        // Without O_NOFOLLOW, which would say ENOTDIR of a link.
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let fd = match openat2(&self.fd, relative, how) {
            Ok(fd) => fd,
            Err(Errno::ELOOP) => {
                return Err(refusal(format!(
                    "the way to the parent image {} leads over a symbolic link, which is never followed",
                    path.display()
                )));
            }
            Err(errno) => {
                return Err(Error::call(
                    format!("open the parent image {}", path.display()),
                    errno,
                ));
            }
        };
        Ok(Self {
            path,
            what: "image directory",
            fd,
        })
    }

    /// Makes sure that the `parent` link that criu is about to make is not there with another
    /// text.
    pub(crate) fn refuse_other_parent(&self, text: &Path) -> Result<(), Error> {
        match readlinkat(&self.fd, PARENT) {
            Ok(there) if Path::new(&there) != text => Err(refusal(format!(
                "the image directory {} has another parent already: {}",
                self.path.display(),
                Path::new(&there).display()
            ))),
            _ => Ok(()),
        }
    }

    /// The bytes of a small file; none when it is missing.
    pub(crate) fn read(&self, name: &str, longest: u64) -> Result<Option<Vec<u8>>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(self.error_at("open", name, errno)),
        };
        let mut bytes = Vec::new();
        let count = file
            .take(longest + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.error_at("read", name, of_io(&error)))?;
        if u64::try_from(count).is_ok_and(|count| count > longest) {
            return Err(refusal(format!(
                "{} is longer than {longest} bytes",
                self.path.join(name).display()
            )));
        }
        Ok(Some(bytes))
    }

    /// Writes a small file, in the place of one that is there.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.remove(name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.error_at("create", name, errno))?;
        File::from(fd)
            .write_all(bytes)
            .map_err(|error| self.error_at("write", name, of_io(&error)))
    }

    /// Removes a file that is of an earlier time; it may be missing.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        match nix::unistd::unlinkat(&self.fd, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.error_at("remove", name, errno)),
        }
    }

    /// What the log of this name says of a failure, as the end of a message.
    pub(crate) fn log_hint(&self, name: &str) -> String {
        log::hint(
            self.log_tail(name).as_deref().and_then(log::quote),
            &self.path.join(name),
        )
    }

    fn log_tail(&self, name: &str) -> Option<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mut file = File::from(openat(&self.fd, name, flags, Mode::empty()).ok()?);
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(log::TAIL)))
            .ok()?;
        let mut tail = Vec::new();
        file.take(log::TAIL).read_to_end(&mut tail).ok()?;
        Some(tail)
    }

    fn entries(&self) -> Result<Vec<CString>, Error> {
        let failed = |errno| self.error("list", errno);
        let mut listed =
            Dir::openat(&self.fd, ".", directory_flags(), Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listed.iter() {
            let name = entry.map_err(failed)?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn status(&self, name: &CString) -> Result<FileStat, Error> {
        fstatat(&self.fd, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| self.error_at("stat", &name.to_string_lossy(), errno))
    }

    fn status_of(&self, name: &str) -> Result<FileStat, Errno> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn error(&self, act: &str, errno: Errno) -> Error {
        Error::call(
            format!("{act} the {} {}", self.what, self.path.display()),
            errno,
        )
    }

    fn error_at(&self, act: &str, name: &str, errno: Errno) -> Error {
        Error::call(format!("{act} {}", self.path.join(name).display()), errno)
    }
}

impl AsRawFd for Directory {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn is_link(path: &Path) -> bool {
    let status = nix::sys::stat::lstat(path);
    status.is_ok_and(|status| status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

/// Whether somebody else than root and this user can change it.
fn is_strangers(status: &FileStat) -> bool {
    let is_link = status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits();
    let owner = status.st_uid;
    let is_ours = owner == 0 || owner == nix::unistd::geteuid().as_raw();
    !is_ours || !is_link && status.st_mode & 0o022 != 0
}

fn refusal(text: String) -> Error {
    Error::text(ErrorKind::InvalidConfig, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn images() -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(&place.path().join("cp"), "image directory", true).unwrap();
        directory.write("inventory.img", b"x").unwrap();
        (place, directory)
    }

    #[test]
    fn a_directory_is_made_for_its_user_alone_and_a_link_to_one_is_refused() {
        let (place, directory) = images();
        let mode = std::fs::metadata(directory.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        let link = place.path().join("link");
        symlink("cp", &link).unwrap();
        let error = Directory::open(&link, "image directory", true).unwrap_err();
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
        let missing = Directory::open(&place.path().join("no"), "image directory", false);
        assert!(missing.unwrap_err().to_string().contains("ENOENT"));
    }

    #[test]
    fn no_link_in_it_is_followed() {
        let (place, directory) = images();
        let secret = place.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        assert!(!directory.refuse_links().unwrap());
        symlink(&secret, directory.path().join("core-1.img")).unwrap();
        let error = directory.refuse_links().unwrap_err().to_string();
        assert!(
            error.contains("\"core-1.img\"") && error.contains("never followed"),
            "{error}"
        );
        assert!(directory.read("core-1.img", 100).is_err());
        directory.write("core-1.img", b"image").unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        nix::unistd::mkfifo(&directory.path().join("pipe"), Mode::S_IRWXU).unwrap();
        assert!(directory.refuse_links().is_err());
    }

    #[test]
    fn what_criu_gets_follows_no_link() {
        if testkit::missing(&[testkit::Fact::Root]) {
            return;
        }
        let (place, directory) = images();
        symlink(
            place.path().join("target"),
            directory.path().join("pages-1.img"),
        )
        .unwrap();
        std::fs::write(place.path().join("target"), "kept").unwrap();
        let view = directory.for_criu(false).unwrap();
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC;
        let path = format!("/proc/self/fd/{}", view.as_raw_fd());
        let opened = nix::fcntl::open(path.as_str(), OFlag::O_RDONLY, Mode::empty()).unwrap();
        let followed = openat(&opened, "pages-1.img", flags, Mode::S_IRWXU);
        assert_eq!(followed.unwrap_err(), Errno::ELOOP);
        assert_eq!(
            std::fs::read_to_string(place.path().join("target")).unwrap(),
            "kept"
        );
        openat(&opened, "pages-2.img", flags, Mode::S_IRWXU).unwrap();
        assert!(directory.path().join("pages-2.img").exists());
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let (_place, directory) = images();
        directory.refuse_strangers().unwrap();
        let image = directory.path().join("inventory.img");
        let mode = |bits| std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(&image, mode(0o622)).unwrap();
        let error = directory.refuse_strangers().unwrap_err().to_string();
        assert!(error.contains("inventory.img can be changed"), "{error}");
        std::fs::set_permissions(&image, mode(0o600)).unwrap();
        std::fs::set_permissions(directory.path(), mode(0o777)).unwrap();
        assert!(directory.refuse_strangers().is_err());
    }

    #[test]
    fn a_parent_is_relative_and_holds_images() {
        let (place, directory) = images();
        let parent = Directory::open(&place.path().join("pre"), "image directory", true).unwrap();
        symlink("../pre", directory.path().join("parent")).unwrap();
        assert!(directory.refuse_links().unwrap());
        let error = directory.check_parents().unwrap_err().to_string();
        assert!(error.contains("no inventory.img"), "{error}");
        parent.write("inventory.img", b"x").unwrap();
        directory.check_parents().unwrap();
        directory.refuse_other_parent(Path::new("../pre")).unwrap();
        assert!(
            directory
                .refuse_other_parent(Path::new("../other"))
                .is_err()
        );
        // A link anywhere on the way is none that criu has made.
        symlink("/etc/passwd", parent.path().join("pages-1.img")).unwrap();
        assert!(directory.check_parents().is_err());
        std::fs::remove_file(parent.path().join("pages-1.img")).unwrap();
        symlink("pre", place.path().join("pre-link")).unwrap();
        for (text, said) in [
            ("../pre-link", "over a symbolic link"),
            ("/etc", "must be relative"),
        ] {
            std::fs::remove_file(directory.path().join("parent")).unwrap();
            symlink(text, directory.path().join("parent")).unwrap();
            let error = directory.check_parents().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_chain_of_parents_without_an_end_has_one() {
        let (_place, directory) = images();
        symlink("../cp", directory.path().join("parent")).unwrap();
        let error = directory.check_parents().unwrap_err().to_string();
        assert!(error.contains("a chain of more than"), "{error}");
    }

    #[test]
    fn a_small_file_is_small() {
        let (_place, directory) = images();
        directory.write("descriptors.json", b"[1,2,3]").unwrap();
        assert_eq!(
            directory.read("descriptors.json", 7).unwrap().unwrap(),
            b"[1,2,3]"
        );
        assert!(directory.read("descriptors.json", 6).is_err());
        assert_eq!(directory.read("missing", 6).unwrap(), None);
    }
}

//! What a layer of an overlay takes from the layers below it, once they are there.

mod copy;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, Stat, XattrFlags, fgetxattr, fsetxattr, fstat, futimens,
    linkat, mkdirat, mknodat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::apply::{Applied, PendingLink, join, split};
use super::tree::{for_each, open_directory};
use super::{sys, tar::shown};
use crate::error::{Error, ErrorKind, Result};
use view::{Found, OPAQUE, View, child, contradiction, kind};
pub(super) use view::{is_opaque, is_whiteout};

/// Completes a layer that was applied with [`Whiteouts::Overlay`](super::Whiteouts::Overlay)
/// before the layers below it were there: `lowers`, the topmost first, each settled itself.
///
/// Afterwards an overlay of all of them shows what applying them one over the other would have
/// made. Directories that the archive didn't name have the attributes of the lower ones; where
/// a lower layer has a link instead of such a directory, its files are where the link leads to
/// (so that a layer with `lib/x` doesn't hide a `/lib` that is a link to `usr/lib`); files with
/// new hard links are copied from below.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when a lower layer has a file where this one has a directory, or a
/// hard link leads nowhere; [`ErrorKind::Unsupported`] when two names of this layer turn out to
/// be one; else what the kernel refuses. The layer is of no use then.
pub fn settle(upper: BorrowedFd<'_>, lowers: &[BorrowedFd<'_>], applied: &Applied) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let has_own_directory = sys::own_umask_and_directory();
            settle_here(upper, lowers, applied, has_own_directory)
        });
        thread.join().unwrap_or_else(|_| {
            let message = "the thread that completes a layer has panicked";
            Err(Error::new(ErrorKind::System, message))
        })
    })
}

fn settle_here(
    upper: BorrowedFd<'_>,
    lowers: &[BorrowedFd<'_>],
    applied: &Applied,
    has_own_directory: bool,
) -> Result<()> {
    let root = open_directory(upper, b".")
        .map_err(|errno| Error::system("open a layer's directory", errno))?;
    let mut settling = Settling {
        root,
        has_own_directory,
        lower: View::new(lowers)?,
        implied: BTreeSet::new(),
        moved: Vec::new(),
        copied: HashMap::new(),
    };
    for path in &applied.implied_parents {
        settling.place(path)?;
    }
    for link in &applied.pending_links {
        settling.link(link)?;
    }
    for path in &applied.whiteout_parents {
        settling.remove_idle_whiteouts(path)?;
    }
    if applied.is_root_opaque {
        settling.hide_roots()?;
    }
    settling.inherit()
}

/// Gives one directory owner, mode, attributes and times of another one: those of an overlay's
/// root are its topmost layer's.
///
/// # Errors
/// [`ErrorKind::System`] for what the kernel refuses.
pub(crate) fn adopt(from: impl AsFd, to: impl AsFd) -> Result<()> {
    fstat(&from)
        .and_then(|stat| copy::attributes(&from, &stat, &to))
        .map_err(|errno| Error::system("adopt the attributes of a layer", errno))
}

struct Settling {
    root: OwnedFd,
    /// Whether this thread's working directory is its own.
    has_own_directory: bool,
    lower: View,
    /// Directories that are to have the attributes of the lower ones.
    implied: BTreeSet<Vec<u8>>,
    /// Directories whose files have gone elsewhere, and where.
    moved: Vec<(Vec<u8>, Vec<u8>)>,
    /// Lower files, and the name in this layer that the copy has.
    copied: HashMap<Vec<u8>, Vec<u8>>,
}

impl Settling {
    /// Finds out where the files of a directory belong that the archive doesn't name.
    fn place(&mut self, path: &[u8]) -> Result<()> {
        let path = self.current(path);
        if self.is_hidden_above(&path)? {
            return Ok(());
        }
        match self.lower.find(&path)? {
            (_, Found::Nothing) => {}
            (_, Found::Directory(_)) => {
                self.implied.insert(path);
            }
            (_, Found::Other(_, stat)) if kind(&stat) == FileType::Symlink => {
                let Some((target, _)) = self.lower.directory(&path)? else {
                    let why = "other files are in it, and lower layers have a link that leads \
                               to no directory there";
                    return Err(contradiction(&path, why));
                };
                self.relocate(&path, &target)?;
            }
            (_, Found::Other(..)) => {
                let why = "other files are in it, and lower layers have no directory there";
                return Err(contradiction(&path, why));
            }
        }
        Ok(())
    }

    /// The name that a directory has now.
    fn current(&self, path: &[u8]) -> Vec<u8> {
        let mut path = path.to_vec();
        for (before, after) in &self.moved {
            let rest = path.strip_prefix(before.as_slice());
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/")) {
                path = join(after, rest.strip_prefix(b"/").unwrap_or_default());
            }
        }
        path
    }

    /// Whether this layer hides what lower layers have below one of the directories on the way.
    fn is_hidden_above(&self, path: &[u8]) -> Result<bool> {
        let mut at = path;
        while !at.is_empty() {
            at = split(at).0;
            if is_opaque(self.open(at)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves what is in a directory to another one.
    fn relocate(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.imply(to)?;
        let source = self.open(from)?;
        let target = self.open(to)?;
        let moved = keep_times(&target, || merge(&source, &target));
        moved.map_err(|errno| match errno {
            Errno::EXIST => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the layer has files both in {} and in {}, to which the former is a link in \
                     lower layers",
                    shown(from),
                    shown(to)
                ),
            ),
            errno => {
                let step = format_args!("move files from {} to {}", shown(from), shown(to));
                Error::system(step, errno)
            }
        })?;
        let (parent, name) = split(from);
        let parent = self.open(parent)?;
        keep_times(&parent, || unlinkat(&parent, name, AtFlags::REMOVEDIR))
            .map_err(|errno| failed("remove", from, errno))?;
        self.moved.push((from.to_vec(), to.to_vec()));
        Ok(())
    }

    /// Makes the directories of a name that are missing; they get the lower ones' attributes.
    fn imply(&mut self, path: &[u8]) -> Result<OwnedFd> {
        match self.open(path) {
            Ok(directory) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (parent, name) = split(path);
        let parent = self.imply(parent)?;
        keep_times(&parent, || {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        })
        .map_err(|errno| failed("make directory", path, errno))?;
        self.implied.insert(path.to_vec());
        open_directory(&parent, name).map_err(|errno| failed("open", path, errno))
    }

    /// Opens a directory of this layer; no link is on the way.
    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut at =
            open_directory(&self.root, b".").map_err(|errno| failed("open", path, errno))?;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            at = open_directory(&at, name).map_err(|errno| failed("open", path, errno))?;
        }
        Ok(at)
    }

    /// Makes a hard link to a file of a lower layer, of which this layer gets a copy.
    fn link(&mut self, link: &PendingLink) -> Result<()> {
        let path = self.current(&link.path);
        let (source, found) = self.lower.find(&link.target)?;
        let source = match (self.copied.get(&source), found) {
            (Some(copy), _) => copy.clone(),
            (None, Found::Directory(_)) => {
                return Err(contradiction(&path, "it is a hard link to a directory"));
            }
            (None, Found::Nothing) => self.current(&link.target),
            (None, Found::Other(parent, stat)) => {
                let copy = self.place_of_copy(&source, &path)?;
                self.remove_whiteout(&copy)?;
                self.check_copyable(&copy, &stat)?;
                let (_, name) = split(&source);
                let (to, to_name) = split(&copy);
                let to = self.open(to)?;
                keep_times(&to, || copy::file(&parent, name, &stat, &to, to_name))
                    .map_err(|errno| failed("copy up", &copy, errno))?;
                self.copied.insert(source, copy.clone());
                copy
            }
        };
        if source == path {
            return Ok(());
        }
        self.remove_whiteout(&path)?;
        let (from, from_name) = split(&source);
        let (to, to_name) = split(&path);
        let made = self.open(from).and_then(|from| {
            let to = self.open(to)?;
            if statat(&from, from_name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| is_whiteout(&s)) {
                return Err(failed("find", &source, Errno::NOENT));
            }
            keep_times(&to, || {
                linkat(&from, from_name, &to, to_name, AtFlags::empty())
            })
            .map_err(|errno| failed("link", &path, errno))
        });
        made.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let target = shown(&link.target);
                contradiction(
                    &path,
                    &format!("it is a hard link to {target}, which is nowhere"),
                )
            }
            _ => error,
        })
    }

    /// The attributes of what can't be opened are reached by its name alone.
    fn check_copyable(&self, path: &[u8], stat: &Stat) -> Result<()> {
        if self.has_own_directory || kind(stat) == FileType::RegularFile {
            return Ok(());
        }
        let message = format!(
            "entry {}: it can't be copied with its attributes, since this thread can't have a \
             directory of its own (unshare(2) is forbidden here)",
            shown(path)
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Where the copy of a lower file goes: to its own name, unless this layer has something
    /// else there or has removed it; then to the link's.
    fn place_of_copy(&mut self, source: &[u8], link: &[u8]) -> Result<Vec<u8>> {
        if self.is_hidden_above(&self.nearest(source)?)? || self.is_there(source)? {
            return Ok(link.to_vec());
        }
        self.imply(split(source).0)?;
        Ok(source.to_vec())
    }

    /// A name below the last directory of `path` that this layer has.
    fn nearest(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (mut parent, _) = split(path);
        loop {
            match self.open(parent) {
                Ok(_) => return Ok(join(parent, b"x")),
                Err(error) if error.kind() == ErrorKind::NotFound => parent = split(parent).0,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether this layer has a file, or a whiteout, by this name or on the way to it.
    fn is_there(&self, path: &[u8]) -> Result<bool> {
        let mut at =
            open_directory(&self.root, b".").map_err(|errno| failed("open", path, errno))?;
        for name in path.split(|byte| *byte == b'/') {
            match statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if kind(&stat) != FileType::Directory => return Ok(true),
                Ok(_) => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(failed("look at", path, errno)),
            }
            at = open_directory(&at, name).map_err(|errno| failed("open", path, errno))?;
        }
        Ok(true)
    }

    fn remove_whiteout(&self, path: &[u8]) -> Result<()> {
        let (parent, name) = split(path);
        let parent = self.open(parent)?;
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => {
                keep_times(&parent, || unlinkat(&parent, name, AtFlags::empty()))
                    .map_err(|errno| failed("replace", path, errno))
            }
            _ => Ok(()),
        }
    }

    /// Removes whiteouts of what no lower layer has: where an overlay merges nothing, it lists
    /// their names though there is nothing by them.
    fn remove_idle_whiteouts(&self, path: &[u8]) -> Result<()> {
        let path = self.current(path);
        let directory = self.open(&path)?;
        let below = match self.lower.find(&path)? {
            (_, Found::Directory(below)) => below,
            _ => Vec::new(),
        };
        let is_alone = below.is_empty()
            || (is_opaque(&directory) && !path.is_empty())
            || self.is_hidden_above(&path)?;
        let mut idle = Vec::new();
        let listed = for_each(&directory, |name, kind| {
            let may_be = matches!(kind, FileType::CharacterDevice | FileType::Unknown);
            if !may_be || !is_whiteout(&statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?) {
                return Ok(());
            }
            if is_alone || matches!(child(&below, name)?, Found::Nothing) {
                idle.push(name.to_vec());
            }
            Ok(())
        });
        listed.map_err(|errno: Errno| failed("read", &path, errno))?;
        keep_times(&directory, || {
            let remove = |name: &Vec<u8>| unlinkat(&directory, name.as_slice(), AtFlags::empty());
            idle.iter().try_for_each(remove)
        })
        .map_err(|errno| failed("remove whiteouts of", &path, errno))
    }

    /// An overlay doesn't look at the marks of roots: what lower roots have is hidden by name.
    fn hide_roots(&self) -> Result<()> {
        let hidden = |errno| Error::system("hide what lower layers have", errno);
        let mut names = BTreeSet::new();
        for layer in self.lower.root() {
            for_each(layer, |name, _| -> Result<(), Errno> {
                names.insert(name.to_vec());
                Ok(())
            })
            .map_err(hidden)?;
        }
        for name in names {
            self.hide(&name).map_err(hidden)?;
        }
        Ok(())
    }

    fn hide(&self, name: &[u8]) -> Result<(), Errno> {
        match statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == FileType::Directory => {
                let mark = mark_of(&self.root).unwrap_or(OPAQUE[0]);
                let directory = open_directory(&self.root, name)?;
                fsetxattr(&directory, mark, b"y", XattrFlags::empty())
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => keep_times(&self.root, || {
                let mode = Mode::from_raw_mode(0);
                mknodat(&self.root, name, FileType::CharacterDevice, mode, 0)
            }),
            Err(errno) => Err(errno),
        }
    }

    /// Last: what was done in these directories has changed their times.
    fn inherit(&self) -> Result<()> {
        for path in &self.implied {
            let Found::Directory(lower) = self.lower.find(path)?.1 else {
                continue;
            };
            let directory = self.open(path)?;
            let inherited = match lower.first() {
                Some(lower) => {
                    fstat(lower).and_then(|stat| copy::attributes(lower, &stat, &directory))
                }
                None => Ok(()),
            };
            inherited.map_err(|errno| failed("set the attributes of", path, errno))?;
        }
        Ok(())
    }
}

/// Moves what is in one directory into another one; directories of one name become one.
fn merge(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = Vec::new();
    for_each(from, |name, _| -> Result<(), Errno> {
        names.push(name.to_vec());
        Ok(())
    })?;
    for name in &names {
        let name = name.as_slice();
        match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {
                let both = open_directory(from, name)
                    .and_then(|inner| Ok((inner, open_directory(to, name)?)));
                let (inner, outer) = both.map_err(|_| Errno::EXIST)?;
                keep_times(&outer, || merge(&inner, &outer))?;
                unlinkat(from, name, AtFlags::REMOVEDIR)?;
            }
            other => other?,
        }
    }
    match mark_of(from) {
        Some(mark) => fsetxattr(to, mark, b"y", XattrFlags::empty()),
        None => Ok(()),
    }
}

/// The attribute by which a directory is opaque.
fn mark_of(directory: &OwnedFd) -> Option<&'static str> {
    let has = |mark: &&str| fgetxattr(directory, *mark, &mut [0; 2][..]).is_ok();
    OPAQUE.into_iter().find(has)
}

/// Does something in a directory, whose times stay what they were.
fn keep_times(directory: &OwnedFd, act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let before = fstat(directory)?;
    act()?;
    futimens(directory.as_fd(), &copy::times(&before))
}

fn failed(step: &str, path: &[u8], errno: Errno) -> Error {
    Error::system(format_args!("{step} {}", shown(path)), errno)
}

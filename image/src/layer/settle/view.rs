//! The layers below, as an overlay shows them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Stat, fgetxattr, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::layer::tar::shown;
use crate::layer::tree::open_directory;

/// As many as the kernel follows in one name.
const MOST_LINKS: u32 = 40;

/// Directories of one name in several layers, the topmost first: what an overlay merges.
pub(super) type Merged = Vec<Rc<OwnedFd>>;

/// What an overlay shows by a name.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Directory(Merged),
    /// In this directory, what this says.
    Other(Rc<OwnedFd>, Stat),
}

/// Layers, the topmost first.
pub(super) struct View {
    root: Merged,
}

/// The directories from the root down to one, by name. None leads through a link.
type Walked = Vec<(Vec<u8>, Merged)>;

impl View {
    pub(super) fn new(layers: &[BorrowedFd<'_>]) -> Result<Self> {
        let mut root = Merged::new();
        for layer in layers {
            let opened = open_directory(layer, b".");
            let opened = opened.map_err(|errno| Error::system("open a lower layer", errno))?;
            root.push(Rc::new(opened));
        }
        Ok(Self { root })
    }

    /// The merged root.
    pub(super) fn root(&self) -> &Merged {
        &self.root
    }

    /// What there is by this name, and its name without links but for the last component.
    pub(super) fn find(&self, path: &[u8]) -> Result<(Vec<u8>, Found)> {
        if path.is_empty() {
            return Ok((Vec::new(), Found::Directory(self.root.clone())));
        }
        let (parent, name) = super::split(path);
        let failed = |errno| lookup_failed(path, errno);
        let Some(walked) = self.walk(Vec::new(), parent, 0)? else {
            return Ok((path.to_vec(), Found::Nothing));
        };
        let found = child(self.last(&walked), name).map_err(failed)?;
        Ok((super::join(&name_of(&walked), name), found))
    }

    /// The name without links, and the merged directory, to which a name leads through links.
    pub(super) fn directory(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Merged)>> {
        let walked = self.walk(Vec::new(), path, 0)?;
        Ok(walked.map(|walked| (name_of(&walked), self.last(&walked).clone())))
    }

    fn last<'a>(&'a self, walked: &'a Walked) -> &'a Merged {
        walked.last().map_or(&self.root, |(_, merged)| merged)
    }

    /// Walks down from `at`, through links as if the root were `/`.
    fn walk(&self, mut at: Walked, path: &[u8], links: u32) -> Result<Option<Walked>> {
        let failed = |errno| lookup_failed(path, errno);
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => {
                    at.pop();
                    continue;
                }
                _ => {}
            }
            match child(self.last(&at), component).map_err(failed)? {
                Found::Nothing => return Ok(None),
                Found::Directory(merged) => at.push((component.to_vec(), merged)),
                Found::Other(_, stat) if kind(&stat) != FileType::Symlink => return Ok(None),
                Found::Other(..) if links == MOST_LINKS => return Err(failed(Errno::LOOP)),
                Found::Other(parent, _) => {
                    let target = readlinkat(&parent, component, Vec::new()).map_err(failed)?;
                    if target.as_bytes().starts_with(b"/") {
                        at.clear();
                    }
                    match self.walk(at, target.as_bytes(), links + 1)? {
                        Some(led) => at = led,
                        None => return Ok(None),
                    }
                }
            }
        }
        Ok(Some(at))
    }
}

fn name_of(walked: &Walked) -> Vec<u8> {
    let names: Vec<&[u8]> = walked.iter().map(|(name, _)| name.as_slice()).collect();
    names.join(&b'/')
}

/// What merged directories show by a name. overlayfs, "Upper and Lower".
pub(super) fn child(merged: &Merged, name: &[u8]) -> Result<Found, Errno> {
    let mut below = Merged::new();
    for directory in merged {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        if is_whiteout(&stat) {
            break;
        }
        if kind(&stat) != FileType::Directory {
            if below.is_empty() {
                return Ok(Found::Other(Rc::clone(directory), stat));
            }
            break;
        }
        let opened = Rc::new(open_directory(directory, name)?);
        let is_last = is_opaque(&opened);
        below.push(opened);
        if is_last {
            break;
        }
    }
    Ok(match below.is_empty() {
        true => Found::Nothing,
        false => Found::Directory(below),
    })
}

pub(in super::super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(in super::super) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The attributes that say that nothing of lower layers is seen through a directory.
pub(in super::super) const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

pub(in super::super) fn is_opaque(directory: impl AsFd) -> bool {
    OPAQUE.iter().any(|name| {
        let mut value = [0; 2];
        fgetxattr(&directory, *name, &mut value[..]).is_ok_and(|length| &value[..length] == b"y")
    })
}

fn lookup_failed(path: &[u8], errno: Errno) -> Error {
    Error::system(
        format_args!("look up {} in lower layers", shown(path)),
        errno,
    )
}

/// A layer that its lower layers contradict.
pub(super) fn contradiction(path: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("entry {}: {why}", shown(path)))
}

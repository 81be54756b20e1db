//! One entry after the other becomes a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, fchmod, fchown, mkdirat, readlinkat, statat};
use rustix::io::Errno;

use super::directories::{Directories, Directory};
use super::names::{self, Subject, join, refuse, split};
use super::seen::{Made, Seen};
use super::{Applied, ApplyOptions, PendingLink, Whiteouts};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::limits::exceeded;
use crate::layer::tar::{Entry, Kind, Reader, shown};
use crate::layer::tree::{self, open_directory};

/// As many as the kernel follows in one name.
const MOST_LINKS: u32 = 40;
const MOST_WARNINGS: usize = 50;

/// The tree that is written, and what has to be known of it.
pub(super) struct Unpacker<'a> {
    pub(super) options: &'a ApplyOptions,
    pub(super) directories: Directories,
    /// Whether files get the mode with which they are made.
    pub(super) has_own_umask: bool,
    /// Whose the files are that this process makes.
    pub(super) creator: (u32, u32),
    /// With [`Whiteouts::Remove`]: what is this layer's.
    pub(super) seen: Option<Seen>,
    implied: BTreeSet<Vec<u8>>,
    /// Directories with whiteouts in them.
    whiteout_parents: BTreeSet<Vec<u8>>,
    pub(super) pending: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Set at the end: what is made in such a directory would inherit from them.
    pub(super) default_acls: Vec<(Vec<u8>, Vec<u8>)>,
    kept_bytes: u64,
    entries: u64,
    pub(super) has_whiteouts: bool,
    pub(super) is_root_opaque: bool,
    pub(super) warnings: Vec<String>,
}

/// What is done where a directory is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made.
    Make,
    /// It is left so.
    Leave,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        options: &'a ApplyOptions,
        has_own_umask: bool,
    ) -> Result<Self> {
        let is_alone = options.whiteouts != Whiteouts::Remove;
        let directories = Directories::new(root)
            .map_err(|errno| Error::system("open a layer's directory", errno))?;
        let creator = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let mut unpacker = Self {
            options,
            directories,
            has_own_umask,
            creator,
            seen: (!is_alone).then(Seen::default),
            implied: BTreeSet::new(),
            whiteout_parents: BTreeSet::new(),
            pending: BTreeMap::new(),
            default_acls: Vec::new(),
            kept_bytes: 0,
            entries: 0,
            has_whiteouts: false,
            is_root_opaque: false,
            warnings: Vec::new(),
        };
        if is_alone {
            let root = Rc::clone(&unpacker.directories.root);
            unpacker.forget_default_acl(&root);
            unpacker.give_implied_attributes(&root)?;
            unpacker.implied.insert(Vec::new());
        }
        Ok(unpacker)
    }

    /// Unpacks all entries; digest and sizes are for others to fill in.
    pub(super) fn unpack(mut self, archive: impl BufRead) -> Result<Applied> {
        let mut reader = Reader::new(archive);
        while let Some(entry) = reader.next_entry()? {
            self.entry(&entry, &mut reader)?;
        }
        self.finish()
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        self.count(entry)?;
        let path = names::clean(&entry.path)?;
        match names::subject(&path)? {
            Subject::Root => self.root(entry),
            Subject::Nothing => Ok(()),
            Subject::Whiteout(parent, name) => {
                let parent = self.parent(parent)?;
                self.white_out(&parent, name)
            }
            Subject::Opaque(parent) => {
                let directory = self.parent(parent)?;
                self.make_opaque(&directory)
            }
            Subject::File(parent, name) => {
                let parent = self.parent(parent)?;
                self.make(&parent, name, entry, reader)
            }
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        let limits = &self.options.limits;
        if self.entries > limits.entries {
            return Err(exceeded("files", limits.entries));
        }
        if entry.size > limits.file_bytes {
            return Err(exceeded("bytes in one file", limits.file_bytes));
        }
        Ok(())
    }

    /// The root stays what it is, a directory; only its attributes are the archive's.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(refuse(
                &entry.path,
                "it would replace the root by what is no directory",
            ));
        }
        self.implied.remove(&b""[..]);
        let root = Rc::clone(&self.directories.root);
        self.replace_attributes(&root, entry)
    }

    fn make<R: BufRead>(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        if !self.pending.is_empty() {
            self.pending.remove(&join(&parent.path, name));
        }
        match &entry.kind {
            Kind::Directory => self.make_directory(parent, name, entry)?,
            Kind::Regular => self.make_file(parent, name, entry, reader)?,
            Kind::Symlink(target) => self.make_symlink(parent, name, entry, target)?,
            Kind::HardLink(target) => {
                let target = names::clean(target)?;
                if !self.make_hard_link(parent, name, &target)? {
                    self.keep_pending(parent, name, target)?;
                }
            }
            Kind::CharacterDevice(..) | Kind::BlockDevice(..) | Kind::Fifo => {
                self.make_special(parent, name, entry)?;
            }
        }
        let made = match entry.kind {
            Kind::Directory => Made::ByName,
            _ => Made::InAnyWay,
        };
        self.mark(parent, name, made)
    }

    fn keep_pending(&mut self, parent: &Directory, name: &[u8], target: Vec<u8>) -> Result<()> {
        let path = join(&parent.path, name);
        self.keep_bytes(path.len() + target.len())?;
        self.pending.insert(path, target);
        Ok(())
    }

    /// A whiteout is in this directory.
    pub(super) fn has_whiteout(&mut self, directory: &Directory) -> Result<()> {
        self.has_whiteouts = true;
        if !self.whiteout_parents.contains(&directory.path) {
            self.keep_bytes(directory.path.len())?;
            self.whiteout_parents.insert(directory.path.clone());
        }
        Ok(())
    }

    /// Counts memory that is kept until the end.
    pub(super) fn keep_bytes(&mut self, length: usize) -> Result<()> {
        // What a tree's node needs beside the bytes.
        self.kept_bytes += length as u64 + 64;
        let limit = self.options.limits.kept_bytes;
        if self.kept_bytes > limit {
            let what = "bytes of names of directories and links that it has only in part";
            return Err(exceeded(what, limit));
        }
        Ok(())
    }

    /// Something is made in this directory: its times change, and it is this layer's, too.
    pub(super) fn mark(&mut self, parent: &Rc<Directory>, name: &[u8], made: Made) -> Result<()> {
        self.directories.touch(parent)?;
        let Some(seen) = &mut self.seen else {
            return Ok(());
        };
        seen.insert(parent.inode, name, Made::InAnyWay);
        if made == Made::ByName {
            seen.insert(parent.inode, name, Made::ByName);
        }
        self.mark_directory(parent)
    }

    /// This layer has something in a directory, or has removed something there.
    pub(super) fn mark_directory(&mut self, directory: &Directory) -> Result<()> {
        let is_known = self.seen.is_none() || directory.is_marked.replace(true);
        if is_known || directory.path.is_empty() {
            return Ok(());
        }
        let (above, name) = split(&directory.path);
        match self.directory(above, Missing::Leave)? {
            Some(above) => self.mark(&above, name, Made::InAnyWay),
            None => Ok(()),
        }
    }

    /// The directory in which an entry is, made if it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<Rc<Directory>> {
        let found = self.directory(path, Missing::Make)?;
        found.ok_or_else(|| refuse(path, "it is no directory"))
    }

    /// Opens a directory by its clean name.
    pub(super) fn directory(
        &mut self,
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<Rc<Directory>>> {
        self.walk(path, missing, 0)
    }

    fn walk(&mut self, path: &[u8], missing: Missing, links: u32) -> Result<Option<Rc<Directory>>> {
        if let Some(kept) = self.directories.kept(path) {
            return Ok(Some(kept));
        }
        if let Some(opened) = self.directories.open_at_once(path)? {
            return Ok(Some(opened));
        }
        let (above, name) = split(path);
        let Some(above) = self.walk(above, missing, links)? else {
            return Ok(None);
        };
        let found = self.step(&above, name, missing, links)?;
        if let Some(found) = found.as_ref().filter(|found| found.path != path) {
            self.directories.add_alias(path, &found.path);
        }
        Ok(found)
    }

    /// One step down, by a name that may be a link of a lower layer.
    fn step(
        &mut self,
        above: &Rc<Directory>,
        name: &[u8],
        missing: Missing,
        links: u32,
    ) -> Result<Option<Rc<Directory>>> {
        let path = join(&above.path, name);
        if let Some(kept) = self.directories.kept(&path) {
            return Ok(Some(kept));
        }
        let opened = open_directory(above, name)
            .and_then(|descriptor| Directory::open(descriptor, path.clone()));
        match (opened, missing) {
            (Ok(directory), _) => self.directories.keep(directory).map(Some),
            (Err(Errno::NOENT), Missing::Leave) => Ok(None),
            (Err(Errno::NOENT), Missing::Make) => {
                self.keep_bytes(path.len())?;
                self.implied.insert(path);
                self.imply(above, name).map(Some)
            }
            (Err(Errno::NOTDIR | Errno::LOOP), _) => self.detour(above, name, missing, links),
            (Err(errno), _) => Err(Error::system(format_args!("open {}", shown(&path)), errno)),
        }
    }

    /// What stands where a directory should be: a link, a whiteout, or something else.
    fn detour(
        &mut self,
        above: &Rc<Directory>,
        name: &[u8],
        missing: Missing,
        links: u32,
    ) -> Result<Option<Rc<Directory>>> {
        let path = join(&above.path, name);
        let failed = |errno| Error::system(format_args!("look at {}", shown(&path)), errno);
        let stat = statat(above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if self.is_whiteout(&stat) {
            return match missing {
                Missing::Leave => Ok(None),
                Missing::Make => self.imply_over_whiteout(above, name).map(Some),
            };
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(refuse(
                &path,
                "other files are to be in it, and it is no directory",
            ));
        }
        let is_lower = |seen: &Seen| !seen.contains(above.inode, name, Made::InAnyWay);
        if !self.seen.as_ref().is_some_and(is_lower) {
            let why = "other files are to be in it, and it is a symbolic link of the same layer";
            return Err(refuse(&path, why));
        }
        if links == MOST_LINKS {
            return Err(failed(Errno::LOOP));
        }
        let target = readlinkat(above, name, Vec::new()).map_err(failed)?;
        self.follow(above, target.as_bytes(), missing, links + 1)
    }

    /// Follows a link of a lower layer, as if the root were `/`.
    fn follow(
        &mut self,
        from: &Rc<Directory>,
        target: &[u8],
        missing: Missing,
        links: u32,
    ) -> Result<Option<Rc<Directory>>> {
        let mut at = match target.first() {
            Some(b'/') => Rc::clone(&self.directories.root),
            _ => Rc::clone(from),
        };
        for component in target.split(|byte| *byte == b'/') {
            let next = match component {
                b"" | b"." => continue,
                // There is no link on a directory's own name.
                b".." => {
                    let above = split(&at.path).0.to_vec();
                    self.walk(&above, missing, links)?
                }
                name => self.step(&at, name, missing, links)?,
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Makes a directory that the archive doesn't name.
    pub(super) fn imply(&mut self, above: &Rc<Directory>, name: &[u8]) -> Result<Rc<Directory>> {
        let path = join(&above.path, name);
        let made = mkdirat(above, name, Mode::from_raw_mode(0o755))
            .and_then(|()| open_directory(above, name))
            .and_then(|descriptor| Directory::open(descriptor, path));
        let directory = made.map_err(|errno| {
            let path = join(&above.path, name);
            Error::system(format_args!("make directory {}", shown(&path)), errno)
        })?;
        self.mark(above, name, Made::InAnyWay)?;
        self.give_implied_attributes(&directory)?;
        self.directories.keep(directory)
    }

    /// Root's, mode 0755, as old as 1970: the same wherever and whenever it is made.
    pub(super) fn give_implied_attributes(&self, directory: &Directory) -> Result<()> {
        let ids = &self.options.ids;
        let (uid, gid) = (ids.user(0)?, ids.group(0)?);
        let given = fchown(
            directory,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )
        .and_then(|()| fchmod(directory, Mode::from_raw_mode(0o755)));
        given.map_err(|errno| {
            let object = directory.shown();
            Error::system(format_args!("set owner and mode of {object}"), errno)
        })?;
        directory.gid.set(gid);
        directory.has_setgid.set(false);
        directory.times.set(Default::default());
        directory.is_touched.set(true);
        Ok(())
    }

    /// The archive names this directory, or its attributes are not to come from a lower layer.
    pub(super) fn is_no_longer_implied(&mut self, path: &[u8]) {
        if !self.implied.is_empty() {
            self.implied.remove(path);
        }
    }

    /// Removes what stands in the way, whatever it is.
    pub(super) fn make_room(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        let removed = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) if self.directories.aliases.is_empty() => Ok(()),
            Ok(()) => return self.directories.forget(),
            Err(Errno::ISDIR | Errno::PERM) => {
                self.directories.forget()?;
                self.forget_below(&path);
                tree::remove(parent.as_fd(), name)
            }
            Err(errno) => Err(errno),
        };
        removed.map_err(|errno| Error::system(format_args!("replace {}", shown(&path)), errno))
    }

    fn forget_below(&mut self, path: &[u8]) {
        let is_outside = |other: &[u8]| {
            let rest = other.strip_prefix(path);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.implied.retain(|implied| is_outside(implied));
        self.whiteout_parents.retain(|parent| is_outside(parent));
        self.pending.retain(|pending, _| is_outside(pending));
        self.default_acls.retain(|(path, _)| is_outside(path));
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning);
        } else if self.warnings.len() == MOST_WARNINGS {
            self.warnings.push("there are more of these".into());
        }
    }

    fn finish(mut self) -> Result<Applied> {
        if self.seen.is_some() {
            self.link_pending()?;
        }
        self.set_default_acls()?;
        self.directories.finish()?;
        let pending = std::mem::take(&mut self.pending);
        let link = |(path, target)| PendingLink { path, target };
        Ok(Applied {
            diff_id: Digest::of(b""),
            compressed_size: 0,
            uncompressed_size: 0,
            entries: self.entries,
            implied_parents: self.implied.into_iter().collect(),
            pending_links: pending.into_iter().map(link).collect(),
            whiteout_parents: self.whiteout_parents.into_iter().collect(),
            is_root_opaque: self.is_root_opaque,
            warnings: self.warnings,
        })
    }

    /// Links whose targets came later in the archive.
    fn link_pending(&mut self) -> Result<()> {
        for (path, target) in std::mem::take(&mut self.pending) {
            let (parent, name) = split(&path);
            let parent = self.parent(parent)?;
            if !self.make_hard_link(&parent, name, &target)? {
                let why = format!("it is a hard link to {}, which is nowhere", shown(&target));
                return Err(refuse(&path, &why));
            }
            self.mark(&parent, name, Made::InAnyWay)?;
        }
        Ok(())
    }
}

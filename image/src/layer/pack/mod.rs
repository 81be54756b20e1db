//! From directories to archives. image-spec, layer.md, "Creating".

mod changes;
mod compress;
mod file;

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::{Errno, pread, retry_on_intr};

use super::apply::{WHITEOUT, join};
use super::ids::IdMaps;
use super::sys;
use super::tar::{Entry, Kind, Segment, Time, Writer, shown};
use super::tree::{for_each, open_directory};
use crate::digest::Digest;
use crate::document::Compression;
use crate::error::{Error, ErrorKind, Result};
pub use changes::{diff, diff_overlay};
use compress::Compressor;
pub(super) use file::{xattrs, xattrs_by_name};

/// How a directory is packed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackOptions {
    /// How the archive is compressed.
    pub compression: Compression,
    /// Whose files are whose: the maps with which they were unpacked.
    pub ids: IdMaps,
    /// SOURCE_DATE_EPOCH: files that are younger, in seconds since 1970, become so old.
    pub latest_mtime: Option<i64>,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            ids: IdMaps::default(),
            latest_mtime: None,
        }
    }
}

impl PackOptions {
    fn clamped(&self, time: Time) -> Time {
        match self.latest_mtime {
            Some(latest) if time.seconds >= latest => Time {
                seconds: latest,
                nanoseconds: 0,
            },
            _ => time,
        }
    }
}

/// A layer that was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedLayer {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// In bytes.
    pub uncompressed_size: u64,
    /// The digest of what was written.
    pub digest: Digest,
    /// How many bytes were written.
    pub size: u64,
    /// Files in the archive, whiteouts among them.
    pub entries: u64,
    /// What no archive can hold and was left out: sockets.
    pub skipped: u64,
}

/// Packs a whole directory, with an entry for itself.
///
/// The archive depends on the tree alone: names are sorted, and nothing of this machine or of
/// this hour is in it. Links are stored, never followed; hard links, attributes, holes, devices
/// and times to the nanosecond are kept.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a name that begins with `.wh.` and for an owner that the id
/// maps don't have; [`ErrorKind::InUse`] when a file changes meanwhile; else what reading or
/// writing fails with.
pub fn pack(
    directory: BorrowedFd<'_>,
    options: &PackOptions,
    out: impl Write + Send,
) -> Result<PackedLayer> {
    run(options, out, |packer| {
        let root = open_root(directory)?;
        packer.root(&root)?;
        packer.contents(&root, b"")
    })
}

/// Runs `fill` on a thread with a working directory of its own, and ends the archive.
fn run<W: Write + Send>(
    options: &PackOptions,
    out: W,
    fill: impl FnOnce(&mut Packer<'_, W>) -> Result<()> + Send,
) -> Result<PackedLayer> {
    let work = || {
        if !sys::own_umask_and_directory() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a thread that packs needs a working directory of its own, and unshare(2) is \
                 forbidden here",
            ));
        }
        let mut packer = Packer::new(options, out);
        fill(&mut packer)?;
        packer.finish()
    };
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|_| {
            let why = "the thread that packs has panicked";
            Err(Error::new(ErrorKind::System, why))
        })
    })
}

fn open_root(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    open_directory(directory, b".").map_err(|errno| Error::system("open the directory", errno))
}

struct Packer<'a, W: Write> {
    options: &'a PackOptions,
    archive: Writer<Compressor<W>>,
    /// Files with several names, and the first one.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    entries: u64,
    skipped: u64,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(options: &'a PackOptions, out: W) -> Self {
        Self {
            options,
            archive: Writer::new(Compressor::new(out, options.compression)),
            linked: HashMap::new(),
            buffer: vec![0; 128 << 10],
            entries: 0,
            skipped: 0,
        }
    }

    /// The root's own entry.
    fn root(&mut self, root: &OwnedFd) -> Result<()> {
        let failed = |errno| Error::system("read the directory's attributes", errno);
        let stat = fstat(root).map_err(failed)?;
        let mut entry = file::metadata(b".", Kind::Directory, &stat, self.options)?;
        entry.xattrs = file::images_xattrs(file::xattrs(root).map_err(failed)?, self.options)?;
        self.write(&entry)
    }

    /// All that is in a directory, and below.
    fn contents(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        for name in names(directory, path)? {
            let stat = look(directory, &name, path)?;
            self.file(directory, &name, path, &stat)?;
            if is_directory(&stat) {
                let path = join(path, &name);
                self.contents(&open(directory, &name, &path)?, &path)?;
            }
        }
        Ok(())
    }

    /// One file; of a directory not what is in it.
    fn file(&mut self, parent: &OwnedFd, name: &[u8], above: &[u8], stat: &Stat) -> Result<()> {
        let path = join(above, name);
        if name.starts_with(WHITEOUT) {
            return Err(file::reserved(&path));
        }
        if !is_directory(stat) && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&inode) {
                let kind = Kind::HardLink(first.clone());
                let entry = file::metadata(&path, kind, stat, self.options)?;
                return self.write(&entry);
            }
            self.linked.insert(inode, path.clone());
        }
        let Some(packed) = file::describe(parent, name, &path, stat, self.options)? else {
            self.skipped += 1;
            return Ok(());
        };
        self.write(&packed.entry)?;
        match &packed.content {
            Some(content) => self.content(content, &packed.entry),
            None => Ok(()),
        }
    }

    /// `.wh.NAME`, as old as 1970.
    fn whiteout(&mut self, above: &[u8], name: &[u8]) -> Result<()> {
        self.write(&Entry {
            path: join(above, &[WHITEOUT, name].concat()),
            ..Entry::default()
        })
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.archive
            .entry(entry)
            .map_err(|error| unwritten(&entry.path, error))
    }

    fn content(&mut self, content: &OwnedFd, entry: &Entry) -> Result<()> {
        let whole = [Segment {
            offset: 0,
            length: entry.size,
        }];
        for segment in entry.segments.as_deref().unwrap_or(&whole) {
            let end = segment.offset + segment.length;
            let mut offset = segment.offset;
            while offset < end {
                let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let most = left.min(self.buffer.len());
                let length = retry_on_intr(|| pread(content, &mut self.buffer[..most], offset))
                    .map_err(|errno| {
                        Error::system(format_args!("read {}", entry.shown()), errno)
                    })?;
                if length == 0 {
                    return Err(Error::new(
                        ErrorKind::InUse,
                        format!("{} became shorter while it was packed", entry.shown()),
                    ));
                }
                self.archive
                    .content(&self.buffer[..length])
                    .map_err(|error| unwritten(&entry.path, error))?;
                offset += length as u64;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<PackedLayer> {
        let end = |error| Error::system("end the archive", error);
        let mut written = self
            .archive
            .finish()
            .and_then(Compressor::finish)
            .map_err(end)?;
        written.out.flush().map_err(end)?;
        Ok(PackedLayer {
            diff_id: written.diff_id,
            uncompressed_size: written.uncompressed_size,
            digest: written.digest,
            size: written.size,
            entries: self.entries,
            skipped: self.skipped,
        })
    }
}

fn unwritten(path: &[u8], error: io::Error) -> Error {
    Error::system(
        format_args!("write {} into the archive", shown(path)),
        error,
    )
}

/// Names in a directory, sorted by their bytes.
fn names(directory: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for_each(directory, |name, _| -> Result<(), Errno> {
        names.push(name.to_vec());
        Ok(())
    })
    .map_err(|errno| file::unread(path, errno))?;
    names.sort_unstable();
    Ok(names)
}

fn look(directory: &OwnedFd, name: &[u8], above: &[u8]) -> Result<Stat> {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| file::unread(&join(above, name), errno))
}

fn open(directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    open_directory(directory, name).map_err(|errno| file::unread(path, errno))
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

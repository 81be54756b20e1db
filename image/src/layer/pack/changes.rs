//! What one tree has that another one hasn't, as a layer. image-spec, layer.md, "Creating".

use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat, fgetxattr, fstat, readlinkat, statat};
use rustix::io::{Errno, pread};

use super::{
    PackOptions, PackedLayer, Packer, file, is_directory, look, names, open, open_root, run,
};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::apply::{join, split};
use crate::layer::settle::{is_opaque, is_whiteout};
use crate::layer::tar::shown;

/// Packs what `upper` has changed: an overlay's upper directory, which says itself what is
/// removed.
///
/// Names are sorted; a directory's whiteouts come before what is in it.
///
/// # Errors
/// As [`pack`](super::pack()); [`ErrorKind::Unsupported`] when the overlay was mounted with
/// `redirect_dir` or `metacopy` and a directory was renamed, or a file is there in part.
pub fn diff_overlay(
    upper: BorrowedFd<'_>,
    options: &PackOptions,
    out: impl Write + Send,
) -> Result<PackedLayer> {
    run(options, out, |packer| {
        let root = open_root(upper)?;
        packer.upper(&root, b"")
    })
}

/// Packs what is different in `upper`, a tree that began as a copy of `lower`.
///
/// Files are compared by all that an archive can tell, and by their content. A directory in
/// which something has changed is there itself, too, so that its attributes don't depend on who
/// unpacks.
///
/// # Errors
/// As [`pack`](super::pack()).
pub fn diff(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    options: &PackOptions,
    out: impl Write + Send,
) -> Result<PackedLayer> {
    run(options, out, |packer| {
        let (lower, upper) = (open_root(lower)?, open_root(upper)?);
        let mut parents = Parents::default();
        let stats = fstat(&lower).and_then(|lower| Ok((lower, fstat(&upper)?)));
        let (old, new) = stats.map_err(|errno| Error::system("look at the trees", errno))?;
        let has_changed = !same_metadata(&old, &new, packer.options)
            || read_xattrs(&lower, b"")? != read_xattrs(&upper, b"")?;
        if has_changed {
            packer.root(&upper)?;
        }
        packer.changes(&lower, &upper, b"", &mut parents)
    })
}

/// Directories from the root down to the one that is compared, which may have to be packed
/// before something in them is.
#[derive(Default)]
struct Parents(Vec<Parent>);

struct Parent {
    above: OwnedFd,
    path: Vec<u8>,
    stat: Stat,
    is_packed: bool,
}

impl<W: Write> Packer<'_, W> {
    fn upper(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        check_whole(directory, path)?;
        if is_opaque(directory) {
            self.whiteout(path, b".wh..opq")?;
        }
        let mut there = Vec::new();
        for name in names(directory, path)? {
            let stat = look(directory, &name, path)?;
            match is_whiteout(&stat) {
                true => self.whiteout(path, &name)?,
                false => there.push((name, stat)),
            }
        }
        for (name, stat) in there {
            self.file(directory, &name, path, &stat)?;
            if is_directory(&stat) {
                let path = join(path, &name);
                self.upper(&open(directory, &name, &path)?, &path)?;
            }
        }
        Ok(())
    }

    fn changes(
        &mut self,
        lower: &OwnedFd,
        upper: &OwnedFd,
        path: &[u8],
        parents: &mut Parents,
    ) -> Result<()> {
        let upper_names = names(upper, path)?;
        for name in names(lower, path)? {
            if upper_names.binary_search(&name).is_err() {
                self.pack_parents(parents)?;
                self.whiteout(path, &name)?;
            }
        }
        for name in upper_names {
            self.change(lower, upper, &name, path, parents)?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        lower: &OwnedFd,
        upper: &OwnedFd,
        name: &[u8],
        above: &[u8],
        parents: &mut Parents,
    ) -> Result<()> {
        let path = join(above, name);
        let new = look(upper, name, above)?;
        let old = match statat(lower, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            Err(errno) => {
                return Err(Error::system(
                    format_args!("look at {}", shown(&path)),
                    errno,
                ));
            }
            Ok(old) => Some(old),
        };
        let lower_directory = old.as_ref().filter(|old| is_directory(old));
        let is_same = match &old {
            Some(old) => is_same(lower, old, upper, &new, name, &path, self.options)?,
            None => false,
        };
        if !is_same {
            self.pack_parents(parents)?;
            self.file(upper, name, above, &new)?;
        }
        if !is_directory(&new) {
            return Ok(());
        }
        let inside = open(upper, name, &path)?;
        if lower_directory.is_none() {
            return self.contents(&inside, &path);
        }
        let above = open(upper, b".", &path)?;
        parents.0.push(Parent {
            above,
            path: path.clone(),
            stat: new,
            is_packed: !is_same,
        });
        self.changes(&open(lower, name, &path)?, &inside, &path, parents)?;
        parents.0.pop();
        Ok(())
    }

    fn pack_parents(&mut self, parents: &mut Parents) -> Result<()> {
        for parent in parents.0.iter_mut().filter(|parent| !parent.is_packed) {
            let (above, name) = split(&parent.path);
            self.file(&parent.above, name, above, &parent.stat)?;
            parent.is_packed = true;
        }
        Ok(())
    }
}

/// Whether a layer would say the same of both.
fn is_same(
    lower: &OwnedFd,
    old: &Stat,
    upper: &OwnedFd,
    new: &Stat,
    name: &[u8],
    path: &[u8],
    options: &PackOptions,
) -> Result<bool> {
    if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
        return Ok(true);
    }
    let links = |stat: &Stat| if is_directory(stat) { 0 } else { stat.st_nlink };
    if !same_metadata(old, new, options) || links(old) != links(new) {
        return Ok(false);
    }
    let failed = |errno| Error::system(format_args!("compare {}", shown(path)), errno);
    if FileType::from_raw_mode(new.st_mode) == FileType::Symlink {
        let target = |directory| readlinkat(directory, name, Vec::new());
        let targets = target(lower).and_then(|old| Ok((old, target(upper)?)));
        let (old, new) = targets.map_err(failed)?;
        return Ok(old == new);
    }
    let describe = |directory, stat| file::describe(directory, name, path, stat, options);
    let (Some(old), Some(new)) = (describe(lower, old)?, describe(upper, new)?) else {
        return Ok(true);
    };
    if old.entry.xattrs != new.entry.xattrs {
        return Ok(false);
    }
    match (old.content, new.content) {
        (Some(old), Some(new)) => same_content(&old, &new).map_err(failed),
        _ => Ok(true),
    }
}

fn same_metadata(old: &Stat, new: &Stat, options: &PackOptions) -> bool {
    let size = |stat: &Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => stat.st_size,
        _ => 0,
    };
    let time = |stat: &Stat| {
        options.clamped(crate::layer::tar::Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        })
    };
    let of = |stat: &Stat| {
        (
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_rdev,
            size(stat),
        )
    };
    of(old) == of(new) && time(old) == time(new)
}

fn same_content(old: &OwnedFd, new: &OwnedFd) -> Result<bool, Errno> {
    let mut buffers = [vec![0; 64 << 10], vec![0; 64 << 10]];
    let mut offset = 0;
    loop {
        let [one, other] = &mut buffers;
        let length = fill(old, one, offset)?;
        if length != fill(new, other, offset)? || one[..length] != other[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        offset += length as u64;
    }
}

fn fill(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(file, &mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

fn read_xattrs(directory: &OwnedFd, path: &[u8]) -> Result<Vec<crate::layer::tar::Xattr>> {
    file::xattrs(directory)
        .map_err(|errno| Error::system(format_args!("read attributes of {}", shown(path)), errno))
}

/// What an overlay's own attributes make of a directory's or file's content can't be packed
/// without its lower layers.
fn check_whole(directory: &OwnedFd, path: &[u8]) -> Result<()> {
    let marks = ["redirect", "metacopy"];
    for name in ["trusted.overlay.", "user.overlay."] {
        for mark in marks {
            let attribute = format!("{name}{mark}");
            if fgetxattr(directory, attribute.as_str(), &mut [0; 1][..]) != Err(Errno::NODATA) {
                let has = fgetxattr(directory, attribute.as_str(), &mut [0; 4096][..]);
                if has.is_ok() {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "{} has the attribute {attribute}: its overlay was mounted with \
                             redirect_dir or metacopy, and can't be packed",
                            shown(path)
                        ),
                    ));
                }
            }
        }
    }
    Ok(())
}

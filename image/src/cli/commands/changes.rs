//! What a layer's archive changes, a line a file, as `docker diff` says it.

use std::io::{BufReader, PipeWriter};
use std::os::fd::BorrowedFd;

use image::error::{Error, ErrorKind, Result};
use image::layer::PackedLayer;
use image::layer::tar::Reader;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, statat};

/// A file that is added (A), changed (C) or deleted (D).
pub(super) struct Change {
    pub(super) letter: char,
    pub(super) path: String,
}

/// The changes that `pack` writes as a layer, against the tree `lower`.
pub(super) fn changes(
    lower: BorrowedFd<'_>,
    pack: impl FnOnce(PipeWriter) -> Result<PackedLayer> + Send,
) -> Result<Vec<Change>> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::system("make a pipe", error))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack(writer));
        let mut reader = Reader::new(BufReader::new(reader));
        let mut changes = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            changes.extend(change(lower, &entry.path));
        }
        drop(reader);
        let packed = packing.join().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::System,
                "the thread that packs has panicked",
            ))
        });
        packed?;
        changes.sort_by(|one: &Change, other| one.path.cmp(&other.path));
        Ok(changes)
    })
}

fn change(lower: BorrowedFd<'_>, path: &[u8]) -> Option<Change> {
    let text = String::from_utf8_lossy(path);
    let text = text.trim_start_matches("./").trim_matches('/');
    if text.is_empty() || text == "." {
        return None;
    }
    let (parent, name) = text.rsplit_once('/').unwrap_or(("", text));
    let shown = |name: &str| match parent {
        "" => format!("/{name}"),
        parent => format!("/{parent}/{name}"),
    };
    match name.strip_prefix(".wh.") {
        // What stands in an opaque directory says enough.
        Some(".wh..opq") => None,
        Some(removed) => Some(Change {
            letter: 'D',
            path: shown(removed),
        }),
        None => Some(Change {
            letter: if is_there(lower, parent, name) {
                'C'
            } else {
                'A'
            },
            path: shown(name),
        }),
    }
}

/// Whether the lower tree has it; its links lead nowhere but below itself.
fn is_there(lower: BorrowedFd<'_>, parent: &str, name: &str) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let parent = if parent.is_empty() { "." } else { parent };
    openat2(lower, parent, flags, Mode::empty(), resolve)
        .is_ok_and(|parent| statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

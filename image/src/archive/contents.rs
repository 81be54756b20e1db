//! What is in an archive, after its one reading: documents in memory, everything else in the
//! store.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use super::blob::write_blob;
use crate::digest::Digest;
use crate::document::{Descriptor, MAX_DOCUMENT, MediaType};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::tar::{Entry, Kind, Reader};
use crate::progress::{Event, Progress, Work};
use crate::store::{Ingest, Store};

/// Files that are kept in memory, by these names.
const DOCUMENTS: [&str; 3] = ["oci-layout", "index.json", "manifest.json"];
/// Bytes of names that an archive may have, and links from one to the next.
const MOST_NAMES: usize = 4 << 20;
const MOST_LINKS: usize = 8;

/// The content of an archive of images.
#[derive(Debug, Default)]
pub(super) struct Contents {
    documents: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Descriptor>,
    /// Docker's old archives have the same layer under several names.
    links: BTreeMap<String, String>,
    names: usize,
}

impl Contents {
    /// Reads the archive, and writes its files into the store.
    pub(super) fn read(
        store: &Store,
        archive: impl BufRead,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut intake = Intake {
            store,
            progress,
            reader: Reader::new(archive),
            contents: Self::default(),
        };
        let done = intake.all();
        done.map_err(|error| error.within("read archive"))?;
        // To its very end, so that the program at the pipe's other end isn't killed.
        std::io::copy(&mut intake.reader.into_inner(), &mut std::io::sink())
            .map_err(|error| Error::system("read archive", error))?;
        Ok(intake.contents)
    }

    /// A document of the archive, if it has it.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// What lies in the store for a file of the archive, by the name that manifest.json has.
    pub(super) fn file(&self, name: &str) -> Result<&Descriptor> {
        let mut current = join("", name).unwrap_or_default();
        for _ in 0..MOST_LINKS {
            if let Some(descriptor) = self.files.get(&current) {
                return Ok(descriptor);
            }
            match self.links.get(&current) {
                Some(target) => current.clone_from(target),
                None => break,
            }
        }
        let message = format!("manifest.json names {name:?}, which is not in the archive");
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// Whether the name stands there for the first time: of two files of one name, two readers
    /// would take different ones.
    fn check_new(&mut self, name: &str) -> Result<()> {
        self.names += name.len();
        if self.names > MOST_NAMES {
            let message = format!("it has more than {MOST_NAMES} bytes of names");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let is_known = self.documents.contains_key(name)
            || self.files.contains_key(name)
            || self.links.contains_key(name);
        if is_known {
            let message = format!("{name} stands there twice");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(())
    }
}

/// The one reading of an archive.
struct Intake<'a, R> {
    store: &'a Store,
    progress: &'a dyn Progress,
    reader: Reader<R>,
    contents: Contents,
}

impl<R: BufRead> Intake<'_, R> {
    fn all(&mut self) -> Result<()> {
        while let Some(entry) = self.reader.next_entry()? {
            let name = clean(&entry)?;
            if entry.kind != Kind::Directory {
                self.contents.check_new(&name)?;
                self.take(entry, name)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry, name: String) -> Result<()> {
        let is_document = DOCUMENTS.contains(&name.as_str());
        let is_layout = is_document || name.starts_with("blobs/");
        match entry.kind {
            Kind::Directory => Ok(()),
            Kind::Regular if entry.segments.is_some() => Err(refuse(&name, "a sparse file")),
            Kind::Regular if is_document => self.take_document(name, entry.size),
            Kind::Regular => self.take_file(name, entry.size),
            Kind::Symlink(target) if !is_layout => self.take_link(name, &target, true),
            Kind::HardLink(target) if !is_layout => self.take_link(name, &target, false),
            Kind::Symlink(_) | Kind::HardLink(_) => Err(refuse(&name, "a link")),
            Kind::Fifo => Err(refuse(&name, "a FIFO")),
            Kind::CharacterDevice(..) | Kind::BlockDevice(..) => Err(refuse(&name, "a device")),
        }
    }

    fn take_document(&mut self, name: String, size: u64) -> Result<()> {
        if size > MAX_DOCUMENT {
            let message = format!("{name} has {size} bytes, and {MAX_DOCUMENT} is the most");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut bytes = Vec::new();
        self.content(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        self.contents.documents.insert(name, bytes);
        Ok(())
    }

    fn take_file(&mut self, name: String, size: u64) -> Result<()> {
        // Of Docker's oldest format, which nobody reads any more.
        if name == "repositories" || name.ends_with("/VERSION") || name.ends_with("/json") {
            return Ok(());
        }
        let unknown = MediaType::Other("application/octet-stream".into());
        let descriptor = match digest_of(&name)? {
            Some(digest) => self.blob(Descriptor::new(unknown, digest, size))?,
            None => {
                let mut writer = self.store.writer_unnamed()?;
                self.content(|piece| writer.append(piece))?;
                writer.commit(unknown)?
            }
        };
        self.contents.files.insert(name, descriptor);
        Ok(())
    }

    /// Writes content with a digest into the store, unless it is there.
    fn blob(&mut self, descriptor: Descriptor) -> Result<Descriptor> {
        let (digest, work, progress) = (&descriptor.digest, Work::Copy, self.progress);
        let Ingest::Writer(writer) = self.store.ingest(&descriptor)? else {
            progress.report(Event::Existed { digest, work });
            return Ok(descriptor);
        };
        write_blob(writer, &descriptor, progress, |take| self.content(take))?;
        Ok(descriptor)
    }

    fn take_link(&mut self, name: String, target: &[u8], is_symbolic: bool) -> Result<()> {
        let target = std::str::from_utf8(target)
            .map_err(|_| refuse(&name, "a link to a name that is not UTF-8"))?;
        let base = match name.rsplit_once('/') {
            Some((directory, _)) if is_symbolic => directory,
            _ => "",
        };
        let resolved =
            join(base, target).ok_or_else(|| refuse(&name, "a link that leads out of it"))?;
        self.contents.links.insert(name, resolved);
        Ok(())
    }

    /// Hands over the content of the entry, piece by piece.
    fn content(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            let piece = self.reader.content()?;
            let length = piece.len();
            if length == 0 {
                return Ok(());
            }
            take(piece)?;
            self.reader.consume(length);
        }
    }
}

/// The digest that a file's name in `blobs/` promises; none for other files.
fn digest_of(name: &str) -> Result<Option<Digest>> {
    let Some(rest) = name.strip_prefix("blobs/") else {
        return Ok(None);
    };
    let digest = rest.replacen('/', ":", 1).parse::<Digest>();
    digest
        .map(Some)
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("{name:?}: {error}")))
}

fn clean(entry: &Entry) -> Result<String> {
    let refuse = |why| Err(refuse(&entry.shown(), why));
    let Ok(name) = std::str::from_utf8(&entry.path) else {
        return refuse("a name that is not UTF-8");
    };
    let is_odd = name.starts_with('/') || name.split('/').any(|part| part == "..");
    match join("", name) {
        Some(name) if !is_odd => Ok(name),
        _ => refuse("a name that leads out of it"),
    }
}

/// A name relative to the archive's root, without `.` and `..`; none if it leads out of it.
fn join(base: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    if name.starts_with('/') {
        return None;
    }
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn refuse(name: &str, what: &str) -> Error {
    let message = format!("{name} is {what}: no archive of images has that");
    Error::new(ErrorKind::Corrupt, message)
}

/// The first bytes of a stream, which stay in it; fewer if it ends before.
pub(super) fn peek(stream: &mut impl BufRead) -> Result<&[u8]> {
    stream
        .fill_buf()
        .map_err(|error| Error::system("read archive", error))
}

/// The first four bytes of a file.
pub(super) fn magic(mut file: impl Read) -> Result<[u8; 4]> {
    let mut bytes = [0; 4];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system("read layer", error)),
        }
    }
    Ok(bytes)
}

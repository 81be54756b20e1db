//! Entries, one after the other.

use std::io::BufRead;

use super::entry::shown;
use super::header::{Format, Header, Refusal};
use super::pax::{self, Records};
use super::{BLOCK, Entry, Kind, Time, sparse};
use crate::error::{Error, ErrorKind, Result};

/// Names longer than this can't be looked up: PATH_MAX without its NUL.
const LONGEST_NAME: usize = 4095;
/// Extended headers longer than this are made by nobody but attackers.
const LARGEST_HEADER: u64 = 1 << 20;

/// Reads an archive from a stream.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes that were read.
    pub(super) offset: u64,
    /// What is left of this entry's content, and of what fills its last block.
    pub(super) content: u64,
    filling: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads from a stream that begins with an archive's first header.
    pub fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            content: 0,
            filling: 0,
        }
    }

    /// The next entry, or none at the archive's end. What is left of the last one's content is
    /// passed over.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the archive is cut off or malformed, or when readers in use
    /// would not agree on what it says; [`ErrorKind::System`] when the stream fails.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip(self.content + self.filling)?;
        (self.content, self.filling) = (0, 0);
        let mut before = Before::default();
        loop {
            let Some(block) = self.header_block()? else {
                return match before.is_empty() {
                    true => Ok(None),
                    false => Err(self.refuse(&[], "it ends after an extended header")),
                };
            };
            let header = Header::parse(&block).map_err(|why| self.refuse(&block[..100], why))?;
            if !self.extends(&header, &mut before)? {
                return self.entry(&header, before).map(Some);
            }
        }
    }

    /// The next bytes of the entry's content as it is stored (of a sparse file: its parts, one
    /// after the other); empty at its end. They count as read after [`Self::consume`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the archive is cut off, [`ErrorKind::System`] when the
    /// stream fails.
    pub fn content(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let bytes = self
            .source
            .fill_buf()
            .map_err(|error| failed(offset, error))?;
        if bytes.is_empty() {
            return Err(truncated(offset));
        }
        let left = usize::try_from(self.content).unwrap_or(usize::MAX);
        Ok(&bytes[..bytes.len().min(left)])
    }

    /// So many of the bytes that [`Self::content`] has shown are read.
    pub fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.offset += length as u64;
        self.content -= length as u64;
    }

    /// The stream, behind the archive's end.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// A block that is no end mark.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if !is_zero(&block) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if !is_zero(&second) => {
                Err(self.refuse(&[], "it goes on after half an end mark"))
            }
            _ => Ok(None),
        }
    }

    /// Takes in what a header says of the entry that comes after it. Whether it was such a one.
    fn extends(&mut self, header: &Header<'_>, before: &mut Before) -> Result<bool> {
        const TWICE: Refusal = "two extended headers speak of one entry";
        let path = header.path();
        match header.kind() {
            b'x' | b'g' => {
                let data = self.header_data(header)?;
                let taken = if header.kind() == b'g' {
                    pax::check_global(&data)
                } else if before.is_empty() {
                    pax::parse(&data).map(|records| before.records = Some(records))
                } else {
                    Err(TWICE)
                };
                taken.map_err(|why| self.refuse(&path, why))?;
            }
            kind @ (b'L' | b'K') => {
                let data = self.header_data(header)?;
                let place = match kind {
                    b'L' => &mut before.path,
                    _ => &mut before.link,
                };
                if before.records.is_some() || place.is_some() {
                    return Err(self.refuse(&path, TWICE));
                }
                *place = Some(long_name(data).map_err(|why| self.refuse(&path, why))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The content of an extended header, whole.
    fn header_data(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let path = header.path();
        let size = header.size().map_err(|why| self.refuse(&path, why))?;
        if size > LARGEST_HEADER {
            return Err(self.refuse(&path, "its extended header is longer than 1 MiB"));
        }
        self.content = size;
        self.filling = filling(size);
        let mut data = Vec::new();
        loop {
            let bytes = self.content()?;
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            data.extend_from_slice(bytes);
            self.consume(length);
        }
        // Python reads on to the block's end, or a NUL.
        if self.next_byte_of_filling()? != 0 {
            return Err(self.refuse(&path, "its extended header goes on after its end"));
        }
        self.skip(self.filling)?;
        self.filling = 0;
        Ok(data)
    }

    /// What fills the block of a content that was read begins with this, if anything does.
    fn next_byte_of_filling(&mut self) -> Result<u8> {
        if self.filling == 0 {
            return Ok(0);
        }
        let offset = self.offset;
        let bytes = self
            .source
            .fill_buf()
            .map_err(|error| failed(offset, error))?;
        bytes.first().copied().ok_or_else(|| truncated(offset))
    }

    /// The entry of a header, with what came before it.
    fn entry(&mut self, header: &Header<'_>, before: Before) -> Result<Entry> {
        let mut entry = Entry {
            path: header.path(),
            ..Entry::default()
        };
        let mut records = Records::default();
        let filled = before.fill(header, &mut entry, &mut records);
        let stored = filled.map_err(|why| self.refuse(&entry.path, why))?;
        self.content = stored;
        self.filling = filling(stored);
        if entry.kind == Kind::Regular {
            self.read_map(header, &records, &mut entry)?;
        }
        check_names(&entry).map_err(|why| self.refuse(&entry.path, why))?;
        Ok(entry)
    }

    /// Reads where a sparse file's parts lie, in any of the four formats.
    fn read_map(
        &mut self,
        header: &Header<'_>,
        records: &Records,
        entry: &mut Entry,
    ) -> Result<()> {
        entry.size = self.content;
        let segments = match (header.kind(), records.sparse.is_named) {
            (_, false) if header.kind() != b'S' => return Ok(()),
            (b'S', false) => self.old_map(header, entry)?,
            (b'S', true) => {
                return Err(self.refuse(&entry.path, "its holes are described in two ways"));
            }
            _ => self.pax_map(&records.sparse, entry)?,
        };
        let checked = sparse::check(segments, entry.size, self.content);
        entry.segments = Some(checked.map_err(|why| self.refuse(&entry.path, why))?);
        Ok(())
    }

    /// The next block, or none if the stream ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let offset = self.offset;
            let bytes = self
                .source
                .fill_buf()
                .map_err(|error| failed(offset, error))?;
            if bytes.is_empty() {
                return match filled {
                    0 => Ok(None),
                    _ => Err(truncated(offset)),
                };
            }
            let length = bytes.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&bytes[..length]);
            self.source.consume(length);
            self.offset += length as u64;
            filled += length;
        }
        Ok(Some(block))
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let offset = self.offset;
            let bytes = self
                .source
                .fill_buf()
                .map_err(|error| failed(offset, error))?;
            if bytes.is_empty() {
                return Err(truncated(offset));
            }
            let step = bytes
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            self.source.consume(step);
            self.offset += step as u64;
            length -= step as u64;
        }
        Ok(())
    }

    /// An error that names the entry and its place.
    pub(super) fn refuse(&self, path: &[u8], why: Refusal) -> Error {
        let at = self.offset;
        let object = match path.split(|byte| *byte == 0).next() {
            None | Some([]) => format!("the archive, before byte {at}"),
            Some(path) => format!("entry {} before byte {at}", shown(path)),
        };
        Error::new(ErrorKind::Corrupt, format!("{object}: {why}"))
    }
}

/// What extended headers have said of the entry that comes next.
#[derive(Default)]
struct Before {
    records: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Before {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.path.is_none() && self.link.is_none()
    }

    /// Fills in the entry; returns how many bytes of content follow. Where both speak, extended
    /// headers win.
    fn fill(
        self,
        header: &Header<'_>,
        entry: &mut Entry,
        records: &mut Records,
    ) -> Result<u64, Refusal> {
        let (is_named, has_link) = (self.path.is_some(), self.link.is_some());
        *records = self.records.unwrap_or_default();
        let mut link = self.link.or(records.link.take());
        let name = records.sparse.name.take();
        if let Some(path) = name.or(self.path).or(records.path.take()) {
            entry.path = path;
        }
        entry.mode = header.mode()?;
        let (uid, gid) = (header.uid(), header.gid());
        entry.uid = records.uid.map_or(uid, Ok)?;
        entry.gid = records.gid.map_or(gid, Ok)?;
        let seconds = header.mtime()?;
        entry.mtime = records.mtime.unwrap_or(Time {
            seconds,
            nanoseconds: 0,
        });
        entry.xattrs = std::mem::take(&mut records.xattrs);
        let device = header.device()?;
        let size = size(header, records.size)?;
        entry.kind = match header.kind() {
            b'\0' if entry.path.ends_with(b"/") => Kind::Directory,
            b'\0' | b'0' | b'7' | b'S' if entry.path.ends_with(b"/") => {
                return Err("it is a file whose name is a directory's");
            }
            b'\0' | b'0' | b'7' => Kind::Regular,
            b'S' if header.format == Format::Gnu => Kind::Regular,
            b'1' => Kind::HardLink(link.take().unwrap_or_else(|| header.link())),
            b'2' => Kind::Symlink(link.take().unwrap_or_else(|| header.link())),
            b'3' => Kind::CharacterDevice(device.0, device.1),
            b'4' => Kind::BlockDevice(device.0, device.1),
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err("it is of a kind that no image has (a volume's label, say)"),
        };
        if has_link && link.is_some() {
            return Err("a link's target stands before what is no link");
        }
        let is_regular = entry.kind == Kind::Regular;
        if !is_regular && size > 0 {
            return Err("it has content and is no regular file");
        }
        if records.sparse.is_named && (!is_regular || is_named) {
            return Err("it has holes and is no regular file");
        }
        Ok(size)
    }
}

/// The size that an extended header says is for what doesn't fit into the field: where a writer
/// has no need of it, a reader that doesn't know it sees other entries.
fn size(header: &Header<'_>, extended: Option<u64>) -> Result<u64, Refusal> {
    const LARGEST_OCTAL: u64 = 0o77_777_777_777;
    let field = header.size();
    match (extended, field) {
        (None, field) => field,
        (Some(size), Ok(field)) if size == field => Ok(size),
        (Some(size), _) if size > LARGEST_OCTAL && i64::try_from(size).is_ok() => Ok(size),
        _ => Err("its header and its extended header have different sizes"),
    }
}

/// A name of GNU's, whose NUL at the end is not part of it.
fn long_name(mut data: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    while data.last() == Some(&0) {
        data.pop();
    }
    if data.is_empty() || data.contains(&0) {
        return Err("its long name is empty, or has a NUL in it");
    }
    Ok(data)
}

fn check_names(entry: &Entry) -> Result<(), Refusal> {
    let link: &[u8] = match &entry.kind {
        Kind::Symlink(link) | Kind::HardLink(link) => link,
        _ => b"-",
    };
    if entry.path.is_empty() {
        return Err("it has no name");
    }
    if link.is_empty() {
        return Err("it is a link without a target");
    }
    if entry.path.len() > LONGEST_NAME || link.len() > LONGEST_NAME {
        return Err("its name, or its link's, is longer than 4095 bytes");
    }
    Ok(())
}

fn filling(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    *block == [0; BLOCK]
}

pub(super) fn truncated(offset: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the archive is cut off after {offset} bytes"),
    )
}

fn failed(offset: u64, error: std::io::Error) -> Error {
    Error::system(format_args!("read the archive after byte {offset}"), error)
}

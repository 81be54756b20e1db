//! Archives, written the same way for the same entries: pax, as few records as are needed.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{BLOCK, Entry, Kind, Segment, Time, Xattr};

/// Writes an archive. The bytes depend on the entries alone.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// What fills the last block of the entry's content.
    filling: usize,
    /// Content that is still to come.
    left: u64,
}

const LARGEST_SIZE: u64 = 0o77_777_777_777;
const LARGEST_ID: u32 = 0o7_777_777;

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            filling: 0,
            left: 0,
        }
    }

    /// Begins an entry. Its content, as long as its size or its segments say, follows by
    /// [`Self::content`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a device number that no archive can hold, or when
    /// the last entry's content was too short; else what writing fails with.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_content()?;
        let map = entry
            .segments
            .as_ref()
            .map(|segments| map(segments, entry.size));
        let stored = match (&entry.segments, &map) {
            (Some(segments), Some(map)) => {
                let content: u64 = segments.iter().map(|segment| segment.length).sum();
                content + map.len() as u64
            }
            _ => entry.size,
        };
        let records = records(entry, stored);
        if !records.is_empty() {
            let header = Entry {
                path: b"PaxHeaders/x".to_vec(),
                mode: 0o644,
                ..Entry::default()
            };
            self.out
                .write_all(&block(&header, b'x', records.len() as u64)?)?;
            self.out.write_all(&records)?;
            self.fill(records.len() as u64)?;
        }
        self.out
            .write_all(&block(entry, kind(&entry.kind), stored)?)?;
        self.left = stored;
        self.filling = filling(stored);
        match map {
            Some(map) => self.content(&map),
            None => Ok(()),
        }
    }

    /// Further content of the entry.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is more than the entry said; else what writing
    /// fails with.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.out.write_all(bytes)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.end_content()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn end_content(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let filling = std::mem::take(&mut self.filling);
        self.out.write_all(&[0; BLOCK][..filling])
    }

    fn fill(&mut self, length: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..filling(length)])
    }
}

fn filling(length: u64) -> usize {
    let rest = usize::try_from(length % BLOCK as u64).unwrap_or_default();
    (BLOCK - rest) % BLOCK
}

fn kind(kind: &Kind) -> u8 {
    match kind {
        Kind::Regular => b'0',
        Kind::HardLink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::CharacterDevice(..) => b'3',
        Kind::BlockDevice(..) => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The header; what doesn't fit is 0 there, or cut off, and stands in a record.
fn block(entry: &Entry, kind: u8, stored: u64) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}");
    put(0, &entry.path[..entry.path.len().min(100)]);
    put(100, octal(entry.mode.into(), 7).as_bytes());
    put(108, octal(small_id(entry.uid).into(), 7).as_bytes());
    put(116, octal(small_id(entry.gid).into(), 7).as_bytes());
    let size = if stored > LARGEST_SIZE { 0 } else { stored };
    put(124, octal(size, 11).as_bytes());
    let seconds = u64::try_from(entry.mtime.seconds).ok();
    let seconds = seconds.filter(|seconds| *seconds <= LARGEST_SIZE);
    put(136, octal(seconds.unwrap_or(0), 11).as_bytes());
    put(156, &[kind]);
    if let Kind::Symlink(link) | Kind::HardLink(link) = &entry.kind {
        put(157, &link[..link.len().min(100)]);
    }
    put(257, b"ustar\x0000");
    let (major, minor) = match entry.kind {
        Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) => (major, minor),
        _ => (0, 0),
    };
    if major > LARGEST_ID || minor > LARGEST_ID {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    put(329, octal(major.into(), 7).as_bytes());
    put(337, octal(minor.into(), 7).as_bytes());
    put(148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

fn small_id(id: u32) -> u32 {
    if id > LARGEST_ID { 0 } else { id }
}

/// What the header can't say; sorted by key, but for the attributes' own order.
fn records(entry: &Entry, stored: u64) -> Vec<u8> {
    let mut records = Records::default();
    let link: &[u8] = match &entry.kind {
        Kind::Symlink(link) | Kind::HardLink(link) => link,
        _ => b"",
    };
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let (long_path, long_link) = (entry.path.len() > 100, link.len() > 100);
    if (long_path && !is_text(&entry.path)) || (long_link && !is_text(link)) {
        records.add("hdrcharset", b"BINARY");
    }
    if entry.segments.is_some() {
        records.add("GNU.sparse.major", b"1");
        records.add("GNU.sparse.minor", b"0");
        records.add("GNU.sparse.name", &entry.path);
        records.add("GNU.sparse.realsize", entry.size.to_string().as_bytes());
    }
    for xattr in &entry.xattrs {
        records.add_xattr(xattr);
    }
    if entry.gid > LARGEST_ID {
        records.add("gid", entry.gid.to_string().as_bytes());
    }
    if long_link {
        records.add("linkpath", link);
    }
    let is_plain = u64::try_from(entry.mtime.seconds).is_ok_and(|time| time <= LARGEST_SIZE);
    if entry.mtime.nanoseconds != 0 || !is_plain {
        records.add("mtime", decimal(entry.mtime).as_bytes());
    }
    if long_path && entry.segments.is_none() {
        records.add("path", &entry.path);
    }
    if stored > LARGEST_SIZE {
        records.add("size", stored.to_string().as_bytes());
    }
    if entry.uid > LARGEST_ID {
        records.add("uid", entry.uid.to_string().as_bytes());
    }
    records.0
}

#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
    fn add(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        let key = key.as_ref();
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

impl Records {
    /// A key ends at the first `=`: names that have one are written as libarchive does it.
    fn add_xattr(&mut self, xattr: &Xattr) {
        if !xattr.name.contains(&b'=') {
            let key = [b"SCHILY.xattr.", xattr.name.as_slice()].concat();
            return self.add(key, &xattr.value);
        }
        let mut key = b"LIBARCHIVE.xattr.".to_vec();
        for byte in &xattr.name {
            match byte {
                b'=' | b'%' => key.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                byte => key.push(*byte),
            }
        }
        self.add(key, STANDARD_NO_PAD.encode(&xattr.value).as_bytes());
    }
}

/// Seconds with as many digits of a fraction as are needed.
fn decimal(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds @ ..0, 0) => ("-", seconds.unsigned_abs(), 0),
        (seconds @ ..0, rest) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - rest),
        (seconds, rest) => ("", seconds.unsigned_abs(), rest),
    };
    let fraction = format!("{nanoseconds:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{seconds}"),
        digits => format!("{sign}{seconds}.{digits}"),
    }
}

/// The map of GNU's sparse format 1.0: numbers on lines, filled up to whole blocks. A hole at
/// the end is told by an empty part.
fn map(segments: &[Segment], size: u64) -> Vec<u8> {
    let end = Segment {
        offset: size,
        length: 0,
    };
    let has_end = segments
        .last()
        .is_some_and(|last| last.offset + last.length == size);
    let end = (!has_end).then_some(end);
    let mut map = format!("{}\n", segments.len() + usize::from(end.is_some()));
    for segment in segments.iter().chain(&end) {
        map += &format!("{}\n{}\n", segment.offset, segment.length);
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

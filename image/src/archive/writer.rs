//! Writes a tar archive of plain files: pax, owned by root, of 1970, and so the same every time.

use std::io::Write;

use crate::error::{Error, Result};

const BLOCK: usize = 512;
/// What fits into a header's field of eleven octal digits.
const LARGEST_OCTAL: u64 = 0o77_777_777_777;
const LONGEST_NAME: usize = 100;

/// An archive that grows.
#[derive(Debug)]
pub(super) struct Writer<W> {
    out: W,
    /// What is missing of the entry's content, and of its last block.
    content: u64,
    filling: usize,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            content: 0,
            filling: 0,
        }
    }

    /// Begins a directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.header(format!("{name}/").as_bytes(), b'5', 0o755, 0)
    }

    /// Begins a file of `size` bytes, which have to follow.
    pub(super) fn file(&mut self, name: &str, size: u64) -> Result<()> {
        self.header(name.as_bytes(), b'0', 0o644, size)
    }

    /// Writes a whole file.
    pub(super) fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.file(name, bytes.len() as u64)?;
        self.append(bytes)
    }

    /// The next bytes of the file.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        self.content = self.content.saturating_sub(bytes.len() as u64);
        if self.content == 0 {
            let filling = std::mem::take(&mut self.filling);
            self.write(&[0; BLOCK][..filling])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(failed)
    }

    pub(super) fn header(&mut self, name: &[u8], kind: u8, mode: u32, size: u64) -> Result<()> {
        let mut records = Vec::new();
        if name.len() > LONGEST_NAME {
            records.extend(record("path", name));
        }
        if size > LARGEST_OCTAL {
            records.extend(record("size", size.to_string().as_bytes()));
        }
        if !records.is_empty() {
            self.write(&block(b"pax", b'x', 0o644, records.len() as u64))?;
            self.begin_content(records.len() as u64);
            self.append(&records)?;
        }
        let short = &name[..name.len().min(LONGEST_NAME)];
        let field = if size > LARGEST_OCTAL { 0 } else { size };
        self.write(&block(short, kind, mode, field))?;
        self.begin_content(size);
        Ok(())
    }

    fn begin_content(&mut self, size: u64) {
        self.content = size;
        let last = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        self.filling = (BLOCK - last) % BLOCK;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::system("write archive", error)
}

/// A record of an extended header: its length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn block(name: &[u8], kind: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tar::{Kind, Reader};

    #[test]
    fn what_is_written_is_read_again() {
        let long = format!("blobs/sha512/{}", "f".repeat(128));
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.directory("blobs").expect("written");
        writer.whole(&long, b"content").expect("written");
        writer.whole("empty", b"").expect("written");
        writer.whole("block", &[7; BLOCK]).expect("written");
        writer.finish().expect("written");
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        let mut seen = Vec::new();
        while let Some(entry) = reader.next_entry().expect("it is well-formed") {
            let path = String::from_utf8(entry.path).expect("text");
            seen.push((path, entry.kind, entry.size));
        }
        let expected = [
            ("blobs/".to_owned(), Kind::Directory, 0),
            (long, Kind::Regular, 7),
            ("empty".to_owned(), Kind::Regular, 0),
            ("block".to_owned(), Kind::Regular, 512),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_record_counts_itself() {
        for (length, whole) in [(1, 9), (2, 11), (89, 98), (90, 99), (91, 101)] {
            let record = record("path", &vec![b'a'; length]);
            assert_eq!(record.len(), whole, "{length}");
            assert!(record.starts_with(format!("{whole} path=").as_bytes()));
        }
    }
}

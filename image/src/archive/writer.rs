//! Writes an archive of plain files, owned by root and of 1970: the same every time.

use std::io::{self, Write};

use crate::error::{Error, Result};
use crate::layer::tar::{self, Entry, Kind};

/// An archive that grows.
#[derive(Debug)]
pub(super) struct Writer<W>(tar::Writer<W>);

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self(tar::Writer::new(out))
    }

    /// A directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(&Entry {
            path: format!("{name}/").into_bytes(),
            kind: Kind::Directory,
            mode: 0o755,
            ..Entry::default()
        })
    }

    /// Begins a file of `size` bytes, which have to follow.
    pub(super) fn file(&mut self, name: &str, size: u64) -> Result<()> {
        self.entry(&Entry {
            path: name.into(),
            mode: 0o644,
            size,
            ..Entry::default()
        })
    }

    /// Writes a whole file.
    pub(super) fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.file(name, bytes.len() as u64)?;
        self.append(bytes)
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.0.entry(entry).map_err(failed)
    }

    /// The next bytes of the file.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.content(bytes).map_err(failed)
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<()> {
        let out = self.0.finish();
        out.and_then(|mut out| out.flush()).map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    Error::system("write archive", error)
}

//! Reading a cgroup directory's files into one buffer, each with one openat(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::counters::Counters;
use super::{Limit, Pressure, parse};
use crate::cgroup::{CgroupError, Place};

/// No file of a cgroup that is meant for reading is longer: `cpuacct.usage_all` of 8192
/// processors has some 400 KiB.
const LONGEST: usize = 1 << 20;

/// Reads files below one directory. A file that the kernel does not have is None.
#[derive(Debug)]
pub(super) struct Files<'a> {
    place: &'a Place,
    buffer: &'a mut Buffer,
}

impl<'a> Files<'a> {
    pub(super) fn new(place: &'a Place, buffer: &'a mut Buffer) -> Self {
        Self { place, buffer }
    }

    pub(super) fn value(&mut self, file: &str) -> Result<Option<u64>, CgroupError> {
        self.whole(file, parse::value)
    }

    pub(super) fn signed(&mut self, file: &str) -> Result<Option<i64>, CgroupError> {
        self.whole(file, parse::signed)
    }

    pub(super) fn limit(&mut self, file: &str) -> Result<Option<Limit>, CgroupError> {
        self.whole(file, parse::limit)
    }

    pub(super) fn counters(&mut self, file: &str) -> Result<Counters, CgroupError> {
        let counters = self.table(file, Counters::new)?;
        Ok(counters.unwrap_or_default())
    }

    pub(super) fn pressure(&mut self, file: &str) -> Result<Option<Pressure>, CgroupError> {
        self.table(file, parse::pressure)
    }

    /// A file of which a part may be understood.
    pub(super) fn table<T>(
        &mut self,
        file: &str,
        parse: impl FnOnce(&str) -> T,
    ) -> Result<Option<T>, CgroupError> {
        Ok(self.text(file)?.map(parse))
    }

    /// A file that is understood whole, or an error.
    pub(super) fn whole<T>(
        &mut self,
        file: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, CgroupError> {
        let place = self.place;
        let Some(text) = self.text(file)? else {
            return Ok(None);
        };
        let understood = parse(text).ok_or_else(|| CgroupError::Content {
            path: place.path().join(file),
            content: text.chars().take(80).collect(),
        })?;
        Ok(Some(understood))
    }

    /// The sizes of huge pages that the directory counts, by the names of its files.
    pub(super) fn page_sizes(&self, file: &str) -> Result<Vec<String>, CgroupError> {
        let found = self.place.names_between("hugetlb.", &format!(".{file}"));
        let mut sizes = found.map_err(|source| self.place.failed_itself("list", source))?;
        // `hugetlb.2MB.rsvd.current` counts the same pages in another way.
        sizes.retain(|size| !size.contains('.'));
        Ok(sizes)
    }

    fn text(&mut self, file: &str) -> Result<Option<&str>, CgroupError> {
        match self.fill(file) {
            Ok(()) => {}
            // EOPNOTSUPP: pressure is not measured, or the directory is in a threaded subtree.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => return Ok(None),
            Err(source) => return Err(self.place.failed("read", file, source)),
        }
        match std::str::from_utf8(self.buffer.bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(CgroupError::Content {
                path: self.place.path().join(file),
                content: String::from_utf8_lossy(self.buffer.bytes())
                    .chars()
                    .take(80)
                    .collect(),
            }),
        }
    }

    fn fill(&mut self, file: &str) -> Result<(), Errno> {
        let file = self.place.open(file)?;
        let is_whole = self.buffer.read(file.as_fd(), LONGEST)?;
        is_whole.then_some(()).ok_or(Errno::EFBIG)
    }
}

/// Bytes that were read, in memory that is used again for the next file.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    filled: usize,
}

impl Buffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Reads a file from where it stands; false when there is more of it than may be read.
    pub(super) fn read(&mut self, file: BorrowedFd<'_>, longest: usize) -> Result<bool, Errno> {
        const CHUNK: usize = 16 << 10;
        self.filled = 0;
        loop {
            if self.filled >= longest {
                return Ok(false);
            }
            if self.filled == self.memory.len() {
                self.memory.resize(self.filled + CHUNK, 0);
            }
            match nix::unistd::read(file, &mut self.memory[self.filled..]) {
                Ok(0) => return Ok(true),
                Ok(length) => self.filled += length,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

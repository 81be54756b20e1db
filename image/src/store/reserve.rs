//! Room for index.json on a disk that has none left.
//!
//! ```text
//! ROOT/reserve   blocks that nothing is written to ──rename──▶ ingest/index.json, written in
//!                place, cut, synced ──rename──▶ ROOT/index.json
//! ```
//!
//! Who wants to free space must first write a list that is without an image, and a full disk has no
//! block for that. So the list goes into blocks that were allocated when there were some: the
//! file itself becomes the new list, and no other writer can be quicker than this one. What is
//! cut off of it, and the old list, make up the next reserve.

use std::fs::File;
use std::io::Write;

use rustix::fs::{FallocateFlags, fallocate};

use super::layout::{INDEX, Layout};
use crate::error::{Error, Result};

const RESERVE: &str = "reserve";
const BLOCK: u64 = 4096;
/// What a directory needs on top that gets one more name.
const LEAST: u64 = 64 << 10;

impl Layout {
    /// Makes the reserve, or makes it larger, if need be, if nobody is changing the list, and as
    /// far as there is room. It is no error if there is none.
    pub(super) fn see_to_reserve(&self) -> Result<()> {
        let size = self.root.size_of(RESERVE)?;
        // A store on a disk that can only be read is one, too.
        if size.unwrap_or(0) < self.reserve_wanted()?
            && let Ok(Some(_lock)) = self.try_lock_index()
        {
            self.fill_reserve();
        }
        Ok(())
    }

    /// Writes the file `name` in `ingest/` into the blocks of the reserve. The caller holds the
    /// lock on the index; `failure` is what happened without the reserve.
    pub(super) fn write_reserved(&self, name: &str, bytes: &[u8], failure: Error) -> Result<()> {
        self.ingest.remove(name)?;
        // Only for what makes it no fuller: otherwise the disk would be as full, and the reserve less.
        let is_shorter = self.root.size_of(name)? >= Some(bytes.len() as u64);
        if !is_shorter || self.root.size_of(RESERVE)?.is_none() {
            return Err(failure);
        }
        self.root.rename(RESERVE, &self.ingest, name)?;
        let path = self.ingest.path_of(name);
        let failed =
            |error: std::io::Error| Error::system(format!("write {}", path.display()), error);
        let mut file = self.ingest.file_to_write(name)?;
        file.write_all(bytes).map_err(failed)?;
        file.set_len(bytes.len() as u64).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// Allocates what is wanted, or else a half of it, and so on: what can't be had is missing when
    /// it is needed, and that is told then. The caller holds the lock on the index.
    pub(super) fn fill_reserve(&self) {
        self.allocate_reserve().ok();
    }

    fn allocate_reserve(&self) -> Result<()> {
        let file = self.root.file_to_write(RESERVE)?;
        let before = length(&file);
        let mut wanted = self.reserve_wanted()?;
        while wanted > before {
            if fallocate(&file, FallocateFlags::empty(), 0, wanted).is_ok() {
                return Ok(());
            }
            // A part of it may have been allocated.
            file.set_len(before).ok();
            wanted = wanted / 2 / BLOCK * BLOCK;
        }
        if before == 0 {
            self.root.remove(RESERVE)?;
        }
        Ok(())
    }

    fn reserve_wanted(&self) -> Result<u64> {
        let index = self.root.size_of(INDEX)?.unwrap_or(0);
        Ok(LEAST + index.div_ceil(BLOCK) * 2 * BLOCK)
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_reserve_becomes_a_list_that_is_no_longer_and_is_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("store");
        let layout = Layout::open(&root, Duration::from_secs(5)).expect("a store");
        let found = || root.join(RESERVE).metadata().expect("it is there");
        let reserve = found();
        assert!(reserve.blocks() * 512 >= LEAST, "its blocks are allocated");
        let full = || Error::new(ErrorKind::NoSpace, "full");
        let list = std::fs::read(root.join(INDEX)).expect("there");

        let longer = [&list[..], b" "].concat();
        let error = layout.write_reserved(INDEX, &longer, full());
        assert_eq!(error.expect_err("it is longer").to_string(), "full");
        assert_eq!(found().ino(), reserve.ino());

        let written = layout.write_reserved(INDEX, &list, full());
        written.expect("there are blocks for it");
        let new = root.join("ingest").join(INDEX);
        assert_eq!(std::fs::read(&new).expect("there"), list);
        assert_eq!(new.metadata().expect("there").ino(), reserve.ino());
        let error = layout.write_reserved(INDEX, &list, full());
        assert_eq!(error.expect_err("it is used up").to_string(), "full");
        layout.fill_reserve();
        assert_eq!(found().len(), reserve.len());
    }
}

//! tar archives, read strictly.
//!
//! Known are ustar, GNU's long names and sparse files, and pax. Where readers that are in use
//! (GNU tar, Go's archive/tar, libarchive, Python's tarfile) would see different entries in the
//! same bytes, the archive is refused: an entry that one program checks and another one unpacks
//! is how content is smuggled (CVE-2025-62518).

mod entry;
mod header;
mod number;
mod pax;
mod reader;
mod sparse;
mod writer;

pub(crate) use entry::shown;
pub use entry::{Entry, Kind, Segment, Time, Xattr};
pub use reader::Reader;
pub use writer::Writer;

/// Archives are made of blocks of so many bytes.
pub(crate) const BLOCK: usize = 512;

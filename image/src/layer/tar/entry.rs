//! What an archive says of one file.

/// One file, as the archive tells it: all extensions are taken into account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as it stands in the archive: not cleaned, at most 4095 bytes, no NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with the setuid, setgid and sticky bits; nothing else.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was modified.
    pub mtime: Time,
    /// Its size, in bytes, holes included. 0 unless it is a regular file.
    pub size: u64,
    /// Where its content's parts lie, if it has holes: ascending, not overlapping.
    pub segments: Option<Vec<Segment>>,
    /// Extended attributes, in the archive's order; no name stands there twice.
    pub xattrs: Vec<Xattr>,
}

/// What a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: its content follows.
    #[default]
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link, to this text.
    Symlink(Vec<u8>),
    /// A further name of the file that has this name in the archive's tree.
    HardLink(Vec<u8>),
    /// A character device: major, minor.
    CharacterDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// May be negative.
    pub seconds: i64,
    /// Always counts forwards: below 1,000,000,000.
    pub nanoseconds: u32,
}

/// A part of a sparse file that is no hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From the file's begin, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// With its namespace: `user.comment`. No NUL, not empty.
    pub name: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
}

impl Entry {
    /// Its name, for messages: cut where it is too long for a line.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// Bytes from an archive, for messages: quoted, and cut where they are too long for a line.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 200;
    let cut = &bytes[..bytes.len().min(LONGEST)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_ascii())
}

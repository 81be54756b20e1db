//! Names in archives: what they mean, and which are refused.

use crate::error::{Error, ErrorKind, Result};
use crate::layer::tar::shown;

/// A file's name that begins so is no file's. image-spec, layer.md, "Whiteouts".
pub(in super::super) const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own bookkeeping.
const AUFS: &[u8] = b".wh..wh.";

/// What an entry is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// The layer's root.
    Root,
    /// A file: its parent and its name there.
    File(&'a [u8], &'a [u8]),
    /// This name, in this parent, is not in lower layers any more.
    Whiteout(&'a [u8], &'a [u8]),
    /// Nothing that lower layers have in this directory is there any more.
    Opaque(&'a [u8]),
    /// aufs' bookkeeping, which means nothing.
    Nothing,
}

/// A name from an archive without leading slashes, `.`, and doubled or trailing slashes; empty
/// for the root.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for `..`: programs differ on whether it goes back through a link.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let mut cleaned = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(refuse(path, "it climbs up with \"..\"")),
            _ => {}
        }
        if !cleaned.is_empty() {
            cleaned.push(b'/');
        }
        cleaned.extend_from_slice(component);
    }
    Ok(cleaned)
}

/// What a clean name is about.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a whiteout of nothing, of `.` or of `..`, and for a file below one.
pub(super) fn subject(path: &[u8]) -> Result<Subject<'_>> {
    if path.is_empty() {
        return Ok(Subject::Root);
    }
    let (parent, name) = split(path);
    let below = || parent.split(|byte| *byte == b'/');
    if name != OPAQUE && (name.starts_with(AUFS) || below().any(|part| part.starts_with(AUFS))) {
        return Ok(Subject::Nothing);
    }
    if below().any(|part| part.starts_with(WHITEOUT)) {
        return Err(refuse(path, "it lies below a whiteout"));
    }
    if name == OPAQUE {
        return Ok(Subject::Opaque(parent));
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Subject::File(parent, name)),
        Some(b"" | b"." | b"..") => Err(refuse(path, "it is a whiteout of no name")),
        Some(hidden) => Ok(Subject::Whiteout(parent, hidden)),
    }
}

/// A clean name's parent (empty for the root) and last component.
pub(in super::super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The clean name of `name` in `parent`.
pub(in super::super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match (parent, name) {
        (b"", _) => name.to_vec(),
        (_, b"") => parent.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

/// An error that names an entry.
pub(super) fn refuse(path: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("entry {}: {why}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_climbing_ones_refused() {
        for root in ["", ".", "./", "/", "/.", "//./"] {
            assert_eq!(clean(root.as_bytes()).expect(root), b"");
        }
        assert_eq!(clean(b"./usr//bin/./x/").expect("clean"), b"usr/bin/x");
        assert_eq!(clean(b"/etc/..x").expect("clean"), b"etc/..x");
        for bad in ["..", "a/../b", "/../etc", "a/.."] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        let of = |path: &'static str| subject(path.as_bytes());
        assert_eq!(of("a/b").ok(), Some(Subject::File(b"a", b"b")));
        assert_eq!(of("a/.wh.b").ok(), Some(Subject::Whiteout(b"a", b"b")));
        assert_eq!(of(".wh..x").ok(), Some(Subject::Whiteout(b"", b".x")));
        assert_eq!(of("a/.wh..wh..opq").ok(), Some(Subject::Opaque(b"a")));
        assert_eq!(of(".wh..wh..opq").ok(), Some(Subject::Opaque(b"")));
        assert_eq!(of(".wh..wh.plnk/7.8").ok(), Some(Subject::Nothing));
        assert_eq!(of("a/.wh..wh.aufs").ok(), Some(Subject::Nothing));
        for bad in [".wh.", "a/.wh..", ".wh...", ".wh.a/x", ".wh./x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}

//! Strings of the document on their way to the kernel: NUL-terminated, cleaned, quoted.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::place::Place;
use crate::violation::Violations;

/// How much of a wrong value a message repeats, in characters.
const QUOTED_MAX: usize = 60;

/// The string as the kernel takes it. A NUL inside is a violation.
pub(super) fn c_string(text: &str, place: Place<'_>, violations: &mut Violations) -> CString {
    match CString::new(text) {
        Ok(string) => string,
        Err(nul) => {
            violations.add(place, format!("has a NUL byte at {}", nul.nul_position()));
            CString::default()
        }
    }
}

/// Several strings as the kernel takes them.
pub(super) fn c_strings<T: std::ops::Deref<Target = str>>(
    texts: &[T],
    place: Place<'_>,
    violations: &mut Violations,
) -> Vec<CString> {
    let mut strings = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        strings.push(c_string(text, place.index(index), violations));
    }
    strings
}

/// A path of the host: absolute, or relative to the bundle. `.` and doubled slashes go; `..`
/// stays, since what it means depends on links.
pub(super) fn host_path(
    path: &str,
    bundle: &Path,
    place: Place<'_>,
    violations: &mut Violations,
) -> CString {
    if path.as_bytes().contains(&0) {
        return c_string(path, place, violations);
    }
    let joined: PathBuf = bundle.join(path).components().collect();
    CString::new(joined.as_os_str().as_bytes()).unwrap_or_default()
}

/// The same path without `.`, `..` and doubled slashes; starts with `/` and ends with none.
pub(super) fn clean(path: &str) -> String {
    let mut cleaned = String::with_capacity(path.len() + 1);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => cleaned.truncate(cleaned.rfind('/').unwrap_or(0)),
            part => {
                cleaned.push('/');
                cleaned.push_str(part);
            }
        }
    }
    if cleaned.is_empty() {
        cleaned.push('/');
    }
    cleaned
}

/// A wrong value for a message: quoted, escaped, not longer than a person reads.
pub(super) fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// The rule that an unknown word breaks: what it was, and what was likely meant or is allowed.
pub(super) fn unknown<'w>(
    what: &str,
    word: &str,
    allowed: impl Iterator<Item = &'w str> + Clone,
) -> String {
    let found = quoted(word);
    if let Some(near) = nearest(word, allowed.clone()) {
        return format!("unknown {what} {found}; did you mean {near:?}?");
    }
    let allowed: Vec<&str> = allowed.collect();
    format!(
        "unknown {what} {found}; it must be one of {}",
        allowed.join(", ")
    )
}

/// The allowed word that is at most two edits away.
pub(super) fn nearest<'w>(word: &str, allowed: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const EDITS: usize = 2;
    if word.len() > QUOTED_MAX {
        return None;
    }
    let upper = word.to_ascii_uppercase();
    allowed
        .map(|candidate| (edits(&upper, &candidate.to_ascii_uppercase()), candidate))
        .filter(|&(edits, candidate)| edits <= EDITS && edits < candidate.len())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleaned_path_stays_below_the_root() {
        for (path, cleaned) in [
            ("", "/"),
            ("/", "/"),
            ("..", "/"),
            ("/../../etc", "/etc"),
            ("a/b", "/a/b"),
            ("//a/./b//c/", "/a/b/c"),
            ("/a/../../b/..", "/"),
            ("/a/..b/...", "/a/..b/..."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn host_paths_are_joined_to_the_bundle_unless_absolute() {
        let mut violations = Violations::default();
        let mut path = |text| host_path(text, Path::new("/bundle"), Place::ROOT, &mut violations);
        assert_eq!(path("rootfs").as_c_str(), c"/bundle/rootfs");
        assert_eq!(path("./a//../b").as_c_str(), c"/bundle/a/../b");
        assert_eq!(path("/srv/x").as_c_str(), c"/srv/x");
        assert!(violations.is_empty());
    }

    #[test]
    fn a_typo_gets_the_nearest_word_and_nonsense_gets_the_list() {
        let allowed = ["pid", "network", "mount"];
        assert_eq!(nearest("netwrk", allowed.into_iter()), Some("network"));
        assert_eq!(nearest("Mount", allowed.into_iter()), Some("mount"));
        assert_eq!(nearest("zebra", allowed.into_iter()), None);
        assert_eq!(nearest("xy", ["a", "b"].into_iter()), None);
    }

    #[test]
    fn long_wrong_values_are_cut_in_messages() {
        assert_eq!(quoted("a\n"), "\"a\\n\"");
        assert!(quoted(&"ü".repeat(1_000_000)).len() < 200);
    }
}

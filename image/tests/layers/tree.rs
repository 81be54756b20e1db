//! All that a tree has, as lines that can be compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use image::Digest;

/// What a file has, but its name.
pub(crate) type Tree = BTreeMap<String, String>;

/// Reads the tree below `root`, which is `.`: mode, owner, time to the nanosecond, attributes,
/// links, device numbers, content, how much of it is no hole.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut links = BTreeMap::new();
    read_into(root, Path::new("."), &mut tree, &mut links);
    tree
}

fn read_into(root: &Path, path: &Path, tree: &mut Tree, links: &mut BTreeMap<u64, String>) {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full).expect("there");
    let name = path.as_os_str().as_bytes().escape_ascii().to_string();
    let mut line = format!(
        "{:o} {}:{} {}.{:09}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    );
    let kind = metadata.file_type();
    if !kind.is_dir() && metadata.nlink() > 1 {
        let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
        line += &format!(" link {}/{first}", metadata.nlink());
    }
    if kind.is_file() {
        let content = fs::read(&full).expect("readable");
        let digest = Digest::of(&content);
        line += &format!(
            " {} {} stored {}",
            metadata.size(),
            stored(&full),
            digest.short()
        );
    } else if kind.is_symlink() {
        line += &format!(" -> {:?}", fs::read_link(&full).expect("readable"));
    } else if kind.is_char_device() || kind.is_block_device() {
        line += &format!(" {:x}", metadata.rdev());
    }
    for (attribute, value) in attributes(&full) {
        line += &format!(" {attribute}={}", value.escape_ascii());
    }
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&full)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        names.sort();
        tree.insert(name, line);
        for child in names {
            read_into(root, &path.join(&child), tree, links);
        }
        return;
    }
    tree.insert(name, line);
}

/// The line that [`read`] has for the root, without reading what is below it.
pub(crate) fn attributes_of_root(root: &Path) -> String {
    let metadata = fs::symlink_metadata(root).expect("there");
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let owner = (metadata.uid(), metadata.gid());
    let attributes = attributes(root);
    format!(
        "{:o} {owner:?} {seconds}.{nanoseconds} {attributes:?}",
        metadata.mode()
    )
}

/// How many bytes of a file are no hole.
fn stored(path: &Path) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).expect("readable");
    let mut stored = 0;
    let mut position = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(position)) {
        position = seek(&file, SeekFrom::Hole(start)).expect("an end");
        stored += position - start;
    }
    stored
}

/// Extended attributes by name.
pub(crate) fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or_default();
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])
                .expect("an attribute");
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Panics with the lines in which two trees differ.
#[track_caller]
pub(crate) fn assert_same(left: &Tree, right: &Tree) {
    let mut differences = Vec::new();
    for name in left.keys().chain(right.keys()) {
        let (one, other) = (left.get(name), right.get(name));
        if one != other {
            differences.push(format!("{name}:\n  {one:?}\n  {other:?}"));
        }
    }
    differences.sort();
    differences.dedup();
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>();
    assert!(
        differences.is_empty(),
        "{} files differ:\n{}",
        differences.len(),
        shown.join("\n")
    );
}

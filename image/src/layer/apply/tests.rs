//! What a kernel without openat2(2) gets: every step by itself, with the same guarantees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::unpack::Unpacker;
use super::*;
use crate::layer::tar::{Entry, Kind, Writer};

fn archive(entries: &[(&str, Kind)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, kind) in entries {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: kind.clone(),
            mode: 0o755,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Entry::default()
        };
        writer.entry(&entry).expect("written");
    }
    writer.finish().expect("written")
}

/// Applies archives one over the other, on a thread whose umask may become its own.
fn over(root: &Path, archives: &[Vec<u8>], has_openat2: bool) -> Result<()> {
    let options = ApplyOptions {
        whiteouts: Whiteouts::Remove,
        ..ApplyOptions::default()
    };
    let apply_all = || {
        let directory = File::open(root).expect("there");
        for archive in archives {
            let mut unpacker = Unpacker::new(directory.as_fd(), &options, false)?;
            if !has_openat2 {
                unpacker.directories.without_openat2();
            }
            unpacker.unpack(&archive[..])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| scope.spawn(apply_all).join().expect("no panic"))
}

fn files(root: &Path) -> BTreeMap<String, (u32, i64)> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            let metadata = fs::symlink_metadata(&path).expect("there");
            let name = path
                .strip_prefix(root)
                .expect("below")
                .display()
                .to_string();
            files.insert(name, (metadata.mode(), metadata.mtime()));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    files
}

#[test]
fn without_openat2_the_same_tree_is_made() {
    let link = |target: &str| Kind::Symlink(target.as_bytes().to_vec());
    let lower = archive(&[
        ("usr", Kind::Directory),
        ("usr/lib/a", Kind::Regular),
        ("lib", link("/usr/lib")),
        ("up", link("../../usr/../lib")),
    ]);
    let upper = archive(&[
        ("lib/b/c", Kind::Regular),
        ("up/d", Kind::HardLink(b"lib/a".to_vec())),
        ("usr/.wh.x", Kind::Regular),
        ("deep/er/and/deeper", Kind::Directory),
    ]);
    // More directories than are kept open.
    let names: Vec<String> = (0..200)
        .map(|number| format!("many/{number}/file"))
        .collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Kind::Regular))
        .collect();
    let archives = [lower, upper, archive(&many), archive(&many)];
    let trees = [true, false].map(|has_openat2| {
        let root = tempfile::tempdir().expect("directory");
        over(root.path(), &archives, has_openat2).expect("applied");
        files(root.path())
    });
    assert!(trees[0].contains_key("usr/lib/b/c") && trees[0].contains_key("usr/lib/d"));
    assert_eq!(trees[0], trees[1]);
}

#[test]
fn without_openat2_links_of_the_same_layer_are_not_followed() {
    let outside = tempfile::tempdir().expect("directory");
    let target = outside.path().to_str().expect("UTF-8").as_bytes().to_vec();
    for has_openat2 in [true, false] {
        let root = tempfile::tempdir().expect("directory");
        let escape = archive(&[
            ("a", Kind::Symlink(target.clone())),
            ("a/file", Kind::Regular),
        ]);
        let error = over(root.path(), &[escape], has_openat2).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 0);
    }
}

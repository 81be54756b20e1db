//! Real content: a Debian, unpacked as GNU tar unpacks it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image::Digest;
use image::document::Compression;
use image::layer::{PackOptions, apply, pack};
use testkit::{finish, needs};

use crate::scene::{Scene, alone, over};
use crate::tree;

/// An archive of a Debian without anything that is not essential; made once, and kept in the
/// target directory.
pub(crate) fn debian() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = directory.join("debian-layer.tar");
    let lock = File::create(directory.join("debian-layer.lock")).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    if !archive.exists() {
        let unfinished = directory.join("debian-layer-unfinished.tar");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap
            .args(["--quiet", "--variant=minbase", "bookworm"])
            .arg(&unfinished);
        finish(&mut mmdebstrap, Duration::from_secs(500)).succeeded();
        fs::rename(&unfinished, &archive).expect("renamed");
    }
    archive
}

#[test]
fn a_debian_is_unpacked_as_gnu_tar_does_it() {
    needs!(Root, Program("mmdebstrap"), Program("tar"));
    let archive = debian();
    let scene = Scene::new();
    let expected = scene.other("tar");
    let mut tar = Command::new("tar");
    tar.args(["-xp", "--xattrs", "--xattrs-include=*", "--numeric-owner"]);
    tar.arg("-f").arg(&archive).arg("-C").arg(&expected);
    finish(&mut tar, Duration::from_secs(300)).succeeded();
    let expected = tree::read(&expected);
    assert!(expected.len() > 5000, "only {} files", expected.len());
    let digest = Digest::of(&fs::read(&archive).expect("readable"));

    for (name, mut options) in [("alone", alone()), ("over", over())] {
        options.diff_id = Some(digest.clone());
        let root = scene.other(name);
        let directory = File::open(&root).expect("there");
        let source = File::open(&archive).expect("there");
        let applied = apply(source, Compression::None, directory.as_fd(), &options).expect(name);
        assert_eq!(applied.entries, expected.len() as u64);
        assert!(applied.implied_parents.is_empty() && applied.warnings.is_empty());
        tree::assert_same(&expected, &tree::read(&root));
    }

    let mut packed = Vec::new();
    let directory = File::open(scene.other_again("alone")).expect("there");
    pack(directory.as_fd(), &PackOptions::default(), &mut packed).expect("packed");
    let root = scene.other("again");
    let directory = File::open(&root).expect("there");
    apply(&packed[..], Compression::Gzip, directory.as_fd(), &alone()).expect("applied");
    tree::assert_same(&expected, &tree::read(&root));
}

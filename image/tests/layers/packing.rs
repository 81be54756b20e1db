//! Directories become archives: the same bytes for the same tree, and the same tree again.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use image::document::Compression;
use image::layer::{PackOptions, PackedLayer, apply, diff, diff_overlay, pack};
use image::{Digest, ErrorKind};
use rustix::fs::{RenameFlags, XattrFlags, lsetxattr, renameat_with};
use testkit::needs;

use crate::scene::{Scene, alone, apply_to, over};
use crate::tree;
use crate::whiteouts::without_links;

/// A tree with one of everything.
fn furnish(root: &Path) {
    fs::create_dir_all(root.join("usr/bin")).expect("made");
    fs::write(root.join("usr/bin/tool"), "#!").expect("written");
    rustix::fs::chown(
        root.join("usr/bin/tool"),
        Some(rustix::fs::Uid::from_raw(3_000_000)),
        Some(rustix::fs::Gid::from_raw(50)),
    )
    .expect("given");
    let special = fs::Permissions::from_mode(0o6711);
    fs::set_permissions(root.join("usr/bin/tool"), special).expect("set");
    fs::hard_link(root.join("usr/bin/tool"), root.join("another")).expect("linked");
    symlink("../../etc/passwd", root.join("usr/link")).expect("linked");
    fs::write(root.join("x".repeat(200)), "long").expect("written");
    symlink("y".repeat(300), root.join("long-link")).expect("linked");
    let holes = File::create(root.join("holes")).expect("made");
    holes.write_all_at(b"middle", 3 << 20).expect("written");
    holes.set_len(50 << 20).expect("set");
    let hole = File::create(root.join("hole")).expect("made");
    hole.set_len(1 << 20).expect("set");
    let mut make = Command::new("mknod");
    make.arg(root.join("device")).args(["c", "1", "3"]);
    assert!(make.status().expect("mknod").success());
    assert!(
        Command::new("mkfifo")
            .arg(root.join("pipe"))
            .status()
            .expect("mkfifo")
            .success()
    );
    for (name, attribute, value) in [
        ("usr", "user.note", &b"of a directory\0\n"[..]),
        (
            "usr/bin/tool",
            "security.capability",
            b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        ("usr/link", "trusted.note", b"of a link"),
        ("device", "trusted.note", b""),
    ] {
        lsetxattr(root.join(name), attribute, value, XattrFlags::empty()).expect("set");
    }
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH - std::time::Duration::from_millis(1_250));
    File::open(root.join("hole"))
        .expect("there")
        .set_times(old)
        .expect("set");
}

fn options(compression: Compression) -> PackOptions {
    let mut options = PackOptions::default();
    options.compression = compression;
    options
}

fn pack_tree(root: &Path, options: &PackOptions) -> (PackedLayer, Vec<u8>) {
    let mut bytes = Vec::new();
    let directory = File::open(root).expect("there");
    let packed = pack(directory.as_fd(), options, &mut bytes).expect("packed");
    assert_eq!(packed.digest, Digest::of(&bytes));
    assert_eq!(packed.size, bytes.len() as u64);
    (packed, bytes)
}

#[test]
fn a_tree_that_is_packed_and_unpacked_is_the_same_tree() {
    needs!(Root);
    let scene = Scene::new();
    furnish(&scene.root());
    let expected = scene.tree();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (packed, bytes) = pack_tree(&scene.root(), &options(compression));
        let (again, same) = pack_tree(&scene.root(), &options(compression));
        assert!(packed == again && bytes == same);
        let root = scene.other(&format!("{compression:?}"));
        let directory = File::open(&root).expect("there");
        let applied = apply(&bytes[..], compression, directory.as_fd(), &alone()).expect("applied");
        assert_eq!(applied.diff_id, packed.diff_id);
        assert_eq!(applied.warnings, Vec::<String>::new());
        tree::assert_same(&expected, &tree::read(&root));
    }
}

#[test]
fn gnu_tar_and_bsdtar_unpack_the_same_tree() {
    needs!(Root, Program("tar"), Program("bsdtar"));
    let scene = Scene::new();
    furnish(&scene.root());
    let expected = scene.tree();
    let (_, bytes) = pack_tree(&scene.root(), &options(Compression::None));
    let archive = scene.other("archive").join("layer.tar");
    fs::write(&archive, bytes).expect("written");
    for (program, flags) in [
        (
            "tar",
            &["-xp", "--xattrs", "--xattrs-include=*", "--numeric-owner"][..],
        ),
        (
            "bsdtar",
            &["-xp", "--xattrs", "--numeric-owner", "--same-owner"],
        ),
    ] {
        let root = scene.other(program);
        let mut tar = Command::new(program);
        tar.args(flags).arg("-f").arg(&archive).arg("-C").arg(&root);
        let output = tar.output().expect("started");
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Neither sets what can't be opened; and bsdtar doesn't know names of attributes of root.
        let comparable = |tree: &tree::Tree| {
            let strip = |(name, line): (&String, &String)| {
                let line = line.split(" trusted.").next().unwrap_or_default();
                let line = match program {
                    "bsdtar" => line.split(" blocks ").next().unwrap_or_default(),
                    _ => line,
                };
                (name.clone(), line.to_owned())
            };
            let mut tree: tree::Tree = tree.iter().map(strip).collect();
            if program == "bsdtar" {
                // Its root keeps the time of now, and before 1970 it counts fractions forwards.
                tree.remove(".");
                tree.remove("./hole");
            }
            tree
        };
        tree::assert_same(&comparable(&expected), &comparable(&tree::read(&root)));
    }
}

/// U20: links in a tree are links in the archive, wherever they lead.
#[test]
fn links_are_packed_as_links() {
    needs!(Root);
    let scene = Scene::new();
    symlink(scene.canary(), scene.root().join("directory")).expect("linked");
    symlink(
        format!("{}/file", scene.canary()),
        scene.root().join("file"),
    )
    .expect("linked");
    let (packed, bytes) = pack_tree(&scene.root(), &options(Compression::None));
    assert_eq!(packed.entries, 3);
    assert!(!bytes.windows(5).any(|window| window == b"sings"));
    scene.assert_untouched();
}

/// U13: whoever owns a tree swaps files in it while it is packed: a directory for a link to
/// elsewhere, a file for a device. Nothing from elsewhere gets into the archive, and a file is
/// one file's content.
#[test]
fn a_tree_that_is_swapped_while_it_is_packed_shows_nothing_else() {
    needs!(Root, Program("mknod"));
    let scene = Scene::new();
    let root = scene.root();
    fs::create_dir(root.join("directory")).expect("made");
    fs::write(root.join("directory/inside"), "inside").expect("written");
    symlink(scene.canary(), root.join("link")).expect("linked");
    fs::write(root.join("file"), "f".repeat(3000)).expect("written");
    let mut mknod = Command::new("mknod");
    mknod.arg(root.join("zero")).args(["c", "1", "5"]);
    assert!(mknod.status().expect("started").success());
    let rounds = if std::env::var_os("TARE_LONG").is_some() {
        50_000
    } else {
        3_000
    };
    let is_over = AtomicBool::new(false);
    let (mut whole, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = File::open(&root).expect("there");
            while !is_over.load(Ordering::Relaxed) {
                for (one, other) in [("directory", "link"), ("file", "zero")] {
                    let flags = RenameFlags::EXCHANGE;
                    renameat_with(&root, one, &root, other, flags).expect("swapped");
                }
            }
        });
        for _ in 0..rounds {
            let mut bytes = Vec::new();
            let directory = File::open(&root).expect("there");
            let options = options(Compression::None);
            match pack(directory.as_fd(), &options, &mut bytes) {
                Ok(_) => whole += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
                    refused += 1;
                }
            }
            assert!(!bytes.windows(5).any(|window| window == b"sings"));
            let mut reader = image::layer::tar::Reader::new(&bytes[..]);
            while let Ok(Some(entry)) = reader.next_entry() {
                while let Ok(part) = reader.content() {
                    if part.is_empty() {
                        break;
                    }
                    let is_own = part
                        .iter()
                        .all(|byte| b"inside".contains(byte) || *byte == b'f');
                    assert!(is_own, "{}", entry.shown());
                    let length = part.len();
                    reader.consume(length);
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
    scene.assert_untouched();
}

#[test]
fn young_files_become_as_old_as_they_may_be() {
    needs!(Root);
    let scene = Scene::new();
    furnish(&scene.root());
    let mut options = options(Compression::None);
    options.latest_mtime = Some(1_000_000_000);
    let (_, bytes) = pack_tree(&scene.root(), &options);
    let root = scene.other("unpacked");
    apply_to(&root, &bytes, &alone()).expect("applied");
    let time = |name: &str| {
        let metadata = fs::symlink_metadata(root.join(name)).expect("there");
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(time("usr/bin/tool"), (1_000_000_000, 0));
    assert_eq!(time("hole"), (-2, 750_000_000));
}

#[test]
fn a_name_that_would_be_a_whiteout_is_refused() {
    needs!(Root);
    let scene = Scene::new();
    fs::write(scene.root().join(".wh.x"), "").expect("written");
    let directory = File::open(scene.root()).expect("there");
    let error = pack(directory.as_fd(), &PackOptions::default(), Vec::new()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// Changes of every kind to a copy of a furnished tree.
fn change(root: &Path) {
    fs::remove_file(root.join("pipe")).expect("removed");
    fs::remove_dir_all(root.join("usr/bin")).expect("removed");
    fs::write(root.join("usr/bin"), "a file now").expect("written");
    fs::remove_file(root.join("usr/link")).expect("removed");
    fs::create_dir(root.join("usr/link")).expect("made");
    fs::write(root.join("usr/link/in"), "x").expect("written");
    fs::hard_link(root.join("hole"), root.join("a-hole")).expect("linked");
    let file = File::options()
        .write(true)
        .open(root.join("holes"))
        .expect("there");
    file.write_all_at(b"MIDDLE", 3 << 20).expect("written");
    file.set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH))
        .expect("set");
    rustix::fs::lremovexattr(root.join("device"), "trusted.note").expect("removed");
    fs::create_dir(root.join("empty")).expect("made");
}

#[test]
fn the_difference_of_two_trees_makes_one_of_the_other() {
    needs!(Root);
    let scene = Scene::new();
    furnish(&scene.root());
    let copy = scene.other("copy");
    let unchanged = scene.other("unchanged");
    for target in [&copy, &unchanged] {
        let mut cp = Command::new("cp");
        cp.args(["-a", "--preserve=all", "-T"])
            .arg(scene.root())
            .arg(target);
        assert!(cp.status().expect("cp").success());
    }
    let difference = |old: &Path, new: &Path| {
        let mut bytes = Vec::new();
        let (old, new) = (
            File::open(old).expect("there"),
            File::open(new).expect("there"),
        );
        let options = options(Compression::None);
        let packed = diff(old.as_fd(), new.as_fd(), &options, &mut bytes).expect("compared");
        (packed, bytes)
    };
    assert_eq!(difference(&unchanged, &scene.root()).0.entries, 0);
    change(&copy);
    let expected = tree::read(&copy);
    let (_, bytes) = difference(&scene.root(), &copy);
    assert!(bytes.windows(8).any(|window| window == b".wh.pipe"));
    assert!(!bytes.windows(9).any(|window| window == b"long-link"));
    apply_to(&scene.root(), &bytes, &over()).expect("applied");
    tree::assert_same(&expected, &scene.tree());
}

#[test]
fn an_overlays_upper_directory_becomes_a_layer() {
    needs!(Root);
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scene = Scene::new();
    furnish(&scene.root());
    let [upper, work, point] = ["upper", "work", "merged"].map(|name| scene.other(name));
    let data = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off,metacopy=off",
        scene.root().display(),
        upper.display(),
        work.display()
    );
    let data = std::ffi::CString::new(data).expect("no NUL");
    mount(
        "overlay",
        &point,
        "overlay",
        MountFlags::empty(),
        data.as_c_str(),
    )
    .expect("mounted");
    change(&point);
    fs::remove_dir_all(point.join("usr/link")).expect("removed");
    fs::create_dir(point.join("usr/link")).expect("made");
    let expected = tree::read(&point);
    unmount(&point, UnmountFlags::empty()).expect("unmounted");
    let mut bytes = Vec::new();
    let directory = File::open(&upper).expect("there");
    diff_overlay(directory.as_fd(), &options(Compression::None), &mut bytes).expect("packed");
    apply_to(&scene.root(), &bytes, &over()).expect("applied");
    let comparable = |mut tree: tree::Tree| {
        // The root itself is no change that an upper directory tells.
        tree.remove(".");
        without_links(tree)
    };
    tree::assert_same(&comparable(expected), &comparable(scene.tree()));
    lsetxattr(
        upper.join("usr"),
        "trusted.overlay.redirect",
        b"/etc",
        XattrFlags::empty(),
    )
    .expect("set");
    let error = diff_overlay(directory.as_fd(), &PackOptions::default(), Vec::new());
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Unsupported);
}

//! image-spec, layer.md: what becomes of each kind of entry.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use image::{Digest, ErrorKind};
use testkit::needs;

use crate::archive::{Archive, GNU, Header};
use crate::scene::{Scene, alone, apply_to, over};
use crate::tree::{self, attributes};

#[test]
fn every_kind_of_file_gets_all_that_the_archive_says() {
    needs!(Root);
    let sized = |header: Header, content: &[u8]| Archive::new().with(header, content).bytes;
    let special = sized(
        Header {
            mode: 0o6755,
            uid: 33,
            gid: 44,
            ..Header::new(b'0', "usr/bin/special")
        },
        b"content",
    );
    let archive = Archive::new()
        .directory_of_mode("./", 0o711)
        .directory_of_mode("./usr/", 0o2775)
        .directory("usr/bin/")
        .raw(&special)
        .symlink("usr/link", "../../etc/passwd")
        .hard_link("hard", "./usr/bin/special")
        .device("null", b'3', (1, 3))
        .device("loop", b'4', (7, 9))
        .fifo("pipe")
        .directory_of_mode("tmp", 0o1777)
        .end();
    for options in [alone(), over()] {
        let scene = Scene::new();
        let applied = apply_to(&scene.root(), &archive, &options).expect("applied");
        assert_eq!(applied.diff_id, Digest::of(&archive));
        assert_eq!(applied.uncompressed_size, archive.len() as u64);
        assert_eq!(applied.entries, 10);
        assert!(applied.warnings.is_empty() && applied.implied_parents.is_empty());
        let special = scene.metadata("hard");
        assert_eq!((special.mode(), special.nlink()), (0o106_755, 2));
        assert_eq!((special.uid(), special.gid()), (33, 44));
        assert_eq!(scene.mode("usr/bin"), 0o755, "setgid is not inherited");
        assert_eq!(scene.metadata("usr/bin").gid(), 0);
        assert_eq!((scene.mode("."), scene.mode("usr")), (0o711, 0o2775));
        assert_eq!(scene.mode("tmp"), 0o1777);
        let link = fs::read_link(scene.root().join("usr/link")).expect("a link");
        assert_eq!(link.to_str(), Some("../../etc/passwd"));
        assert_eq!(scene.metadata("null").rdev(), rustix::fs::makedev(1, 3));
        assert!(scene.metadata("loop").file_type().is_block_device());
        assert!(scene.metadata("pipe").file_type().is_fifo());
        for name in scene.names().iter().map(String::as_str).chain(["."]) {
            let metadata = scene.metadata(name);
            assert_eq!(metadata.mtime(), 1_600_000_000, "{name}");
        }
    }
}

#[test]
fn extended_headers_are_heard() {
    needs!(Root);
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
    let archive = Archive::new()
        .pax(
            b'x',
            &[
                ("path", long.as_bytes()),
                ("mtime", b"1500000000.123456789"),
                ("uid", b"4000000000"),
                ("gid", b"3000000"),
                ("SCHILY.xattr.user.note", b"one\0two\n"),
                ("LIBARCHIVE.xattr.user.other%3d", b"AAEC"),
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                (
                    "SCHILY.xattr.security.capability",
                    b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                ),
                ("comment", b"of no effect"),
            ],
        )
        .file("short", "content")
        .long(b'L', format!("{long}2").as_bytes())
        .long(b'K', &[b'k'; 300])
        .header(&Header {
            magic: GNU,
            link: b"short".to_vec(),
            ..Header::new(b'2', "short")
        })
        .end();
    let scene = Scene::new();
    let applied = scene.apply(&archive).expect("applied");
    assert_eq!(applied.warnings, Vec::<String>::new());
    let metadata = scene.metadata(&long);
    assert_eq!(
        (metadata.mtime(), metadata.mtime_nsec()),
        (1_500_000_000, 123_456_789)
    );
    assert_eq!((metadata.uid(), metadata.gid()), (4_000_000_000, 3_000_000));
    let attributes = attributes(&scene.root().join(&long));
    assert_eq!(attributes.len(), 3, "{attributes:?}");
    assert_eq!(attributes["user.note"], b"one\0two\n");
    assert_eq!(attributes["user.other="], [0, 1, 2]);
    assert_eq!(attributes["security.capability"].len(), 20);
    let link = fs::read_link(scene.root().join(format!("{long}2"))).expect("a link");
    assert_eq!(link.to_str().map(str::len), Some(300));
}

#[test]
fn what_stands_in_the_way_is_replaced_and_directories_are_kept() {
    needs!(Root);
    type Make = fn(Archive) -> Archive;
    let kinds: [(&str, Make); 5] = [
        ("file", |archive| archive.file("x", "new")),
        ("directory", |archive| archive.directory_of_mode("x", 0o700)),
        ("link", |archive| archive.symlink("x", "new")),
        ("hard link", |archive| {
            archive.file("y", "y").hard_link("x", "y")
        }),
        ("pipe", |archive| archive.fifo("x")),
    ];
    for (before, first) in kinds {
        for (after, second) in kinds {
            let scene = Scene::new();
            let mut archive = first(Archive::new());
            if before == "directory" {
                archive = archive.file("x/inside", "inside");
            }
            scene.apply(&archive.end()).expect("applied");
            let again = second(Archive::new()).end();
            scene
                .apply(&again)
                .unwrap_or_else(|error| panic!("{before} {after}: {error}"));
            let is_kept = before == "directory" && after == "directory";
            assert_eq!(
                scene.root().join("x/inside").exists(),
                is_kept,
                "{before} {after}"
            );
            let alone = Scene::new();
            alone.apply(&again).expect("applied");
            assert_eq!(scene.tree()["./x"], alone.tree()["./x"], "{before} {after}");
        }
    }
}

#[test]
fn a_diff_id_that_is_another_one_is_an_error_and_nothing_is_left() {
    needs!(Root);
    let scene = Scene::new();
    let mut options = alone();
    options.diff_id = Some(Digest::of(b"something else"));
    let archive = Archive::new().file("a/b", "content").end();
    let error = apply_to(&scene.root(), &archive, &options).expect_err("another one");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(scene.names(), Vec::<String>::new());
    options.diff_id = Some(Digest::of(&archive));
    apply_to(&scene.root(), &archive, &options).expect("applied");
    let error = scene.apply_alone(&archive).expect_err("not empty");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(scene.read("a/b"), "content");
}

#[test]
fn parents_that_are_not_named_are_plain_and_told() {
    needs!(Root);
    let archive = Archive::new()
        .file("a/b/c", "content")
        .directory_of_mode("a", 0o700)
        .end();
    let scene = Scene::new();
    let applied = scene.apply_alone(&archive).expect("applied");
    assert_eq!(applied.implied_parents, [b"".to_vec(), b"a/b".to_vec()]);
    let implied = scene.metadata("a/b");
    assert_eq!(
        (implied.mode(), implied.uid(), implied.mtime()),
        (0o40_755, 0, 0)
    );
    assert_eq!(
        (scene.mode("a"), scene.metadata("a").mtime()),
        (0o700, 1_600_000_000)
    );
}

#[test]
fn lower_directories_keep_their_times_when_files_are_added() {
    needs!(Root);
    let scene = Scene::new();
    scene
        .apply(&Archive::new().directory("a").directory("a/b").end())
        .expect("applied");
    let before = scene.tree();
    scene
        .apply(&Archive::new().file("a/b/c", "x").end())
        .expect("applied");
    let mut after = scene.tree();
    after.remove("./a/b/c");
    tree::assert_same(&before, &after);
}

#[test]
fn sparse_files_are_read_in_every_format() {
    needs!(Root, Program("tar"));
    let scene = Scene::new();
    let made = scene.other("made");
    let size = 40 << 20;
    let file = fs::File::create(made.join("holes")).expect("made");
    for number in 0..60_u64 {
        let text = format!("part {number}").repeat(400);
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), number * (size / 64))
            .expect("written");
    }
    file.set_len(size).expect("set");
    fs::File::create(made.join("hole"))
        .expect("made")
        .set_len(size)
        .expect("set");
    let whole = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    for name in [".", "hole", "holes"] {
        let file = fs::File::open(made.join(name)).expect("there");
        file.set_times(whole).expect("set");
    }
    let expected = tree::read(&made);
    for format in ["gnu", "0.0", "0.1", "1.0"] {
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(&made).args(["-Sc", "-f", "-"]);
        match format {
            "gnu" => tar.arg("--format=gnu"),
            version => tar.args(["--format=posix", &format!("--sparse-version={version}")]),
        };
        let archive = tar.arg(".").output().expect("tar").stdout;
        assert!(archive.len() < 2 << 20);
        let root = scene.other(format);
        apply_to(&root, &archive, &alone()).unwrap_or_else(|error| panic!("{format}: {error}"));
        tree::assert_same(&expected, &tree::read(&root));
    }
}

//! U05: what this reader sees in an archive is what Go's archive/tar, Python's tarfile, GNU tar
//! and bsdtar see in it, or it is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::layer::tar::{Entry, Kind, Reader, Writer};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use testkit::needs;

use crate::archive::{Archive, GNU, Header, USTAR, record, sign};
use crate::readers::{bsd_names, gos, plain};
use crate::scene::Scene;

/// Names and kinds, sizes of files, targets of links: a line each.
fn ours(bytes: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::new(bytes);
    let mut lines = Vec::new();
    loop {
        let Some(entry) = reader.next_entry().ok()? else {
            return Some(lines);
        };
        // Lists of names have no way to show some of them.
        let is_plain = |name: &String| {
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        };
        let name = String::from_utf8(entry.path).ok().filter(is_plain)?;
        let text = |link: &[u8]| String::from_utf8_lossy(link).into_owned();
        let (kind, detail) = match &entry.kind {
            Kind::Regular => ("file", entry.size.to_string()),
            Kind::Directory => ("directory", String::new()),
            Kind::Symlink(link) => ("symlink", text(link)),
            Kind::HardLink(link) => ("link", text(link)),
            Kind::CharacterDevice(major, minor) => ("character", format!("{major}:{minor}")),
            Kind::BlockDevice(major, minor) => ("block", format!("{major}:{minor}")),
            Kind::Fifo => ("fifo", String::new()),
        };
        let name = name.trim_end_matches('/');
        lines.push(format!(
            "{name} {kind} {detail} {}:{}",
            entry.uid, entry.gid
        ));
    }
}

const PYTHON: &str = r#"
import sys, tarfile
for path in sys.argv[1:]:
    print('#', path)
    try:
        lines = []
        archive = tarfile.open(path, 'r:')
        for m in archive:
            kind, detail = ('file', str(m.size))
            if m.isdir(): kind, detail = 'directory', ''
            elif m.issym(): kind, detail = 'symlink', m.linkname
            elif m.islnk(): kind, detail = 'link', m.linkname
            elif m.ischr(): kind, detail = 'character', f'{m.devmajor}:{m.devminor}'
            elif m.isblk(): kind, detail = 'block', f'{m.devmajor}:{m.devminor}'
            elif m.isfifo(): kind, detail = 'fifo', ''
            name = m.name.rstrip('/')
            lines.append(f'{name} {kind} {detail} {m.uid}:{m.gid}')
        print('\n'.join(lines))
    except Exception as error:
        print('!', error)
"#;

fn store(scene: &Scene, archives: &[Vec<u8>]) -> Vec<PathBuf> {
    let directory = scene.other("archives");
    let store = |(at, bytes): (usize, &Vec<u8>)| {
        let path = directory.join(format!("{at:04}.tar"));
        fs::write(&path, bytes).expect("written");
        path
    };
    archives.iter().enumerate().map(store).collect()
}

/// What Python's tarfile sees in each archive.
fn pythons(paths: &[PathBuf]) -> Vec<Vec<String>> {
    let output = Command::new("python3")
        .args(["-c", PYTHON])
        .args(paths)
        .output()
        .expect("python3");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("# ")
        .skip(1)
        .map(|part| {
            part.lines()
                .skip(1)
                .filter(|l| !l.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

/// The names that GNU tar sees.
fn gnu_names(path: &Path) -> Vec<String> {
    let output = Command::new("tar")
        .args(["--quoting-style=literal", "-P", "-tf"])
        .arg(path)
        .output()
        .expect("tar");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(plain).collect()
}

fn names(lines: &[String]) -> Vec<String> {
    let name = |line: &String| plain(line.split(' ').next().unwrap_or_default());
    lines.iter().map(name).collect()
}

fn smuggled() -> Vec<u8> {
    // An archive inside of a file: whoever takes the wrong size sees its entries.
    Archive::new().file("smuggled", "payload").bytes
}

/// The size of the content that stands last, which is of one block, given in two octal digits.
fn cut(archive: Archive, size: &[u8; 2]) -> Archive {
    let mut bytes = archive.bytes;
    let begin = bytes.len() - 1024;
    let (header, _) = bytes[begin..].as_chunks_mut::<512>();
    header[0][133..135].copy_from_slice(size);
    sign(&mut header[0]);
    Archive { bytes }
}

/// Archives that all readers agree on, and archives that some don't: by name.
fn corpus() -> Vec<(&'static str, bool, Vec<u8>)> {
    let inner = smuggled();
    let size = inner.len().to_string();
    let base = |kind: u8, name: &str| Header::new(kind, name);
    let sized = |size: u64| Header {
        size,
        ..base(b'0', "outer")
    };
    let pax = |records: &[(&str, &[u8])]| Archive::new().pax(b'x', records);
    let field = |at: usize, bytes: &[u8]| {
        let mut block = base(b'0', "field").block();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        sign(&mut block);
        Archive::new().raw(&block).file("after", "x").end()
    };
    vec![
        (
            "plain",
            true,
            Archive::new()
                .directory("d")
                .file("d/f", "x")
                .symlink("l", "d")
                .hard_link("h", "d/f")
                .device("c", b'3', (5, 1))
                .fifo("p")
                .end(),
        ),
        ("no end mark", true, Archive::new().file("a", "x").bytes),
        ("half an end mark", false, {
            let mut a = Archive::new()
                .file("a", "x")
                .raw(&[0; 512])
                .file("b", "x")
                .end();
            a.truncate(a.len());
            a
        }),
        (
            "junk after the end",
            true,
            [Archive::new().file("a", "x").end(), vec![7; 512]].concat(),
        ),
        (
            "pax size is the field's",
            true,
            pax(&[("size", size.as_bytes())])
                .with(sized(0), &inner)
                .file("after", "x")
                .end(),
        ),
        (
            "pax size hides entries",
            false,
            pax(&[("size", size.as_bytes())])
                .header(&sized(0))
                .raw(&inner)
                .file("after", "x")
                .end(),
        ),
        (
            "pax size shows entries",
            false,
            pax(&[("size", b"0")]).with(sized(0), &inner).end(),
        ),
        (
            "pax size twice",
            false,
            pax(&[("size", b"0"), ("size", size.as_bytes())])
                .with(sized(0), &inner)
                .end(),
        ),
        (
            "pax path twice",
            false,
            pax(&[("path", b"one"), ("path", b"two")])
                .file("x", "")
                .end(),
        ),
        (
            "pax path is empty",
            false,
            pax(&[("path", b"")]).file("x", "").end(),
        ),
        (
            "pax path has NUL",
            false,
            pax(&[("path", b"a\0b")]).file("x", "").end(),
        ),
        (
            "pax size is signed",
            false,
            pax(&[("size", b"+1")]).file("x", "1").end(),
        ),
        (
            "pax size is empty",
            false,
            pax(&[("size", b"")]).file("x", "1").end(),
        ),
        (
            "pax length lies",
            false,
            Archive::new()
                .with(base(b'x', "x"), b"99 path=a\n")
                .file("x", "")
                .end(),
        ),
        (
            "pax length has a zero",
            false,
            Archive::new()
                .with(base(b'x', "x"), b"010 path=a\n")
                .file("x", "")
                .end(),
        ),
        (
            "pax with no newline",
            false,
            Archive::new()
                .with(base(b'x', "x"), b"9 path=ab")
                .file("x", "")
                .end(),
        ),
        (
            "two pax headers",
            false,
            pax(&[("path", b"one")])
                .pax(b'x', &[("uid", b"5")])
                .file("x", "")
                .end(),
        ),
        (
            "pax and a long name",
            false,
            pax(&[("path", b"one")])
                .long(b'L', b"two")
                .file("x", "")
                .end(),
        ),
        (
            "a long name and pax",
            false,
            Archive::new()
                .long(b'L', b"two")
                .pax(b'x', &[("path", b"one")])
                .file("x", "")
                .end(),
        ),
        ("pax before the end", false, pax(&[("path", b"one")]).end()),
        (
            "pax ids",
            true,
            pax(&[("uid", b"70000000"), ("gid", b"5")])
                .file("x", "")
                .end(),
        ),
        (
            "pax ids out of range",
            false,
            pax(&[("uid", b"4294967295")]).file("x", "").end(),
        ),
        (
            "global comment",
            true,
            Archive::new()
                .pax(b'g', &[("comment", b"of no effect")])
                .file("x", "")
                .end(),
        ),
        (
            "global path",
            false,
            Archive::new()
                .pax(b'g', &[("path", b"everything")])
                .file("x", "")
                .end(),
        ),
        (
            "global size",
            false,
            Archive::new()
                .pax(b'g', &[("size", b"512")])
                .file("x", "")
                .file("y", "")
                .end(),
        ),
        (
            "long name",
            true,
            Archive::new()
                .long(b'L', &[b'n'; 300])
                .header(&Header {
                    magic: GNU,
                    ..base(b'0', "n")
                })
                .end(),
        ),
        (
            "long name and link",
            true,
            Archive::new()
                .long(b'L', &[b'n'; 150])
                .long(b'K', &[b'k'; 150])
                .header(&Header {
                    magic: GNU,
                    link: b"k".to_vec(),
                    ..base(b'2', "n")
                })
                .end(),
        ),
        (
            "long name with NUL",
            false,
            Archive::new().long(b'L', b"a\0b").file("x", "").end(),
        ),
        (
            "long name that goes on after its end",
            false,
            cut(Archive::new().long(b'L', b"another/long/name"), b"20")
                .file("x", "")
                .end(),
        ),
        (
            "records that go on after their end",
            false,
            cut(
                Archive::new().pax(b'x', &[("path", b"name"), ("uid", b"77")]),
                b"15",
            )
            .file("x", "")
            .end(),
        ),
        (
            "empty long name",
            false,
            Archive::new().long(b'L', b"").file("x", "").end(),
        ),
        (
            "two long names",
            false,
            Archive::new()
                .long(b'L', b"a")
                .long(b'L', b"b")
                .file("x", "")
                .end(),
        ),
        (
            "long link of a file",
            false,
            Archive::new().long(b'K', b"a").file("x", "").end(),
        ),
        (
            "prefix",
            true,
            Archive::new()
                .header(&Header {
                    prefix: b"some/where".to_vec(),
                    ..base(b'0', "file")
                })
                .end(),
        ),
        (
            "prefix in GNU's format",
            false,
            Archive::new()
                .header(&Header {
                    magic: GNU,
                    prefix: b"12345".to_vec(),
                    ..base(b'0', "file")
                })
                .end(),
        ),
        (
            "prefix without a magic",
            false,
            Archive::new()
                .header(&Header {
                    magic: [0; 8],
                    prefix: b"pre".to_vec(),
                    ..base(b'0', "file")
                })
                .end(),
        ),
        (
            "no magic",
            true,
            Archive::new()
                .header(&Header {
                    magic: [0; 8],
                    ..base(b'0', "file")
                })
                .end(),
        ),
        (
            "another magic",
            false,
            Archive::new()
                .header(&Header {
                    magic: *b"ustar\x0099",
                    ..base(b'0', "file")
                })
                .end(),
        ),
        (
            "old directory",
            true,
            Archive::new()
                .header(&Header {
                    kind: 0,
                    ..base(0, "d/")
                })
                .end(),
        ),
        (
            "file named as a directory",
            false,
            Archive::new().file("d/", "x").end(),
        ),
        (
            "directory with content",
            false,
            Archive::new().with(base(b'5', "d"), &inner).end(),
        ),
        (
            "symlink with content",
            false,
            Archive::new()
                .with(
                    Header {
                        link: b"x".to_vec(),
                        ..base(b'2', "l")
                    },
                    &inner,
                )
                .end(),
        ),
        (
            "hard link with content",
            false,
            Archive::new()
                .with(
                    Header {
                        link: b"x".to_vec(),
                        ..base(b'1', "l")
                    },
                    &inner,
                )
                .end(),
        ),
        (
            "device with content",
            false,
            Archive::new().with(base(b'3', "c"), &inner).end(),
        ),
        (
            "contiguous file",
            true,
            Archive::new().with(base(b'7', "f"), b"x").end(),
        ),
        (
            "volume label",
            false,
            Archive::new()
                .header(&base(b'V', "label"))
                .file("x", "")
                .end(),
        ),
        (
            "continued file",
            false,
            Archive::new().with(base(b'M', "f"), b"x").end(),
        ),
        (
            "unknown kind",
            false,
            Archive::new().with(base(b'Q', "f"), b"x").end(),
        ),
        ("no name", false, Archive::new().file("", "x").end()),
        ("wrong checksum", false, {
            let mut a = Archive::new().file("a", "x").end();
            a[0] = b'b';
            a
        }),
        ("size is not octal", false, field(124, b"0000000008\0 ")),
        ("size has a sign", false, field(124, b"-0000000001\0")),
        ("size is negative", false, field(124, &[0xff; 12])),
        (
            "size goes on after its end",
            false,
            field(124, b"0\x000000000000"),
        ),
        (
            "size in base 256",
            true,
            field(124, b"\x80\0\0\0\0\0\0\0\0\0\0\0"),
        ),
        (
            "size of 2^64",
            false,
            field(124, b"\x80\0\0\x01\0\0\0\0\0\0\0\0"),
        ),
        (
            "base 256 with other bits",
            false,
            field(124, b"\xc0\0\0\0\0\0\0\0\0\0\0\0"),
        ),
        (
            "uid in base 256",
            true,
            field(108, b"\x80\0\0\0\0\xff\xff\xff"),
        ),
        ("uid is negative", false, field(108, &[0xff; 8])),
        ("mode is no number", false, field(100, b"rwxr-xr-")),
        (
            "device number is no number",
            false,
            field(329, b"abcdefg\0"),
        ),
        (
            "holes that overlap",
            false,
            pax(&[
                ("GNU.sparse.size", b"100"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.map", b"0,2,1,2"),
            ])
            .file("x", "1234")
            .end(),
        ),
        (
            "holes out of range",
            false,
            pax(&[
                ("GNU.sparse.size", b"3"),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.map", b"2,4"),
            ])
            .file("x", "1234")
            .end(),
        ),
        (
            "holes of another length",
            false,
            pax(&[
                ("GNU.sparse.size", b"100"),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.map", b"2,3"),
            ])
            .file("x", "1234")
            .end(),
        ),
        (
            "holes in two ways",
            false,
            pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"9"),
                ("GNU.sparse.map", b"0,1"),
            ])
            .file("x", "1")
            .end(),
        ),
        (
            "holes in future ways",
            false,
            pax(&[
                ("GNU.sparse.major", b"2"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"9"),
            ])
            .file("x", "1")
            .end(),
        ),
        (
            "another character set",
            false,
            pax(&[("hdrcharset", b"KOI8-R")]).file("x", "").end(),
        ),
    ]
}

#[test]
fn what_readers_disagree_on_is_refused() {
    needs!(
        Program("python3"),
        Program("tar"),
        Program("bsdtar"),
        Program("go")
    );
    let scene = Scene::new();
    let corpus = corpus();
    let archives: Vec<Vec<u8>> = corpus.iter().map(|(_, _, bytes)| bytes.clone()).collect();
    let paths = store(&scene, &archives);
    let others = pythons(&paths);
    let gos = gos(&scene, &paths);
    assert_eq!((others.len(), gos.len()), (corpus.len(), corpus.len()));
    let others = others.iter().zip(&gos);
    for (((what, is_accepted, bytes), path), others) in corpus.iter().zip(&paths).zip(others) {
        let (pythons, gos) = others;
        let ours = ours(bytes);
        assert_eq!(
            ours.is_some(),
            *is_accepted,
            "{what}: {ours:?}, Python: {pythons:?}"
        );
        let Some(ours) = ours else { continue };
        assert_eq!(&ours, pythons, "{what}: Python");
        assert_eq!(&ours, gos, "{what}: Go");
        assert_eq!(names(&ours), gnu_names(path), "{what}: GNU tar");
        assert_eq!(names(&ours), bsd_names(path), "{what}: bsdtar");
    }
}

/// An archive whose headers were changed here and there, and signed again.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(Archive::new().file("file", "content")),
        Just(Archive::new().with(
            Header {
                magic: GNU,
                ..Header::new(b'0', "gnu")
            },
            b"content"
        )),
        Just(Archive::new().directory("directory/")),
        Just(Archive::new().symlink("symlink", "file")),
        Just(Archive::new().hard_link("link", "file")),
        Just(Archive::new().pax(b'x', &[("path", b"long/name"), ("uid", b"77")])),
        Just(Archive::new().pax(b'x', &[("size", b"7")])),
        Just(Archive::new().long(b'L', b"another/long/name")),
        Just(Archive::new().with(
            Header {
                magic: USTAR,
                ..Header::new(b'x', "x")
            },
            &record("size", b"512")
        )),
        Just(Archive::new().with(Header::new(b'0', "smuggler"), &smuggled())),
    ];
    let change = (
        any::<proptest::sample::Index>(),
        0..512_usize,
        prop_oneof![
            Just(0),
            Just(b' '),
            Just(b'0'),
            Just(b'1'),
            Just(b'7'),
            Just(b'/'),
            Just(0x80),
            Just(0xff),
            any::<u8>(),
        ],
    );
    let changes = proptest::collection::vec(change, 0..3);
    (proptest::collection::vec(pieces, 1..5), changes).prop_map(|(pieces, changes)| {
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
        let (blocks, _) = bytes.as_chunks::<512>();
        let mut blocks = blocks.to_vec();
        for (index, at, byte) in changes {
            let block = index.index(blocks.len());
            blocks[block][at] = byte;
            sign(&mut blocks[block]);
        }
        [blocks.as_flattened(), &[0; 1024]].concat()
    })
}

#[test]
fn changed_headers_are_seen_alike_or_refused() {
    needs!(
        Program("python3"),
        Program("tar"),
        Program("bsdtar"),
        Program("go")
    );
    let scene = Scene::new();
    let mut runner = TestRunner::default();
    let count = if std::env::var_os("TARE_LONG").is_some() {
        4000
    } else {
        400
    };
    let archives: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            mutated()
                .new_tree(&mut runner)
                .expect("an archive")
                .current()
        })
        .collect();
    let paths = store(&scene, &archives);
    let mut accepted = 0;
    let gos = gos(&scene, &paths);
    let others = pythons(&paths).into_iter().zip(gos);
    for ((bytes, path), (pythons, gos)) in archives.iter().zip(&paths).zip(others) {
        let Some(ours) = ours(bytes) else { continue };
        accepted += 1;
        let shown = || {
            bytes
                .escape_ascii()
                .to_string()
                .replace(&r"\x00".repeat(8), "_")
        };
        assert_eq!(ours, pythons, "Python: {}", shown());
        assert_eq!(ours, gos, "Go: {}", shown());
        assert_eq!(names(&ours), gnu_names(path), "GNU tar: {}", shown());
        assert_eq!(names(&ours), bsd_names(path), "bsdtar: {}", shown());
    }
    assert!(
        accepted > count / 10,
        "only {accepted} of {count} were accepted"
    );
}

/// All entries with their content.
fn read(bytes: &[u8]) -> Option<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let mut content = Vec::new();
        while let Some(part) = Some(reader.content().ok()?).filter(|part| !part.is_empty()) {
            let length = part.len();
            content.extend_from_slice(part);
            reader.consume(length);
        }
        entries.push((entry, content));
    }
    Some(entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_can_be_written_and_read_again(bytes in mutated()) {
        if let Some(mut entries) = read(&bytes) {
            // A name with the sign that ends a record's key, and bytes that are no text.
            for (entry, _) in &mut entries {
                let name = b"user.a=b%\xff".to_vec();
                entry.xattrs.push(image::layer::tar::Xattr { name, value: vec![0, 255] });
            }
            let mut writer = Writer::new(Vec::new());
            for (entry, content) in &entries {
                writer.entry(entry).expect("written");
                writer.content(content).expect("written");
            }
            prop_assert_eq!(read(&writer.finish().expect("written")), Some(entries));
        }
    }
}

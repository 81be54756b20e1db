//! U07: archives that are made to use up the machine. Each is an error, soon, and nothing of it
//! is left.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use image::ErrorKind;
use image::document::Compression;
use image::error::Result;
use image::layer::{Applied, ApplyOptions, Limits, apply};
use testkit::{finish, needs};

use crate::archive::{Archive, Header};
use crate::scene::{Scene, alone, apply_to};

fn with_limits(change: impl FnOnce(&mut Limits)) -> ApplyOptions {
    let mut options = alone();
    change(&mut options.limits);
    options
}

#[track_caller]
fn assert_refused(applied: Result<Applied>, scene: &Scene, why: &str) {
    let error = applied.expect_err(why);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(why), "{why}: {error}");
    assert_eq!(
        scene.names(),
        Vec::<String>::new(),
        "{why}: something is left"
    );
}

/// A file of zeros of this size, as an archive that needs no memory.
fn zeros(size: u64) -> impl Read {
    let header = Header {
        size,
        ..Header::new(b'0', "zeros")
    };
    io::Cursor::new(header.block()).chain(io::repeat(0).take(size + 1024))
}

#[test]
fn what_expands_without_end_is_stopped() {
    needs!(Root);
    let size = 64 << 20;
    let mut gzip = Vec::new();
    let encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
    let mut encoder = io::BufWriter::new(encoder);
    io::copy(&mut zeros(size), &mut encoder).expect("compressed");
    drop(encoder);
    let zstd =
        ruzstd::encoding::compress_to_vec(zeros(size), ruzstd::encoding::CompressionLevel::Fastest);
    for (bytes, compression) in [(gzip, Compression::Gzip), (zstd, Compression::Zstd)] {
        let scene = Scene::new();
        let directory = File::open(scene.root()).expect("there");
        let run =
            |options: &ApplyOptions| apply(&bytes[..], compression, directory.as_fd(), options);
        let size_limit = with_limits(|limits| limits.uncompressed_bytes = 10 << 20);
        assert_refused(run(&size_limit), &scene, "10485760 bytes");
        let ratio = with_limits(|limits| {
            limits.ratio = 50;
            limits.ratio_counts_from = 1 << 20;
        });
        assert_refused(run(&ratio), &scene, "50 times");
        run(&alone()).expect("within the limits");
        assert_eq!(scene.metadata("zeros").len(), size);
    }
}

/// In bytes: the most that anything may take, whatever an archive holds.
const MOST_MEMORY: u64 = 64 << 20;

#[test]
fn bombs_take_neither_memory_nor_time() {
    needs!(Root);
    let mut child = Command::new(std::env::current_exe().expect("it runs"));
    child.args(["--ignored", "--exact", "--nocapture", "--test-threads=1"]);
    child.arg("bombs::child_that_unpacks_bombs");
    let finished = finish(&mut child, Duration::from_secs(120)).success();
    assert!(finished.stdout.contains("1 passed"), "{finished}");
}

#[test]
#[ignore = "a child of another test"]
fn child_that_unpacks_bombs() {
    let options = with_limits(|limits| {
        limits.uncompressed_bytes = 128 << 20;
        limits.entries = 5_000;
    });
    let refuse = |source: &mut dyn Read, compression, why: &str| {
        let scene = Scene::new();
        let directory = File::open(scene.root()).expect("there");
        let applied = apply(source, compression, directory.as_fd(), &options);
        assert_refused(applied, &scene, why);
    };
    // A gigabyte of zeros in a megabyte.
    let mut block = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut block, flate2::Compression::fast());
    io::copy(&mut io::repeat(0).take(1 << 20), &mut encoder).expect("compressed");
    drop(encoder);
    let header = Header {
        size: 1 << 30,
        ..Header::new(b'0', "zeros")
    };
    let mut first = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut first, flate2::Compression::fast());
    encoder.write_all(&header.block()).expect("compressed");
    drop(encoder);
    let members = block.repeat(1024);
    let mut gzip = first.as_slice().chain(&members[..]);
    refuse(&mut gzip, Compression::Gzip, "134217728 bytes");
    // Names without end, each in the place of the one before, and directories that are implied.
    let names = (0_u32..).map(|number| Header::new(b'0', format!("d{number}/f")).block());
    let mut names = Endless(names, io::Cursor::default());
    refuse(&mut names, Compression::None, "5000 files");
    for kind in *b"xgLK" {
        let header = Header {
            size: 8 << 30,
            ..Header::new(kind, "large")
        };
        let mut large = io::Cursor::new(header.block()).chain(io::repeat(b'x'));
        refuse(&mut large, Compression::None, "longer than 1 MiB");
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("there");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let peak = kib.expect("a number") << 10;
    assert!(peak < MOST_MEMORY, "{peak} bytes of memory were used");
}

/// Blocks, one after the other.
struct Endless<I>(I, io::Cursor<Vec<u8>>);

impl<I: Iterator<Item = [u8; 512]>> Read for Endless<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.1.read(buffer)? {
            0 => {
                self.1 = io::Cursor::new(self.0.next().unwrap_or([0; 512]).to_vec());
                self.1.read(buffer)
            }
            length => Ok(length),
        }
    }
}

#[test]
fn too_many_or_too_large_files_are_refused() {
    needs!(Root);
    let scene = Scene::new();
    let files = (0..100).fold(Archive::new(), |archive, number| {
        archive.file(&format!("d{number}/f"), "")
    });
    let few = with_limits(|limits| limits.entries = 50);
    let root = scene.root();
    assert_refused(
        apply_to(&root, &files.clone().end(), &few),
        &scene,
        "50 files",
    );
    let little = with_limits(|limits| limits.kept_bytes = 1000);
    assert_refused(
        apply_to(&root, &files.end(), &little),
        &scene,
        "1000 bytes of names",
    );
    let map: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", b"9223372036854775807"),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.map", b"9223372036854775806,1"),
        ("GNU.sparse.name", b"eight-exabytes"),
    ];
    let sparse = Archive::new().pax(b'x', &map).file("x", "1").end();
    assert_refused(
        apply_to(&root, &sparse, &alone()),
        &scene,
        "bytes in one file",
    );
    let header = Header {
        size: 0o77_777_777_777,
        ..Header::new(b'0', "truncated")
    };
    let truncated = Archive::new().header(&header).bytes;
    assert_refused(apply_to(&root, &truncated, &alone()), &scene, "cut off");
}

#[test]
fn headers_that_want_much_memory_are_refused() {
    needs!(Root);
    for kind in *b"xgLK" {
        let scene = Scene::new();
        let directory = File::open(scene.root()).expect("there");
        let header = Header {
            size: 100 << 20,
            ..Header::new(kind, "large")
        };
        let source = io::Cursor::new(header.block()).chain(io::repeat(b'x').take(100 << 20));
        let applied = apply(source, Compression::None, directory.as_fd(), &alone());
        assert_refused(applied, &scene, "longer than 1 MiB");
    }
    let name = "n".repeat(64 << 10);
    for archive in [
        Archive::new().long(b'L', name.as_bytes()).file("x", ""),
        Archive::new().long(b'K', name.as_bytes()).symlink("x", ""),
        Archive::new()
            .pax(b'x', &[("path", name.as_bytes())])
            .file("x", ""),
        Archive::new()
            .pax(b'x', &[("linkpath", name.as_bytes())])
            .symlink("x", ""),
    ] {
        let scene = Scene::new();
        assert_refused(
            scene.apply_alone(&archive.end()),
            &scene,
            "longer than 4095 bytes",
        );
    }
}

#[test]
fn attributes_that_cannot_be_are_refused_or_left_out() {
    needs!(Root);
    let with = |key: &str, value: &[u8]| {
        let scene = Scene::new();
        let archive = Archive::new()
            .pax(b'x', &[(key, value)])
            .file("x", "")
            .end();
        scene.apply_alone(&archive)
    };
    for key in [
        "SCHILY.xattr.",
        "LIBARCHIVE.xattr.%zz",
        "LIBARCHIVE.xattr.user.%00",
    ] {
        let error = with(key, b"AAEC").expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let applied = with("SCHILY.xattr.noNamespace", b"x").expect("left out");
    assert!(
        applied.warnings[0].contains("noNamespace"),
        "{:?}",
        applied.warnings
    );
    assert!(with(&format!("SCHILY.xattr.user.{}", "n".repeat(300)), b"x").is_err());
    assert!(with("SCHILY.xattr.user.large", &vec![0; 100 << 10]).is_err());
}

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::writer::Writer;
use super::*;
use crate::digest::Digest;
use crate::document::{Descriptor, MediaType};
use crate::error::{ErrorKind, Result};
use crate::layer::tar::{Entry, Kind};
use crate::progress::Silent;
use crate::store::{Image, Store};

const LAYER: &[u8] = b"a layer";

/// What an archive or a layout has in it, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn layer_type() -> MediaType {
    MediaType::from("application/vnd.oci.image.layer.v1.tar".to_owned())
}

fn blob(files: &mut Files, media_type: MediaType, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    files.insert(path_of(&descriptor.digest), bytes.to_vec());
    descriptor
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn configuration() -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(LAYER)]}})
}

/// An OCI layout of one image, whose documents `change` may spoil.
fn oci(change: impl Fn(&str, &mut Value)) -> Files {
    let mut files = Files::new();
    let layer = blob(&mut files, layer_type(), LAYER);
    let mut config = configuration();
    change("config", &mut config);
    let config = blob(
        &mut files,
        MediaType::OciConfig,
        config.to_string().as_bytes(),
    );
    let mut manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    change("manifest", &mut manifest);
    let manifest = blob(
        &mut files,
        MediaType::OciManifest,
        manifest.to_string().as_bytes(),
    );
    let mut index = json!({"schemaVersion": 2, "manifests": [manifest]});
    change("index", &mut index);
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    );
    files
}

/// An archive as Docker wrote it before 25.
fn docker(change: impl Fn(&mut Value, &mut Files)) -> Files {
    let mut files = Files::new();
    files.insert("abc.json".into(), configuration().to_string().into_bytes());
    files.insert("abc/layer.tar".into(), LAYER.to_vec());
    files.insert("abc/VERSION".into(), b"1.0".to_vec());
    let mut manifest =
        json!([{"Config": "abc.json", "RepoTags": ["x:1"], "Layers": ["abc/layer.tar"]}]);
    change(&mut manifest, &mut files);
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    files
}

fn archive(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for (name, content) in files {
        writer.whole(name, content).expect("written");
    }
    writer.finish().expect("written");
    bytes
}

fn store() -> (TempDir, Store) {
    let directory = TempDir::new().expect("made");
    let store = Store::open(&directory.path().join("store")).expect("it opens");
    (directory, store)
}

fn load_bytes(store: &Store, bytes: &[u8]) -> Result<Vec<Image>> {
    load(store, bytes, &LoadOptions::default(), &Silent)
}

/// Loading fails so, and no image is there afterwards.
fn assert_refused(bytes: &[u8], why: &str) {
    let (_directory, store) = store();
    let error = load_bytes(&store, bytes).expect_err(why);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(why), "{why}: {error}");
    assert_eq!(store.images().expect("a list"), []);
    let unfinished = std::fs::read_dir(store.path().join("ingest")).expect("listed");
    assert_eq!(unfinished.count(), 0, "{error}");
}

#[test]
fn both_kinds_of_archive_are_loaded() {
    let (_directory, store) = store();
    let images = load_bytes(&store, &archive(&oci(|_, _| {}))).expect("it is right");
    assert_eq!(images[0].reference, None);
    let again = load_bytes(&store, &archive(&docker(|_, _| {}))).expect("it is right");
    assert_eq!(again[0].shown(), "x:1");
    let options = LoadOptions {
        reference: "given:1".parse().ok(),
    };
    let named = load(&store, &archive(&oci(|_, _| {}))[..], &options, &Silent).expect("right");
    assert_eq!(named[0].shown(), "given:1");
    assert_eq!(named[0].descriptor.digest, images[0].descriptor.digest);
}

/// security.md U08.
#[test]
fn digests_that_are_none_are_refused() {
    let long = format!("sha256:{}", "a".repeat(100_000));
    let upper = Digest::of(LAYER)
        .to_string()
        .to_uppercase()
        .replace("SHA", "sha");
    let odd = [
        "sha256:../../x",
        "sha256:ab",
        &upper,
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
        "sha256:\0",
        &long,
    ];
    for digest in odd {
        let spoil = |which: &str, value: &mut Value| {
            if which == "index" {
                value["manifests"][0]["digest"] = digest.into();
            }
        };
        assert_refused(&archive(&oci(spoil)), "invalid digest");
        let spoil = |which: &str, value: &mut Value| {
            if which == "manifest" {
                value["layers"][0]["digest"] = digest.into();
            }
        };
        assert_refused(&archive(&oci(spoil)), "invalid digest");
        let spoil = |which: &str, value: &mut Value| {
            if which == "config" {
                value["rootfs"]["diff_ids"][0] = digest.into();
            }
        };
        assert_refused(&archive(&oci(spoil)), "invalid digest");
    }
    for name in [
        "blobs/sha256/ABC",
        "blobs/md5/00",
        "blobs/sha256/a/b",
        "blobs/x",
    ] {
        let mut files = oci(|_, _| {});
        files.insert(name.into(), b"x".to_vec());
        assert_refused(&archive(&files), "invalid digest");
    }
    for name in ["blobs/sha256/../../../x", "../x", "/x", "a/../../x"] {
        let mut files = oci(|_, _| {});
        files.insert(name.into(), b"x".to_vec());
        assert_refused(&archive(&files), "leads out of it");
    }
}

/// security.md U08.
#[test]
fn content_that_is_not_what_was_promised_is_refused() {
    let mut files = oci(|_, _| {});
    files.insert(path_of(&Digest::of(LAYER)), b"another layer".to_vec());
    assert_refused(&archive(&files), "its digest is");
    let mut missing = oci(|_, _| {});
    missing.remove(&path_of(&Digest::of(LAYER)));
    let (_directory, store) = store();
    let error = load_bytes(&store, &archive(&missing)).expect_err("a layer is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let longer = |which: &str, value: &mut Value| {
        if which == "index" {
            value["manifests"][0]["size"] = 17.into();
        }
    };
    assert_refused(&archive(&oci(longer)), "its descriptor says 17");
    let bytes = archive(&oci(|_, _| {}));
    assert_refused(&bytes[..bytes.len() / 2 + 100], "cut off");
    assert_refused(&bytes[..515], "cut off");
    assert_refused(b"", "empty");
    assert_refused(&[b'x'; 2048], "read archive");
    assert_refused(
        &archive(&Files::from([("etc/passwd".into(), Vec::new())])),
        "no archive of images",
    );
}

#[test]
fn archives_that_ask_for_too_much_are_refused() {
    let mut large = oci(|_, _| {});
    large.insert("index.json".into(), vec![b' '; (8 << 20) + 1]);
    assert_refused(&archive(&large), "is the most");
    let many =
        |manifest: &mut Value, _: &mut Files| *manifest = vec![manifest[0].clone(); 1001].into();
    assert_refused(&archive(&docker(many)), "is the most");
    let tags = |manifest: &mut Value, _: &mut Files| {
        manifest[0]["RepoTags"] = (0..1001).map(|number| format!("x:{number}")).collect();
    };
    assert_refused(&archive(&docker(tags)), "is the most");
    let name = "n".repeat(4000);
    let (_directory, store) = store();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for number in 0..1100 {
        // Of a kind that writes no blob.
        writer
            .whole(&format!("{number}{name}/VERSION"), b"")
            .expect("written");
    }
    writer.finish().expect("written");
    let error = load_bytes(&store, &bytes).expect_err("they would fill the memory");
    assert!(error.to_string().contains("bytes of names"), "{error}");
}

/// security.md U08: names in annotations are names, or nothing.
#[test]
fn odd_annotations_give_no_names() {
    for name in [
        "../../etc/passwd",
        "a\0b:1",
        "latest",
        "",
        "X:1",
        "\u{1b}[31m:x",
        "--help/x:1",
    ] {
        let annotate = |which: &str, value: &mut Value| {
            if which == "index" {
                value["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": name,
                    "io.containerd.image.name": name, "containerd.io/restart.loguri": "binary:///bin/sh"});
            }
        };
        let (_directory, store) = store();
        let images = load_bytes(&store, &archive(&oci(annotate))).expect("the image is right");
        assert_eq!(
            (images.len(), &images[0].reference, &images[0].name),
            (1, &None, &None)
        );
    }
}

/// security.md U09.
#[test]
fn documents_that_can_be_read_in_two_ways_are_refused() {
    type Change = fn(&str, &mut Value);
    let cases: [(Change, &str); 6] = [
        (
            |which, value| {
                if which == "manifest" {
                    value["manifests"] = json!([])
                }
            },
            "at once",
        ),
        (
            |which, value| {
                if which == "index" {
                    value["layers"] = json!([])
                }
            },
            "at once",
        ),
        (
            |which, value| {
                if which == "manifest" {
                    value["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
                }
            },
            "is offered as",
        ),
        (
            |which, value| {
                if which == "manifest" {
                    value["layers"] = json!([])
                }
            },
            "no layers",
        ),
        (
            |which, value| {
                if which == "config" {
                    value["rootfs"]["diff_ids"] = json!([Digest::of(b"a"), Digest::of(b"b")]);
                }
            },
            "2 diff_ids",
        ),
        (
            |which, value| {
                if which == "config" {
                    value["rootfs"]["type"] = "disk".into()
                }
            },
            "rootfs.type",
        ),
    ];
    for (change, why) in cases {
        assert_refused(&archive(&oci(change)), why);
    }
    let mut twice = oci(|_, _| {});
    let index = twice["index.json"].clone();
    let text = String::from_utf8(index)
        .expect("text")
        .replacen('{', r#"{"manifests":[],"#, 1);
    twice.insert("index.json".into(), text.into_bytes());
    assert_refused(&archive(&twice), "twice");
}

/// security.md U10.
#[test]
fn links_fifos_and_devices_in_an_archive_are_refused() {
    let content = path_of(&Digest::of(LAYER));
    for name in ["oci-layout", "index.json", "manifest.json", &content] {
        let to = || b"/etc/passwd".to_vec();
        for (kind, why) in [
            (Kind::HardLink(to()), "a link"),
            (Kind::Symlink(to()), "a link"),
            (Kind::Fifo, "a FIFO"),
            (Kind::CharacterDevice(1, 3), "a device"),
            (Kind::BlockDevice(7, 0), "a device"),
        ] {
            let mut files = oci(|_, _| {});
            files.remove(name);
            let mut bytes = raw_entry(name, kind);
            bytes.extend(archive(&files));
            assert_refused(&bytes, why);
        }
    }
}

/// An entry alone, without the archive's end.
fn raw_entry(name: &str, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let entry = Entry {
        path: name.into(),
        kind,
        ..Entry::default()
    };
    Writer::new(&mut bytes).entry(&entry).expect("written");
    bytes
}

/// security.md U10.
#[test]
fn links_and_fifos_in_a_layout_are_refused() {
    let layer = path_of(&Digest::of(LAYER));
    for name in ["oci-layout", "index.json", "blobs", "blobs/sha256", &layer] {
        for kind in ["link", "fifo"] {
            let (directory, store) = store();
            let layout = directory.path().join("layout");
            write_layout(&layout, &oci(|_, _| {}));
            let aside = directory.path().join("aside");
            std::fs::rename(layout.join(name), &aside).expect("renamed");
            if kind == "link" {
                symlink(&aside, layout.join(name)).expect("linked");
            } else {
                make_fifo(&layout.join(name));
            }
            let error = load_layout(&store, &layout, &LoadOptions::default(), &Silent)
                .expect_err("it leads elsewhere");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name} {kind}: {error}");
            assert!(error.to_string().contains("not followed"), "{error}");
            assert_eq!(store.images().expect("a list"), []);
        }
    }
}

fn write_layout(layout: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = layout.join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
}

fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made");
}

#[test]
fn the_layout_of_several_platforms_may_lack_some() {
    let (directory, store) = store();
    let mut files = oci(|_, _| {});
    let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let mut here = index["manifests"][0].clone();
    here["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut there = json!(Descriptor::of(MediaType::OciManifest, b"elsewhere"));
    there["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let inner = json!({"schemaVersion": 2, "manifests": [there, here]});
    let inner = blob(
        &mut files,
        MediaType::OciIndex,
        inner.to_string().as_bytes(),
    );
    let outer = json!({"schemaVersion": 2, "manifests": [inner]});
    files.insert("index.json".into(), outer.to_string().into_bytes());
    let layout = directory.path().join("layout");
    write_layout(&layout, &files);
    for images in [
        load_layout(&store, &layout, &LoadOptions::default(), &Silent).expect("one is enough"),
        load_bytes(&store, &archive(&files)).expect("one is enough"),
    ] {
        assert_eq!(images[0].descriptor.digest, inner.digest);
    }
    let images = store.images().expect("a list");
    let only = |platform: &str| SaveOptions {
        only: platform.parse().ok(),
        ..SaveOptions::default()
    };
    let save_only = |platform: &str| {
        let mut bytes = Vec::new();
        save(&store, &images, &mut bytes, &only(platform), &Silent).map(|()| bytes)
    };
    let error = save_only("linux/arm64").expect_err("it is not here");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let (_other_directory, other) = self::store();
    let loaded = load_bytes(&other, &save_only("linux/amd64").expect("it is")).expect("loaded");
    assert_eq!(
        json!(loaded[0].descriptor.digest),
        index["manifests"][0]["digest"]
    );
}

#[test]
fn content_with_sha512_goes_both_ways() {
    let mut files = oci(|_, _| {});
    let mut hasher = crate::digest::Hasher::new(crate::digest::Algorithm::Sha512);
    hasher.update(LAYER);
    let digest = hasher.finish();
    files.insert(path_of(&digest), LAYER.to_vec());
    let layer = Descriptor::new(layer_type(), digest.clone(), LAYER.len() as u64);
    let config = Descriptor::of(MediaType::OciConfig, configuration().to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = blob(
        &mut files,
        MediaType::OciManifest,
        manifest.to_string().as_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    files.insert("index.json".into(), index.to_string().into_bytes());

    let (directory, store) = store();
    let images = load_bytes(&store, &archive(&files)).expect("it is right");
    let mut saved = Vec::new();
    save(
        &store,
        &images,
        &mut saved,
        &SaveOptions::default(),
        &Silent,
    )
    .expect("written");
    let (_other_directory, other) = self::store();
    assert_eq!(load_bytes(&other, &saved).expect("it is right"), images);
    assert!(other.contains(&layer).expect("asked"));
    files.insert(path_of(&digest), b"another".to_vec());
    assert_refused(&archive(&files), "its digest is");

    let file = directory.path().join("saved.tar");
    std::fs::write(&file, &saved).expect("written");
    let mut tar = std::process::Command::new("tar");
    let listed = testkit::finish(tar.arg("-tf").arg(file), std::time::Duration::from_secs(20));
    let names = listed.success().stdout;
    assert!(
        names.lines().any(|line| line == path_of(&digest)),
        "{names}"
    );
}

#[test]
fn dockers_old_archives_are_checked_against_their_configuration() {
    type Change = fn(&mut Value, &mut Files);
    let cases: [(Change, &str); 8] = [
        (
            |_, files| drop(files.insert("abc/layer.tar".into(), b"other".to_vec())),
            "not the one of its configuration",
        ),
        (
            |manifest, _| manifest[0]["Layers"] = json!(["abc/layer.tar", "abc/layer.tar"]),
            "1 diff_ids",
        ),
        (
            |manifest, _| manifest[0]["Layers"] = Value::Null,
            "lists 0 layers",
        ),
        (
            |manifest, _| manifest[0]["Config"] = "../../etc/passwd".into(),
            "not in the archive",
        ),
        (
            |manifest, _| manifest[0]["Config"] = "abc/layer.tar".into(),
            "image configuration",
        ),
        (
            |manifest, _| manifest[0]["RepoTags"] = json!(["Not/A:Name!"]),
            "RepoTags",
        ),
        (|manifest, _| *manifest = json!([]), "no image in it"),
        (
            |manifest, _| *manifest = json!({"Config": "abc.json"}),
            "manifest.json",
        ),
    ];
    for (change, why) in cases {
        assert_refused(&archive(&docker(change)), why);
    }
}

#[test]
fn links_within_dockers_old_archives_are_followed_within_them() {
    let with_link = |target: &str| {
        let files = docker(|manifest, _| manifest[0]["Layers"] = json!(["def/layer.tar"]));
        [
            raw_entry("def/layer.tar", Kind::Symlink(target.into())),
            archive(&files),
        ]
        .concat()
    };
    let (_directory, store) = store();
    load_bytes(&store, &with_link("../abc/layer.tar")).expect("it leads to the layer");
    for target in ["../def/layer.tar", "nothing"] {
        assert_refused(&with_link(target), "not in the archive");
    }
    for target in ["/etc/passwd", "../../../etc/passwd"] {
        assert_refused(&with_link(target), "leads out of it");
    }
}

#[test]
fn a_blob_that_is_damaged_in_the_store_is_not_saved() {
    let (directory, store) = store();
    load_bytes(&store, &archive(&docker(|_, _| {}))).expect("it is right");
    let path = directory
        .path()
        .join("store")
        .join(path_of(&Digest::of(LAYER)));
    std::fs::write(path, b"a l4yer").expect("written");
    let images = store.images().expect("a list");
    let error = save(
        &store,
        &images,
        std::io::sink(),
        &SaveOptions::default(),
        &Silent,
    )
    .expect_err("it is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

#[test]
fn archives_may_be_compressed() {
    let (_directory, store) = store();
    let whole = archive(&docker(|_, _| {}));
    let plain = load_bytes(&store, &whole).expect("it is right");
    let (_other_directory, other) = self::store();
    let loaded = load_bytes(&other, &gzip(&whole)).expect("it is right");
    assert_eq!(loaded, plain);
    assert_refused(&gzip(&whole)[..whole.len() / 40], "gzip");
    for magic in [&b"\xfd7zXZ\0"[..], b"BZh91AY"] {
        let error = load_bytes(&store, magic).expect_err("it is not known");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(" -d`"), "{error}");
    }
}

#[test]
fn a_file_system_becomes_an_image_of_one_layer() {
    let (_directory, store) = store();
    let tar = archive(&Files::from([("bin/sh".into(), b"#!".to_vec())]));
    let options = ImportOptions {
        reference: "imported:1".parse().ok(),
        execution: crate::document::Execution {
            cmd: vec!["/bin/sh".into()],
            ..crate::document::Execution::default()
        },
        created: Some("1970-01-01T00:00:00Z".into()),
        ..ImportOptions::default()
    };
    for bytes in [tar.clone(), gzip(&tar)] {
        let image = import(&store, &bytes[..], &options).expect("it is an archive");
        assert_eq!(image.shown(), "imported:1");
        let host = crate::Platform::host();
        let (_, manifest) = store.manifest(&image.descriptor, &host).expect("there");
        assert_eq!(
            manifest.layers[0].digest,
            Digest::of(&bytes),
            "the bytes are as they were"
        );
        let config = store.config(&manifest).expect("there");
        assert_eq!(config.rootfs.diff_ids, [Digest::of(&tar)]);
        assert_eq!(config.config.cmd, ["/bin/sh"]);
        let again = import(&store, &bytes[..], &options).expect("the same again");
        assert_eq!(
            again.descriptor, image.descriptor,
            "and it is the same image"
        );
    }
    let (_other_directory, other) = self::store();
    for bytes in [
        &b""[..],
        &[0; 1024],
        b"no archive",
        &tar[..700],
        &gzip(&tar)[..60],
        b"BZh91AY",
    ] {
        import(&other, bytes, &options).expect_err("it is no archive");
        assert_eq!(other.images().expect("a list"), []);
        let unfinished = std::fs::read_dir(other.path().join("ingest")).expect("listed");
        assert_eq!(unfinished.count(), 0);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(96))]

    #[test]
    fn a_damaged_archive_is_refused_or_is_the_same_image(at: usize, with: u8, length: usize) {
        let whole = archive(&oci(|_, _| {}));
        let index: Value = serde_json::from_slice(&oci(|_, _| {})["index.json"]).expect("JSON");
        let mut bytes = whole.clone();
        let place = at % bytes.len();
        bytes[place] ^= with;
        if length % 4 == 0 {
            bytes.truncate(length / 4 % whole.len());
        }
        let (_directory, store) = store();
        let loaded = load_bytes(&store, &bytes);
        let listed = store.images().expect("a list");
        match loaded {
            Ok(images) => {
                proptest::prop_assert_eq!(&images, &listed);
                let digest = json!(images[0].descriptor.digest);
                proptest::prop_assert_eq!(&digest, &index["manifests"][0]["digest"]);
            }
            Err(_) => proptest::prop_assert_eq!(listed, []),
        }
    }
}

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::document::Manifest;
use crate::lock::{Lock, Share};
use crate::platform::Platform;
use crate::reference::Reference;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn store() -> (TempDir, Store) {
    let directory = TempDir::new().expect("a directory can be made");
    let root = directory.path().join("store");
    let store = Store::open_patiently(&root, Duration::from_millis(300)).expect("it opens");
    (directory, store)
}

fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

fn bytes_of(media_type: &str) -> MediaType {
    MediaType::from(media_type.to_owned())
}

/// An image of one layer for amd64, complete in the store; `salt` makes it another one.
fn image(store: &Store, salt: &str) -> Descriptor {
    let layer = store.put(
        bytes_of("application/vnd.oci.image.layer.v1.tar"),
        salt.as_bytes(),
    );
    let layer = layer.expect("it can be written");
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": [salt]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
    let config = store
        .put(MediaType::OciConfig, config.to_string().as_bytes())
        .expect("written");
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    store
        .put(MediaType::OciManifest, manifest.to_string().as_bytes())
        .expect("written")
}

fn index(store: &Store, media_type: MediaType, manifests: &[Descriptor]) -> Descriptor {
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    store
        .put(media_type, index.to_string().as_bytes())
        .expect("it can be written")
}

fn for_platform(mut descriptor: Descriptor, platform: &str) -> Descriptor {
    descriptor.platform = Some(platform.parse().expect(platform));
    descriptor
}

fn writer(store: &Store, descriptor: &Descriptor) -> Box<Writer> {
    match store.ingest(descriptor).expect("it can begin") {
        Ingest::Writer(writer) => writer,
        Ingest::Present => panic!("it is not there yet"),
    }
}

fn unfinished(store: &Store) -> Vec<String> {
    store.layout().ingest.names().expect("it can be listed")
}

#[test]
fn a_store_is_an_image_layout_and_opens_again() {
    let (directory, first) = store();
    let root = directory.path().join("store");
    let header = std::fs::read_to_string(root.join("oci-layout")).expect("it is there");
    assert_eq!(header, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let manifest = image(&first, "a");
    first
        .tag(&reference("x"), &manifest)
        .expect("it is complete");
    let again = Store::open(&root).expect("it opens");
    assert_eq!(
        again.images().expect("a list"),
        first.images().expect("a list")
    );
    assert_eq!(unfinished(&again), [] as [String; 0]);
}

#[test]
fn a_directory_with_other_things_never_becomes_a_store() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("thesis.tex"), "").expect("written");
    let error = Store::open(directory.path()).expect_err("it is no store");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .expect("listed")
        .collect();
    assert_eq!(names.len(), 1, "nothing was made");
}

#[test]
fn a_layout_of_another_version_and_one_without_its_list_are_refused() {
    let (directory, first) = store();
    let root = directory.path().join("store");
    drop(first);
    std::fs::remove_file(root.join("index.json")).expect("removed");
    let error = Store::open(&root).expect_err("nothing says which images there are");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("written");
    let error = Store::open(&root).expect_err("it is of the future");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// security.md U10.
#[test]
fn links_fifos_and_devices_in_the_layout_are_refused() {
    let names = [
        "oci-layout",
        "index.json",
        "blobs",
        "ingest",
        "locks",
        "blobs/sha256",
        "locks/index",
    ];
    for name in names {
        for kind in ["link", "fifo"] {
            let (directory, first) = store();
            let manifest = image(&first, "a");
            first.tag(&reference("x"), &manifest).expect("complete");
            drop(first);
            let root = directory.path().join("store");
            let aside = directory.path().join("aside");
            std::fs::rename(root.join(name), &aside).expect("renamed");
            match kind {
                // It would lead to exactly what was there.
                "link" => symlink(&aside, root.join(name)).expect("linked"),
                _ => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    root.join(name),
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                )
                .expect("a FIFO can be made"),
            }
            let opened = Store::open(&root).and_then(|store| store.tag(&reference("y"), &manifest));
            let error = opened.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name} {kind}: {error}");
            assert!(error.to_string().contains("not followed"), "{error}");
        }
    }
}

/// security.md U10.
#[test]
fn a_blob_that_is_a_link_is_never_read() {
    let (directory, store) = store();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").expect("written");
    let descriptor = Descriptor::of(MediaType::OciConfig, b"secret");
    let blob = directory
        .path()
        .join("store/blobs/sha256")
        .join(descriptor.digest.hex());
    symlink(&secret, &blob).expect("linked");
    assert_eq!(
        store.read(&descriptor).expect_err("a link").kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        store.open_blob(&descriptor).expect_err("a link").kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        store.ingest(&descriptor).expect_err("a link").kind(),
        ErrorKind::Corrupt
    );
}

/// security.md U10.
#[test]
fn a_device_in_the_layout_is_never_opened() {
    testkit::needs!(Root);
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    for name in ["oci-layout", "index.json", "blobs/sha256"] {
        let (directory, first) = store();
        drop(first);
        let root = directory.path().join("store");
        std::fs::rename(root.join(name), directory.path().join("aside")).expect("renamed");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(
            CWD,
            root.join(name),
            FileType::CharacterDevice,
            mode,
            makedev(1, 3),
        )
        .expect("made");
        let opened = Store::open(&root).and_then(|store| store.images());
        assert_eq!(opened.expect_err(name).kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_list_that_could_not_be_read_again_is_not_written() {
    let (directory, store) = store();
    let manifest = image(&store, "1");
    let path = directory.path().join("store/index.json");
    let padding = "x".repeat(usize::try_from(MAX_DOCUMENT).expect("it fits") - 200);
    let nearly_full = json!({"schemaVersion": 2, "manifests": [], "x": padding}).to_string();
    std::fs::write(&path, &nearly_full).expect("written");
    assert_eq!(store.images().expect("it is a list"), []);
    let error = store
        .tag(&reference("x"), &manifest)
        .expect_err("there is no room in it");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(std::fs::read_to_string(&path).expect("read") == nearly_full);
}

#[test]
fn content_is_seen_only_when_it_is_whole_and_right() {
    let (_directory, store) = store();
    let descriptor = Descriptor::of(MediaType::OciConfig, b"content");
    let mut first = writer(&store, &descriptor);
    first.write_all(b"cont").expect("written");
    assert!(!store.contains(&descriptor).expect("asked"));
    let error = first.commit().expect_err("it is too short");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let mut second = writer(&store, &descriptor);
    assert_eq!(second.offset(), 4, "what is there is kept");
    second.write_all(b"ent").expect("written");
    second.commit().expect("it is whole");
    assert_eq!(store.read(&descriptor).expect("read"), b"content");
    assert!(matches!(store.ingest(&descriptor), Ok(Ingest::Present)));
    assert_eq!(unfinished(&store), [] as [String; 0]);
}

/// security.md U08.
#[test]
fn wrong_bytes_and_too_many_are_thrown_away() {
    let (_directory, store) = store();
    let descriptor = Descriptor::of(MediaType::OciConfig, b"content");
    let mut wrong = writer(&store, &descriptor);
    wrong.append(b"CONTENT").expect("written");
    assert_eq!(
        wrong.commit().expect_err("wrong").kind(),
        ErrorKind::Corrupt
    );
    let mut long = writer(&store, &descriptor);
    assert_eq!(long.offset(), 0);
    let error = long.write_all(b"contents").expect_err("one too many");
    assert_eq!(Error::system("copy", error).kind(), ErrorKind::Corrupt);
    drop(long);
    assert_eq!(unfinished(&store), [] as [String; 0]);
    assert!(!store.contains(&descriptor).expect("asked"));
}

#[test]
fn what_an_earlier_attempt_left_is_hashed_again() {
    let (directory, store) = store();
    let descriptor = Descriptor::of(MediaType::OciConfig, b"content");
    let left = |bytes: &[u8]| {
        let name = format!("store/ingest/sha256-{}", descriptor.digest.hex());
        std::fs::write(directory.path().join(name), bytes).expect("written");
    };
    for (bytes, offset) in [
        (&b"conte"[..], 5),
        (b"CONTENT", 0),
        (b"content and more", 0),
    ] {
        left(bytes);
        assert_eq!(writer(&store, &descriptor).offset(), offset);
    }
    // All of it: killed between the last write and the rename.
    left(b"content");
    assert!(matches!(store.ingest(&descriptor), Ok(Ingest::Present)));
    assert_eq!(store.read(&descriptor).expect("read"), b"content");
}

#[test]
fn a_second_writer_waits_and_then_finds_it_present() {
    let (_directory, store) = store();
    let descriptor = Descriptor::of(MediaType::OciConfig, b"content");
    let mut first = writer(&store, &descriptor);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| store.ingest(&descriptor));
        first.append(b"content").expect("written");
        first.commit().expect("whole");
        assert!(matches!(
            second.join().expect("no panic"),
            Ok(Ingest::Present)
        ));
    });
    let other = Descriptor::of(MediaType::OciConfig, b"other");
    let _holder = writer(&store, &other);
    let error = store.ingest(&other).expect_err("the first doesn't get on");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let pid = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
}

#[test]
fn content_without_a_name_gets_one_from_its_bytes() {
    let (_directory, store) = store();
    for _ in 0..2 {
        let mut unnamed = store.writer_unnamed().expect("begun");
        unnamed.write_all(b"con").expect("written");
        unnamed.write_all(b"tent").expect("written");
        let descriptor = unnamed.commit(MediaType::Empty).expect("committed");
        assert_eq!(descriptor, Descriptor::of(MediaType::Empty, b"content"));
        let mut text = String::new();
        let mut file = store.open_blob(&descriptor).expect("there");
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "content");
    }
    let left = store.layout().ingest.path_of("unnamed-1-7");
    std::fs::write(left, "of one that was killed").expect("written");
    let held = store.writer_unnamed().expect("begun");
    let names = unfinished(&store);
    assert_eq!(names.len(), 1, "{names:?}");
    let second = store.writer_unnamed().expect("begun");
    assert_eq!(unfinished(&store).len(), 2, "one that lives is left alone");
    drop((held, second));
    assert_eq!(unfinished(&store), [] as [String; 0]);
}

#[test]
fn a_name_moves_and_the_old_image_stays_without_one() {
    let (_directory, store) = store();
    let (first, second) = (image(&store, "1"), image(&store, "2"));
    store.add(&first).expect("complete");
    store.tag(&reference("x"), &first).expect("complete");
    assert_eq!(store.images().expect("a list").len(), 1);
    store.tag(&reference("x"), &second).expect("complete");
    store.tag(&reference("x"), &second).expect("the same again");
    let images = store.images().expect("a list");
    let list: Vec<_> = images
        .iter()
        .map(|i| (i.shown(), &i.descriptor.digest))
        .collect();
    let nameless = first.digest.to_string();
    assert_eq!(
        list,
        [
            ("x:latest".into(), &second.digest),
            (nameless, &first.digest)
        ]
    );
    assert_eq!(
        store.untag(&reference("x")).expect("there").digest,
        second.digest
    );
    assert_eq!(
        store.untag(&reference("x")).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(store.images().expect("a list").len(), 2);
    assert_eq!(store.forget(&second.digest).expect("there").len(), 1);
    assert_eq!(store.images().expect("a list").len(), 1);
}

#[test]
fn an_image_with_a_missing_part_gets_no_name() {
    let (directory, store) = store();
    let manifest = image(&store, "1");
    let layer = Digest::of(b"1");
    std::fs::remove_file(
        directory
            .path()
            .join("store/blobs/sha256")
            .join(layer.hex()),
    )
    .expect("removed");
    let error = store
        .tag(&reference("x"), &manifest)
        .expect_err("its layer is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(layer.hex()), "{error}");
    assert_eq!(store.images().expect("a list"), []);
}

#[test]
fn what_others_have_written_into_the_list_stays() {
    let (directory, store) = store();
    let manifest = image(&store, "1");
    let path = directory.path().join("store/index.json");
    let foreign = json!({"schemaVersion": 2, "x-foreign": [1, 2], "manifests": [
        {"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size,
         "x-ours": {"a": 1}, "annotations": {"org.opencontainers.image.ref.name": "latest"}}]});
    std::fs::write(&path, foreign.to_string()).expect("written");
    assert_eq!(store.find("latest").expect("there").reference, None);
    store.tag(&reference("x"), &manifest).expect("complete");
    let text = std::fs::read(&path).expect("read");
    let list: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(list["x-foreign"], json!([1, 2]));
    assert_eq!(list["manifests"][0], foreign["manifests"][0]);
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn images_are_found_by_name_digest_and_the_beginning_of_an_id() {
    let (_directory, store) = store();
    let (first, second) = (image(&store, "1"), image(&store, "2"));
    let nested = index(
        &store,
        MediaType::DockerIndex,
        std::slice::from_ref(&second),
    );
    let outer = index(&store, MediaType::OciIndex, &[nested]);
    store.tag(&reference("a/b:1"), &first).expect("complete");
    store.tag(&reference("c"), &outer).expect("complete");
    let (_, manifest) = store
        .manifest(&first, &Platform::host())
        .expect("it is one");
    let digest = |text: &str| store.find(text).map(|image| image.descriptor.digest);
    for text in [
        "a/b:1".to_owned(),
        "docker.io/a/b:1".to_owned(),
        first.digest.to_string(),
        first.digest.short().to_owned(),
        format!("sha256:{}", first.digest.short()),
        manifest.config.digest.to_string(),
        manifest.config.digest.short().to_owned(),
        format!("a/b@{}", first.digest),
    ] {
        assert_eq!(digest(&text).expect(&text), first.digest, "{text}");
    }
    assert_eq!(
        digest(second.digest.short()).expect("nested"),
        second.digest
    );
    for text in ["a/b", &format!("x@{}", first.digest), "sha256:", "", "zz"] {
        assert_eq!(
            digest(text).expect_err(text).kind(),
            ErrorKind::NotFound,
            "{text}"
        );
    }
    // With enough images, two ids begin alike.
    for number in 0..17 {
        store
            .add(&image(&store, &format!("n{number}")))
            .expect("complete");
    }
    let images = store.images().expect("a list");
    let twice = "0123456789abcdef".chars().find(|digit| {
        images
            .iter()
            .filter(|i| i.descriptor.digest.hex().starts_with(*digit))
            .count()
            > 1
    });
    let error = digest(&twice.expect("seventeen of sixteen").to_string()).expect_err("several");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("several images"), "{error}");
}

#[test]
fn the_right_manifest_is_found_through_nested_indexes() {
    let (_directory, store) = store();
    let platform: Platform = "linux/arm64".parse().expect("one");
    let (amd, arm) = (image(&store, "amd"), image(&store, "arm"));
    let entries = [
        for_platform(amd.clone(), "linux/amd64"),
        for_platform(arm.clone(), "linux/arm64"),
    ];
    let mut deep = index(&store, MediaType::OciIndex, &entries);
    for _ in 0..3 {
        deep = index(&store, MediaType::OciIndex, &[deep]);
    }
    assert_eq!(
        store.manifest(&deep, &platform).expect("there").0.digest,
        arm.digest
    );
    let (_, manifest) = store
        .manifest(&amd, &platform)
        .expect("one manifest is taken as it is");
    assert_eq!(
        store.config(&manifest).expect("it is an image").config.cmd,
        ["amd"]
    );
    let missing = for_platform(Descriptor::of(MediaType::OciManifest, b"{}"), "linux/s390x");
    let partial = index(
        &store,
        MediaType::OciIndex,
        &[for_platform(amd, "linux/amd64"), missing],
    );
    store
        .tag(&reference("partial"), &partial)
        .expect("one platform is enough");
    let s390x = "linux/s390x".parse().expect("one");
    let error = store
        .manifest(&partial, &s390x)
        .expect_err("it was never pulled");
    assert!(
        error.to_string().contains("pull it for this platform"),
        "{error}"
    );
    for _ in 0..20 {
        deep = index(&store, MediaType::OciIndex, &[deep]);
    }
    let error = store.manifest(&deep, &platform).expect_err("too deep");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        store.add(&deep).expect_err("too deep").kind(),
        ErrorKind::Corrupt
    );
}

/// security.md U09.
#[test]
fn manifest_and_configuration_that_do_not_belong_together_are_refused() {
    let (_directory, store) = store();
    let (_, whole) = store
        .manifest(&image(&store, "1"), &Platform::host())
        .expect("there");
    let without = Manifest {
        layers: Vec::new(),
        ..whole.clone()
    };
    let twice = Manifest {
        layers: [whole.layers.clone(), whole.layers.clone()].concat(),
        ..whole.clone()
    };
    for (manifest, why) in [(without, "no layers"), (twice, "2 layers")] {
        let error = store.config(&manifest).expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut artifact = whole;
    artifact.config.media_type = MediaType::Empty;
    assert_eq!(
        store.config(&artifact).expect_err("no image").kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn pruning_removes_only_what_nothing_refers_to() {
    let (directory, store) = store();
    let (tagged, loose, kept, garbage) = (
        image(&store, "1"),
        image(&store, "2"),
        image(&store, "3"),
        image(&store, "4"),
    );
    store
        .tag(
            &reference("x"),
            &index(&store, MediaType::OciIndex, &[tagged]),
        )
        .expect("complete");
    store.add(&loose).expect("complete");
    let about = |subject: &Descriptor| {
        let empty = store.put(MediaType::Empty, b"{}").expect("written");
        let manifest =
            json!({"schemaVersion": 2, "config": empty, "layers": [empty], "subject": subject});
        store
            .put(MediaType::OciManifest, manifest.to_string().as_bytes())
            .expect("written")
    };
    let tagged = store.images().expect("a list")[0].descriptor.clone();
    let signature = about(&tagged);
    store.add(&about(&signature)).expect("complete");
    store.add(&signature).expect("complete");
    std::fs::write(
        directory.path().join("store/blobs/sha256/oci-put-blob"),
        "skopeo's",
    )
    .expect("written");
    std::fs::write(directory.path().join("store/ingest/sha256-12"), "12345").expect("written");

    let pruned = store
        .prune(Untagged::Keep, |digest| *digest == kept.digest)
        .expect("pruned");
    assert_eq!(pruned.images, []);
    assert_eq!(pruned.blobs.len(), 3, "{pruned:?}");
    assert!(pruned.blobs.contains(&garbage.digest));
    assert!(store.find(&loose.digest.to_string()).is_ok());
    assert!(store.contains(&kept).expect("asked"));
    store.add(&kept).expect("it is complete still");

    let pruned = store
        .prune(Untagged::Remove, |digest| *digest == kept.digest)
        .expect("pruned");
    assert_eq!(pruned.images, std::slice::from_ref(&loose.digest));
    assert_eq!(pruned.blobs.len(), 3, "{pruned:?}");
    assert_eq!(store.images().expect("a list").len(), 4);
    assert_eq!(unfinished(&store), [] as [String; 0]);
    assert!(
        directory
            .path()
            .join("store/blobs/sha256/oci-put-blob")
            .exists()
    );

    store.untag(&reference("x")).expect("there");
    store.prune(Untagged::Remove, |_| false).expect("pruned");
    assert_eq!(
        store.blobs().expect("listed"),
        [],
        "signatures go with what they are about"
    );
}

#[test]
fn what_is_named_a_million_times_is_looked_at_once() {
    let (_directory, store) = store();
    let manifest = image(&store, "1");
    let mut deep = manifest.clone();
    for _ in 0..tree::MAX_DEPTH {
        deep = index(&store, MediaType::OciIndex, &vec![deep; 300]);
    }
    store.tag(&reference("x"), &deep).expect("it is whole");
    let found = store.find(manifest.digest.short()).expect("it is in there");
    assert_eq!(found.descriptor.digest, manifest.digest);
    assert_eq!(
        store.find("00000000000000").expect_err("none").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(store.manifests(&deep).expect("they can be read").len(), 1);
    let pruned = store.prune(Untagged::Remove, |_| false).expect("pruned");
    assert_eq!(pruned.blobs, []);
}

#[test]
fn a_manifest_that_is_another_images_layer_keeps_its_parts() {
    for names in [["a", "b"], ["b", "a"]] {
        let (_directory, store) = store();
        let victim = image(&store, "1");
        let layer = Descriptor::new(
            bytes_of("application/vnd.oci.image.layer.v1.tar"),
            victim.digest.clone(),
            victim.size,
        );
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
        let config = store.put(MediaType::OciConfig, config.to_string().as_bytes());
        let manifest =
            json!({"schemaVersion": 2, "config": config.expect("written"), "layers": [layer]});
        let odd = store.put(MediaType::OciManifest, manifest.to_string().as_bytes());
        let odd = odd.expect("written");
        for name in names {
            let it = if name == "a" { &odd } else { &victim };
            store.tag(&reference(name), it).expect("it is whole");
        }
        store.prune(Untagged::Remove, |_| false).expect("pruned");
        store.check(&victim).expect("it is whole still");
    }
}

#[test]
fn a_damaged_image_stops_pruning() {
    let (directory, store) = store();
    let manifest = image(&store, "1");
    store.tag(&reference("x"), &manifest).expect("complete");
    let path = directory
        .path()
        .join("store/blobs/sha256")
        .join(manifest.digest.hex());
    let size = usize::try_from(manifest.size).expect("it is short");
    std::fs::write(&path, vec![b' '; size]).expect("written");
    let before = store.blobs().expect("listed");
    let error = store
        .prune(Untagged::Remove, |_| false)
        .expect_err("nobody knows its layers");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(store.blobs().expect("listed"), before);
    store.forget(&manifest.digest).expect("it can be removed");
    store.prune(Untagged::Remove, |_| false).expect("pruned");
    assert_eq!(store.blobs().expect("listed"), []);
}

#[test]
fn a_lease_holds_pruning_up() {
    let (_directory, store) = store();
    let (first, second) = (
        store.lease().expect("held"),
        store.lease().expect("held, too"),
    );
    let garbage = image(&store, "1");
    drop(first);
    let error = store
        .prune(Untagged::Remove, |_| false)
        .expect_err("one is held still");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(store.contains(&garbage).expect("asked"));
    drop(second);
    store.prune(Untagged::Remove, |_| false).expect("pruned");
    assert!(!store.contains(&garbage).expect("asked"));
}

/// Two that hold a lease by turns, so that one of them always does, unless it gets none.
fn relay(root: &Path, is_over: &AtomicBool) {
    let held = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Another process's: it has a lock of its own.
                let store = Store::open_patiently(root, LONG).expect("opened");
                while !is_over.load(Ordering::SeqCst) {
                    let lease = store.lease().expect("leased");
                    held.fetch_add(1, Ordering::SeqCst);
                    let since = Instant::now();
                    let alone = || held.load(Ordering::SeqCst) < 2;
                    while alone() && since.elapsed() < Duration::from_millis(300) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
}

#[test]
fn a_stream_of_leases_does_not_keep_a_pruning_waiting() {
    let (directory, store) = store();
    let garbage = image(&store, "1");
    let pruning = Store::open_patiently(store.path(), LONG).expect("opened");
    let is_over = AtomicBool::new(false);
    let root = directory.path().join("store");
    std::thread::scope(|scope| {
        scope.spawn(|| relay(&root, &is_over));
        std::thread::sleep(Duration::from_millis(100));
        let pruned = pruning.prune(Untagged::Remove, |_| false);
        is_over.store(true, Ordering::SeqCst);
        pruned.expect("it had its turn");
    });
    assert!(!store.contains(&garbage).expect("asked"));
}

#[test]
fn a_pruning_that_waits_for_long_lets_others_through() {
    let (_directory, store) = store();
    let open = || Store::open_patiently(store.path(), LONG).expect("opened");
    let long = open().lease().expect("held");
    let waits = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let lease = open().lease_alone_by_turns(Duration::from_millis(100));
            waits.store(false, Ordering::SeqCst);
            lease.map(drop)
        });
        for _ in 0..5 {
            drop(open().lease().expect("the gate opens again and again"));
            assert!(waits.load(Ordering::SeqCst));
        }
        drop(long);
        pruning.join().expect("ended").expect("it had its turn");
    });
}

#[test]
fn who_has_a_lease_gets_another_one_past_a_pruning_that_waits() {
    let (_directory, store) = store();
    let long = store.lease().expect("held");
    let pruning = Store::open_patiently(store.path(), LONG).expect("opened");
    std::thread::scope(|scope| {
        let pruning = scope.spawn(move || pruning.lease_alone().map(drop));
        let gate = store.path().join("locks/gate");
        while matches!(Lock::try_take(&gate, Share::Shared), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It would wait for who waits for it.
        drop(store.lease().expect("at once"));
        drop(long);
        pruning.join().expect("ended").expect("it had its turn");
    });
}

//! Layers that are unpacked while they come: the same in the end, and nothing that is not
//! verified has a name.

#[path = "network/mod.rs"]
mod network;

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::document::Compression;
use image::error::{Error, ErrorKind};
use image::layer::{PackOptions, pack};
use image::pull::{PullOptions, Pulled, Unpacking, pull, pull_and_unpack};
use image::registry::Client;
use image::snapshot::{Chain, Snapshots, UnpackOptions};
use image::{Reference, Store};
use network::fake::{Fake, Reply, Seen, Step, answer};
use network::{Made, Notes, quick};
use testkit::{Fact, Marker, needs};

/// Where images come to.
struct Place {
    directory: tempfile::TempDir,
    store: Store,
    snapshots: Snapshots,
    notes: Notes,
}

impl Place {
    fn new() -> Self {
        let directory = Marker::new("arriving").directory();
        let root = directory.path().join("store");
        Self {
            store: Store::open(&root).expect("a store"),
            snapshots: Snapshots::open(&root, Snapshots::kind_for_this_process())
                .expect("a place for layers"),
            notes: Notes::default(),
            directory,
        }
    }

    fn pull(&self, fake: &Fake) -> Result<(Pulled, Option<Result<Chain, Error>>), Error> {
        let reference: Reference = name(fake).parse().expect("a reference");
        let unpacking = Unpacking {
            snapshots: &self.snapshots,
            options: &UnpackOptions::default(),
        };
        pull_and_unpack(
            &Client::new(quick()),
            &self.store,
            &reference,
            &PullOptions::default(),
            &unpacking,
            &self.notes,
        )
    }

    fn unpacks(&self, fake: &Fake) -> Chain {
        let (_, unpacked) = self.pull(fake).expect("pulled");
        unpacked.expect("it is one image").expect("unpacked")
    }

    fn layers(&self) -> Vec<PathBuf> {
        self.below("layers")
    }

    fn below(&self, name: &str) -> Vec<PathBuf> {
        let path = self.directory.path().join("store/snapshots").join(name);
        let entries = fs::read_dir(path).expect("it is there");
        entries.map(|entry| entry.expect("read").path()).collect()
    }

    /// The layer has the big file as it was packed, and nothing is half-done.
    fn has_big_file(&self) {
        let layers = self.layers();
        let big = layers
            .iter()
            .find_map(|layer| fs::read(layer.join("fs/big")).ok());
        assert!(big.expect("it is in one of them") == content());
        assert_eq!(self.below("new"), Vec::<PathBuf>::new());
    }

    fn has_no_layer(&self) {
        assert_eq!(self.layers(), Vec::<PathBuf>::new());
        assert_eq!(self.below("new"), Vec::<PathBuf>::new());
    }
}

fn name(fake: &Fake) -> String {
    format!("{}/a/b:c", fake.name())
}

/// Content that takes more than one read.
fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// An archive of one file.
fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let tree = tempfile::tempdir().expect("a directory");
    fs::write(tree.path().join(name), bytes).expect("written");
    let tree = fs::File::open(tree.path()).expect("it is there");
    let mut archive = Vec::new();
    let mut options = PackOptions::default();
    options.compression = Compression::None;
    pack(tree.as_fd(), &options, &mut archive).expect("packed");
    archive
}

/// A large layer, a small one above it, and the same compressed.
static ARCHIVES: LazyLock<[Vec<u8>; 2]> =
    LazyLock::new(|| [archive("big", &content()), archive("small", b"small")]);

fn made() -> Made {
    let [big, small] = &*ARCHIVES;
    Made::compressed(&[big, small])
}

/// The large layer as it is sent.
fn sent() -> Vec<u8> {
    made().layers[0].clone()
}

fn is_large_layer(seen: &Seen) -> bool {
    seen.method == "GET" && seen.path().ends_with(image::Digest::of(&sent()).hex())
}

fn registry(special: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    let made = made();
    Fake::start(move |seen| special(seen).unwrap_or_else(|| good(&made, seen)))
}

fn good(made: &Made, seen: &Seen) -> Reply {
    if seen.path() == "/v2/" {
        return answer(200, &[], b"{}");
    }
    if seen.path().contains("/manifests/") {
        let digest = made.descriptor().digest.to_string();
        let length = made.manifest.len().to_string();
        let headers = [
            ("Content-Type", "application/vnd.oci.image.manifest.v1+json"),
            ("Docker-Content-Digest", &*digest),
            ("Content-Length", &*length),
        ];
        return match seen.method.as_str() {
            "HEAD" => answer(200, &headers, b""),
            _ => answer(200, &headers[..2], &made.manifest),
        };
    }
    let mut blobs = made.layers.iter().chain([&made.config]);
    match blobs.find(|blob| seen.path().ends_with(image::Digest::of(blob).hex())) {
        Some(blob) => rest(blob, start(seen)),
        None => answer(404, &[], b""),
    }
}

fn start(seen: &Seen) -> usize {
    let range = seen
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let start = range.and_then(|range| range.strip_suffix('-'));
    start.map_or(0, |start| start.parse().expect("a number"))
}

fn rest(blob: &[u8], start: usize) -> Reply {
    if start == 0 {
        return answer(200, &[], blob);
    }
    let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
    answer(206, &[("Content-Range", &*range)], &blob[start..])
}

#[test]
fn an_image_is_unpacked_while_it_comes() {
    needs!(Fact::Root);
    let fake = registry(|_| None);
    let place = Place::new();
    let chain = place.unpacks(&fake);
    assert!(place.snapshots.has(&chain));
    assert_eq!(place.layers().len(), 2);
    place.has_big_file();
    // What is there is neither fetched nor unpacked again.
    let (pulled, again) = place.pull(&fake).expect("pulled");
    assert_eq!(pulled.bytes, 0);
    assert_eq!(again.expect("one image").expect("unpacked"), chain);
}

#[test]
fn a_layer_that_breaks_off_goes_on_where_it_was() {
    needs!(Fact::Root);
    let count = AtomicUsize::new(0);
    let fake = registry(move |seen| {
        let breaks_off = is_large_layer(seen) && count.fetch_add(1, Ordering::SeqCst) < 2;
        breaks_off.then(|| {
            let start = start(seen);
            let blob = sent();
            let mut reply = rest(&blob, start);
            let left = &blob[start..];
            reply[1] = Step::Send(left[..left.len() / 2].to_vec());
            reply
        })
    });
    let place = Place::new();
    place.unpacks(&fake);
    place.has_big_file();
    assert_eq!(fake.asked("GET", image::Digest::of(&sent()).hex()).len(), 3);
}

#[test]
fn a_layer_of_other_bytes_gets_no_name() {
    needs!(Fact::Root);
    let mut other = content();
    other[77] ^= 1;
    // As long as the right one when it is compressed, and an archive as good as that.
    let mut lie = Made::compressed(&[&archive("big", &other)]).layers[0].clone();
    lie.resize(sent().len(), 0);
    let fake = registry(move |seen| is_large_layer(seen).then(|| answer(200, &[], &lie)));
    let place = Place::new();
    let error = place.pull(&fake).expect_err("it lies");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    place.has_no_layer();
    assert!(place.store.images().expect("a list").is_empty());
}

#[test]
fn wrong_bytes_of_an_earlier_attempt_are_not_unpacked() {
    needs!(Fact::Root);
    let liar = registry(|seen| {
        is_large_layer(seen).then(|| {
            let mut reply = answer(200, &[], &sent());
            // It begins as any gzip stream does.
            let mut wrong = sent()[..5000].to_vec();
            wrong[4000] ^= 1;
            reply[1] = Step::Send(wrong);
            reply
        })
    });
    let place = Place::new();
    let error = place.pull(&liar).expect_err("it breaks off");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    place.has_no_layer();
    // The same place, and a registry that tells the truth.
    let fake = registry(|_| None);
    place.unpacks(&fake);
    assert!(
        place.notes.contain("began at 5000"),
        "{:?}",
        place.notes.all()
    );
    place.has_big_file();
}

#[test]
fn what_is_no_archive_is_pulled_and_not_unpacked() {
    needs!(Fact::Root);
    let made = Made::new(&[b"no archive"]);
    let fake = Fake::start(move |seen| good(&made, seen));
    let place = Place::new();
    let (pulled, unpacked) = place.pull(&fake).expect("its digest is right");
    let error = unpacked.expect("one image").expect_err("it is no archive");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    place.has_no_layer();
    let images = place.store.images().expect("a list");
    assert_eq!(images[0].descriptor.digest, pulled.descriptor.digest);
}

#[test]
fn two_pulls_of_one_image_share_the_work() {
    needs!(Fact::Root);
    let fake = registry(|_| None);
    let place = Place::new();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| place.unpacks(&fake)))
            .collect();
        let chains: Vec<_> = pulls
            .into_iter()
            .map(|pull| pull.join().expect("pulled"))
            .collect();
        assert!(chains.iter().all(|chain| *chain == chains[0]));
    });
    assert_eq!(fake.asked("GET", image::Digest::of(&sent()).hex()).len(), 1);
    place.has_big_file();
    // An image that isn't to be unpacked comes as before.
    let reference: Reference = name(&fake).parse().expect("a reference");
    let client = Client::new(quick());
    let options = PullOptions::default();
    let pulled = pull(&client, &place.store, &reference, &options, &place.notes);
    assert_eq!(pulled.expect("pulled").bytes, 0);
}

//! How much memory layers of zstd take, by the windows of their frames.

use std::io::Write;
use std::time::Duration;

use image::Digest;
use image::document::{Descriptor, MediaType};
use image::error::Result;
use image::progress::{Event, Progress};
use image::snapshot::{Snapshots, UnpackOptions};
use image::store::{Ingest, Store};
use serde_json::json;
use testkit::{Marker, needs};

mod kit;

const MIB: usize = 1 << 20;
/// The most that one operation may use.
const PROMISED: usize = 64_000_000;
/// What all but the windows may take of it.
const REST: usize = PROMISED - 32 * MIB;

struct Silent;

impl Progress for Silent {
    fn report(&self, _: Event<'_>) {}
}

/// A layer of one file, and how it is compressed: a frame of raw blocks, whose window is as large
/// as it says, and is filled.
struct Layer {
    plain: Vec<u8>,
    window: u8,
}

impl Layer {
    /// One that only `salt` has, with a window of 2^(10 + `window`) bytes, and more content.
    fn new(salt: u8, window: u8) -> Self {
        let size = (1 << (10 + window)) + 4 * MIB;
        let mut header = [0_u8; 512];
        header[..5].copy_from_slice(b"file\0");
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut plain = header.to_vec();
        plain.resize(512 + size + 1024, salt);
        plain[512 + size..].fill(0);
        Self { plain, window }
    }

    fn compressed(&self) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, self.window << 3];
        let mut blocks = self.plain.chunks(128 << 10).peekable();
        while let Some(block) = blocks.next() {
            let is_last = u32::from(blocks.peek().is_none());
            let size = u32::try_from(block.len()).expect("it is short");
            frame.extend(&(size << 3 | is_last).to_le_bytes()[..3]);
            frame.extend(block);
        }
        frame
    }
}

/// Puts an image of such layers into a store, one after the other.
fn image_of(store: &Store, windows: &[u8]) -> Result<Descriptor> {
    let kind: MediaType = "application/vnd.oci.image.layer.v1.tar+zstd"
        .to_owned()
        .into();
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (salt, window) in (1..).zip(windows) {
        let layer = Layer::new(salt, *window);
        diff_ids.push(Digest::of(&layer.plain));
        let bytes = layer.compressed();
        let descriptor = Descriptor::of(kind.clone(), &bytes);
        if let Ingest::Writer(mut writer) = store.ingest(&descriptor)? {
            writer.append(&bytes)?;
            writer.commit()?;
        }
        layers.push(descriptor);
    }
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = store.put(MediaType::OciConfig, config.to_string().as_bytes())?;
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    store.put(MediaType::OciManifest, manifest.to_string().as_bytes())
}

/// Unpacks an image of layers with such windows in a process of its own; its peak in bytes.
fn peak(windows: &[u8]) -> usize {
    let directory = Marker::new("imgwindows").directory();
    let root = directory.path().join("store");
    let store = Store::open(&root).expect("a store");
    let lease = store.lease().expect("a lease");
    let image = image_of(&store, windows).expect("written");
    store
        .tag(&kit::reference("windows"), &image)
        .expect("tagged");
    drop(lease);
    let mut child = kit::child("child_that_unpacks", &root, 0);
    // Unlike musl's allocator, glibc's gives large blocks back only where it is told to.
    child.env("MALLOC_MMAP_THRESHOLD_", "131072");
    let finished = testkit::finish(&mut child, Duration::from_secs(300)).success();
    let mut lines = finished.stdout.lines();
    let peak = lines
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("told");
    let kib: usize = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib << 10
}

#[test]
#[ignore = "a child of another test"]
fn child_that_unpacks() {
    let Some(root) = kit::told_root() else { return };
    let store = Store::open(&root).expect("a store");
    let platform = "linux/amd64".parse().expect("one");
    let image = store.images().expect("a list").remove(0).descriptor;
    let (_, manifest) = store.manifest(&image, &platform).expect("it is there");
    let config = store.config(&manifest).expect("it is there");
    let kind = Snapshots::kind_for_this_process();
    let snapshots = Snapshots::open(&root, kind).expect("it is new");
    let options = UnpackOptions::default();
    let chain = snapshots.unpack(&store, &manifest, &config, &options, &Silent);
    assert_eq!(chain.expect("unpacked").0.len(), manifest.layers.len());
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    writeln!(std::io::stdout(), "\n{}", peak.expect("Linux has it")).expect("a pipe");
}

#[test]
fn windows_of_many_layers_at_once_stay_within_what_is_promised() {
    needs!(Root);
    for windows in [&[13, 13, 13, 13, 13][..], &[14, 13, 14]] {
        let peak = peak(windows);
        assert!(peak < PROMISED, "{windows:?}: {peak} bytes");
    }
}

/// There is never a second one.
#[test]
fn a_larger_window_is_alone() {
    needs!(Root);
    let is_long = std::env::var_os("TARE_LONG").is_some();
    let largest = if is_long { 17 } else { 15 };
    for window in 15..=largest {
        let windows = [window, window];
        let peak = peak(&windows);
        // The decoder's ring is twice the window.
        let most = (2 << (10 + window)) + REST;
        assert!(peak < most, "{windows:?}: {peak} bytes");
    }
}

//! Images in a store, and children of a test that work on one.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::Path;
use std::process::Command;

use image::digest::Verifier;
use image::document::{Descriptor, MediaType};
use image::store::{Ingest, Store};
use image::{Digest, Reference};
use serde_json::json;

/// The variable that tells a child which store it works on.
pub(crate) const ROOT: &str = "TARE_TEST_STORE";
/// The variable that tells a child which of several it is.
pub(crate) const NUMBER: &str = "TARE_TEST_NUMBER";

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

pub(crate) fn layer_type() -> MediaType {
    MediaType::from("application/vnd.oci.image.layer.v1.tar".to_owned())
}

/// `length` bytes that only `salt` has.
pub(crate) fn content(salt: &str, length: usize) -> Vec<u8> {
    let line = format!("{salt} {}\n", Digest::of(salt.as_bytes()));
    line.bytes().cycle().take(length).collect()
}

/// Writes content piece by piece, as a download does, unless it is there.
pub(crate) fn ingest(
    store: &Store,
    bytes: &[u8],
    piece: usize,
) -> image::error::Result<Descriptor> {
    let descriptor = Descriptor::of(layer_type(), bytes);
    if let Ingest::Writer(mut writer) = store.ingest(&descriptor)? {
        let kept = usize::try_from(writer.offset()).expect("it is short");
        for piece in bytes[kept..].chunks(piece) {
            writer.append(piece)?;
        }
        writer.commit()?;
    }
    Ok(descriptor)
}

/// A whole image of these layers; the caller holds a lease.
pub(crate) fn image(
    store: &Store,
    layers: &[Descriptor],
    name: &str,
) -> image::error::Result<Descriptor> {
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": [name]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = store.put(MediaType::OciConfig, config.to_string().as_bytes())?;
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    store.put(MediaType::OciManifest, manifest.to_string().as_bytes())
}

/// Checks that everything that can be seen in the store is whole: each blob is what its name
/// says, and no image lacks a part.
pub(crate) fn assert_sound(store: &Store) {
    for algorithm in ["sha256", "sha512"] {
        let Ok(entries) = std::fs::read_dir(store.path().join("blobs").join(algorithm)) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("listed").path();
            let bytes = std::fs::read(&path).expect("read");
            let hex = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("text");
            let digest = format!("{algorithm}:{hex}")
                .parse()
                .expect("blobs have digests as names");
            let mut verifier = Verifier::new(&digest, bytes.len() as u64);
            verifier.update(&bytes).expect("it has its own length");
            verifier
                .finish()
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    for image in store.images().expect("there is a list") {
        let platform = "linux/amd64".parse().expect("one");
        let (_, manifest) = store
            .manifest(&image.descriptor, &platform)
            .expect("it is there");
        store.config(&manifest).expect("its configuration is there");
        for layer in &manifest.layers {
            store.open_blob(layer).expect("its layers are there");
        }
    }
}

/// What stands in `ingest/`.
pub(crate) fn unfinished(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("ingest")).expect("listed");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry
            .expect("listed")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    entries.map(name).collect()
}

/// This test program again, running the ignored test `name` alone, on its main thread.
pub(crate) fn child(name: &str, root: &Path, number: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "--test-threads=1",
        name,
    ]);
    command.env(ROOT, root).env(NUMBER, number.to_string());
    command
}

/// The store that a child was told of; none if this is no child.
pub(crate) fn told_root() -> Option<std::path::PathBuf> {
    std::env::var_os(ROOT).map(Into::into)
}

pub(crate) fn told_number() -> u32 {
    let text = std::env::var(NUMBER).unwrap_or_default();
    text.parse().unwrap_or(0)
}

//! Registries for tests: Debian's, and one that lies.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod certificates;
pub(crate) mod debian;
pub(crate) mod fake;

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use fake::{Reply, Seen, answer};
use image::Digest;
use image::document::{Compression, Descriptor, MediaType};
use image::progress::{Event, Progress};
use image::registry::Settings;
use image::registry::settings::{Retry, Roots, Timeouts};
use serde_json::json;

/// Remembers what people would read.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    pub(crate) fn contain(&self, text: &str) -> bool {
        self.all().iter().any(|note| note.contains(text))
    }
}

impl Progress for Notes {
    fn report(&self, event: Event<'_>) {
        let text = match event {
            Event::Note(note) => note.to_owned(),
            Event::Existed { digest, work } => format!("{digest} existed: {work:?}"),
            Event::Began {
                digest, work, done, ..
            } => format!("{digest} began at {done}: {work:?}"),
            Event::Ended { digest, work } => format!("{digest} ended: {work:?}"),
            _ => return,
        };
        self.0.lock().expect("no panic").push(text);
    }
}

/// Settings whose waits are short.
pub(crate) fn quick() -> Settings {
    Settings {
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(20),
        },
        retry: Retry {
            attempts: 3,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(5),
        },
        // What this machine believes is nothing that a test may depend on.
        roots: Roots {
            bundles: Vec::new(),
            ..Roots::default()
        },
        ..Settings::default()
    }
}

/// An image of plain layers, as documents.
pub(crate) struct Made {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl Made {
    /// What a registry answers that has the image, and nothing but that.
    pub(crate) fn serve(&self, seen: &Seen) -> Reply {
        if seen.path().contains("/manifests/") {
            let digest = self.descriptor().digest.to_string();
            let headers = [
                ("Content-Type", MediaType::OciManifest.as_str()),
                ("Docker-Content-Digest", &*digest),
            ];
            return answer(200, &headers, &self.manifest);
        }
        let mut blobs = self.layers.iter().chain([&self.config]);
        match blobs.find(|blob| seen.path().ends_with(Digest::of(blob).hex())) {
            Some(blob) => answer(200, &[], blob),
            None => answer(404, &[], b""),
        }
    }

    pub(crate) fn new(layers: &[&[u8]]) -> Self {
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| layer.to_vec()).collect();
        Self::with(layers.clone(), layers, Compression::None)
    }

    /// With layers that nobody needs to compress on their way.
    pub(crate) fn compressed(layers: &[&[u8]]) -> Self {
        let plain: Vec<Vec<u8>> = layers.iter().map(|layer| layer.to_vec()).collect();
        let gzip = |layer: &Vec<u8>| {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(layer).expect("in memory");
            encoder.finish().expect("in memory")
        };
        let packed = plain.iter().map(gzip).collect();
        Self::with(plain, packed, Compression::Gzip)
    }

    fn with(plain: Vec<Vec<u8>>, layers: Vec<Vec<u8>>, compression: Compression) -> Self {
        let diff_ids: Vec<String> = plain
            .iter()
            .map(|layer| image::Digest::of(layer).to_string())
            .collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string().into_bytes();
        let tar = MediaType::layer(compression);
        let described: Vec<Descriptor> = layers
            .iter()
            .map(|layer| Descriptor::of(tar.clone(), layer))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciManifest.as_str(),
            "config": Descriptor::of(MediaType::OciConfig, &config),
            "layers": described,
        });
        Self {
            layers,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::of(MediaType::OciManifest, &self.manifest)
    }
}

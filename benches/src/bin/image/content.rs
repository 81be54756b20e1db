//! The image that is measured with: a root filesystem cut into layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, must};

/// Parts of the root filesystem, each a layer; the first has what no other has.
const PARTS: [&str; 3] = ["./usr/share", "./usr/lib", "./usr/bin"];

/// An image in a layout.
pub(crate) struct Image {
    pub(crate) layout: PathBuf,
    /// Compressed layers.
    pub(crate) blobs: Vec<PathBuf>,
    pub(crate) compressed_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) files: usize,
}

impl Image {
    /// Cuts the archive into layers, and has umoci make an image of them.
    pub(crate) fn make(content: &Path, directory: &Path) -> Result<Self, Error> {
        let layout = directory.join("layout");
        let image = format!("{}:bench", layout.display());
        must(
            Command::new("umoci")
                .args(["init", "--layout"])
                .arg(&layout),
        )?;
        must(Command::new("umoci").args(["new", "--image", &image]))?;
        let rest: Vec<String> = PARTS
            .iter()
            .map(|part| format!("--exclude={part}/*"))
            .collect();
        let tree = directory.join("tree");
        fs::create_dir(&tree)?;
        must(
            Command::new("tar")
                .arg("-xpf")
                .arg(content)
                .arg("-C")
                .arg(&tree),
        )?;
        let mut bytes = 0;
        let mut add = |arguments: &[String]| -> Result<(), Error> {
            let layer = directory.join("layer.tar");
            let mut tar = Command::new("tar");
            tar.arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(&layer)
                .args(arguments);
            must(&mut tar)?;
            bytes += fs::metadata(&layer)?.len();
            must(
                Command::new("umoci")
                    .args(["raw", "add-layer", "--image", &image])
                    .arg(&layer),
            )?;
            fs::remove_file(&layer)?;
            Ok(())
        };
        add(&[&rest[..], &[".".to_owned()]].concat())?;
        for part in PARTS {
            add(&[part.to_owned()])?;
        }
        let files = count(&tree)?;
        fs::remove_dir_all(&tree)?;
        let blobs = layers(&layout)?;
        let sizes = blobs.iter().map(|blob| Ok(fs::metadata(blob)?.len()));
        Ok(Self {
            compressed_bytes: sizes.sum::<Result<u64, Error>>()?,
            layout,
            blobs,
            bytes,
            files,
        })
    }
}

fn count(directory: &Path) -> Result<usize, Error> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        count += 1;
        if entry.file_type()?.is_dir() {
            count += self::count(&entry.path())?;
        }
    }
    Ok(count)
}

fn layers(layout: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |path: PathBuf| -> Result<serde_json::Value, Error> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    let blob = |descriptor: &serde_json::Value| -> Result<PathBuf, Error> {
        let digest = descriptor["digest"]
            .as_str()
            .ok_or("a descriptor without a digest")?;
        let hex = digest
            .strip_prefix("sha256:")
            .ok_or("another digest than sha256")?;
        Ok(layout.join("blobs/sha256").join(hex))
    };
    let index = read(layout.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0])?)?;
    let layers = manifest["layers"]
        .as_array()
        .ok_or("a manifest without layers")?;
    layers.iter().map(blob).collect()
}

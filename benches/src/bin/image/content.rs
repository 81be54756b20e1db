//! The images that are measured with: one root filesystem, cut into layers and in one piece.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, must};

/// Parts of the root filesystem, each a layer; the first has what no other has.
const PARTS: [&str; 3] = ["./usr/share", "./usr/lib", "./usr/bin"];

/// An image in a layout.
pub(crate) struct Image {
    /// Its tag, in the layout and in the registry.
    pub(crate) name: &'static str,
    pub(crate) layout: PathBuf,
    pub(crate) layers: Vec<Layer>,
}

/// One layer, as it is sent and as it is unpacked.
pub(crate) struct Layer {
    pub(crate) compressed: PathBuf,
    pub(crate) archive: PathBuf,
}

/// What is measured with.
pub(crate) struct Images {
    pub(crate) layered: Image,
    pub(crate) whole: Image,
    pub(crate) files: usize,
}

impl Images {
    /// Cuts the archive into layers, and has umoci make images of them.
    pub(crate) fn make(content: &Path, directory: &Path) -> Result<Self, Error> {
        let layout = directory.join("layout");
        must(
            Command::new("umoci")
                .args(["init", "--layout"])
                .arg(&layout),
        )?;
        let tree = directory.join("tree");
        fs::create_dir(&tree)?;
        must(
            Command::new("tar")
                .arg("-xpf")
                .arg(content)
                .arg("-C")
                .arg(&tree),
        )?;
        let rest = PARTS.iter().map(|part| format!("--exclude={part}/*"));
        let rest: Vec<String> = rest.chain([".".to_owned()]).collect();
        let parts = PARTS.iter().map(|part| vec![(*part).to_owned()]);
        let layered: Vec<_> = [rest].into_iter().chain(parts).collect();
        let whole = [vec![".".to_owned()]];
        let images = Self {
            layered: Image::make("layered", &layout, &tree, &layered)?,
            whole: Image::make("whole", &layout, &tree, &whole)?,
            files: count(&tree)?,
        };
        fs::remove_dir_all(&tree)?;
        Ok(images)
    }
}

impl Image {
    /// Each layer is what tar(1) makes of these arguments.
    fn make(
        name: &'static str,
        layout: &Path,
        tree: &Path,
        layers: &[Vec<String>],
    ) -> Result<Self, Error> {
        let image = format!("{}:{name}", layout.display());
        must(Command::new("umoci").args(["new", "--image", &image]))?;
        let mut archives = Vec::new();
        for (index, arguments) in layers.iter().enumerate() {
            let archive = layout.with_extension(format!("{name}-{index}.tar"));
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(tree).arg("-cf").arg(&archive);
            must(tar.args(arguments))?;
            let mut umoci = Command::new("umoci");
            umoci.args(["raw", "add-layer", "--image", &image]);
            must(umoci.arg(&archive))?;
            archives.push(archive);
        }
        let layers = blobs(layout, name)?.into_iter().zip(archives);
        let layer = |(compressed, archive)| Layer {
            compressed,
            archive,
        };
        Ok(Self {
            name,
            layout: layout.to_owned(),
            layers: layers.map(layer).collect(),
        })
    }

    /// How many bytes are sent, and how many are unpacked.
    pub(crate) fn bytes(&self) -> Result<(u64, u64), Error> {
        let mut sum = (0, 0);
        for layer in &self.layers {
            sum.0 += fs::metadata(&layer.compressed)?.len();
            sum.1 += fs::metadata(&layer.archive)?.len();
        }
        Ok(sum)
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

/// The layers' files of the image that has this tag.
fn blobs(layout: &Path, tag: &str) -> Result<Vec<PathBuf>, Error> {
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
    let is_it = |descriptor: &&serde_json::Value| {
        descriptor["annotations"]["org.opencontainers.image.ref.name"] == tag
    };
    let manifests = index["manifests"].as_array();
    let descriptor = manifests.and_then(|all| all.iter().find(is_it));
    let manifest = read(blob(descriptor.ok_or("an index without the tag")?)?)?;
    let layers = manifest["layers"]
        .as_array()
        .ok_or("a manifest without layers")?;
    layers.iter().map(blob).collect()
}

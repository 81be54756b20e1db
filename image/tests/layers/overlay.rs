//! Layers that were unpacked alone and settled, seen through the kernel's overlay.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use image::error::Result;
use image::layer::settle;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::scene::{Scene, alone, apply_to};
use crate::tree::{self, Tree};

/// Unpacks each archive into a directory of its own and settles it on those before it.
pub(crate) fn unpack(scene: &Scene, archives: &[Vec<u8>]) -> Result<Vec<PathBuf>> {
    let mut layers: Vec<PathBuf> = Vec::new();
    for (at, archive) in archives.iter().enumerate() {
        let path = scene.other(&format!("layer{at}"));
        let applied = apply_to(&path, archive, &alone())?;
        let upper = File::open(&path).expect("there");
        let lowers: Vec<File> = layers
            .iter()
            .rev()
            .map(|layer| File::open(layer).expect("there"))
            .collect();
        let lowers: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
        settle(upper.as_fd(), &lowers, &applied)?;
        layers.push(path);
    }
    Ok(layers)
}

/// What the kernel shows of the layers, the lowest first.
pub(crate) fn merged(scene: &Scene, layers: &[PathBuf]) -> Tree {
    let point = scene.other("merged");
    let empty = scene.other("empty");
    // Layers are given by short names, the topmost first; overlays have at least two.
    let lower: Vec<&str> = layers
        .iter()
        .rev()
        .chain([&empty])
        .filter_map(|path| path.to_str())
        .collect();
    let data = CString::new(format!("lowerdir={}", lower.join(":"))).expect("no NUL");
    mount(
        "overlay",
        &point,
        "overlay",
        MountFlags::RDONLY,
        data.as_c_str(),
    )
    .expect("mounted");
    let mounted = Mounted(&point);
    let tree = tree::read(&point);
    drop(mounted);
    tree
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).expect("unmounted");
    }
}

//! Overlay: layers of any number, and idmapped ones.

use std::os::fd::AsFd;

use nix::errno::Errno;
use runtime_core::mount::{DetachedMount, IdMappings, NewFilesystem};

use super::classic::Classic;
use super::filesystem::Filesystem;
use super::place::{Place, descriptor_path};
use super::{attach, c_string, map_ids};
use crate::failure::Failure;

/// What is below the upper directory.
#[derive(Debug)]
pub(super) enum Lower<'a> {
    /// No overlay.
    None,
    /// `lowerdir`, which fsconfig(2) takes whole.
    Together(&'a str),
    /// A parameter for each, `lowerdir+`: Linux 6.8.
    Each(&'a [&'a str]),
}

impl Lower<'_> {
    /// The parameters for fsconfig(2).
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (key, layers) = match self {
            Self::None => ("", &[] as &[&str]),
            Self::Together(all) => ("lowerdir", std::slice::from_ref(all)),
            Self::Each(layers) => ("lowerdir+", *layers),
        };
        layers.iter().map(move |layer| (key, *layer))
    }
}

#[derive(Debug)]
pub(super) struct Overlay<'a> {
    filesystem: &'a Filesystem<'a>,
    lower: &'a str,
    /// Every other option.
    data: Vec<&'a str>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(filesystem: &'a Filesystem<'a>) -> Result<Self, Failure> {
        let lower = |word: &&'a str| word.strip_prefix("lowerdir=");
        let Some(layers) = filesystem.data.iter().rev().find_map(lower) else {
            return Err(Failure::invalid("an overlay without lowerdir="));
        };
        let mut data = filesystem.data.clone();
        data.retain(|word| lower(word).is_none());
        Ok(Self {
            filesystem,
            lower: layers,
            data,
        })
    }

    pub(super) fn mount(
        &self,
        place: &Place,
        mappings: Option<&IdMappings>,
    ) -> Result<(), Failure> {
        if let Some(mappings) = mappings {
            return self.mount_mapped(place, mappings);
        }
        let classic = || Classic::of(self.filesystem).mount(place);
        let layers: Vec<&str> = self.lower.split(':').collect();
        let fits = |layer: &&str| (1..=NewFilesystem::VALUE_MAX_BYTES).contains(&layer.len());
        let lower = if self.lower.len() <= NewFilesystem::VALUE_MAX_BYTES {
            Lower::Together(self.lower)
        } else if layers.iter().all(fits)
            && layers.first().is_some_and(|one| knows_single_layers(one))
        {
            Lower::Each(&layers)
        } else {
            return classic();
        };
        if !self.filesystem.is_for_fsconfig(&self.data) || self.lower.contains('\\') {
            return classic();
        }
        attach(&self.filesystem.create(&self.data, &lower)?, place)
    }

    /// It is the lower layers that are idmapped. overlay wants their mounts attached, and they
    /// are for as long as it is being made: on the place where it will be.
    fn mount_mapped(&self, place: &Place, mappings: &IdMappings) -> Result<(), Failure> {
        if self.lower.contains('\\') || !self.filesystem.is_for_fsconfig(&self.data) {
            let text = "uidmap= and gidmap= with a lowerdir= that has escaped letters, or an option longer than 255 bytes";
            return Err(Failure::new(crate::failure::Code::UNIMPLEMENTED, text));
        }
        let mut layers = Vec::new();
        for path in self.lower.split(':') {
            layers.push(MappedLayer::attach(path, place, mappings)?);
        }
        let paths: Vec<String> = layers.iter().map(MappedLayer::path).collect();
        let joined = paths.join(":");
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let lower = if joined.len() <= NewFilesystem::VALUE_MAX_BYTES {
            Lower::Together(&joined)
        } else {
            Lower::Each(&paths)
        };
        let mount = self.filesystem.create(&self.data, &lower)?;
        while let Some(layer) = layers.pop() {
            layer.detach()?;
        }
        attach(&mount, place)
    }
}

/// A layer with other owners, attached until this is dropped.
#[derive(Debug)]
struct MappedLayer(Option<DetachedMount>);

impl MappedLayer {
    fn attach(path: &str, place: &Place, mappings: &IdMappings) -> Result<Self, Failure> {
        let name = c_string(path)?;
        let tree = DetachedMount::bind(&name, false)
            .map_err(|errno| Failure::call(format_args!("layer {path}: open_tree(2)"), errno))?;
        map_ids(&tree, mappings, false)?;
        attach(&tree, place)?;
        Ok(Self(Some(tree)))
    }

    fn path(&self) -> String {
        self.0
            .as_ref()
            .map_or_else(String::new, |tree| descriptor_path(tree.as_fd()))
    }

    fn detach(mut self) -> Result<(), Failure> {
        self.detach_once()
            .map_err(|errno| Failure::call("take an idmapped layer away: umount2(2)", errno))
    }

    fn detach_once(&mut self) -> Result<(), Errno> {
        let Some(tree) = self.0.take() else {
            return Ok(());
        };
        let path = descriptor_path(tree.as_fd());
        nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH)
    }
}

impl Drop for MappedLayer {
    fn drop(&mut self) {
        // Another failure is being reported.
        self.detach_once().ok();
    }
}

/// Whether the kernel takes layers one by one.
fn knows_single_layers(one: &str) -> bool {
    let (Ok(context), Ok(one)) = (NewFilesystem::open(c"overlay"), c_string(one)) else {
        return false;
    };
    // Another refusal is about the layer, and will be told.
    context.set(c"lowerdir+", Some(&one)) != Err(Errno::EINVAL)
}

//! From an unpacked image to a bundle that a runtime can run.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::convert::{self, Bind, Identity, Settings};
use crate::document::ImageConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Active, MountOptions, make_directory};
use crate::volume;

/// What a container is made with besides its image.
#[derive(Clone, Debug, Default)]
pub struct BundleOptions {
    /// Its id.
    pub id: String,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Everything that isn't a matter of files.
    pub settings: Settings,
    /// How its root filesystem is put together.
    pub mount: MountOptions,
}

/// A bundle, mounted in this thread's mount namespace.
#[derive(Clone, Debug)]
pub struct Made {
    /// The directory with config.json.
    pub path: PathBuf,
    /// Sentences for people.
    pub warnings: Vec<String>,
}

/// Mounts a root filesystem and writes a bundle for it, below the directory of `active`.
///
/// Volumes of the image that no bind covers get directories of their own there, with the
/// image's content as it is at their paths. The mounts are made in the calling thread's mount
/// namespace: see [`crate::private_mounts`].
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when there is nothing to execute or the user is unknown; what
/// the kernel refuses.
pub fn make_bundle(active: &Active, image: &ImageConfig, options: &BundleOptions) -> Result<Made> {
    let rootfs = active.rootfs();
    active.mount(&rootfs, &options.mount)?;
    let root = File::open(&rootfs)
        .map_err(|error| Error::system(format!("open {}", rootfs.display()), error))?;
    let user = options.user.as_deref().unwrap_or(&image.config.user);
    let identity = Identity::look_up(root.as_fd(), user)?;
    let path = active.directory().join("bundle");
    make_directory(&path)?;
    let mut settings = options.settings.clone();
    add_volumes(active, &root, image, &mut settings)?;
    add_network_files(&path, &options.id, &mut settings)?;
    let text = rootfs.to_str().ok_or_else(|| not_utf8(&rootfs))?;
    let conversion = convert::convert(image, &identity, text, &options.id, &settings)?;
    write_config(&path, &conversion.config)?;
    Ok(Made {
        path,
        warnings: conversion.warnings,
    })
}

/// A directory for each volume that the image wants and the caller doesn't give.
fn add_volumes(
    active: &Active,
    root: &File,
    image: &ImageConfig,
    settings: &mut Settings,
) -> Result<()> {
    let directory = active.directory().join("volumes");
    make_directory(&directory)?;
    for (index, wanted) in image.config.volumes.iter().enumerate() {
        let destination = convert::clean_path(wanted);
        let is_taken = settings
            .binds
            .iter()
            .any(|bind| bind.destination == destination);
        // A volume over the root would hide the image.
        if is_taken || destination == "/" {
            continue;
        }
        let source = directory.join(index.to_string());
        make_directory(&source)?;
        volume::copy_up(root.as_fd(), &destination, &source)?;
        settings.binds.push(Bind {
            source,
            destination,
            read_only: false,
        });
    }
    Ok(())
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, which are the container's and not the
/// image's.
fn add_network_files(bundle: &Path, id: &str, settings: &mut Settings) -> Result<()> {
    let name = settings.hostname.as_deref().unwrap_or(id);
    let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let (hosts, hostname, resolver) = if settings.host_network {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        (
            read("/etc/hosts"),
            read("/etc/hostname"),
            read("/etc/resolv.conf"),
        )
    } else {
        let hosts = format!("{hosts}127.0.1.1\t{name}\n");
        // There is nobody to ask.
        (hosts, format!("{name}\n"), String::new())
    };
    let root = settings.id_mappings.iter().find(|mapping| mapping.0 == 0);
    let owner = root.map(|&(_, host, _)| host);
    let files = [
        ("hosts", hosts),
        ("hostname", hostname),
        ("resolv.conf", resolver),
    ];
    for (file, text) in files {
        let destination = format!("/etc/{file}");
        if settings
            .binds
            .iter()
            .any(|bind| bind.destination == destination)
        {
            continue;
        }
        let source = bundle.join(file);
        let step = || format!("write {}", source.display());
        fs::write(&source, text).map_err(|error| Error::system(step(), error))?;
        chown(&source, owner, owner).map_err(|error| Error::system(step(), error))?;
        settings.binds.push(Bind {
            source,
            destination,
            read_only: false,
        });
    }
    Ok(())
}

fn write_config(bundle: &Path, config: &Value) -> Result<()> {
    let path = bundle.join("config.json");
    let step = || format!("write {}", path.display());
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::system(step(), error))?;
    serde_json::to_writer(std::io::BufWriter::new(file), config)
        .map_err(|error| Error::system(step(), std::io::Error::from(error)))
}

fn not_utf8(path: &Path) -> Error {
    let message = format!(
        "the path {} is not UTF-8, and config.json can't hold it",
        path.display()
    );
    Error::new(ErrorKind::InvalidInput, message)
}

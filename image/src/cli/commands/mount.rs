//! `tare image mount`.

use std::fs;
use std::path::{Path, PathBuf};

use image::error::{Error, ErrorKind, Result};
use image::snapshot::{MountOptions, Use};

use crate::cli::arguments::Mount;
use crate::cli::context::Context;
use crate::cli::{output, rootless};

pub(crate) fn run(context: &Context, mount: &Mount) -> Result<()> {
    refuse_in_a_namespace_of_ours()?;
    let _lease = context.lease()?;
    let snapshots = context.snapshots()?;
    let parts = context.parts(&mount.image, mount.platform.as_deref())?;
    let chain = context.unpack(&snapshots, &parts)?;
    let name = format!("mount-{}", unique());
    let target = mount.target.as_deref().map(empty_directory).transpose()?;
    let active = snapshots.prepare(&name, &chain, &Use::Process)?;
    let target = target.unwrap_or_else(|| active.rootfs());
    let options = MountOptions {
        read_only: !mount.writable,
        native: mount.native,
        ..MountOptions::default()
    };
    if let Err(error) = active.mount(&target, &options) {
        active.remove()?;
        return Err(error);
    }
    active.leave_to(&Use::Mount(target.clone()))?;
    output::line(target.display().to_string())
}

/// A user's mounts are in the namespaces of the process that makes them, and go with it.
fn refuse_in_a_namespace_of_ours() -> Result<()> {
    if !rootless::is_inside() {
        return Ok(());
    }
    let message = "an ordinary user can't mount for other processes";
    let advice =
        "`tare image unpack IMAGE DIRECTORY` makes a copy, and `tare image run` a container";
    Err(Error::new(ErrorKind::Unsupported, message).advise(advice))
}

/// An absolute path, since the working directory is nobody else's.
fn empty_directory(path: &Path) -> Result<PathBuf> {
    let step = || format!("read {}", path.display());
    let mut entries = fs::read_dir(path).map_err(|error| Error::system(step(), error))?;
    if entries.next().is_some() {
        let message = format!(
            "{} is not empty: a mount would hide what is there",
            path.display()
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    std::path::absolute(path).map_err(|error| Error::system(step(), error))
}

/// A number that no other mount has.
fn unique() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

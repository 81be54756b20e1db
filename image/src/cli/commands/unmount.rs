//! `tare image unmount`.

use std::path::Path;

use image::error::{Error, ErrorKind, Result};
use image::snapshot::{Snapshots, Use};
use nix::mount::{MntFlags, umount2};

use crate::cli::arguments::Unmount;
use crate::cli::context::Context;

pub(crate) fn run(context: &Context, unmount: &Unmount) -> Result<()> {
    let snapshots = context.snapshots()?;
    for target in &unmount.targets {
        let (name, path) = find(&snapshots, target)?;
        let active = snapshots.take(&name)?;
        let flags = MntFlags::UMOUNT_NOFOLLOW;
        match umount2(&path, flags) {
            // Somebody has unmounted it already.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(errno) => {
                let step = format!("unmount {}", path.display());
                return Err(Error::system(step, std::io::Error::from(errno)));
            }
        }
        active.remove()?;
    }
    Ok(())
}

/// By name, or by where it is mounted.
fn find(snapshots: &Snapshots, target: &str) -> Result<(String, std::path::PathBuf)> {
    let absolute = std::path::absolute(Path::new(target)).unwrap_or_default();
    for (name, purpose) in snapshots.actives()? {
        if let Use::Mount(path) = purpose
            && (name == target || path == absolute)
        {
            return Ok((name, path));
        }
    }
    let message = format!("{target} is no mount of an image");
    Err(Error::new(ErrorKind::NotFound, message))
}

//! `tare image unpack`.

use std::fs;
use std::path::{Path, PathBuf};

use image::error::{Error, ErrorKind, Result};
use image::snapshot::{Chain, Snapshots, Use};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::cli::arguments::Unpack;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, unpack: &Unpack) -> Result<()> {
    let _lease = context.lease()?;
    let snapshots = context.snapshots()?;
    let parts = context.parts(&unpack.image, unpack.platform.as_deref())?;
    let chain = context.unpack(&snapshots, &parts)?;
    let Some(directory) = &unpack.directory else {
        for layer in &chain.0 {
            output::line(layer.to_string())?;
        }
        return Ok(());
    };
    copy(&snapshots, &chain, directory)
}

/// Copies a root filesystem into a directory, which has its name only when it is whole: whoever
/// kills this leaves something beside it that nobody takes for one.
fn copy(snapshots: &Snapshots, chain: &Chain, directory: &Path) -> Result<()> {
    let step = |error| Error::system(format!("make {}", directory.display()), error);
    if directory.symlink_metadata().is_ok() {
        return Err(step(Errno::EXIST.into()));
    }
    let partial = partial_name(directory)?;
    fs::create_dir(&partial).map_err(step)?;
    let name = format!("unpack-{}", std::process::id());
    let copied = snapshots
        .prepare(&name, chain, &Use::Process)
        .and_then(|active| {
            let copied = active.copy_to(&partial);
            active.remove()?;
            copied
        })
        .and_then(|()| {
            match renameat_with(CWD, &partial, CWD, directory, RenameFlags::NOREPLACE) {
                // A file system that can't tell.
                Err(Errno::INVAL) => fs::rename(&partial, directory).map_err(step),
                renamed => renamed.map_err(|errno| step(errno.into())),
            }
        });
    if copied.is_err() {
        // A part of a root filesystem is of no use to anyone.
        fs::remove_dir_all(&partial).ok();
    }
    copied
}

/// A name beside a file or directory, for it as long as it isn't whole.
pub(super) fn partial_name(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        let message = format!("{} has no name of its own", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    };
    let mut name = name.to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    Ok(path.with_file_name(name))
}

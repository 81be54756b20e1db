//! `tare image unpack`.

use std::fs;

use image::error::{Error, Result};
use image::snapshot::Use;

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
    fs::create_dir(directory)
        .map_err(|error| Error::system(format!("make {}", directory.display()), error))?;
    let name = format!("unpack-{}", std::process::id());
    let active = snapshots.prepare(&name, &chain, &Use::Process)?;
    let copied = active.copy_to(directory);
    active.remove()?;
    if copied.is_err() {
        // A part of a root filesystem is of no use to anyone.
        fs::remove_dir_all(directory).ok();
    }
    copied
}

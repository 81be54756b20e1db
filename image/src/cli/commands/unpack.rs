//! `tare image unpack`.

use std::path::Path;

use image::error::Result;
use image::snapshot::{Chain, Snapshots, Use};
use image::whole;

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
    copy(context, &snapshots, &chain, directory)
}

/// Copies a root filesystem into a directory, which has its name only when it is whole.
fn copy(context: &Context, snapshots: &Snapshots, chain: &Chain, directory: &Path) -> Result<()> {
    whole::make_directory(&context.store, directory, |partial| {
        let name = format!("unpack-{}", std::process::id());
        let active = snapshots.prepare(&name, chain, &Use::Process)?;
        let copied = active.copy_to(partial);
        active.remove()?;
        copied
    })
}

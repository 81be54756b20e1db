//! `tare image export`.

use std::io::Write;
use std::os::fd::AsFd;

use image::archive;
use image::error::Result;
use image::layer::IdMaps;
use image::snapshot::{MountOptions, Use};

use super::save::write_archive;
use super::with_private_mounts;
use crate::cli::arguments::Export;
use crate::cli::context::Context;

pub(crate) fn run(context: &Context, export: &Export) -> Result<()> {
    let _lease = context.lease()?;
    let snapshots = context.snapshots()?;
    let parts = context.parts(&export.image, export.platform.as_deref())?;
    let chain = context.unpack(&snapshots, &parts)?;
    let name = format!("export-{}", std::process::id());
    let active = snapshots.prepare(&name, &chain, &Use::Process)?;
    let write = |out: &mut (dyn Write + Send)| {
        let options = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let root = active.mount_and_open(&options)?;
        archive::export(root.as_fd(), IdMaps::default(), out).map(drop)
    };
    let written =
        with_private_mounts(|| write_archive(&context.store, export.output.as_deref(), write));
    active.remove()?;
    written
}

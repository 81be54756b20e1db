//! `tare image diff`.

use std::os::fd::AsFd;

use image::document::Compression;
use image::error::Result;
use image::layer::{self, PackOptions};
use image::snapshot::{Active, MountOptions, Snapshots, Use};
use serde_json::json;

use super::changes::{Change, changes};
use super::with_private_mounts;
use crate::cli::arguments::{Diff, Format};
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, diff: &Diff) -> Result<()> {
    let _lease = context.lease()?;
    let snapshots = context.snapshots()?;
    let changes = match &diff.other {
        Some(other) => between_images(context, &snapshots, diff, other)?,
        None => of_active(&snapshots, &diff.one)?,
    };
    match diff.format {
        Format::Table => changes.iter().try_for_each(|change| {
            let path = output::harmless(&change.path);
            output::line(format!("{} {path}", change.letter))
        }),
        Format::Json => {
            let changes: Vec<_> = changes
                .iter()
                .map(|change| json!({"kind": change.letter, "path": change.path}))
                .collect();
            output::line(serde_json::Value::from(changes).to_string())
        }
    }
}

fn plain() -> PackOptions {
    let mut options = PackOptions::default();
    options.compression = Compression::None;
    options
}

/// What a mount, or a container that goes on without us, has changed.
fn of_active(snapshots: &Snapshots, name: &str) -> Result<Vec<Change>> {
    let upper = snapshots.upper_of(name)?;
    let chain = snapshots.chain_of(name)?;
    let lower = prepare(snapshots, "diff", &chain)?;
    let found = with_private_mounts(|| {
        let root = lower.mount_and_open(&view())?;
        changes(root.as_fd(), |out| {
            layer::diff_overlay(upper.as_fd(), &plain(), out)
        })
    });
    lower.remove()?;
    found
}

fn between_images(
    context: &Context,
    snapshots: &Snapshots,
    diff: &Diff,
    other: &str,
) -> Result<Vec<Change>> {
    let mut actives = Vec::new();
    for (name, image) in [("diff-one", diff.one.as_str()), ("diff-other", other)] {
        let parts = context.parts(image, diff.platform.as_deref())?;
        let chain = context.unpack(snapshots, &parts)?;
        actives.push(prepare(snapshots, name, &chain)?);
    }
    let found = with_private_mounts(|| {
        let mut roots = Vec::new();
        for active in &actives {
            roots.push(active.mount_and_open(&view())?);
        }
        let [one, other] = &roots[..] else {
            return Ok(Vec::new());
        };
        changes(one.as_fd(), |out| {
            layer::diff(one.as_fd(), other.as_fd(), &plain(), out)
        })
    });
    actives.into_iter().try_for_each(Active::remove)?;
    found
}

fn prepare(snapshots: &Snapshots, name: &str, chain: &image::snapshot::Chain) -> Result<Active> {
    let name = format!("{name}-{}", std::process::id());
    snapshots.prepare(&name, chain, &Use::Process)
}

fn view() -> MountOptions {
    MountOptions {
        read_only: true,
        ..MountOptions::default()
    }
}

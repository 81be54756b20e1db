//! `tare image prune`.

use image::error::Result;
use image::snapshot::{Chain, Pruned as PrunedSnapshots};
use image::store::{Pruned, Store, Untagged};

use crate::cli::arguments::Prune;
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::progress::unit;

pub(crate) fn run(context: &Context, arguments: &Prune) -> Result<()> {
    let (content, snapshots) = prune(context, &context.store, arguments.all)?;
    for image in &content.images {
        output::line(format!("removed image {image}"))?;
    }
    for blob in &content.blobs {
        output::line(format!("removed {blob}"))?;
    }
    let sum = format!(
        "{} blobs with {}, {} unpacked layers, {} root filesystems, {} unfinished ones removed",
        content.blobs.len(),
        unit::bytes(content.bytes),
        snapshots.layers,
        snapshots.actives,
        snapshots.unfinished
    );
    output::line(sum)
}

/// Content first; then the layers of images that are gone.
pub(crate) fn prune(
    context: &Context,
    store: &Store,
    all: bool,
) -> Result<(Pruned, PrunedSnapshots)> {
    let untagged = if all {
        Untagged::Remove
    } else {
        Untagged::Keep
    };
    let content = store.prune(untagged, |_| false)?;
    image::whole::clear(store);
    if !context.has_snapshots() {
        // A full disk has no room for empty directories.
        return Ok((content, PrunedSnapshots::default()));
    }
    let snapshots = context.snapshots()?;
    let alone = store.lease_alone()?;
    let pruned = snapshots.prune(&chains(context)?)?;
    drop(alone);
    Ok((content, pruned))
}

/// The layers of all images that are there, for whichever machine.
fn chains(context: &Context) -> Result<Vec<Chain>> {
    let mut chains = Vec::new();
    for image in context.store.images()? {
        for (_, manifest) in context.store.manifests(&image.descriptor)? {
            // What is no image has no layers to unpack.
            if let Ok(config) = context.store.config(&manifest) {
                chains.push(Chain(config.chain_ids()));
            }
        }
    }
    Ok(chains)
}

//! `tare image remove`.

use std::time::Duration;

use image::error::{ErrorKind, Result};

use super::{prune, remote};
use crate::cli::arguments::Remove;
use crate::cli::context::Context;
use crate::cli::output;

/// How long others are waited for, before their content is left to a later pruning.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(context: &Context, remove: &Remove) -> Result<()> {
    if remove.remote {
        return remote::remove(context, remove);
    }
    for text in &remove.images {
        let image = context.store.find(text)?;
        match &image.reference {
            // By its name: only the name goes, unless it was the last one.
            Some(reference) if !is_id(text, &image.descriptor.digest) => {
                context.store.untag(reference)?;
                output::line(format!("untagged {}", reference.familiar()))?;
                let images = context.store.images()?;
                let others = images
                    .iter()
                    .filter(|other| other.descriptor.digest == image.descriptor.digest);
                if others.clone().all(|other| other.name.is_none()) {
                    context.store.forget(&image.descriptor.digest)?;
                    output::line(format!("removed {}", image.descriptor.digest))?;
                }
            }
            _ => {
                for gone in context.store.forget(&image.descriptor.digest)? {
                    if let Some(name) = &gone.name {
                        output::line(format!("untagged {}", output::harmless(name)))?;
                    }
                }
                output::line(format!("removed {}", image.descriptor.digest))?;
            }
        }
    }
    if remove.no_prune {
        return Ok(());
    }
    remove_content(context)
}

/// Who pulls for hours holds nobody up that only wants to get rid of a name.
fn remove_content(context: &Context) -> Result<()> {
    let store = context.store.with_patience(PATIENCE);
    match prune::prune(context, &store, false) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            output::warning("the content stays for a later `prune`: other commands are at work");
            Ok(())
        }
        pruned => pruned.map(drop),
    }
}

/// Whether an image was given by its digest, or the beginning of an id.
fn is_id(text: &str, digest: &image::Digest) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() >= 4 && digest.hex().starts_with(hex)
}

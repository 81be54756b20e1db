//! `tare image push`.

use image::Reference;
use image::error::{Error, ErrorKind, Result};
use image::push::PushOptions;

use super::registry;
use crate::cli::arguments::Push;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, push: &Push) -> Result<()> {
    let image = context.store.find(&push.image)?;
    let destination = match (&push.destination, &image.reference) {
        (Some(text), _) => text.parse::<Reference>()?,
        (None, Some(reference)) => reference.clone(),
        (None, None) => {
            let message = format!("{} has no name, so say where to push it", push.image);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    };
    let _lease = context.lease()?;
    let client = registry::client(&push.registry, &[destination.registry()])?;
    let options = PushOptions {
        platform: push.platform.as_deref().map(str::parse).transpose()?,
        parallel: push.registry.parallel.max(1),
        ..PushOptions::default()
    };
    let pushed = image::push::push(
        &client,
        &context.store,
        &image.descriptor,
        &destination,
        &options,
        &*context.progress,
    )?;
    output::line(format!("{}@{}", destination.familiar(), pushed.digest))
}

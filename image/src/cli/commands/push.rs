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
    let destinations = destinations(push, image.reference.as_ref())?;
    let _lease = context.lease()?;
    let registries: Vec<&str> = destinations.iter().map(Reference::registry).collect();
    let client = registry::client(&push.registry, &registries)?;
    let options = PushOptions {
        platform: push.platform.as_deref().map(str::parse).transpose()?,
        parallel: push.registry.parallel.max(1),
        ..PushOptions::default()
    };
    for of_one_repository in by_repository(destinations) {
        let pushed = image::push::push_all(
            &client,
            &context.store,
            &image.descriptor,
            &of_one_repository,
            &options,
            &*context.progress,
        )?;
        for destination in &of_one_repository {
            output::line(format!("{}@{}", destination.familiar(), pushed.digest))?;
        }
    }
    Ok(())
}

/// All that were named, else the image's own name.
fn destinations(push: &Push, own: Option<&Reference>) -> Result<Vec<Reference>> {
    if push.destinations.is_empty() {
        let own = own.ok_or_else(|| {
            let message = format!("{} has no name, so say where to push it", push.image);
            Error::new(ErrorKind::InvalidInput, message)
        })?;
        return Ok(vec![own.clone()]);
    }
    push.destinations.iter().map(|text| text.parse()).collect()
}

/// The same names, those of one repository together, in the order in which they were given.
fn by_repository(references: Vec<Reference>) -> Vec<Vec<Reference>> {
    let mut groups: Vec<Vec<Reference>> = Vec::new();
    for reference in references {
        match groups
            .iter_mut()
            .find(|group| group[0].is_beside(&reference))
        {
            Some(group) => group.push(reference),
            None => groups.push(vec![reference]),
        }
    }
    groups
}

//! `tare image pull`.

use image::Reference;
use image::error::Result;
use image::pull::{Platforms, PullOptions, Pulled};

use super::registry;
use crate::cli::arguments::{Pull, RegistryOptions};
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, arguments: &Pull) -> Result<()> {
    // All references are checked before the first is pulled.
    let references = arguments
        .references
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<Reference>>>()?;
    let platforms = match arguments.all_platforms {
        true => Platforms::All,
        false => platforms(&arguments.platform)?,
    };
    for reference in &references {
        // What is unpacked below must not be pruned before.
        let _lease = context.lease()?;
        let pulled = fetch(context, reference, &platforms, &arguments.registry)?;
        output::line(format!(
            "{}@{}",
            reference.familiar(),
            pulled.descriptor.digest
        ))?;
        if arguments.unpack {
            unpack(context, reference, arguments)?;
        }
    }
    Ok(())
}

/// Pulls the image for these platforms, or for this machine if there are none.
pub(crate) fn pull(
    context: &Context,
    reference: &Reference,
    platforms: &[String],
    options: &RegistryOptions,
) -> Result<Pulled> {
    fetch(context, reference, &self::platforms(platforms)?, options)
}

fn platforms(texts: &[String]) -> Result<Platforms> {
    if texts.is_empty() {
        return Ok(PullOptions::default().platforms);
    }
    let platforms = texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<_>>>()?;
    Ok(Platforms::These(platforms))
}

fn fetch(
    context: &Context,
    reference: &Reference,
    platforms: &Platforms,
    options: &RegistryOptions,
) -> Result<Pulled> {
    let client = registry::client(options, &[reference.registry()])?;
    let pull_options = PullOptions {
        platforms: platforms.clone(),
        parallel: options.parallel.max(1),
    };
    image::pull::pull(
        &client,
        &context.store,
        reference,
        &pull_options,
        &*context.progress,
    )
}

fn unpack(context: &Context, reference: &Reference, arguments: &Pull) -> Result<()> {
    let snapshots = context.snapshots()?;
    let none = [None];
    let some: Vec<Option<&str>> = arguments
        .platform
        .iter()
        .map(|text| Some(text.as_str()))
        .collect();
    let platforms = if some.is_empty() {
        &none[..]
    } else {
        &some[..]
    };
    for platform in platforms {
        let parts = context.parts(&reference.to_string(), *platform)?;
        context.unpack(&snapshots, &parts)?;
    }
    Ok(())
}

//! `tare image pull`.

use image::Reference;
use image::error::Result;
use image::pull::{Platforms, PullOptions, Pulled, Unpacking};
use image::snapshot::Chain;

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
        let (pulled, unpacked) = match arguments.unpack {
            true => fetch_and_unpack(context, reference, &platforms, &arguments.registry)?,
            false => (
                fetch(context, reference, &platforms, &arguments.registry)?,
                None,
            ),
        };
        output::line(format!(
            "{}@{}",
            reference.familiar(),
            pulled.descriptor.digest
        ))?;
        match unpacked {
            Some(unpacked) => drop(unpacked?),
            None if arguments.unpack => unpack(context, reference, arguments)?,
            None => {}
        }
    }
    Ok(())
}

/// Pulls the image for these platforms, or for this machine if there are none, and unpacks it
/// meanwhile if it is one.
pub(crate) fn pull_and_unpack(
    context: &Context,
    reference: &Reference,
    platforms: &[String],
    options: &RegistryOptions,
) -> Result<Option<Chain>> {
    let platforms = self::platforms(platforms)?;
    let (_, unpacked) = fetch_and_unpack(context, reference, &platforms, options)?;
    unpacked.transpose()
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
    let pull_options = pull_options(platforms, options);
    let (store, progress) = (&context.store, &*context.progress);
    image::pull::pull(&client, store, reference, &pull_options, progress)
}

/// Unpacks it while it comes, if it is one image; otherwise that is still to be done.
fn fetch_and_unpack(
    context: &Context,
    reference: &Reference,
    platforms: &Platforms,
    options: &RegistryOptions,
) -> Result<(Pulled, Option<Result<Chain>>)> {
    let client = registry::client(options, &[reference.registry()])?;
    let pull_options = pull_options(platforms, options);
    let (store, progress) = (&context.store, &*context.progress);
    let unpacking = Unpacking {
        snapshots: &context.snapshots()?,
        options: &Context::unpack_options(),
    };
    image::pull::pull_and_unpack(
        &client,
        store,
        reference,
        &pull_options,
        &unpacking,
        progress,
    )
}

fn pull_options(platforms: &Platforms, options: &RegistryOptions) -> PullOptions {
    PullOptions {
        platforms: platforms.clone(),
        parallel: options.parallel.max(1),
    }
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

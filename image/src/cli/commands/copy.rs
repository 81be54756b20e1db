//! `tare image copy`.

use image::Reference;
use image::copy::CopyOptions;
use image::error::Result;

use super::registry;
use crate::cli::arguments::Copy;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, copy: &Copy) -> Result<()> {
    let source: Reference = copy.source.parse()?;
    let destination: Reference = copy.destination.parse()?;
    let client = registry::client(&copy.registry, &[source.registry(), destination.registry()])?;
    let options = CopyOptions {
        platform: copy.platform.as_deref().map(str::parse).transpose()?,
        ..CopyOptions::default()
    };
    let copied = image::copy::copy(&client, &source, &destination, &options, &*context.progress)?;
    output::line(format!("{}@{}", destination.familiar(), copied.digest))
}

//! `tare image tag`.

use image::Reference;
use image::error::{Error, ErrorKind, Result};

use crate::cli::arguments::Tag;
use crate::cli::context::Context;

pub(crate) fn run(context: &Context, tag: &Tag) -> Result<()> {
    // All names are checked before the first is given.
    let names = tag
        .names
        .iter()
        .map(|name| parse(name))
        .collect::<Result<Vec<_>>>()?;
    let image = context.store.find(&tag.image)?;
    for name in &names {
        context.store.tag(name, &image.descriptor)?;
    }
    Ok(())
}

fn parse(name: &str) -> Result<Reference> {
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        let message =
            format!("{name}: a digest names content already, and can't be given to other");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(reference)
}

//! `tare image import`.

use std::fs::File;

use image::archive::{ImportOptions, import};
use image::error::{Error, Result};

use super::change;
use crate::cli::arguments::Import;
use crate::cli::context::{Context, platform};
use crate::cli::output;

pub(crate) fn run(context: &Context, arguments: &Import) -> Result<()> {
    let options = ImportOptions {
        reference: arguments.name.as_deref().map(str::parse).transpose()?,
        platform: platform(arguments.platform.as_deref())?,
        execution: change::execution(&arguments.change)?,
        comment: arguments.message.clone(),
        ..ImportOptions::default()
    };
    let path = &arguments.archive;
    let image = if path.as_os_str() == "-" {
        import(&context.store, std::io::stdin().lock(), &options)?
    } else {
        let file = File::open(path)
            .map_err(|error| Error::system(format!("open {}", path.display()), error))?;
        import(&context.store, file, &options)?
    };
    output::line(image.descriptor.digest.to_string())
}

//! `tare image load`.

use std::fs::File;
use std::io::IsTerminal;

use image::archive::{LoadOptions, load, load_layout};
use image::error::{Error, ErrorKind, Result};

use crate::cli::arguments::Load;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, arguments: &Load) -> Result<()> {
    let options = LoadOptions::default();
    let progress = &*context.progress;
    let images = match &arguments.input {
        Some(path) if path.is_dir() => load_layout(&context.store, path, &options, progress)?,
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Error::system(format!("open {}", path.display()), error))?;
            load(&context.store, file, &options, progress)?
        }
        None if std::io::stdin().is_terminal() => {
            let message = "nobody types an archive on a terminal: give --input FILE, or a pipe";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        None => load(&context.store, std::io::stdin().lock(), &options, progress)?,
    };
    for image in images {
        output::line(format!("loaded {}", output::harmless(&image.shown())))?;
    }
    Ok(())
}

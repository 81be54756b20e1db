//! `tare image save`.

use std::fs;
use std::io::{BufWriter, Write};

use image::archive::{Format, SaveOptions, save};
use image::error::{Error, ErrorKind, Result};

use super::unpack::partial_name;
use crate::cli::arguments::{Save, SaveFormat};
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, arguments: &Save) -> Result<()> {
    let images = arguments
        .images
        .iter()
        .map(|text| context.store.find(text))
        .collect::<Result<Vec<_>>>()?;
    let options = SaveOptions {
        format: match arguments.format {
            SaveFormat::Docker => Format::Docker,
            SaveFormat::Oci => Format::Oci,
        },
        only: arguments.platform.as_deref().map(str::parse).transpose()?,
        ..SaveOptions::default()
    };
    write_archive(arguments.output.as_deref(), |out| {
        save(&context.store, &images, out, &options, &*context.progress)
    })
}

/// Writes an archive to a file, which has its name only when it is whole, or to the standard
/// output.
pub(super) fn write_archive(
    path: Option<&std::path::Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let Some(path) = path else {
        if output::is_terminal() {
            let message = "an archive would fill this terminal: give --output FILE, or a pipe";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let mut out = BufWriter::new(std::io::stdout());
        write(&mut out)?;
        return out
            .flush()
            .map_err(|error| Error::system("write to the standard output", error));
    };
    let step = |error| Error::system(format!("write {}", path.display()), error);
    let partial = partial_name(path)?;
    let file = fs::File::create_new(&partial).map_err(step)?;
    let mut out = BufWriter::new(file);
    let written = write(&mut out)
        .and_then(|()| out.flush().map_err(step))
        .and_then(|()| out.get_ref().sync_all().map_err(step))
        .and_then(|()| fs::rename(&partial, path).map_err(step));
    if written.is_err() {
        fs::remove_file(&partial).ok();
    }
    written
}

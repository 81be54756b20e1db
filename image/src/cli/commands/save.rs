//! `tare image save`.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use image::archive::{Format, SaveOptions, save};
use image::error::{Error, ErrorKind, Result};
use image::store::Store;
use image::whole;

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
    write_archive(&context.store, arguments.output.as_deref(), |out| {
        save(&context.store, &images, out, &options, &*context.progress)
    })
}

/// Writes an archive to a path, or to the standard output.
pub(super) fn write_archive(
    store: &Store,
    path: Option<&Path>,
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
    let is_replaced = path
        .symlink_metadata()
        .map_or(true, |metadata| metadata.is_file());
    if is_replaced {
        whole::write_file(store, path, write)
    } else {
        write_in_place(path, write)
    }
}

/// Writes into what is there and no file of its own: a device, a pipe, or what a link leads to.
/// A rename would put a file in the place of `/dev/null`.
fn write_in_place(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let step = |error| Error::system(format!("write {}", path.display()), error);
    let file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .create(true)
        .open(path)
        .map_err(step)?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush().map_err(step)
}

//! `tare image logout`.

use image::error::Result;
use image::reference::DEFAULT_REGISTRY;
use image::registry::login::{self, Place};

use super::registry;
use crate::cli::arguments::Logout;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(_: &Context, arguments: &Logout) -> Result<()> {
    let name = arguments.registry.as_deref().unwrap_or(DEFAULT_REGISTRY);
    let file = registry::credential_file(arguments.authfile.as_ref())?;
    let helpers = registry::helpers();
    let place = Place {
        file: &file,
        helpers: &helpers,
    };
    match login::logout(name, place)? {
        true => output::line(format!("Removed the credentials for {name}")),
        false => output::line(format!("There were no credentials for {name}")),
    }
}

//! How the commands that talk to registries do so.

use std::path::PathBuf;

use image::error::{Error, ErrorKind, Result};
use image::registry::settings::{Credential, HelperEnvironment};
use image::registry::{Client, Settings};

use crate::cli::arguments::RegistryOptions;
use crate::cli::context::variable;

/// A client with the environment's settings and the command line's over them; credentials that
/// were given are for `registries`, and no others.
pub(crate) fn client(options: &RegistryOptions, registries: &[&str]) -> Result<Client> {
    let mut settings = Settings::from_variables(|name| std::env::var_os(name));
    settings
        .hosts
        .plain_http
        .extend(options.plain_http.iter().cloned());
    settings
        .hosts
        .skip_verify
        .extend(options.skip_verify.iter().cloned());
    settings.ranges.connections = options.connections;
    if let Some(directory) = &options.certs_dir {
        settings.hosts.directories.insert(0, directory.clone());
    }
    if let Some(file) = &options.authfile {
        settings.keyring.files = vec![file.clone()];
    }
    if let Some(text) = &options.creds {
        let credential = credential(text)?;
        for registry in registries {
            settings
                .keyring
                .given
                .insert((*registry).to_owned(), credential.clone());
        }
    }
    Ok(Client::new(settings))
}

fn credential(text: &str) -> Result<Credential> {
    match text.split_once(':') {
        Some((username, password)) if !username.is_empty() => Ok(Credential::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        }),
        // The text may be a secret, so it isn't shown.
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            "--creds: USER:PASSWORD is expected",
        )),
    }
}

/// Where `login` keeps credentials, and `logout` looks for them.
pub(crate) fn credential_file(authfile: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(file) = authfile {
        return Ok(file.clone());
    }
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return Ok(file.into());
    }
    if let Some(directory) = variable("DOCKER_CONFIG") {
        return Ok(PathBuf::from(directory).join("config.json"));
    }
    match variable("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".docker/config.json")),
        None => {
            let message =
                "HOME is not set, so there is no place for credentials: give --authfile FILE";
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// What credential helpers run with.
pub(crate) fn helpers() -> HelperEnvironment {
    HelperEnvironment::from_variables(|name| std::env::var_os(name))
}

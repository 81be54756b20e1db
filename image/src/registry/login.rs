//! Login and logout: credentials are tried before they are kept.

use std::path::Path;

use ureq::http::Method;

use super::challenge::{self, Challenge};
use super::client::{Client, Endpoint, Whose};
use super::exchange::Request;
use super::grants::Scopes;
use super::problem;
use super::send::follow;
use super::settings::hosts::Capability;
use super::settings::{Credential, HelperEnvironment, keep};
use super::token::{self, Wish};
use crate::error::{Error, ErrorKind, Result};

/// What the registry made of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It has accepted them.
    Accepted,
    /// It lets everybody in, so nobody knows whether they are right. They are kept.
    NotNeeded,
}

/// Where credentials are kept.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Docker's `config.json` or containers' `auth.json`; it is made if it is missing.
    pub file: &'a Path,
    /// For the helper that the file may name.
    pub helpers: &'a HelperEnvironment,
}

/// Tries a user name and a password, and keeps them for `registry` (`host` or `host:port`): with
/// the helper that the file names for it, else in the file. In a password's place stands the
/// token that the registry gives for that, if it does.
///
/// # Errors
/// [`ErrorKind::Denied`] when the registry refuses them: then nothing is kept.
pub fn login(
    client: &Client,
    registry: &str,
    username: &str,
    password: &str,
    place: Place<'_>,
) -> Result<Login> {
    if username.is_empty() || username.contains(':') {
        let message = "a user name is not empty, and has no colon";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let credential = Credential::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    let of = Whose {
        registry,
        repository: None,
        is_by_digest: false,
    };
    // A location that registries.conf has in its place is for reading, under its own name.
    let endpoints = client
        .endpoints(of, Capability::Push)
        .or_else(|_| client.endpoints(of, Capability::Pull))?;
    let endpoint = endpoints
        .iter()
        .find(|endpoint| !endpoint.is_mirror())
        .or(endpoints.last())
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no registry {registry}")))?;
    let (login, refresh) = attempt(client, endpoint, &credential)
        .map_err(|error| error.within(format_args!("log in to {registry}")))?;
    let kept = refresh.map_or(credential, Credential::IdentityToken);
    keep::store(place.file, registry, username, &kept, place.helpers)?;
    Ok(login)
}

/// Forgets the credentials for `registry`; whether there were any in the file or a helper.
///
/// # Errors
/// A malformed file, a helper that fails.
pub fn logout(registry: &str, place: Place<'_>) -> Result<bool> {
    keep::erase(place.file, registry, place.helpers)
}

fn attempt(
    client: &Client,
    endpoint: &Endpoint,
    credential: &Credential,
) -> Result<(Login, Option<String>)> {
    let request = Request::new(Method::GET, endpoint.base());
    let ask = |authorization: Option<&str>| {
        follow(client, &endpoint.home, &request, authorization).map_err(|broken| broken.error)
    };
    let answer = ask(None)?;
    if answer.status == 200 {
        return Ok((Login::NotNeeded, None));
    }
    let challenges = challenge::parse(answer.all("www-authenticate"));
    let Some(challenge) = challenges.first().filter(|_| answer.status == 401) else {
        return Err(problem::error("ask how", answer));
    };
    let (header, refresh) = match (challenge, credential) {
        (Challenge::Bearer { realm, service, .. }, credential) => {
            let wish = Wish {
                realm,
                service: service.as_deref(),
                scopes: &Scopes::default(),
                credential: Some(credential),
                wants_refresh: true,
            };
            let token = token::fetch(client, &endpoint.home.origin, &wish)
                .map_err(|broken| broken.error)?;
            (format!("Bearer {}", token.token), token.refresh)
        }
        (Challenge::Basic, Credential::Password { username, password }) => {
            (token::basic(username, password), None)
        }
        (Challenge::Basic, _) => return Err(problem::error("ask how", answer)),
    };
    let answer = ask(Some(&header))?;
    match answer.status {
        200 => Ok((Login::Accepted, refresh)),
        _ => Err(problem::error("use the credentials", answer)),
    }
}

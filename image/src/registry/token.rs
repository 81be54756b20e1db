//! Tokens: distribution's token authentication, by OAuth 2's POST and by the older GET.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::Method;

use super::answer::Answer;
use super::client::Client;
use super::exchange::{Body, Broken, Request};
use super::grants::Scopes;
use super::problem;
use super::settings::Credential;
use super::settings::hosts::contains;
use super::url::{Origin, Url, percent_encode};
use crate::error::{Error, ErrorKind};

/// What distribution's specification says a token lives at least.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// A token that is about to expire would be refused on its way.
const MARGIN: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 1 << 20;
/// How this program is called in the service's records.
const CLIENT_ID: &str = "tare";

/// What is asked for.
pub(super) struct Wish<'a> {
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a Scopes,
    pub(super) credential: Option<&'a Credential>,
    /// Whether a token that lasts is wanted besides, in place of the password.
    pub(super) wants_refresh: bool,
}

/// What came.
pub(super) struct Token {
    pub(super) token: String,
    pub(super) until: Instant,
    pub(super) refresh: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
}

/// Asks the service that the registry at `asker` named.
pub(super) fn fetch(client: &Client, asker: &Origin, wish: &Wish<'_>) -> Result<Token, Broken> {
    let realm = checked_realm(client, asker, wish.realm)?;
    let started = Instant::now();
    let answer = match wish.credential {
        Some(Credential::IdentityToken(refresh)) => {
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
            post(client, &realm, wish, &form)?
        }
        Some(Credential::Password { username, password }) => {
            let form = [
                ("grant_type", "password"),
                ("username", username),
                ("password", password),
            ];
            let answer = post(client, &realm, wish, &form)?;
            // Services that know only GET say so in many ways.
            match answer.status {
                300..=428 | 430..=499 => get(client, &realm, wish, Some((username, password)))?,
                _ => answer,
            }
        }
        _ => get(client, &realm, wish, None)?,
    };
    read(answer, started)
}

fn read(answer: Answer, started: Instant) -> Result<Token, Broken> {
    let step = format!("token from {}", answer.url.origin());
    match answer.status {
        200 | 201 => {}
        500..=599 | 408 | 429 => {
            return Err(Broken {
                after: super::retry::retry_after(&answer),
                error: problem::error(&step, answer),
                may_pass: true,
            });
        }
        400 | 401 | 403 => {
            let error = problem::error(&step, answer);
            let message = error.to_string();
            return Err(Error::with_source(ErrorKind::Denied, message, error).into());
        }
        _ => return Err(problem::error(&step, answer).into()),
    }
    let bytes = answer.document(&step, MAX_ANSWER)?;
    let malformed = |why: &str| {
        let message = format!("{step}: its answer {why}");
        Broken::from(Error::new(ErrorKind::Registry, message))
    };
    let reply: Reply = serde_json::from_slice(&bytes).map_err(|_| malformed("is malformed"))?;
    let token = [reply.token, reply.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or_else(|| malformed("holds no token"))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("holds a token that is no token"));
    }
    let life = reply.expires_in.unwrap_or_default().clamp(0.0, 86_400.0);
    let life = Duration::from_secs_f64(life).max(SHORTEST_LIFE);
    Ok(Token {
        token,
        until: started + life - MARGIN,
        refresh: reply.refresh_token.filter(|refresh| !refresh.is_empty()),
    })
}

/// A registry says where its tokens are to be had; a password goes there. So never from an
/// encrypted connection to an unencrypted one, and unencrypted only where that is permitted.
fn checked_realm(client: &Client, asker: &Origin, realm: &str) -> Result<Url, Broken> {
    let shown = problem::printable(realm, 120);
    let refused = |why: &str| {
        let message = format!("{asker} wants tokens from {shown:?}: {why}");
        Broken::from(Error::new(ErrorKind::Denied, message))
    };
    let url = Url::parse(realm).map_err(|_| refused("no URL that may be used"))?;
    let origin = url.origin();
    if origin.is_secure() {
        return Ok(url);
    }
    if asker.is_secure() {
        return Err(refused("that is not encrypted, though the registry is"));
    }
    let is_permitted = origin.is_loopback()
        || origin == asker
        || contains(&client.settings().hosts.plain_http, &origin.authority());
    if is_permitted {
        Ok(url)
    } else {
        Err(refused(
            "that is not encrypted, and no configuration permits it",
        ))
    }
}

fn post(
    client: &Client,
    realm: &Url,
    wish: &Wish<'_>,
    form: &[(&str, &str)],
) -> Result<Answer, Broken> {
    let scopes: Vec<&str> = wish.scopes.iter().collect();
    let scopes = scopes.join(" ");
    let mut fields = form.to_vec();
    fields.extend([
        ("client_id", CLIENT_ID),
        ("scope", scopes.as_str()),
        ("service", wish.service.unwrap_or_default()),
    ]);
    if wish.wants_refresh {
        fields.push(("access_type", "offline"));
    }
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", percent_encode(value)))
        .collect();
    let fields = fields.join("&");
    let request = Request::new(Method::POST, realm.clone())
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(Body::Bytes(fields.as_bytes()));
    // A redirect is not followed: the password is in the body.
    client.home(realm.origin())?.exchange(&request, realm, None)
}

fn get(
    client: &Client,
    realm: &Url,
    wish: &Wish<'_>,
    pair: Option<(&str, &str)>,
) -> Result<Answer, Broken> {
    let mut url = realm.clone();
    if let Some(service) = wish.service {
        url = url.with_query("service", service);
    }
    for scope in wish.scopes.iter() {
        url = url.with_query("scope", scope);
    }
    if let Some((username, _)) = pair {
        url = url.with_query("account", username);
    }
    if wish.wants_refresh {
        url = url
            .with_query("offline_token", "true")
            .with_query("client_id", CLIENT_ID);
    }
    let authorization = pair.map(|(username, password)| basic(username, password));
    let request = Request::new(Method::GET, url);
    let home = client.home(realm.origin())?;
    super::send::follow(client, &home, &request, authorization.as_deref())
}

/// RFC 7617.
pub(super) fn basic(username: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {pair}")
}

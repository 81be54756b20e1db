//! Sends a request until there is an answer to it: with the credentials that the registry wants,
//! along redirects, and again when it failed for now.
//!
//! What must never happen: credentials, or headers that were configured for one host, reach
//! another one; or an encrypted conversation goes on unencrypted.

use std::borrow::Cow;
use std::sync::Arc;

use ureq::http::Method;

use super::answer::Answer;
use super::challenge::{self, Challenge};
use super::client::{Client, Endpoint};
use super::exchange::{Broken, Home, Request};
use super::grants::{Grant, Scopes};
use super::problem;
use super::retry::{self, Attempts};
use super::settings::Credential;
use super::token::{self, Wish};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress};

/// How often a registry may send us elsewhere.
const MAX_REDIRECTS: usize = 8;

/// A conversation with one endpoint about one repository.
#[derive(Clone)]
pub(super) struct Line<'a> {
    pub(super) client: &'a Client,
    pub(super) endpoint: Arc<Endpoint>,
    /// Whose credentials are looked up.
    pub(super) repository: Cow<'a, str>,
    pub(super) scopes: Scopes,
    pub(super) progress: &'a dyn Progress,
}

impl Line<'_> {
    /// The answer to a request, whatever its status, except those that asked to try again and
    /// kept asking.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer> {
        let mut attempts = Attempts::new(self.client.settings().retry);
        loop {
            match self.send_once(request) {
                Ok(answer) => return Ok(answer),
                Err(broken) => attempts.pause(broken, self.progress)?,
            }
        }
    }

    /// The same without another attempt.
    pub(super) fn send_once(&self, request: &Request<'_>) -> std::result::Result<Answer, Broken> {
        let answer = self.send_authorized(request)?;
        self.tell_warnings(&answer);
        if retry::is_passing(answer.status) {
            let step = format!("{} {}", request.method, answer.url.public());
            return Err(Broken {
                after: retry::retry_after(&answer),
                error: problem::error(&step, answer),
                may_pass: true,
            });
        }
        Ok(answer)
    }

    fn send_authorized(&self, request: &Request<'_>) -> std::result::Result<Answer, Broken> {
        let home = &self.endpoint.home;
        let key = (home.origin.clone(), self.scopes.clone());
        let mut grant = self.client.grants.current(&key);
        let mut is_fresh = false;
        loop {
            let header = grant.as_ref().map(Grant::header);
            let answer = follow(self.client, home, request, header)?;
            if answer.status != 401 || *answer.url.origin() != home.origin || is_fresh {
                return Ok(answer);
            }
            let challenges = challenge::parse(answer.all("www-authenticate"));
            let renewed = self
                .client
                .grants
                .renew(&key, grant.as_ref(), || self.grant(&challenges, answer))?;
            is_fresh = true;
            grant = Some(renewed);
        }
    }

    /// What satisfies the first challenge that can be satisfied.
    fn grant(
        &self,
        challenges: &[Challenge],
        answer: Answer,
    ) -> std::result::Result<Grant, Broken> {
        let credential = self
            .client
            .settings()
            .keyring
            .find(&self.endpoint.credentials_of, &self.repository)?;
        if let Some(Credential::RegistryToken(token)) = &credential {
            return Ok(Grant::new(format!("Bearer {token}"), None));
        }
        for challenge in challenges {
            match (challenge, &credential) {
                (
                    Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    },
                    credential,
                ) => {
                    let wish = Wish {
                        realm,
                        service: service.as_deref(),
                        scopes: &self.scopes.merged(scope.as_deref()),
                        credential: credential.as_ref(),
                        wants_refresh: false,
                    };
                    let token = token::fetch(self.client, &self.endpoint.home.origin, &wish)?;
                    return Ok(Grant::new(
                        format!("Bearer {}", token.token),
                        Some(token.until),
                    ));
                }
                (Challenge::Basic, Some(Credential::Password { username, password })) => {
                    return Ok(Grant::new(token::basic(username, password), None));
                }
                (Challenge::Basic, _) => {}
            }
        }
        let step = format!("log in to {}", self.endpoint.name());
        Err(problem::error(&step, answer).into())
    }

    /// RFC 9111's `Warning: 299 - "text"`, which distribution-spec asks clients to show; and how
    /// little is left of a limit.
    fn tell_warnings(&self, answer: &Answer) {
        let warnings = answer.all("warning").filter_map(|warning| {
            let (_, text) = warning.strip_prefix("299 ")?.split_once(" \"")?;
            Some(text.rsplit_once('"')?.0.replace("\\\"", "\""))
        });
        let name = self.endpoint.name();
        for warning in warnings.take(10) {
            let text = problem::printable(&warning, 500);
            self.tell_once(&format!("{name} warns: {text}"));
        }
        let left = answer
            .header("ratelimit-remaining")
            .and_then(|text| text.split(';').next()?.trim().parse::<u64>().ok());
        if left.is_some_and(|left| left < 10) {
            self.tell_once(&format!(
                "{name} limits how much is fetched, and little is left of it"
            ));
        }
    }

    pub(super) fn tell_once(&self, sentence: &str) {
        if self.client.is_news(sentence) {
            self.progress.report(Event::Note(sentence));
        }
    }
}

/// Sends a request, and again to where it is sent on. `authorization` is shown to `home` alone.
pub(super) fn follow(
    client: &Client,
    home: &Arc<Home>,
    request: &Request<'_>,
    authorization: Option<&str>,
) -> std::result::Result<Answer, Broken> {
    let mut url = request.url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let is_home = *url.origin() == home.origin;
        let answer = if is_home {
            home.exchange(request, &url, authorization)?
        } else {
            client.home(url.origin())?.exchange(request, &url, None)?
        };
        let Some(location) = redirect(&request.method, &answer) else {
            return Ok(answer);
        };
        let next = url.join(location).map_err(|error| {
            let message = format!("{} redirects to nowhere: {error}", home.origin);
            Error::with_source(ErrorKind::Registry, message, error)
        })?;
        if url.origin().is_secure() && !next.origin().is_secure() {
            let message = format!(
                "{} redirects to {}, which is not encrypted: refused",
                url.origin(),
                next.origin()
            );
            return Err(Error::new(ErrorKind::Registry, message).into());
        }
        url = next;
    }
    let message = format!("{} redirects more than {MAX_REDIRECTS} times", home.origin);
    Err(Error::new(ErrorKind::Registry, message).into())
}

/// Where an answer sends a request. Only 307 and 308 keep a method that changes something.
fn redirect<'b>(method: &Method, answer: &'b Answer) -> Option<&'b str> {
    let keeps = matches!(answer.status, 307 | 308);
    let sends = keeps || matches!(answer.status, 301..=303);
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    if sends && (keeps || is_reading) {
        answer.header("location")
    } else {
        None
    }
}

//! The client: what is remembered from one request to the next.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::http::Method;

use super::exchange::{Broken, Home, Request};
use super::grants::{Grants, lock};
use super::pace::Connections;
use super::settings::Settings;
use super::settings::hosts::{Capability, Place, Scheme, registry_host};
use super::url::{Origin, Url};
use crate::error::{Error, ErrorKind, Result};

/// Talks to registries. Any number of threads may share one; connections, tokens and what a
/// host speaks are remembered as long as it lives.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    registries: Mutex<HashMap<String, Arc<[Arc<Endpoint>]>>>,
    homes: Mutex<HashMap<Origin, Arc<Home>>>,
    pub(super) grants: Grants,
    pub(super) connections: Connections,
    told: Mutex<HashSet<String>>,
}

/// One place that has a registry's content: the registry itself, or a mirror.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) home: Arc<Home>,
    /// `/v2`, as a rule.
    path: String,
    /// A mirror is told whose content is wanted.
    namespace: Option<String>,
    capabilities: Vec<Capability>,
    /// Under which name its credentials are kept.
    pub(super) credentials_of: String,
}

impl Client {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            registries: Mutex::default(),
            homes: Mutex::default(),
            grants: Grants::default(),
            connections: Connections::default(),
            told: Mutex::default(),
        }
    }

    /// How it talks.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this sentence is told for the first time.
    pub(super) fn is_news(&self, sentence: &str) -> bool {
        let mut told = lock(&self.told);
        // A registry could think of ever new ones.
        told.len() < 100 && told.insert(sentence.to_owned())
    }

    /// A host that is no registry's endpoint: a token service, the target of a redirect.
    pub(super) fn home(&self, origin: &Origin) -> Result<Arc<Home>> {
        if let Some(home) = lock(&self.homes).get(origin) {
            return Ok(Arc::clone(home));
        }
        let tls = self.settings.hosts.tls(&origin.authority())?;
        let home = Arc::new(Home::new(
            &self.settings,
            origin.clone(),
            &tls,
            Vec::new(),
            None,
        )?);
        let mut homes = lock(&self.homes);
        Ok(Arc::clone(homes.entry(origin.clone()).or_insert(home)))
    }

    /// Where a registry's content is, in the order in which it is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when no place is configured that may be asked for this.
    pub(super) fn endpoints(
        &self,
        registry: &str,
        capability: Capability,
    ) -> Result<Vec<Arc<Endpoint>>> {
        let endpoints = self.all_endpoints(registry)?;
        let able: Vec<_> = endpoints
            .iter()
            .filter(|endpoint| endpoint.capabilities.contains(&capability))
            .cloned()
            .collect();
        if able.is_empty() {
            let message =
                format!("registry {registry}: its hosts.toml has no host that may {capability:?}");
            return Err(Error::new(ErrorKind::Unsupported, message.to_lowercase()));
        }
        Ok(able)
    }

    fn all_endpoints(&self, registry: &str) -> Result<Arc<[Arc<Endpoint>]>> {
        if let Some(known) = lock(&self.registries).get(registry) {
            return Ok(Arc::clone(known));
        }
        let places = self.settings.hosts.places(registry)?;
        let endpoints: Result<Vec<_>> = places
            .into_iter()
            .map(|place| self.endpoint(registry, place).map(Arc::new))
            .collect();
        let endpoints: Arc<[Arc<Endpoint>]> = endpoints?.into();
        let mut registries = lock(&self.registries);
        Ok(Arc::clone(
            registries.entry(registry.to_owned()).or_insert(endpoints),
        ))
    }

    fn endpoint(&self, registry: &str, place: Place) -> Result<Endpoint> {
        let is_itself = place.authority == registry_host(registry);
        let is_secure = match place.scheme {
            Scheme::Https => true,
            Scheme::Http => false,
            Scheme::Ask => self.speaks_tls(&place)?,
        };
        let origin = Origin::new(is_secure, &place.authority)?;
        let home = Home::new(
            &self.settings,
            origin,
            &place.tls,
            place.headers,
            place.connect_timeout,
        )?;
        Ok(Endpoint {
            home: Arc::new(home),
            path: place.path,
            namespace: (!is_itself).then(|| registry.to_owned()),
            capabilities: place.capabilities,
            credentials_of: match is_itself {
                true => registry.to_owned(),
                false => place.authority,
            },
        })
    }

    /// Whether a service on this machine speaks TLS. It is asked in plain text, for nothing and
    /// without credentials; one that speaks TLS says that this was wrong, or nothing at all.
    fn speaks_tls(&self, place: &Place) -> Result<bool> {
        let has_certificates = !place.tls.authorities.is_empty()
            || place.tls.client.is_some()
            || place.tls.skip_verify;
        if has_certificates {
            return Ok(true);
        }
        let origin = Origin::new(false, &place.authority)?;
        let mut settings = self.settings.clone();
        let patience = settings.timeouts.stall.min(Duration::from_secs(10));
        settings.timeouts.stall = patience;
        let home = Home::new(&settings, origin.clone(), &place.tls, Vec::new(), None)?;
        let url = origin.url("/v2/");
        let request = Request::new(Method::GET, url.clone());
        match home.exchange(&request, &url, None) {
            Ok(answer) => Ok(answer.status == 400),
            Err(broken) if is_nobody_there(&broken) => Err(broken.error),
            Err(_) => Ok(true),
        }
    }
}

/// Refused, as opposed to an answer that is no HTTP.
fn is_nobody_there(broken: &Broken) -> bool {
    use std::error::Error as _;
    let ureq = broken
        .error
        .source()
        .and_then(|source| source.downcast_ref::<ureq::Error>());
    matches!(ureq, Some(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        || matches!(
            ureq,
            Some(ureq::Error::HostNotFound | ureq::Error::Timeout(ureq::Timeout::Connect))
        )
}

impl Endpoint {
    /// The URL of something in a repository: `manifests/latest`.
    pub(super) fn url(&self, repository: &str, what: &str) -> Url {
        let base = self.home.origin.url(&self.path);
        self.named(base.child(repository).child(what))
    }

    /// The URL that only says whether this is a registry.
    pub(super) fn base(&self) -> Url {
        self.named(self.home.origin.url(&format!("{}/", self.path)))
    }

    /// A URL that this endpoint sent, as the next to ask.
    pub(super) fn named(&self, url: Url) -> Url {
        let is_named = url.target().contains("?ns=") || url.target().contains("&ns=");
        match &self.namespace {
            Some(namespace) if !is_named => url.with_query("ns", namespace),
            _ => url,
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        self.home.origin.authority()
    }

    /// Whether it stands in for the registry.
    pub(super) fn is_mirror(&self) -> bool {
        self.namespace.is_some()
    }
}

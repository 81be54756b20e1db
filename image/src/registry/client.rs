//! The client: what is remembered from one request to the next.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::http::Method;

use super::exchange::{Broken, Home, Request};
use super::grants::{Grants, lock};
use super::pace::Connections;
use super::settings::Settings;
use super::settings::hosts::{Capability, Place, Scheme, registry_host};
use super::settings::registries::{Registries, Renamed};
use super::url::{Origin, Url};
use crate::error::{Error, ErrorKind, Result};

/// How long a host may be silent when it is asked what it speaks.
const PATIENCE: Duration = Duration::from_secs(10);

/// Talks to registries. Any number of threads may share one; connections, tokens and what a
/// host speaks are remembered as long as it lives.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    /// By registry, and by the prefix of registries.conf that counts.
    registries: Mutex<HashMap<(String, String), Endpoints>>,
    /// What registries.conf says, once it was read.
    configured: Mutex<Option<Arc<Registries>>>,
    homes: Mutex<HashMap<Origin, Arc<Home>>>,
    pub(super) grants: Grants,
    pub(super) connections: Connections,
    told: Mutex<HashSet<String>>,
}

/// In the order in which they are asked.
type Endpoints = Arc<[Arc<Endpoint>]>;

/// One place that has a registry's content: the registry itself, or a mirror.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) home: Arc<Home>,
    /// `/v2`, as a rule.
    path: String,
    /// A mirror is told whose content is wanted.
    namespace: Option<String>,
    /// What it calls the registry's repositories.
    renamed: Option<Renamed>,
    capabilities: Vec<Capability>,
    /// Under which name its credentials are kept.
    pub(super) credentials_of: String,
}

/// Of what one wants to know where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub(super) registry: &'a str,
    /// None if it is the registry as such.
    pub(super) repository: Option<&'a str>,
    /// Whether the image is named by its digest.
    pub(super) is_by_digest: bool,
}

impl Whose<'_> {
    /// As registries.conf has it.
    fn image(&self) -> String {
        match self.repository {
            Some(repository) => format!("{}/{repository}", self.registry),
            None => self.registry.to_owned(),
        }
    }
}

impl Client {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            registries: Mutex::default(),
            configured: Mutex::default(),
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

    /// Where an image's content is, in the order in which it is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when no place is configured that may be asked for this;
    /// [`ErrorKind::Denied`] when the configuration blocks it.
    pub(super) fn endpoints(
        &self,
        of: Whose<'_>,
        capability: Capability,
    ) -> Result<Vec<Arc<Endpoint>>> {
        let able: Vec<_> = self
            .all_endpoints(of)?
            .iter()
            .filter(|endpoint| endpoint.capabilities.contains(&capability))
            .filter(|endpoint| endpoint.is_for(of))
            .cloned()
            .collect();
        if able.is_empty() {
            let registry = of.registry;
            let message =
                format!("registry {registry}: its hosts.toml has no host that may {capability:?}");
            return Err(Error::new(ErrorKind::Unsupported, message.to_lowercase()));
        }
        Ok(able)
    }

    fn all_endpoints(&self, of: Whose<'_>) -> Result<Endpoints> {
        let configured = self.configured()?;
        let image = of.image();
        let table = configured.find(&image);
        if let Some(table) = table {
            table.permit(&image)?;
        }
        let prefix = table.map_or("", |table| table.prefix.as_str());
        let key = (of.registry.to_owned(), prefix.to_owned());
        if let Some(known) = lock(&self.registries).get(&key) {
            return Ok(Arc::clone(known));
        }
        let places = self.settings.hosts.places(of.registry, table)?;
        let endpoints: Result<Vec<_>> = places
            .into_iter()
            .map(|place| self.endpoint(of.registry, place).map(Arc::new))
            .collect();
        let endpoints: Endpoints = endpoints?.into();
        let mut registries = lock(&self.registries);
        Ok(Arc::clone(registries.entry(key).or_insert(endpoints)))
    }

    /// What registries.conf says; read when it is first needed.
    pub(super) fn configured(&self) -> Result<Arc<Registries>> {
        let mut configured = lock(&self.configured);
        if let Some(known) = &*configured {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(self.settings.hosts.registries.read()?);
        *configured = Some(Arc::clone(&read));
        Ok(read)
    }

    fn endpoint(&self, registry: &str, place: Place) -> Result<Endpoint> {
        let is_itself = place.authority == registry_host(registry);
        let is_secure = match place.scheme {
            Scheme::Https => true,
            Scheme::Http => false,
            Scheme::Ask => self.speaks_tls(&place)?,
            Scheme::Either => self.answers_tls(&place)?,
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
            namespace: (!is_itself && place.renamed.is_none()).then(|| registry.to_owned()),
            capabilities: place.capabilities,
            credentials_of: match &place.renamed {
                Some(renamed) => renamed.registry.clone(),
                None if is_itself => registry.to_owned(),
                None => place.authority,
            },
            renamed: place.renamed,
        })
    }

    /// Whether a place that may do without encryption has it: any answer over TLS will do.
    fn answers_tls(&self, place: &Place) -> Result<bool> {
        let mut settings = self.settings.clone();
        settings.timeouts.stall = settings.timeouts.stall.min(PATIENCE);
        settings.timeouts.answer = settings.timeouts.answer.min(PATIENCE);
        let origin = Origin::new(true, &place.authority)?;
        let home = Home::new(&settings, origin.clone(), &place.tls, Vec::new(), None)?;
        let url = origin.url("/v2/");
        let request = Request::new(Method::GET, url.clone());
        Ok(home.exchange(&request, &url, None).is_ok())
    }

    /// Whether a service on this machine speaks TLS. It is asked in plain text, for nothing and
    /// without credentials; one that speaks TLS says that this was wrong, or nothing at all.
    fn speaks_tls(&self, place: &Place) -> Result<bool> {
        let has_certificates = !place.tls.authorities.is_empty()
            || !place.tls.clients.is_empty()
            || place.tls.skip_verify;
        if has_certificates {
            return Ok(true);
        }
        let origin = Origin::new(false, &place.authority)?;
        let mut settings = self.settings.clone();
        settings.timeouts.stall = settings.timeouts.stall.min(PATIENCE);
        let home = Home::new(&settings, origin.clone(), &place.tls, Vec::new(), None)?;
        let url = origin.url("/v2/");
        let request = Request::new(Method::GET, url.clone());
        match home.exchange(&request, &url, None) {
            Ok(answer) => Ok(answer.status == 400),
            // The request itself will say so, and another place may be asked then.
            Err(broken) if is_nobody_there(&broken) => Ok(false),
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
        self.named(base.child(&self.repository(repository)).child(what))
    }

    /// What a repository is called here.
    pub(super) fn repository<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match &self.renamed {
            Some(renamed) => renamed.repository(name).into(),
            None => name.into(),
        }
    }

    fn is_for(&self, of: Whose<'_>) -> bool {
        let renamed = self.renamed.as_ref();
        renamed.is_none_or(|renamed| renamed.when.includes(of.is_by_digest))
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
        match &self.renamed {
            Some(renamed) => renamed.is_mirror,
            None => self.namespace.is_some(),
        }
    }
}

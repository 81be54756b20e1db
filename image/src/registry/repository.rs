//! One repository, and the places at which it may be had.

use std::sync::Arc;

use ureq::http::Method;

use super::client::{Client, Endpoint, Whose};
use super::exchange::Request;
use super::grants::Scopes;
use super::problem;
use super::send::Line;
use super::settings::hosts::Capability;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress};
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// One repository of a registry, as one operation sees it.
#[derive(Clone, Copy)]
pub struct Repository<'a> {
    client: &'a Client,
    registry: &'a str,
    name: &'a str,
    progress: &'a dyn Progress,
    /// The image is named by its digest.
    is_by_digest: bool,
    /// Mirrors are not asked.
    without_mirrors: bool,
}

impl std::fmt::Debug for Repository<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({}/{})", self.registry, self.name)
    }
}

impl Client {
    /// The repository that a reference names. Retries, warnings and mirrors that fail are told
    /// to `progress`.
    #[must_use]
    pub fn repository<'a>(
        &'a self,
        reference: &'a Reference,
        progress: &'a dyn Progress,
    ) -> Repository<'a> {
        Repository {
            client: self,
            registry: reference.registry(),
            name: reference.repository(),
            progress,
            is_by_digest: reference.digest().is_some(),
            without_mirrors: false,
        }
    }
}

impl<'a> Repository<'a> {
    /// Its path in the registry.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Its registry, as references name it.
    pub(crate) fn registry(&self) -> &'a str {
        self.registry
    }

    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// The same repository without its mirrors; none if there are no others.
    pub(crate) fn itself(&self) -> Result<Option<Self>> {
        let all = self.readers(Capability::Pull)?;
        let is_other = |line: &Line<'_>| !line.endpoint.is_mirror();
        let has_both = all.len() > 1 && all.iter().any(is_other);
        Ok(has_both.then_some(Self {
            without_mirrors: true,
            ..*self
        }))
    }

    pub(super) fn client(&self) -> &'a Client {
        self.client
    }

    /// Conversations with all places that may be asked to read, the registry itself last.
    pub(super) fn readers(&self, capability: Capability) -> Result<Vec<Line<'a>>> {
        let endpoints = self.client.endpoints(self.whose(), capability)?;
        let lines: Vec<_> = endpoints
            .into_iter()
            .filter(|endpoint| !(self.without_mirrors && endpoint.is_mirror()))
            .map(|endpoint| self.line(endpoint, Scopes::pull))
            .collect();
        let searches = &self.client.configured()?.searches;
        if let (Some(file), Some(line)) = (searches, lines.first())
            && self.registry == DEFAULT_REGISTRY
        {
            line.tell_once(&format!(
                "{}: unqualified-search-registries is not used: a name without a registry is \
                 {DEFAULT_REGISTRY}'s",
                file.display()
            ));
        }
        Ok(lines)
    }

    /// The conversation with the one place that takes content.
    pub(super) fn writer(&self) -> Result<Line<'a>> {
        let endpoints = self.client.endpoints(self.whose(), Capability::Push)?;
        let endpoint = endpoints.into_iter().next().ok_or_else(|| {
            let message = format!("registry {} takes no content", self.registry);
            Error::new(ErrorKind::Unsupported, message)
        })?;
        Ok(self.line(endpoint, Scopes::push))
    }

    fn whose(&self) -> Whose<'a> {
        Whose {
            registry: self.registry,
            repository: Some(self.name),
            is_by_digest: self.is_by_digest,
        }
    }

    fn line(&self, endpoint: Arc<Endpoint>, scopes: impl FnOnce(&str) -> Scopes) -> Line<'a> {
        let repository = endpoint.repository(self.name);
        Line {
            client: self.client,
            scopes: scopes(&repository),
            repository,
            endpoint,
            progress: self.progress,
        }
    }

    /// The writer's conversation, with the right to remove.
    pub(super) fn deleter(&self) -> Result<Line<'a>> {
        let mut line = self.writer()?;
        let scope = format!("repository:{}:delete,pull,push", self.name);
        line.scopes = Scopes::default().and(scope);
        Ok(line)
    }

    /// What the first place has that has it. Why others failed is told; the error is that of
    /// the registry itself.
    pub(super) fn first<T>(
        &self,
        capability: Capability,
        mut ask: impl FnMut(&Line<'a>) -> Result<T>,
    ) -> Result<T> {
        let lines = self.readers(capability)?;
        let last = lines.len() - 1;
        for line in &lines[..last] {
            match ask(line) {
                Err(error) if is_the_places_fault(error.kind()) => {
                    let what = if line.endpoint.is_mirror() {
                        "mirror "
                    } else {
                        ""
                    };
                    let note = format!("{what}{}: {error}; asking the next", line.endpoint.name());
                    self.progress.report(Event::Note(&note));
                }
                outcome => return outcome,
            }
        }
        ask(&lines[last])
    }

    /// Whether the registry itself has a blob, which may be asked of the writer's place.
    pub(crate) fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.has(&format!("blobs/{digest}"))
    }

    /// Whether the registry itself has a manifest.
    pub(crate) fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        self.has(&format!("manifests/{digest}"))
    }

    fn has(&self, what: &str) -> Result<bool> {
        let line = self.writer()?;
        let url = line.endpoint.url(self.name, what);
        let request = Request::new(Method::HEAD, url).header("Accept", super::manifests::accept());
        let answer = line.send(&request)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(problem::error(
                &format!("look for {what} in {}", self.name),
                answer,
            )),
        }
    }
}

/// Whether another place may do better.
fn is_the_places_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::Denied
            | ErrorKind::RateLimited
            | ErrorKind::Unreachable
            | ErrorKind::Registry
            | ErrorKind::TimedOut
            | ErrorKind::Corrupt
    )
}

//! What a repository has: tags, and manifests that are about others.

use std::collections::BTreeMap;

use serde::Deserialize;
use ureq::http::Method;

use super::answer::Answer;
use super::exchange::Request;
use super::problem;
use super::repository::Repository;
use super::send::Line;
use super::settings::hosts::Capability;
use super::url::Url;
use crate::digest::Digest;
use crate::document::{Descriptor, Document, Index, MAX_DOCUMENT, MediaType};
use crate::error::{Error, ErrorKind, Result};

/// How many entries a page is asked to have.
const PAGE: &str = "1000";
/// A list that is longer than this has no end.
const MAX_ENTRIES: usize = 1_000_000;
const MAX_PAGES: usize = 10_000;

impl Repository<'_> {
    /// All tags, in the registry's order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        self.first(Capability::Resolve, |line| {
            let url = line.endpoint.url(self.name(), "tags/list");
            let step = format!("list the tags of {}/{}", self.registry(), self.name());
            let mut tags = Vec::new();
            pages(line, url.with_query("n", PAGE), &step, |_, bytes| {
                let page: Page = serde_json::from_slice(bytes).map_err(|error| {
                    let message = format!("{step}: the answer is malformed: {error}");
                    Error::with_source(ErrorKind::Registry, message, error)
                })?;
                tags.extend(page.tags.unwrap_or_default());
                Ok(tags.len())
            })?;
            Ok(tags)
        })
    }

    /// What is about a manifest: signatures, lists of contents, attestations. A repository that
    /// knows nothing of it has none.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`]; [`ErrorKind::Corrupt`] for malformed lists.
    pub fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let listed = self.first(Capability::Resolve, |line| {
            self.listed_referrers(line, subject, artifact_type)
        })?;
        let mut found = match listed {
            Some(found) => found,
            None => self.tagged_referrers(subject)?,
        };
        // A registry that doesn't filter says so, or doesn't: filtering twice is harmless.
        if let Some(wanted) = artifact_type {
            found.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    fn listed_referrers(
        &self,
        line: &Line<'_>,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>> {
        let mut url = line
            .endpoint
            .url(self.name(), &format!("referrers/{subject}"));
        if let Some(wanted) = artifact_type {
            url = url.with_query("artifactType", wanted);
        }
        let step = format!("list what is about {subject}");
        let mut found = Vec::new();
        let outcome = pages(line, url, &step, |media_type, bytes| {
            if media_type != Some(MediaType::OciIndex) {
                let message = format!("{step}: the answer is no index");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            found.extend(Index::parse(bytes)?.manifests);
            Ok(found.len())
        });
        match outcome {
            Ok(()) => Ok(Some(found)),
            // Registries without this interface say so in different ways.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Registry) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn tagged_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let found = self.tagged(&referrers_tag(subject))?;
        Ok(match found.map(|fetched| fetched.document) {
            Some(Document::Index(index)) => index.manifests,
            _ => Vec::new(),
        })
    }

    /// Whether the registry itself has a list of what is about a manifest.
    pub(super) fn keeps_referrers(&self, subject: &Digest) -> Result<bool> {
        let listed = self.listed_referrers(&self.writer()?, subject, None)?;
        Ok(listed.is_some())
    }

    /// Adds a manifest to the list of what is about `subject`, which a registry without the
    /// interface has at a tag. Two programs that do so at once can lose one of the entries:
    /// the interface was made since this can't be helped.
    pub(crate) fn add_tagged_referrer(&self, subject: &Digest, entry: Descriptor) -> Result<()> {
        let mut manifests = self.own_tagged_referrers(subject)?;
        if manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        manifests.push(entry);
        self.put_tagged_referrers(subject, manifests)
    }

    /// Removes a manifest from that list, if it is in it.
    pub(super) fn remove_tagged_referrer(&self, subject: &Digest, gone: &Digest) -> Result<()> {
        let mut manifests = self.own_tagged_referrers(subject)?;
        let count = manifests.len();
        manifests.retain(|entry| entry.digest != *gone);
        if manifests.len() == count {
            return Ok(());
        }
        self.put_tagged_referrers(subject, manifests)
    }

    /// The list that is to be written anew: a mirror's could be an older one.
    fn own_tagged_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let here = self.itself()?.unwrap_or(*self);
        here.tagged_referrers(subject)
    }

    fn put_tagged_referrers(&self, subject: &Digest, manifests: Vec<Descriptor>) -> Result<()> {
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: None::<BTreeMap<String, String>>,
        };
        let bytes = serde_json::to_vec(&index).map_err(|error| {
            let message = format!("list of what is about {subject}: {error}");
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })?;
        let descriptor = Descriptor::of(MediaType::OciIndex, &bytes);
        self.put_manifest(&[&referrers_tag(subject)], &descriptor, &bytes)?;
        Ok(())
    }
}

/// distribution-spec, "Referrers Tag Schema".
fn referrers_tag(subject: &Digest) -> String {
    let hex = &subject.hex()[..subject.hex().len().min(64)];
    format!("{}-{hex}", subject.algorithm().name())
}

/// Reads page after page. `take` says how many entries there are by now.
fn pages(
    line: &Line<'_>,
    first: Url,
    step: &str,
    mut take: impl FnMut(Option<MediaType>, &[u8]) -> Result<usize>,
) -> Result<()> {
    let mut url = first;
    for _ in 0..MAX_PAGES {
        let answer = line.send(&Request::new(Method::GET, url.clone()))?;
        if answer.status != 200 {
            return Err(problem::error(step, answer));
        }
        let next = next_page(&answer)?;
        let media_type = answer
            .header("content-type")
            .map(|name| name.to_owned().into());
        let bytes = answer
            .document(step, MAX_DOCUMENT)
            .map_err(|broken| broken.error)?;
        let count = take(media_type, &bytes)?;
        match next {
            Some(next) if count <= MAX_ENTRIES && next != url => url = line.endpoint.named(next),
            Some(_) => break,
            None => return Ok(()),
        }
    }
    let message = format!("{step}: the list has no end");
    Err(Error::new(ErrorKind::Registry, message))
}

/// RFC 8288: `<URL>; rel="next"`, several with commas between them.
fn next_page(answer: &Answer) -> Result<Option<Url>> {
    let next = answer
        .all("link")
        .flat_map(|header| header.split('<').skip(1))
        .filter_map(|link| link.split_once('>'))
        .find(|(_, parameters)| is_next(parameters));
    let Some((url, _)) = next else {
        return Ok(None);
    };
    let next = answer.url.join(url)?;
    if next.origin() != answer.url.origin() {
        let message = format!("{} continues its list elsewhere", answer.url.origin());
        return Err(Error::new(ErrorKind::Registry, message));
    }
    Ok(Some(next))
}

fn is_next(parameters: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        let parameter = parameter.trim().to_ascii_lowercase();
        parameter == "rel=\"next\"" || parameter == "rel=next"
    })
}

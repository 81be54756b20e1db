//! Manifests, given to a registry: under their digest, and any number of tags.
//!
//! Several tags go in one request, if the registry knows that (distribution-spec, "Pushing
//! Manifests": `PUT manifests/DIGEST?tag=A&tag=B`). It says which of them it took in `OCI-Tag`
//! headers; for all others, and if it says nothing, the manifest is put at each tag by itself.

use ureq::http::Method;

use super::answer::Answer;
use super::exchange::{Body, Request};
use super::manifests::said_digest;
use super::problem;
use super::repository::Repository;
use super::send::Line;
use crate::digest::Algorithm;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind, Result};

/// What every registry should take at once that takes several at all.
const TAGS_AT_ONCE: usize = 10;

/// What a registry said of a manifest that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Whether it keeps the list of what is about another manifest itself.
    pub(crate) knows_subject: bool,
}

impl Accepted {
    fn and(self, other: Self) -> Self {
        Self {
            knows_subject: self.knows_subject || other.knows_subject,
        }
    }
}

impl Repository<'_> {
    /// Gives the registry a manifest, under these tags, or its digest if there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`]; [`ErrorKind::Registry`] when it refuses, or has put down
    /// something else. Some of the tags may have been set then.
    pub(crate) fn put_manifest(
        &self,
        tags: &[&str],
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<Accepted> {
        let put = Put {
            repository: self,
            line: self.writer()?,
            descriptor,
            bytes,
        };
        match tags {
            [] => put.at(&descriptor.digest.to_string()),
            // The digest of what is put at a tag is the registry's choice, which is this one.
            [tag] if descriptor.digest.algorithm() == Algorithm::Sha256 => put.at(tag),
            tags => put.at_all(tags),
        }
    }
}

/// A manifest on its way to the registry.
struct Put<'a> {
    repository: &'a Repository<'a>,
    line: Line<'a>,
    descriptor: &'a Descriptor,
    bytes: &'a [u8],
}

impl Put<'_> {
    fn at(&self, version: &str) -> Result<Accepted> {
        let step = self.step(version);
        let answer = self.send(version, &[])?;
        self.accepted(&step, answer)
    }

    fn at_all(&self, tags: &[&str]) -> Result<Accepted> {
        let mut accepted = Accepted::default();
        let mut takes_several = true;
        for group in tags.chunks(TAGS_AT_ONCE) {
            let mut taken = Vec::new();
            if takes_several {
                let together = self.at_once(group)?;
                accepted = accepted.and(together.0);
                taken = together.1;
                takes_several = !taken.is_empty();
            }
            let is_left = |tag: &&&str| !taken.iter().any(|taken| taken == *tag);
            for tag in group.iter().filter(is_left) {
                accepted = accepted.and(self.at(tag)?);
            }
        }
        Ok(accepted)
    }

    /// Puts it at several tags in one request. The registry says which of them it took.
    fn at_once(&self, tags: &[&str]) -> Result<(Accepted, Vec<String>)> {
        let digest = self.descriptor.digest.to_string();
        let step = self.step(&tags.join(", "));
        let answer = self.send(&digest, tags)?;
        if refuses_the_form(answer.status) {
            return Ok((Accepted::default(), Vec::new()));
        }
        let taken = taken(answer.all("oci-tag"));
        Ok((self.accepted(&step, answer)?, taken))
    }

    fn send(&self, version: &str, tags: &[&str]) -> Result<Answer> {
        let path = format!("manifests/{version}");
        let mut url = self.line.endpoint.url(self.repository.name(), &path);
        for tag in tags {
            url = url.with_query("tag", tag);
        }
        let request = Request::new(Method::PUT, url)
            .header("Content-Type", self.descriptor.media_type.as_str())
            .body(Body::Bytes(self.bytes));
        self.line.send(&request)
    }

    fn accepted(&self, step: &str, answer: Answer) -> Result<Accepted> {
        if !matches!(answer.status, 200..=202) {
            return Err(problem::error(step, answer));
        }
        if let Some(digest) = said_digest(&answer)
            && digest != self.descriptor.digest
        {
            let message = format!(
                "{step}: the registry has put down {digest}, but {} was sent",
                self.descriptor.digest
            );
            return Err(Error::new(ErrorKind::Registry, message));
        }
        Ok(Accepted {
            knows_subject: answer.header("oci-subject").is_some(),
        })
    }

    fn step(&self, version: &str) -> String {
        let (registry, name) = (self.repository.registry(), self.repository.name());
        format!("push manifest {registry}/{name}:{version}")
    }
}

/// Whether a registry may mean the form of the request, not what it brings. If it does mean
/// that, it says so again when it is asked in the other form.
fn refuses_the_form(status: u16) -> bool {
    matches!(status, 400 | 404 | 405 | 414 | 431 | 501)
}

/// RFC 9110, 5.3: a list may be one header with commas, or several headers, or both.
fn taken<'h>(headers: impl Iterator<Item = &'h str>) -> Vec<String> {
    headers
        .flat_map(|header| header.split(','))
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::taken;

    #[test]
    fn tags_stand_in_one_header_or_in_several() {
        let tags = taken(["1.2.3, 1.2 ,1", "latest", ""].into_iter());
        assert_eq!(tags, ["1.2.3", "1.2", "1", "latest"]);
        assert!(taken(std::iter::empty()).is_empty());
    }
}

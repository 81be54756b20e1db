//! What goes from a registry: tags, manifests, blobs.

use ureq::http::Method;

use super::exchange::Request;
use super::problem;
use super::repository::Repository;
use crate::digest::Digest;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;

impl Repository<'_> {
    /// Removes what a reference means from the registry: with a digest the manifest under all
    /// of its tags, else the tag. Its blobs are the registry's to clear away. A manifest that
    /// was about another one is no longer in the list of those, wherever that list is.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the registry removes nothing, or no tags;
    /// [`ErrorKind::NotFound`], [`ErrorKind::Denied`].
    pub fn delete(&self, reference: &Reference) -> Result<()> {
        let step = format!("delete {reference}");
        let subject = match reference.digest() {
            // Afterwards nobody could tell.
            Some(_) => self.subject(reference)?,
            None => None,
        };
        self.remove(&step, &format!("manifests/{}", reference.version()))?;
        match (subject, reference.digest()) {
            (Some(subject), Some(digest)) => {
                let forgotten = self.forget_referrer(&subject, digest);
                let step = format!("{step}: done, but the list of what is about {subject} has it");
                forgotten.map_err(|error| error.within(step))
            }
            _ => Ok(()),
        }
    }

    /// Removes a blob from the registry, whatever needs it there.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let step = format!(
            "delete blob {digest} of {}/{}",
            self.registry(),
            self.name()
        );
        self.remove(&step, &format!("blobs/{digest}"))
    }

    fn remove(&self, step: &str, path: &str) -> Result<()> {
        let line = self.deleter()?;
        let url = line.endpoint.url(self.name(), path);
        let answer = line.send(&Request::new(Method::DELETE, url))?;
        match answer.status {
            200..=204 => Ok(()),
            // docker-registry calls a tag in this place an invalid digest.
            400 | 405 => {
                let error = problem::error(step, answer);
                let message = error.to_string();
                let error = Error::with_source(ErrorKind::Unsupported, message, error);
                Err(error
                    .advise("many registries remove manifests by their digest only, or not at all"))
            }
            _ => Err(problem::error(step, answer)),
        }
    }

    /// What a manifest is about. What is not there, or can't be read, is about nothing that
    /// anybody could know of.
    fn subject(&self, reference: &Reference) -> Result<Option<Digest>> {
        let here = self.itself()?.unwrap_or(*self);
        let subject = match here.manifest_by_reference(reference) {
            Ok(fetched) => match fetched.document {
                Document::Manifest(manifest) => manifest.subject,
                Document::Index(index) => index.subject,
            },
            Err(error) if is_of_the_manifest(error.kind()) => None,
            Err(error) => return Err(error),
        };
        Ok(subject.map(|subject| subject.digest))
    }

    /// A registry that keeps the list itself has done so.
    fn forget_referrer(&self, subject: &Digest, gone: &Digest) -> Result<()> {
        match self.keeps_referrers(subject)? {
            true => Ok(()),
            false => self.remove_tagged_referrer(subject, gone),
        }
    }
}

fn is_of_the_manifest(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Corrupt | ErrorKind::InvalidInput
    )
}

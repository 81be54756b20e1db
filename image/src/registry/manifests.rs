//! Manifests and indexes: small, and nothing is believed of them but what their digest proves.

use ureq::http::Method;

use super::answer::Answer;
use super::exchange::Request;
use super::problem;
use super::repository::Repository;
use super::send::Line;
use super::settings::hosts::Capability;
use crate::digest::{Digest, Hasher};
use crate::document::{Descriptor, Document, MAX_DOCUMENT, MediaType};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;

/// Every type of manifest; schema 1 too, so that a registry shows it and can be told why not.
const ACCEPTED: [MediaType; 5] = [
    MediaType::OciIndex,
    MediaType::OciManifest,
    MediaType::DockerIndex,
    MediaType::DockerManifest,
    MediaType::Schema1,
];

/// A manifest or an index that was verified.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What it is; the digest is that of `bytes`.
    pub descriptor: Descriptor,
    /// As the registry sent it.
    pub bytes: Vec<u8>,
    /// What it says.
    pub document: Document,
}

/// What a reference means now.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// The registry says so. Nothing of it is verified but what the reference itself says.
    Said(Box<Descriptor>),
    /// The registry had to send the whole to say it.
    Fetched(Box<Fetched>),
}

impl Resolved {
    /// What the reference means.
    #[must_use]
    pub fn descriptor(self) -> Descriptor {
        match self {
            Self::Said(said) => *said,
            Self::Fetched(fetched) => fetched.descriptor,
        }
    }
}

pub(super) fn accept() -> String {
    let names: Vec<&str> = ACCEPTED.iter().map(MediaType::as_str).collect();
    names.join(", ")
}

impl Repository<'_> {
    /// Which manifest or index a reference means. It costs no pull where those are counted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Denied`]; [`ErrorKind::Corrupt`] when the registry
    /// has something else than the digest that the reference asks for.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        self.first(needed(reference), |line| {
            if let Some(said) = head(line, self.name(), reference)? {
                return Ok(Resolved::Said(Box::new(said)));
            }
            let fetched = get(
                line,
                self.name(),
                &reference.version(),
                reference.digest(),
                None,
            )?;
            Ok(Resolved::Fetched(Box::new(fetched)))
        })
    }

    /// The manifest or index that a descriptor leads to.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not what the descriptor promises,
    /// [`ErrorKind::Unsupported`] for schema 1.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let digest = &descriptor.digest;
        self.first(Capability::Pull, |line| {
            get(
                line,
                self.name(),
                &digest.to_string(),
                Some(digest),
                Some(descriptor),
            )
        })
    }

    /// The manifest or index that a tag or a digest means now.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn manifest_by_reference(&self, reference: &Reference) -> Result<Fetched> {
        self.first(needed(reference), |line| {
            get(
                line,
                self.name(),
                &reference.version(),
                reference.digest(),
                None,
            )
        })
    }

    /// The index at a tag that may not be there.
    pub(super) fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        let fetched = self.first(Capability::Resolve, |line| {
            get(line, self.name(), tag, None, None)
        });
        match fetched {
            Ok(fetched) => Ok(Some(fetched)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a place must be able to do. A digest needs nobody's word for what it means.
fn needed(reference: &Reference) -> Capability {
    match reference.digest() {
        Some(_) => Capability::Pull,
        None => Capability::Resolve,
    }
}

/// What HEAD says, if it says all; a failure is told by GET, whose answers have words.
fn head(line: &Line<'_>, name: &str, reference: &Reference) -> Result<Option<Descriptor>> {
    let url = line
        .endpoint
        .url(name, &format!("manifests/{}", reference.version()));
    let request = Request::new(Method::HEAD, url).header("Accept", accept());
    let answer = line.send(&request)?;
    let said = (said_digest(&answer), answer.length(), said_type(&answer));
    let (Some(digest), Some(size), Some(media_type)) = said else {
        return Ok(None);
    };
    let is_document = media_type.is_manifest() || media_type.is_index();
    if answer.status != 200 || size == 0 || size > MAX_DOCUMENT || !is_document {
        return Ok(None);
    }
    if let Some(wanted) = reference.digest() {
        // Registries name content by another algorithm than it was asked for by.
        if wanted.algorithm() != digest.algorithm() {
            return Ok(Some(Descriptor::new(media_type, wanted.clone(), size)));
        }
        if *wanted != digest {
            let message = format!("resolve {reference}: the registry says {digest}");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
    }
    Ok(Some(Descriptor::new(media_type, digest, size)))
}

fn get(
    line: &Line<'_>,
    name: &str,
    version: &str,
    digest: Option<&Digest>,
    expected: Option<&Descriptor>,
) -> Result<Fetched> {
    let step = format!("fetch manifest {version} of {name}");
    let url = line.endpoint.url(name, &format!("manifests/{version}"));
    let request = Request::new(Method::GET, url).header("Accept", accept());
    let mut attempts = super::retry::Attempts::new(line.client.settings().retry);
    loop {
        let answer = line.send(&request)?;
        if answer.status != 200 {
            return Err(problem::error(&step, answer));
        }
        let said = (said_type(&answer), said_digest(&answer));
        let limit = expected.map_or(MAX_DOCUMENT, |expected| expected.size.min(MAX_DOCUMENT));
        match answer.document(&step, limit) {
            Ok(bytes) => {
                let digest = digest.or(said.1.as_ref());
                return verify(bytes, said.0, digest, expected)
                    .map_err(|error| error.within(&step));
            }
            Err(broken) => attempts.pause(broken, line.progress)?,
        }
    }
}

/// A document is what its digest says, is of the type that everybody says, and is read once.
fn verify(
    bytes: Vec<u8>,
    said_type: Option<MediaType>,
    digest: Option<&Digest>,
    expected: Option<&Descriptor>,
) -> Result<Fetched> {
    let media_type = media_type(&bytes, said_type, expected);
    if media_type == MediaType::Schema1 {
        // Its digest is not that of its bytes, so it would be called corrupt.
        Document::parse(&bytes, &media_type)?;
    }
    let found = match digest {
        None => Digest::of(&bytes),
        Some(digest) => {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(&bytes);
            hasher.finish()
        }
    };
    let is_short = expected.is_some_and(|expected| expected.size != bytes.len() as u64);
    if let Some(digest) = digest.filter(|digest| found != **digest || is_short) {
        let message = format!(
            "{digest} was promised, but {found} of {} bytes came",
            bytes.len()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    if let Some(expected) = expected.filter(|expected| expected.media_type != media_type) {
        let message = format!("a {} is offered as {media_type}", expected.media_type);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let document = Document::parse(&bytes, &media_type)?;
    Ok(Fetched {
        descriptor: Descriptor::new(media_type, found, bytes.len() as u64),
        bytes,
        document,
    })
}

/// `Content-Type` if it says what kind of manifest it is; else what the document says itself,
/// else what led to it.
fn media_type(bytes: &[u8], said: Option<MediaType>, expected: Option<&Descriptor>) -> MediaType {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<MediaType>,
    }
    let is_telling = |said: &MediaType| ACCEPTED.contains(said);
    said.clone()
        .filter(is_telling)
        .or_else(|| serde_json::from_slice::<Own>(bytes).ok()?.media_type)
        .or_else(|| expected.map(|expected| expected.media_type.clone()))
        .or(said)
        .unwrap_or_else(|| MediaType::from(String::from("no media type")))
}

pub(super) fn said_digest(answer: &Answer) -> Option<Digest> {
    answer.header("docker-content-digest")?.trim().parse().ok()
}

fn said_type(answer: &Answer) -> Option<MediaType> {
    Some(MediaType::from(answer.header("content-type")?.to_owned()))
}

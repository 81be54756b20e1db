//! Pushes images: from the store to a registry.

use crate::document::{Descriptor, Document};
use crate::error::Result;
use crate::registry::Repository;

/// Gives a registry a manifest whose children it has, and tells it what the manifest is about.
pub(crate) fn put(
    repository: &Repository<'_>,
    version: &str,
    descriptor: &Descriptor,
    bytes: &[u8],
    document: &Document,
) -> Result<()> {
    let accepted = repository.put_manifest(version, descriptor, bytes)?;
    let (subject, artifact_type, annotations) = match document {
        Document::Manifest(manifest) => (
            &manifest.subject,
            // distribution-spec: what has no type of its own is of its configuration's type.
            manifest
                .artifact_type
                .clone()
                .or_else(|| Some(manifest.config.media_type.to_string())),
            &manifest.annotations,
        ),
        Document::Index(index) => (
            &index.subject,
            index.artifact_type.clone(),
            &index.annotations,
        ),
    };
    let Some(subject) = subject.as_ref().filter(|_| !accepted.knows_subject) else {
        return Ok(());
    };
    let mut entry = descriptor.clone();
    entry.artifact_type = artifact_type;
    entry.annotations.clone_from(annotations);
    repository.add_tagged_referrer(&subject.digest, entry)
}

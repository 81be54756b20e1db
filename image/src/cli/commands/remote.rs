//! `tare image list --remote` and `tare image remove --remote`: what registries have, whatever is
//! in the store.

use image::error::{Error, ErrorKind, Result};
use image::registry::{Repository, Resolved};
use image::{Digest, Reference};
use serde_json::{Value, json};

use super::registry;
use crate::cli::arguments::{Format, List, Remove};
use crate::cli::context::Context;
use crate::cli::output;

/// A tag of a repository.
struct Tag {
    tag: String,
    /// The whole name; none for what can't be one.
    reference: Option<Reference>,
    /// If it was asked for, and the tag was still there.
    digest: Option<Digest>,
}

/// Shows a repository's tags, sorted: distribution-spec asks registries for that, in vain.
pub(crate) fn list(context: &Context, list: &List, repository: &str) -> Result<()> {
    let reference = without_version(repository)?;
    let client = registry::client(&list.registry, &[reference.registry()])?;
    let remote = client.repository(&reference, &*context.progress);
    let mut all = remote.tags()?;
    all.sort();
    let mut tags = Vec::new();
    for tag in all {
        if list
            .filter
            .as_ref()
            .is_none_or(|filter| tag.contains(filter))
        {
            tags.push(Tag::new(&remote, repository, tag, list.digests)?);
        }
    }
    match list.format {
        Format::Json => {
            let all: Value = tags.iter().map(Tag::as_json).collect();
            output::line(all.to_string())
        }
        Format::Table => as_table(&tags, list.digests),
    }
}

impl Tag {
    fn new(remote: &Repository<'_>, repository: &str, tag: String, resolve: bool) -> Result<Self> {
        let reference = format!("{repository}:{tag}").parse::<Reference>().ok();
        let digest = match reference.as_ref().filter(|_| resolve) {
            Some(reference) => digest(remote, reference)?,
            None => None,
        };
        Ok(Self {
            tag,
            reference,
            digest,
        })
    }

    fn name(&self) -> String {
        let familiar = self.reference.as_ref().map(Reference::familiar);
        familiar.unwrap_or_else(|| self.tag.clone())
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.reference.as_ref().map(Reference::to_string),
            "tag": self.tag,
            "digest": self.digest,
        })
    }
}

/// What a tag means, unless it has just been removed.
fn digest(remote: &Repository<'_>, reference: &Reference) -> Result<Option<Digest>> {
    match remote.resolve(reference).map(Resolved::descriptor) {
        Ok(descriptor) => Ok(Some(descriptor.digest)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn as_table(tags: &[Tag], with_digests: bool) -> Result<()> {
    let row = |name: String, digest: String| match with_digests {
        true => vec![name, digest],
        false => vec![name],
    };
    let mut table = vec![row("NAME".to_owned(), "DIGEST".to_owned())];
    for tag in tags {
        let digest = tag.digest.as_ref().map(Digest::to_string);
        table.push(row(tag.name(), digest.unwrap_or_else(|| "-".to_owned())));
    }
    output::table(&table)
}

/// Removes tags, or images with all of their tags, from their registries.
pub(crate) fn remove(context: &Context, remove: &Remove) -> Result<()> {
    let references = remove.images.iter().map(|text| with_version(text));
    let references = references.collect::<Result<Vec<Reference>>>()?;
    let registries: Vec<&str> = references.iter().map(Reference::registry).collect();
    let client = registry::client(&remove.registry, &registries)?;
    for reference in &references {
        let remote = client.repository(reference, &*context.progress);
        remote.delete(reference)?;
        let done = match reference.digest() {
            Some(_) => "removed",
            None => "untagged",
        };
        output::line(format!("{done} {}", reference.familiar()))?;
    }
    Ok(())
}

/// A reference to a whole repository.
fn without_version(text: &str) -> Result<Reference> {
    let reference = text.parse()?;
    if names_version(text) {
        let message = format!("--remote {text}: name a repository, without a tag or a digest");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(reference)
}

/// A reference to one image: nobody may lose `latest` for not having said anything.
fn with_version(text: &str) -> Result<Reference> {
    let reference = text.parse()?;
    if !names_version(text) {
        let message = format!("--remote {text}: say which tag or digest is to go");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(reference)
}

/// Whether a valid reference has a tag or a digest of its own.
fn names_version(text: &str) -> bool {
    format!("{text}:latest").parse::<Reference>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_told_from_an_image() {
        let digest = Digest::of(b"");
        for repository in ["a", "a/b", "r.io/a", "localhost:5000/a", "[::1]:5000/a"] {
            without_version(repository).expect(repository);
            for version in [format!(":{repository}"), format!("@{digest}"), ":1".into()] {
                let image = format!("{repository}{version}");
                assert!(without_version(&image).is_err(), "{image}");
            }
            for version in [":1", &*format!("@{digest}"), &*format!(":1@{digest}")] {
                with_version(&format!("{repository}{version}")).expect(version);
            }
            let refused = with_version(repository).expect_err(repository);
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        }
    }
}

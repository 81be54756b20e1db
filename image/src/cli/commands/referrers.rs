//! `tare image inspect --referrers`: what a registry has about images.

use image::document::{Descriptor, Document};
use image::error::Result;
use image::registry::{Repository, Resolved};
use image::{Platform, Reference};
use serde_json::{Value, json};

use super::registry;
use crate::cli::arguments::Inspect;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(context: &Context, inspect: &Inspect) -> Result<()> {
    let references = inspect
        .images
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<Reference>>>()?;
    let registries: Vec<&str> = references.iter().map(Reference::registry).collect();
    let client = registry::client(&inspect.registry, &registries)?;
    let mut all = Vec::new();
    for reference in &references {
        let repository = client.repository(reference, &*context.progress);
        let step = format!("list what is about {}", reference.familiar());
        let found = list(&repository, reference, inspect).map_err(|error| error.within(step))?;
        all.push(found);
    }
    output::line(serde_json::to_string_pretty(&all).unwrap_or_default())
}

/// The words are those of `oras discover`, so that what reads the one reads the other.
fn list(repository: &Repository<'_>, reference: &Reference, inspect: &Inspect) -> Result<Value> {
    let subject = subject(repository, reference, inspect.platform.as_deref())?;
    let found = repository.referrers(&subject.digest, inspect.artifact_type.as_deref())?;
    let named = |descriptor: &Descriptor| {
        let mut value = json!(descriptor);
        value["reference"] = reference.at(descriptor.digest.clone()).to_string().into();
        value
    };
    let mut shown = named(&subject);
    shown["referrers"] = found.iter().map(named).collect();
    Ok(shown)
}

/// What the reference means in the registry; for a platform, the image for it.
fn subject(
    repository: &Repository<'_>,
    reference: &Reference,
    platform: Option<&str>,
) -> Result<Descriptor> {
    let Some(platform) = platform else {
        return repository.resolve(reference).map(Resolved::descriptor);
    };
    let platform: Platform = platform.parse()?;
    let fetched = repository.manifest_by_reference(reference)?;
    match fetched.document {
        Document::Index(index) => index.choose(&platform).cloned(),
        Document::Manifest(_) => Ok(fetched.descriptor),
    }
}

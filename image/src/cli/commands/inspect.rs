//! `tare image inspect`.

use image::error::Result;
use image::store::Image;
use serde_json::{Value, json};

use super::referrers;
use crate::cli::arguments::{Inspect, Raw};
use crate::cli::context::{Context, platform};
use crate::cli::output;

pub(crate) fn run(context: &Context, inspect: &Inspect) -> Result<()> {
    if inspect.referrers {
        return referrers::run(context, inspect);
    }
    let mut all = Vec::new();
    for text in &inspect.images {
        let image = context.store.find(text)?;
        match inspect.raw {
            Some(raw) => output::bytes(&raw_document(context, &image, raw, inspect)?)?,
            None => all.push(facts(context, &image, inspect)?),
        }
    }
    if inspect.raw.is_some() {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&all).unwrap_or_default();
    output::line(text)
}

fn raw_document(context: &Context, image: &Image, raw: Raw, inspect: &Inspect) -> Result<Vec<u8>> {
    if raw == Raw::Top {
        return context.store.read(&image.descriptor);
    }
    let platform = platform(inspect.platform.as_deref())?;
    let (descriptor, manifest) = context.store.manifest(&image.descriptor, &platform)?;
    match raw {
        Raw::Config => context.store.read(&manifest.config),
        _ => context.store.read(&descriptor),
    }
}

fn facts(context: &Context, image: &Image, inspect: &Inspect) -> Result<Value> {
    let platform = platform(inspect.platform.as_deref())?;
    let (descriptor, manifest) = context.store.manifest(&image.descriptor, &platform)?;
    // An artifact has a manifest, and a configuration that only its own programs know.
    let config = context.store.config(&manifest).ok();
    let names: Vec<String> = context
        .store
        .images()?
        .into_iter()
        .filter(|other| other.descriptor.digest == image.descriptor.digest)
        .filter_map(|other| other.name)
        .collect();
    Ok(json!({
        "names": names,
        "digest": image.descriptor.digest,
        "mediaType": image.descriptor.media_type,
        "id": manifest.config.digest,
        "manifest": {"digest": descriptor.digest, "size": descriptor.size, "document": manifest},
        "size": manifest.children().map(|child| child.size).sum::<u64>() + descriptor.size,
        "chainIds": config.as_ref().map(|config| config.chain_ids()),
        "config": config,
    }))
}

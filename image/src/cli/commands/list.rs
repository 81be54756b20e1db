//! `tare image list`.

use image::Platform;
use image::document::ImageConfig;
use image::error::Result;
use image::store::Image;
use serde_json::json;

use super::{remote, time};
use crate::cli::arguments::{Format, List};
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::progress::unit;

/// What is shown of an image.
struct Row {
    image: Image,
    /// The configuration for this machine, if there is one and it can be read.
    config: Option<(image::Digest, ImageConfig)>,
    /// All that the image leads to for this machine, in bytes.
    size: Option<u64>,
}

pub(crate) fn run(context: &Context, list: &List) -> Result<()> {
    if let Some(repository) = &list.remote {
        return remote::list(context, list, repository);
    }
    let images = context.store.images()?;
    let rows: Vec<Row> = images
        .into_iter()
        .filter(|image| {
            list.filter
                .as_ref()
                .is_none_or(|filter| image.shown().contains(filter))
        })
        .map(|image| row(context, image))
        .collect();
    match list.format {
        Format::Json => as_json(&rows),
        Format::Table => as_table(&rows, list.digests),
    }
}

/// An image that can't be read is shown nevertheless.
fn row(context: &Context, image: Image) -> Row {
    let manifest = context
        .store
        .manifest(&image.descriptor, &Platform::host())
        .ok();
    let size = manifest.as_ref().map(|(descriptor, manifest)| {
        descriptor.size + manifest.children().map(|child| child.size).sum::<u64>()
    });
    let config = manifest.and_then(|(_, manifest)| {
        let config = context.store.config(&manifest).ok()?;
        Some((manifest.config.digest.clone(), config))
    });
    Row {
        image,
        config,
        size,
    }
}

fn as_table(rows: &[Row], whole_digests: bool) -> Result<()> {
    let digest = |digest: &image::Digest| match whole_digests {
        true => digest.to_string(),
        false => digest.short().to_owned(),
    };
    let header = ["NAME", "IMAGE ID", "DIGEST", "PLATFORM", "CREATED", "SIZE"];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for row in rows {
        let config = row.config.as_ref();
        let unknown = || "-".to_owned();
        table.push(vec![
            match (&row.image.reference, &row.image.name) {
                (None, None) => "<none>".to_owned(),
                _ => row.image.shown(),
            },
            config.map_or_else(unknown, |(id, _)| digest(id)),
            digest(&row.image.descriptor.digest),
            config.map_or_else(unknown, |(_, config)| {
                config.platform.normalized().to_string()
            }),
            config
                .and_then(|(_, config)| time::ago(config.created.as_deref()?))
                .unwrap_or_else(unknown),
            row.size.map_or_else(unknown, unit::bytes),
        ]);
    }
    output::table(&table)
}

fn as_json(rows: &[Row]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let config = row.config.as_ref();
            json!({
                "name": row.image.name,
                "id": config.map(|(id, _)| id),
                "digest": row.image.descriptor.digest,
                "mediaType": row.image.descriptor.media_type,
                "platform": config.map(|(_, config)| config.platform.normalized().to_string()),
                "created": config.and_then(|(_, config)| config.created.clone()),
                "size": row.size,
            })
        })
        .collect();
    output::line(serde_json::Value::from(rows).to_string())
}

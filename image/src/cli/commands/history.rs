//! `tare image history`.

use image::document::{Descriptor, History as Step};
use image::error::Result;
use serde_json::json;

use super::time;
use crate::cli::arguments::{Format, History};
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::progress::unit;

pub(crate) fn run(context: &Context, history: &History) -> Result<()> {
    let parts = context.parts(&history.image, history.platform.as_deref())?;
    let mut layers = parts.manifest.layers.iter();
    let mut steps: Vec<(&Step, Option<&Descriptor>)> = parts
        .config
        .history
        .iter()
        .map(|step| {
            (
                step,
                if step.empty_layer {
                    None
                } else {
                    layers.next()
                },
            )
        })
        .collect();
    // Layers without a history are shown too.
    let unknown = Step::default();
    steps.extend(layers.map(|layer| (&unknown, Some(layer))));
    steps.reverse();
    match history.format {
        Format::Table => as_table(&steps),
        Format::Json => as_json(&steps),
    }
}

fn as_table(steps: &[(&Step, Option<&Descriptor>)]) -> Result<()> {
    let header = ["LAYER", "CREATED", "SIZE", "CREATED BY"];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for (step, layer) in steps {
        let created = step.created.as_deref().and_then(time::ago);
        let by = step.created_by.as_deref().unwrap_or_default();
        table.push(vec![
            layer.map_or("-", |layer| layer.digest.short()).to_owned(),
            created.unwrap_or_else(|| "-".into()),
            unit::bytes(layer.map_or(0, |layer| layer.size)),
            by.split_whitespace().collect::<Vec<_>>().join(" "),
        ]);
    }
    output::table(&table)
}

fn as_json(steps: &[(&Step, Option<&Descriptor>)]) -> Result<()> {
    let steps: Vec<_> = steps
        .iter()
        .map(|(step, layer)| {
            json!({
                "layer": layer.map(|layer| &layer.digest),
                "size": layer.map_or(0, |layer| layer.size),
                "created": step.created,
                "createdBy": step.created_by,
                "author": step.author,
                "comment": step.comment,
            })
        })
        .collect();
    output::line(serde_json::Value::from(steps).to_string())
}

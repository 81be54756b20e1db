//! What was measured, and what was promised.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::content::Image;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    unit: &'static str,
    tare: f64,
    rival: Option<f64>,
    /// The most that the ratio, or without a rival the value, may be.
    most: f64,
}

impl Row {
    pub(crate) fn ratio(
        name: &'static str,
        unit: &'static str,
        tare: f64,
        rival: f64,
        most: f64,
    ) -> Self {
        Self {
            name,
            unit,
            tare,
            rival: Some(rival),
            most,
        }
    }

    pub(crate) fn limit(name: &'static str, unit: &'static str, tare: f64, most: f64) -> Self {
        Self {
            name,
            unit,
            tare,
            rival: None,
            most,
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.rival.map_or(self.tare, |rival| self.tare / rival) <= self.most
    }
}

/// The table, as markdown.
pub(crate) fn markdown(image: &Image, rows: &[Row]) -> String {
    let mut text = format!(
        "An image of {} layers, {} MB, compressed {} MB, {} files.\n\n\
         | what | tare | other | ratio | asked |\n|---|---|---|---|---|\n",
        image.blobs.len(),
        image.bytes / 1_000_000,
        image.compressed_bytes / 1_000_000,
        image.files,
    );
    for row in rows {
        let (other, ratio) = match row.rival {
            Some(rival) => (
                format!("{rival:.1} {}", row.unit),
                format!("{:.2}", row.tare / rival),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let asked = match row.rival {
            Some(_) => format!("{}", row.most),
            None => format!("{} {}", row.most, row.unit),
        };
        // Writing to a string does not fail.
        writeln!(
            text,
            "| {} | {:.1} {} | {other} | {ratio} | {asked} |",
            row.name, row.tare, row.unit
        )
        .ok();
    }
    text
}

/// The median, in milliseconds; the first, which warms caches, is left out.
pub(crate) fn median_ms(durations: &[Duration]) -> f64 {
    let mut sorted: Vec<f64> = durations
        .iter()
        .skip(1)
        .map(|duration| duration.as_secs_f64() * 1e3)
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

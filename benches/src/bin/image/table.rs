//! What was measured, and what was promised.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::content::Images;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    unit: &'static str,
    tare: f64,
    rival: Option<f64>,
    /// The median of the rounds' ratios: what else goes on meets both of one round.
    ratio: Option<f64>,
    /// The most that the ratio, or without a rival the value, may be; none if it is only told.
    most: Option<f64>,
}

impl Row {
    /// Durations of the same rounds.
    pub(crate) fn ratio(
        name: impl Into<String>,
        tare: &[Duration],
        rival: &[Duration],
        most: Option<f64>,
    ) -> Self {
        let ratios = tare.iter().zip(rival);
        let ratios = ratios.map(|(tare, rival)| tare.as_secs_f64() / rival.as_secs_f64());
        Self {
            name: name.into(),
            unit: "ms",
            tare: median_ms(tare),
            rival: Some(median_ms(rival)),
            ratio: Some(median(ratios)),
            most,
        }
    }

    pub(crate) fn limit(name: impl Into<String>, unit: &'static str, tare: f64, most: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            tare,
            rival: None,
            ratio: None,
            most: Some(most),
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        let value = self.ratio.unwrap_or(self.tare);
        self.most.is_none_or(|most| value <= most)
    }

    fn line(&self) -> String {
        let number = |value: f64| format!("{value:.1} {}", self.unit);
        let none = || "–".to_owned();
        let asked = match (self.most, self.ratio) {
            (None, _) => none(),
            (Some(most), Some(_)) => format!("{most}"),
            (Some(most), None) => format!("{most} {}", self.unit),
        };
        format!(
            "| {} | {} | {} | {} | {asked} |\n",
            self.name,
            number(self.tare),
            self.rival.map_or_else(none, number),
            self.ratio.map_or_else(none, |ratio| format!("{ratio:.2}")),
        )
    }
}

/// The table, as markdown.
pub(crate) fn markdown(images: &Images, rows: &[Row]) -> Result<String, Error> {
    let (sent, unpacked) = images.layered.bytes()?;
    let mut text = String::new();
    write!(
        text,
        "A root filesystem of {} MB ({} MB compressed) and {} files, in {} layers or in one.\n\n\
         | what | tare | other | ratio | at most |\n|---|--:|--:|--:|--:|\n",
        unpacked / 1_000_000,
        sent / 1_000_000,
        images.files,
        images.layered.layers.len(),
    )?;
    text.extend(rows.iter().map(Row::line));
    Ok(text)
}

fn median_ms(durations: &[Duration]) -> f64 {
    median(
        durations
            .iter()
            .map(|duration| duration.as_secs_f64() * 1e3),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

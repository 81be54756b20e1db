//! What was measured, and what was promised.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) tare: f64,
    pub(crate) rival: f64,
    /// The most that tare's value may be of the rival's.
    pub(crate) most_ratio: Option<f64>,
    /// The most that tare's value may be.
    pub(crate) most: Option<f64>,
}

impl Figure {
    fn ratio(&self) -> f64 {
        self.tare / self.rival
    }

    /// Whether the promises hold.
    pub(crate) fn is_kept(&self) -> bool {
        self.most_ratio.is_none_or(|most| self.ratio() <= most)
            && self.most.is_none_or(|most| self.tare <= most)
    }

    fn promise(&self) -> String {
        let ratio = self.most_ratio.map(|most| format!("{most} of it"));
        let value = self.most.map(|most| format!("{most} {}", self.unit));
        let promises: Vec<String> = ratio.into_iter().chain(value).collect();
        promises.join(", ")
    }
}

/// The table, as markdown.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | tare | containerd's shim with runc | ratio | asked |\n|---|---|---|---|---|\n",
    );
    for figure in figures {
        // Writing to a string does not fail.
        writeln!(
            text,
            "| {} | {:.1} {unit} | {:.1} {unit} | {:.2} | {} |",
            figure.name,
            figure.tare,
            figure.rival,
            figure.ratio(),
            figure.promise(),
            unit = figure.unit,
        )
        .ok();
    }
    text
}

/// The median, in milliseconds; the first run of each, which warms caches, is left out.
pub(crate) fn median_ms(durations: &[Duration]) -> f64 {
    let mut sorted: Vec<f64> = durations
        .iter()
        .skip(1)
        .map(|duration| duration.as_secs_f64() * 1e3)
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

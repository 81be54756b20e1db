//! A table by area, a column for each runtime.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::outcome::{Outcome, Result};

/// Passed and told cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// That passed.
    pub passed: usize,
    /// That passed or failed.
    pub told: usize,
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, count| Self {
            passed: sum.passed + count.passed,
            told: sum.told + count.told,
        })
    }
}

/// The counts by suite and area.
#[must_use]
pub fn counts(results: &[Result]) -> BTreeMap<(String, String), Count> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for result in results {
        let count = counts
            .entry((result.suite.clone(), result.area.clone()))
            .or_default();
        count.passed += usize::from(result.outcome == Outcome::Pass);
        count.told += usize::from(result.outcome != Outcome::Skip);
    }
    counts
}

/// The table of several runtimes: their names and their results.
#[must_use]
pub fn render(runtimes: &[(String, Vec<Result>)]) -> String {
    let columns: Vec<_> = runtimes
        .iter()
        .map(|(_, results)| counts(results))
        .collect();
    let mut rows: Vec<_> = columns.iter().flat_map(BTreeMap::keys).collect();
    rows.sort();
    rows.dedup();
    let mut table = String::from("| suite | area |");
    let mut line = String::from("|---|---|");
    for (name, _) in runtimes {
        // Writing to a string does not fail.
        write!(table, " {name} |").ok();
        line.push_str("--:|");
    }
    table = format!("{table}\n{line}\n");
    for row in rows {
        write!(table, "| {} | {} |", row.0, row.1).ok();
        for column in &columns {
            let count = column.get(row).copied().unwrap_or_default();
            write!(table, " {} of {} |", count.passed, count.told).ok();
        }
        table.push('\n');
    }
    table.push_str("| | all |");
    for column in &columns {
        let count: Count = column.values().copied().sum();
        write!(table, " {} of {} |", count.passed, count.told).ok();
    }
    table.push('\n');
    table
}

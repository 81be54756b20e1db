//! Where the time went.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::outcome::Result;

/// How many of the slowest cases are named.
const SLOWEST: usize = 25;

/// The sum of each suite, and the slowest cases.
#[must_use]
pub fn render(results: &[(Result, Duration)]) -> String {
    let mut suites: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for (result, took) in results {
        let sum = suites.entry(&result.suite).or_default();
        *sum = (sum.0 + 1, sum.1 + *took);
    }
    let mut text = String::new();
    for (suite, (count, sum)) in suites {
        // Writing to a string does not fail.
        writeln!(text, "{:7.1} s  {suite}, {count} cases", sum.as_secs_f64()).ok();
    }
    let mut slowest: Vec<_> = results.iter().collect();
    slowest.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    for (result, took) in slowest.into_iter().take(SLOWEST) {
        writeln!(text, "{:7.1} s  {}", took.as_secs_f64(), result.name()).ok();
    }
    text
}

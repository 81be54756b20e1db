//! For a person: a summary by area with a bar, then each failure with its sentence, what was
//! expected, what was seen, and the command that repeats just that case.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::again::Again;
use super::markdown::{Count, counts};
use crate::outcome::{Outcome, Result};

/// How many characters a bar has.
const BAR: usize = 20;

/// A row for each area, and in it a bar for each runtime; the last row is the whole.
#[must_use]
pub fn side_by_side(runtimes: &[(String, Vec<Result>)]) -> String {
    let counts: Vec<_> = runtimes
        .iter()
        .map(|(_, results)| counts(results))
        .collect();
    let mut areas: Vec<_> = counts.iter().flat_map(BTreeMap::keys).collect();
    areas.sort();
    areas.dedup();
    // Many runtimes have narrow bars.
    let bar = if runtimes.len() > 3 { 5 } else { 16 };
    let width = bar + 12;
    let head = runtimes.iter().map(|(name, _)| format!("  {name:width$}"));
    let mut text = format!("{:32}{}\n", "", head.collect::<String>());
    for area in areas {
        let of = |counts: &BTreeMap<_, Count>| counts.get(area).copied().unwrap_or_default();
        text += &row(
            &format!("{}/{}", area.0, area.1),
            bar,
            counts.iter().map(of),
        );
    }
    text += &row(
        "all",
        bar,
        counts.iter().map(|counts| counts.values().copied().sum()),
    );
    text
}

fn row(name: &str, width: usize, counts: impl Iterator<Item = Count>) -> String {
    let cell = |count: Count| {
        let Count { passed, told } = count;
        format!("  {} {passed:4}/{told:4}", bar(passed, told, width))
    };
    format!("{name:32}{}\n", counts.map(cell).collect::<String>())
}

/// One line: how many passed, how many of them by refusing, how many failed and were skipped.
#[must_use]
pub fn summary(name: &str, results: &[Result]) -> String {
    let of =
        |is_it: &dyn Fn(&Result) -> bool| results.iter().filter(|result| is_it(result)).count();
    let passed = of(&|result| result.outcome == Outcome::Pass);
    let refused = of(&Result::is_refusal);
    let failed = of(&|result| result.outcome == Outcome::Fail);
    let skipped = of(&|result| result.outcome == Outcome::Skip);
    let refused = match refused {
        0 => String::new(),
        count => format!(" ({count} by a refusal)"),
    };
    format!("{name}: {passed} passed{refused}, {failed} failed, {skipped} skipped")
}

/// The summary and the failures.
#[must_use]
pub fn render(runtime: &str, results: &[Result], again: &Again) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for ((suite, area), count) in counts(results) {
        let name = format!("{suite}/{area}");
        let bar = bar(count.passed, count.told, BAR);
        writeln!(
            text,
            "{name:32} {bar} {:4} of {:4}",
            count.passed, count.told
        )
        .ok();
    }
    for result in results
        .iter()
        .filter(|result| result.outcome == Outcome::Skip)
    {
        writeln!(
            text,
            "\nskipped {}/{}: {}",
            result.suite, result.case, result.detail
        )
        .ok();
    }
    for result in results
        .iter()
        .filter(|result| result.outcome == Outcome::Fail)
    {
        writeln!(text, "\nFAILED {}", result.name()).ok();
        text += &failure(result, again);
    }
    writeln!(text, "\n{}", summary(runtime, results)).ok();
    text
}

/// A failure: the sentence, what was expected and seen, and the command that repeats it.
#[must_use]
pub fn failure(result: &Result, again: &Again) -> String {
    let lines = result.sentence.lines().chain(result.detail.lines());
    let again = format!("again: {}", again.command(result));
    let lines = lines.chain([again.as_str()]);
    lines.map(|line| format!("  {line}\n")).collect()
}

fn bar(passed: usize, told: usize, width: usize) -> String {
    let full = (passed * width).checked_div(told).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full), ".".repeat(width - full))
}

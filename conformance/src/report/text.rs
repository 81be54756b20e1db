//! For a person: a summary by area with a bar, then each failure with its sentence, what was
//! expected, what was seen, and the command that repeats just that case.

use std::fmt::Write;

use crate::outcome::{Outcome, Result};

/// How many characters a bar has.
const BAR: usize = 20;

/// The summary and the failures.
#[must_use]
pub fn render(runtime: &str, results: &[Result]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for ((suite, area), count) in super::markdown::counts(results) {
        let name = format!("{suite}/{area}");
        let bar = bar(count.passed, count.told);
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
        writeln!(text, "\nFAILED {}/{}", result.suite, result.case).ok();
        writeln!(text, "  {}", result.sentence).ok();
        for line in result.detail.lines() {
            writeln!(text, "  {line}").ok();
        }
        let case = format!("--suite {} --case {}", result.suite, result.case);
        writeln!(text, "  again: conformance --runtime {runtime} {case}").ok();
    }
    let of = |outcome| {
        results
            .iter()
            .filter(|result| result.outcome == outcome)
            .count()
    };
    let (passed, failed) = (of(Outcome::Pass), of(Outcome::Fail));
    writeln!(
        text,
        "\n{passed} passed, {failed} failed, {} skipped",
        of(Outcome::Skip)
    )
    .ok();
    text
}

fn bar(passed: usize, told: usize) -> String {
    let full = (passed * BAR).checked_div(told).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

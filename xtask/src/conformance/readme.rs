//! The README's table: what of each suite holds with tare, runc and crun.

use std::path::PathBuf;

use conformance::known::Known;
use conformance::outcome::Result as Told;
use conformance::report::markdown::{Count, counts};

use super::program::{Measured, list_of};
use crate::Error;
use crate::cargo::workspace;

/// Lines around it, which Markdown does not show.
const BEGIN: &str = "<!-- the table of cargo xtask conformance --table -->\n";
const END: &str = "<!-- the table's end -->\n";

/// The suite whose areas have a row each.
const DETAILED: &str = "spec";

/// What is compared with runc is nothing that runc could fall short of.
const REFERENCE: (&str, &str) = ("differential", "runc");

/// Says so when the table is not that of these results.
pub(super) fn say_whether_current(measured: &[Measured]) -> Result<(), Error> {
    let text = std::fs::read_to_string(path())?;
    if with_table(&text, &table(measured)?)? != text {
        println!("README.md: the table is not as measured: cargo xtask conformance --table");
    }
    Ok(())
}

/// Writes the table of these results.
pub(super) fn update(measured: &[Measured]) -> Result<(), Error> {
    let text = std::fs::read_to_string(path())?;
    std::fs::write(path(), with_table(&text, &table(measured)?)?)?;
    Ok(())
}

fn path() -> PathBuf {
    workspace().join("README.md")
}

fn with_table(text: &str, table: &str) -> Result<String, Error> {
    let parts = text.split_once(BEGIN);
    let parts = parts.and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = parts.ok_or("README.md: the lines around the table are missing")?;
    Ok(format!("{head}{BEGIN}{table}{END}{tail}"))
}

fn table(measured: &[Measured]) -> Result<String, Error> {
    let mut columns = Vec::new();
    for measured in measured {
        let known = Known::read(&list_of(&measured.name))?;
        columns.push((measured.name.as_str(), counted(&measured.results, &known)));
    }
    Ok(rendered(&columns))
}

/// Results without those that come out either way: their number is another one each time.
fn counted(results: &[Told], known: &Known) -> Vec<Told> {
    let may_do_either = |told: &&Told| {
        let lines = &known.entries;
        lines
            .iter()
            .any(|entry| entry.is_either && entry.name == told.name())
    };
    results
        .iter()
        .filter(|told| !may_do_either(told))
        .cloned()
        .collect()
}

/// A row for each area of the specification, and one for each suite.
fn rendered(columns: &[(&str, Vec<Told>)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| suite | area | {} |\n", names.join(" | "));
    text += &format!("|---|---|{}\n", "--:|".repeat(names.len()));
    let counts: Vec<_> = columns.iter().map(|(_, results)| counts(results)).collect();
    let mut suites: Vec<&str> = Vec::new();
    for told in columns.iter().flat_map(|(_, results)| results) {
        if !suites.contains(&told.suite.as_str()) {
            suites.push(&told.suite);
        }
    }
    for suite in suites {
        let areas: std::collections::BTreeSet<&str> = counts
            .iter()
            .flat_map(|counts| counts.keys())
            .filter(|(of, _)| of == suite && suite == DETAILED)
            .map(|(_, area)| area.as_str())
            .collect();
        for area in areas.into_iter().map(Some).chain([None]) {
            let cells = counts.iter().zip(&names).map(|(counts, name)| {
                let is_it =
                    |of: &str, its: &str| of == suite && area.is_none_or(|area| area == its);
                let all = counts.iter().filter(|((of, its), _)| is_it(of, its));
                cell(suite, name, all.map(|(_, count)| *count).sum())
            });
            let cells: Vec<String> = cells.collect();
            let area = area.unwrap_or("all");
            text += &format!("| {suite} | {area} | {} |\n", cells.join(" | "));
        }
    }
    text
}

fn cell(suite: &str, runtime: &str, Count { passed, told }: Count) -> String {
    match (suite, runtime) == REFERENCE {
        true => "–".to_owned(),
        false => format!("{passed} of {told}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::outcome::Outcome;

    fn told(suite: &str, area: &str, case: &str, outcome: Outcome) -> Told {
        Told {
            suite: suite.to_owned(),
            area: area.to_owned(),
            case: case.to_owned(),
            outcome,
            sentence: String::new(),
            detail: String::new(),
        }
    }

    #[test]
    fn areas_of_the_specification_have_rows_and_races_do_not_count() {
        let results = [
            told("spec", "hooks", "a", Outcome::Pass),
            told("spec", "hooks", "b", Outcome::Skip),
            told("spec", "user", "c", Outcome::Fail),
            told("security", "races", "d", Outcome::Pass),
            told("security", "races", "e", Outcome::Pass),
        ];
        let known = Known::parse("~ security/e  it races").unwrap();
        let text = rendered(&[("tare", counted(&results, &known))]);
        let expected = "| suite | area | tare |\n|---|---|--:|\n| spec | hooks | 1 of 1 |\n\
             | spec | user | 0 of 1 |\n| spec | all | 1 of 2 |\n| security | all | 1 of 1 |\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_table_is_written_between_its_lines() {
        let text = format!("head\n{BEGIN}old\n{END}tail\n");
        let new = with_table(&text, "new\n").unwrap();
        assert_eq!(new, format!("head\n{BEGIN}new\n{END}tail\n"));
        assert!(with_table("no table", "new\n").is_err());
    }
}

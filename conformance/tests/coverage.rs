//! The list of cases against the schema: no property of config.json is without a case, and no case
//! is about a property that there is not.

use std::collections::BTreeSet;

use conformance::schema::Schemas;
use conformance::suites;

/// Sections of other platforms.
const OTHER_PLATFORMS: [&str; 5] = ["windows", "solaris", "zos", "vm", "freebsd"];

fn properties() -> BTreeSet<String> {
    let all = Schemas::default().properties("config-schema.json");
    let is_ours = |path: &String| {
        let section = path.split('.').next().unwrap_or_default();
        !OTHER_PLATFORMS.contains(&section)
    };
    all.into_iter().filter(is_ours).collect()
}

fn covered(suite: &str) -> BTreeSet<String> {
    let cases = suites::all();
    let cases = cases.iter().filter(|case| case.suite == suite);
    cases.flat_map(|case| case.properties.clone()).collect()
}

#[test]
fn every_property_has_a_case() {
    let missing: Vec<String> = properties().difference(&covered("spec")).cloned().collect();
    assert!(missing.is_empty(), "no case for {missing:#?}");
}

#[test]
fn every_property_of_a_case_is_one() {
    let unknown: Vec<String> = covered("spec").difference(&properties()).cloned().collect();
    assert!(unknown.is_empty(), "no such property: {unknown:#?}");
}

/// The specification has 223 of them outside of other platforms, not counting entries of lists and
/// of maps.
#[test]
fn the_schema_is_the_one_that_was_counted() {
    let entry = |path: &String| path.ends_with("[]") || path.ends_with(".*");
    let named = properties().iter().filter(|path| !entry(path)).count();
    assert_eq!(named, 223);
}

#[test]
fn every_row_of_the_command_line_has_a_case() {
    let rows: BTreeSet<String> = suites::cli::rows::all().into_iter().collect();
    let covered = covered("cli");
    let missing: Vec<&String> = rows.difference(&covered).collect();
    assert!(missing.is_empty(), "no case for {missing:#?}");
    let unknown: Vec<&String> = covered.difference(&rows).collect();
    assert!(unknown.is_empty(), "no such row: {unknown:#?}");
}

/// runc 1.5 has 17 commands with 97 flags, and 6 global flags.
#[test]
fn the_command_line_is_the_one_that_was_counted() {
    let commands = suites::cli::rows::COMMANDS;
    let flags: usize = commands.iter().map(|(_, flags)| flags.len()).sum();
    assert_eq!(
        (commands.len(), flags, suites::cli::rows::GLOBAL.len()),
        (17, 97, 6)
    );
}

#[test]
fn no_case_of_the_command_line_is_about_nothing() {
    for case in suites::all().iter().filter(|case| case.suite == "cli") {
        assert!(!case.properties.is_empty(), "{case:?}");
        assert!(case.sentence.ends_with(')'), "{case:?}: {}", case.sentence);
    }
}

#[test]
fn every_test_of_security_has_a_case() {
    let rows: BTreeSet<String> = suites::security::ROWS
        .iter()
        .map(|(row, _)| (*row).to_owned())
        .collect();
    let expected: BTreeSet<String> = (1..=32).map(|number| format!("R{number:02}")).collect();
    assert_eq!(rows, expected);
    assert_eq!(covered("security"), rows);
}

#[test]
fn names_are_the_only_ones_of_their_suite_and_plain() {
    let mut names = BTreeSet::new();
    for case in suites::all() {
        let is_plain =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(case.name.chars().all(is_plain), "{case:?}");
        assert!(names.insert(format!("{case:?}")), "{case:?} twice");
    }
}

#[test]
fn every_sentence_says_where_it_stands() {
    for case in suites::all().iter().filter(|case| case.suite == "spec") {
        let place = "(https://github.com/opencontainers/runtime-spec/blob/v1.3.0/";
        assert!(case.sentence.contains(place), "{case:?}: {}", case.sentence);
    }
}

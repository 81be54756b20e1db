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

fn covered() -> BTreeSet<String> {
    let cases = suites::all();
    let cases = cases.iter().filter(|case| case.suite == "spec");
    cases.flat_map(|case| case.properties.clone()).collect()
}

#[test]
fn every_property_has_a_case() {
    let missing: Vec<String> = properties().difference(&covered()).cloned().collect();
    assert!(missing.is_empty(), "no case for {missing:#?}");
}

#[test]
fn every_property_of_a_case_is_one() {
    let unknown: Vec<String> = covered().difference(&properties()).cloned().collect();
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

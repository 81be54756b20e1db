//! The lists of known failures: they are lists, of cases that there are, and tare's is strict.

use std::path::Path;

use conformance::known::Known;
use conformance::suites;

fn list(runtime: &str) -> Known {
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    Known::read(&lists.join(format!("{runtime}.txt"))).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn every_listed_case_is_one() {
    let names = suites::names();
    for runtime in ["tare", "runc", "crun"] {
        let list = list(runtime);
        let gone = list
            .entries
            .iter()
            .filter(|entry| !names.contains(&entry.name));
        let gone: Vec<String> = gone.map(ToString::to_string).collect();
        assert!(gone.is_empty(), "{runtime}: no such case: {gone:#?}");
    }
}

#[test]
fn the_list_of_tare_is_strict() {
    assert!(list("tare").at_most.is_some(), "it has no `at most`");
}

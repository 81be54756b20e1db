//! Runtimes that are broken in what `state` and `features` say.

use crate::kit::{Broken, answer, check};

const ROWS: &[Broken] = &[
    answer(
        "no-pid",
        "state",
        "del(.pid)",
        &["state-pid", "create-with-an-id-that-is-taken"],
        &["state-id"],
    ),
    answer(
        "always-running",
        "state",
        r#".status = "running""#,
        &["state-created", "state-stopped", "create-then-start"],
        &["state-running"],
    ),
    answer(
        "bundle",
        "state",
        r#".bundle = "bundle""#,
        &["state-bundle", "state-bundle-given-relative"],
        &["state-id"],
    ),
    answer(
        "no-version",
        "state",
        "del(.ociVersion)",
        &["state-version", "schema-of-state"],
        &["state-id"],
    ),
    answer(
        "no-annotations",
        "state",
        "del(.annotations)",
        &["state-annotations", "annotations"],
        &["state-annotations-absent"],
    ),
    answer(
        "no-versions",
        "features",
        "del(.ociVersionMax)",
        &["schema-of-features", "features-versions"],
        &["features-hooks"],
    ),
    answer(
        "fewer-hooks",
        "features",
        r#".hooks -= ["poststop"]"#,
        &["features-hooks"],
        &["schema-of-features"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

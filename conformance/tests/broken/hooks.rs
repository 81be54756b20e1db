//! Runtimes that are broken in hooks.

use crate::kit::{Broken, check, config};

const ROWS: &[Broken] = &[
    config(
        "none",
        "del(.hooks)",
        &[
            "hook-prestart-state",
            "hook-create-runtime-failure",
            "hook-poststop-state",
            "hook-that-is-missing",
        ],
        &["uid"],
    ),
    config(
        "no-env",
        "if .hooks then .hooks |= map_values(map(del(.env))) else . end",
        &[
            "hook-prestart-args-and-env",
            "hook-start-container-args-and-env",
        ],
        &["hook-prestart-state"],
    ),
    config(
        "reversed",
        "if .hooks then .hooks |= map_values(reverse) else . end",
        &["hook-prestart-order", "hook-poststop-order"],
        &["hook-prestart-state"],
    ),
    config(
        "no-timeout",
        "if .hooks then .hooks |= map_values(map(del(.timeout))) else . end",
        &[
            "hook-create-runtime-timeout",
            "hook-prestart-timeout-of-zero",
        ],
        &["hook-create-runtime-state"],
    ),
    config(
        "outside",
        "if .hooks.createContainer then .hooks.createRuntime = .hooks.createContainer | del(.hooks.createContainer) else . end",
        &["hook-create-container-namespace"],
        &["hook-create-runtime-namespace"],
    ),
];

#[test]
fn the_cases_about_it_fail() {
    check(ROWS);
}

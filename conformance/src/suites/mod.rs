//! The suites. Each file is a flat list of cases, one function a case.

use crate::case::Case;

pub mod cli;
mod differential;
mod runtime_tools;
pub mod security;
mod spec;

/// Every case of every suite, in order.
#[must_use]
pub fn all() -> Vec<Case> {
    let suites = [
        spec::cases(),
        cli::cases(),
        security::cases(),
        runtime_tools::cases(),
        differential::cases(),
    ];
    suites.into_iter().flatten().collect()
}

/// Their names: `suite/case`.
#[must_use]
pub fn names() -> std::collections::BTreeSet<String> {
    let name = |case: Case| format!("{case:?}");
    all().into_iter().map(name).collect()
}

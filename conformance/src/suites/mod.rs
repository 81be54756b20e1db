//! The suites. Each file is a flat list of cases, one function a case.

use crate::case::Case;

pub mod cli;
mod spec;

/// Every case of every suite, in order.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = spec::cases();
    cases.extend(cli::cases());
    cases
}

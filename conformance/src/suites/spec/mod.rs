//! The runtime specification, sentence by sentence.

use crate::case::Case;

mod lifecycle;

/// Where the specification is; sentences are named by file and heading.
pub(super) const SPECIFICATION: &str = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0";

pub(super) fn cases() -> Vec<Case> {
    lifecycle::cases()
}

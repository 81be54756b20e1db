//! What has come of a case, as it is reported.

use serde::{Deserialize, Serialize};

/// The word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The sentence holds.
    Pass,
    /// It does not.
    Fail,
    /// It can't be told here.
    Skip,
}

/// A case's result: one object of the JSON array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Result {
    /// The suite.
    pub suite: String,
    /// What it is about.
    pub area: String,
    /// The case's name.
    pub case: String,
    /// What has come of it.
    pub outcome: Outcome,
    /// The sentence that holds or does not.
    pub sentence: String,
    /// What was expected and what was seen, or why it was skipped.
    pub detail: String,
}

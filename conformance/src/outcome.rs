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
    /// What was expected and what was seen, or why it was skipped; of a case that passes, how the
    /// runtime refused where system calls are missing.
    pub detail: String,
}

impl Result {
    /// `suite/case`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.suite, self.case)
    }

    /// Whether it passes since the runtime refused and named what is missing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.outcome == Outcome::Pass && !self.detail.is_empty()
    }
}

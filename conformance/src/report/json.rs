//! One array of results, on standard output alone.

use crate::outcome::Result;

/// The array.
///
/// # Errors
///
/// When it can't be written as JSON, which results always can.
pub fn render(results: &[Result]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(results)
}

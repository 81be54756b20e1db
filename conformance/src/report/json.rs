//! One array of results, on standard output alone.

use crate::outcome::Result;

/// One array of what several runtimes did: each object names its runtime.
///
/// # Errors
///
/// As [`render`].
pub fn render_all(runtimes: &[(String, Vec<Result>)]) -> serde_json::Result<String> {
    let mut all = Vec::new();
    for (runtime, results) in runtimes {
        for result in results {
            let mut object = serde_json::to_value(result)?;
            object["runtime"] = runtime.as_str().into();
            all.push(object);
        }
    }
    serde_json::to_string_pretty(&all)
}

/// The array.
///
/// # Errors
///
/// When it can't be written as JSON, which results always can.
pub fn render(results: &[Result]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(results)
}

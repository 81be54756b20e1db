//! Where two values differ.

use std::collections::BTreeSet;

use serde_json::Value;

/// One fact that two runtimes have otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where it is: names from the outermost one on, such as `run report status Umask`.
    pub(super) path: Vec<String>,
    /// What the runtime has; null when it has nothing there.
    pub(super) measured: Value,
    /// What the other one has.
    pub(super) other: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.path.join(" > ");
        write!(f, "{place}: {} and there {}", self.measured, self.other)
    }
}

/// All differences, in order of their places. Objects are compared member by member, all else as a
/// whole.
pub(super) fn differences(measured: &Value, other: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), measured, other, &mut found);
    found
}

fn walk(path: &mut Vec<String>, measured: &Value, other: &Value, found: &mut Vec<Difference>) {
    if measured == other {
        return;
    }
    let (Value::Object(ours), Value::Object(theirs)) = (measured, other) else {
        found.push(Difference {
            path: path.clone(),
            measured: measured.clone(),
            other: other.clone(),
        });
        return;
    };
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for name in names
        .into_iter()
        .filter(|name| *name != super::observe::COMPLAINT)
    {
        path.push(name.clone());
        walk(path, &measured[name], &other[name], found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn only_what_differs_is_found_with_its_place() {
        let one = json!({ "a": { "b": 1, "c": [1] }, "d": 1 });
        let two = json!({ "a": { "b": 2, "c": [1] }, "e": null });
        let found: Vec<String> = differences(&one, &two)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["a > b: 1 and there 2", "d: 1 and there null"]);
    }

    #[test]
    fn a_thing_has_no_difference_from_itself() {
        let one = json!({ "a": [1, { "b": null }] });
        assert!(differences(&one, &one).is_empty());
    }
}

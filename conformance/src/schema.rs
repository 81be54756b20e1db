//! JSON against the specification's schemas: as much of draft 4 as they use.

use regex_lite::Regex;
use serde_json::Value;

/// The schemas, by file name.
const FILES: [(&str, &str); 16] = [
    (
        "config-schema.json",
        include_str!("../schema/config-schema.json"),
    ),
    (
        "config-linux.json",
        include_str!("../schema/config-linux.json"),
    ),
    (
        "config-freebsd.json",
        include_str!("../schema/config-freebsd.json"),
    ),
    (
        "config-solaris.json",
        include_str!("../schema/config-solaris.json"),
    ),
    ("config-vm.json", include_str!("../schema/config-vm.json")),
    (
        "config-windows.json",
        include_str!("../schema/config-windows.json"),
    ),
    ("config-zos.json", include_str!("../schema/config-zos.json")),
    ("defs.json", include_str!("../schema/defs.json")),
    ("defs-linux.json", include_str!("../schema/defs-linux.json")),
    (
        "defs-freebsd.json",
        include_str!("../schema/defs-freebsd.json"),
    ),
    ("defs-vm.json", include_str!("../schema/defs-vm.json")),
    (
        "defs-windows.json",
        include_str!("../schema/defs-windows.json"),
    ),
    ("defs-zos.json", include_str!("../schema/defs-zos.json")),
    (
        "state-schema.json",
        include_str!("../schema/state-schema.json"),
    ),
    (
        "features-schema.json",
        include_str!("../schema/features-schema.json"),
    ),
    (
        "features-linux.json",
        include_str!("../schema/features-linux.json"),
    ),
];

/// What a schema of another file or place is called: a file's index and a pointer into it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    file: &'a str,
    schema: &'a Value,
}

/// All schemas.
#[derive(Debug)]
pub struct Schemas {
    files: Vec<(&'static str, Value)>,
}

impl Default for Schemas {
    fn default() -> Self {
        let parse = |text| serde_json::from_str(text).expect("the schemas are JSON");
        Self {
            files: FILES
                .map(|(name, text)| (name, parse(text)))
                .into_iter()
                .collect(),
        }
    }
}

impl Schemas {
    /// What is wrong with a document, by the schema of this file: a line for each, with the place.
    #[must_use]
    pub fn problems(&self, file: &str, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(self.whole(file), document, "", &mut problems);
        problems
    }

    /// The properties that a document of this file's schema can have, in the form
    /// `linux.devices[].path`; `*` stands for keys of a map.
    #[must_use]
    pub fn properties(&self, file: &str) -> Vec<String> {
        let mut properties = Vec::new();
        self.walk(self.whole(file), "", &mut properties);
        properties.sort();
        properties.dedup();
        properties
    }

    fn whole(&self, file: &str) -> Place<'_> {
        let (file, schema) = self
            .files
            .iter()
            .find(|(name, _)| *name == file)
            .expect("a schema of this name");
        Place { file, schema }
    }

    /// The schema that a `$ref` names.
    fn referred<'a>(&'a self, from: Place<'a>, reference: &str) -> Place<'a> {
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if file.is_empty() { from.file } else { file };
        let whole = self.whole(file);
        let schema = whole
            .schema
            .pointer(pointer)
            .expect("references have a target");
        Place {
            file: whole.file,
            schema,
        }
    }

    fn check(&self, place: Place<'_>, value: &Value, at: &str, problems: &mut Vec<String>) {
        let schema = place.schema;
        let below = |schema| Place {
            file: place.file,
            schema,
        };
        if let Some(reference) = schema["$ref"].as_str() {
            // What stands beside a reference means nothing in draft 4.
            return self.check(self.referred(place, reference), value, at, problems);
        }
        for all in schema["allOf"].as_array().into_iter().flatten() {
            self.check(below(all), value, at, problems);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let fits = |schema| {
                let mut problems = Vec::new();
                self.check(below(schema), value, at, &mut problems);
                problems.is_empty()
            };
            if !any.iter().any(fits) {
                problems.push(format!("{at}: none of what it can be"));
            }
        }
        if let Some(problem) = own_problem(schema, value) {
            problems.push(format!("{at}: {problem}"));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if schema["items"].is_object() {
                self.check(
                    below(&schema["items"]),
                    item,
                    &format!("{at}/{index}"),
                    problems,
                );
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            for schema in member_schemas(schema, name) {
                self.check(below(schema), member, &format!("{at}/{name}"), problems);
            }
        }
    }

    fn walk(&self, place: Place<'_>, at: &str, properties: &mut Vec<String>) {
        let schema = place.schema;
        let below = |schema| Place {
            file: place.file,
            schema,
        };
        if let Some(reference) = schema["$ref"].as_str() {
            return self.walk(self.referred(place, reference), at, properties);
        }
        for part in ["allOf", "anyOf"]
            .iter()
            .filter_map(|word| schema[*word].as_array())
            .flatten()
        {
            self.walk(below(part), at, properties);
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let path = if at.is_empty() {
                name.clone()
            } else {
                format!("{at}.{name}")
            };
            properties.push(path.clone());
            self.walk(below(member), &path, properties);
        }
        if schema["items"].is_object() {
            let path = format!("{at}[]");
            properties.push(path.clone());
            self.walk(below(&schema["items"]), &path, properties);
        }
        let named = schema["patternProperties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, member)| member);
        let others = Some(&schema["additionalProperties"]).filter(|others| others.is_object());
        for member in named.chain(others) {
            let path = format!("{at}.*");
            properties.push(path.clone());
            self.walk(below(member), &path, properties);
        }
    }
}

/// The schemas that a member must fit.
fn member_schemas<'a>(schema: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut schemas: Vec<&Value> = schema["properties"].get(name).into_iter().collect();
    for (pattern, member) in schema["patternProperties"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if matches(pattern, name) {
            schemas.push(member);
        }
    }
    let others = &schema["additionalProperties"];
    if schemas.is_empty() && others.is_object() {
        schemas.push(others);
    }
    schemas
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern)
        .expect("patterns of the schemas are regular")
        .is_match(text)
}

/// What is wrong with a value itself, not with what is in it.
fn own_problem(schema: &Value, value: &Value) -> Option<String> {
    let is_of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !is_of_type {
        return Some(format!("{value} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{value} is none of {}", schema["enum"]));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !matches(pattern, text)
    {
        return Some(format!("{value} is not like {pattern}"));
    }
    if is_below(value, &schema["minimum"]) || is_below(&schema["maximum"], value) {
        return Some(format!("{value} is out of range"));
    }
    let least = schema["minItems"].as_u64().unwrap_or(0);
    if value
        .as_array()
        .is_some_and(|items| (items.len() as u64) < least)
    {
        return Some(format!("less than {least} items"));
    }
    let missing = |name: &&Value| name.as_str().is_some_and(|name| value.get(name).is_none());
    if value.is_object()
        && let Some(name) = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .find(missing)
    {
        return Some(format!("{name} is missing"));
    }
    None
}

/// Whether two numbers are in this order; what is no number has no bound.
fn is_below(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| {
        value
            .as_i64()
            .map(i128::from)
            .or(value.as_u64().map(i128::from))
    };
    matches!((number(one), number(other)), (Some(one), Some(other)) if one < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(directory: &str) -> Vec<(String, String)> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("schema/test")
            .join(directory);
        let entries = std::fs::read_dir(path).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.display().to_string(),
                    std::fs::read_to_string(path).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn good_examples_fit_and_bad_ones_do_not() {
        let schemas = Schemas::default();
        for kind in ["config", "state", "features"] {
            let schema = format!("{kind}-schema.json");
            for (name, text) in examples(&format!("{kind}/good")) {
                let problems = schemas.problems(&schema, &serde_json::from_str(&text).unwrap());
                assert!(problems.is_empty(), "{name}: {problems:?}");
            }
            for (name, text) in examples(&format!("{kind}/bad")) {
                let is_bad = serde_json::from_str(&text).map_or(true, |document| {
                    !schemas.problems(&schema, &document).is_empty()
                });
                assert!(is_bad, "{name} fits");
            }
        }
    }

    #[test]
    fn properties_go_through_references_lists_and_maps() {
        let properties = Schemas::default().properties("config-schema.json");
        for path in [
            "root.path",
            "hooks.prestart[].args[]",
            "linux.netDevices.*.name",
            "linux.resources.blockIO.weightDevice[].major",
            "linux.sysctl.*",
        ] {
            assert!(properties.iter().any(|property| property == path), "{path}");
        }
    }
}

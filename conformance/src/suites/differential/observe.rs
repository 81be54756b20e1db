//! All that is seen of one bundle under one runtime, from inside and from outside, as one value
//! in which nothing is left that is another one at every run.

use serde_json::{Map, Value, json};

use super::Recipe;
use crate::bundle::{Bundle, PROBE};
use crate::run::Finished;
use crate::scene::Scene;

/// A fact for the reader only: what was said of a failure, in words that are each runtime's own.
pub(super) const COMPLAINT: &str = "complaint";

/// The facts: of a container that `run` runs to its end, and of one that goes through all
/// operations and that a second process joins.
pub(super) fn observe(scene: &Scene<'_>, recipe: &Recipe) -> Value {
    let mut facts = json!({ "run": run(scene, &recipe.bundle) });
    facts["life"] = life(scene, recipe);
    facts["left"] = json!(crate::residue::cgroups(recipe.bundle.id()));
    // The next container has this one's name.
    scene.remove(&recipe.bundle);
    without_places(scene, &facts)
}

/// Directories of this run's own get a name that is the same in every run.
fn without_places(scene: &Scene<'_>, facts: &Value) -> Value {
    let directory = scene.directory().display().to_string();
    let text = facts.to_string().replace(&directory, "DIRECTORY");
    let text = text.replace(scene.marker(), "MARKER");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// Whether its `run` went well.
pub(super) fn has_run(facts: &Value) -> bool {
    facts["run"]["code"] == 0
}

/// What was said when the container could not be made.
pub(super) fn complaints(facts: &Value) -> Vec<String> {
    let places = [
        &facts["run"][COMPLAINT],
        &facts["life"]["create"][COMPLAINT],
    ];
    places
        .into_iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn run(scene: &Scene<'_>, bundle: &Bundle) -> Value {
    let finished = scene.run(bundle);
    ended(&finished, bundle)
}

/// How a process ended, and what it has reported.
fn ended(finished: &Finished, bundle: &Bundle) -> Value {
    let report = serde_json::from_str(&finished.stdout);
    let report = report.map_or(json!(finished.stdout), |report| {
        super::report::comparable(&report, bundle)
    });
    let mut ended = json!({ "code": finished.code, "report": report });
    if finished.code != 0 {
        ended["class"] = json!(class(&finished.stderr));
        ended[COMPLAINT] = json!(finished.stderr.trim());
    }
    if finished.is_late {
        ended["class"] = json!("late");
    }
    ended
}

/// Which errno a complaint is about, by its name or its text; empty when it names none.
pub(super) fn class(complaint: &str) -> &'static str {
    const CLASSES: [(&str, &str); 12] = [
        ("no such file or directory", "ENOENT"),
        ("executable file not found", "ENOENT"),
        ("permission denied", "EACCES"),
        ("operation not permitted", "EPERM"),
        ("invalid argument", "EINVAL"),
        ("not a directory", "ENOTDIR"),
        ("is a directory", "EISDIR"),
        ("exec format error", "ENOEXEC"),
        ("no such device", "ENODEV"),
        ("file exists", "EEXIST"),
        ("no such process", "ESRCH"),
        ("too many levels of symbolic links", "ELOOP"),
    ];
    // What is said before the last line is a warning.
    let complaint = complaint.trim().lines().next_back().unwrap_or_default();
    let lower = complaint.to_lowercase();
    let found = CLASSES
        .into_iter()
        .find(|(text, name)| lower.contains(text) || complaint.contains(name));
    found.map_or("", |(_, name)| name)
}

/// create, start, exec, kill, delete.
fn life(scene: &Scene<'_>, recipe: &Recipe) -> Value {
    let bundle = recipe.bundle.clone().does(&["wait"]);
    bundle.save();
    let created = scene.create_saved(&bundle);
    let mut life = json!({ "create": { "code": created.code } });
    if created.code != 0 {
        life["create"]["class"] = json!(class(&created.stderr));
        life["create"][COMPLAINT] = json!(created.stderr.trim());
        return life;
    }
    life["created"] = state(scene, &bundle);
    life["cgroups"] = super::cgroups::settings(bundle.id());
    life["start"] = json!(scene.runtime().call(&["start", bundle.id()]).code);
    life["running"] = state(scene, &bundle);
    life["outside"] = super::outside::facts(scene.runtime().pid(bundle.id()));
    life["exec"] = exec(scene, &bundle, &["report"]);
    life["tries"] = exec(scene, &bundle, &tries(&recipe.tries));
    life["exit"] = exec(scene, &bundle, &["exit", "42"]);
    life["kill"] = json!(scene.runtime().call(&["kill", bundle.id(), "KILL"]).code);
    // That it does not stop is a fact as well.
    drop(scene.until_status(&bundle, "stopped"));
    life["stopped"] = state(scene, &bundle);
    life["delete"] = json!(scene.runtime().call(&["delete", bundle.id()]).code);
    life["deleted"] = state(scene, &bundle);
    life
}

fn tries(words: &[String]) -> Vec<&str> {
    std::iter::once("try")
        .chain(words.iter().map(String::as_str))
        .collect()
}

/// What a further process sees or does.
fn exec(scene: &Scene<'_>, bundle: &Bundle, words: &[&str]) -> Value {
    let mut process = bundle.config()["process"].clone();
    let arguments: Vec<&str> = [PROBE, "inside"].iter().chain(words).copied().collect();
    process["args"] = json!(arguments);
    ended(&scene.exec(bundle, &process), bundle)
}

/// The state's shape, and what in it must be the same everywhere.
fn state(scene: &Scene<'_>, bundle: &Bundle) -> Value {
    let Some(Value::Object(state)) = scene.runtime().state(bundle.id()) else {
        return Value::Null;
    };
    let members = state.into_iter().map(|(name, value)| {
        let value = match name.as_str() {
            "id" | "status" | "bundle" | "annotations" => value,
            "pid" => json!(if value == 0 { "none" } else { "one" }),
            _ => json!(kind(&value)),
        };
        (name, value)
    });
    Value::Object(members.collect::<Map<_, _>>())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

//! What config.md#posix-platform-hooks says of each of the six hooks.

use serde_json::{Value, json};

use crate::bundle::{Bundle, PROBE};
use crate::case::{Trouble, failed};
use crate::scene::Scene;

/// One hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// The property.
    pub(super) word: &'static str,
    /// The heading of its section in config.md.
    pub(super) heading: &'static str,
    /// The status that its state has.
    pub(super) statuses: &'static [&'static str],
    /// Whether its path is the container's: it is executed there.
    pub(super) is_inside: bool,
    /// Whether it is in the container's namespaces.
    pub(super) is_in_its_namespaces: bool,
    /// The operation during which it runs.
    pub(super) during: &'static str,
}

/// In the order in which they run.
pub(super) const HOOKS: [Hook; 6] = [
    Hook {
        word: "prestart",
        heading: "prestart",
        statuses: &["creating", "created"],
        is_inside: false,
        is_in_its_namespaces: false,
        during: "create",
    },
    Hook {
        word: "createRuntime",
        heading: "createruntime-hooks",
        statuses: &["creating", "created"],
        is_inside: false,
        is_in_its_namespaces: false,
        during: "create",
    },
    Hook {
        word: "createContainer",
        heading: "createcontainer-hooks",
        statuses: &["creating", "created"],
        is_inside: false,
        is_in_its_namespaces: true,
        during: "create",
    },
    Hook {
        word: "startContainer",
        heading: "startcontainer-hooks",
        statuses: &["created"],
        is_inside: true,
        is_in_its_namespaces: true,
        during: "start",
    },
    Hook {
        word: "poststart",
        heading: "poststart",
        statuses: &["running"],
        is_inside: false,
        is_in_its_namespaces: false,
        during: "start",
    },
    Hook {
        word: "poststop",
        heading: "poststop",
        statuses: &["stopped"],
        is_inside: false,
        is_in_its_namespaces: false,
        during: "delete",
    },
];

impl Hook {
    /// Its name in the names of cases.
    pub(super) fn name(self) -> String {
        let mut name = String::new();
        for letter in self.word.chars() {
            if letter.is_uppercase() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// An entry that notes what it is given, under its own word, and then does what the rest says.
    pub(super) fn entry(self, scene: &Scene<'_>, bundle: &Bundle, rest: &[&str]) -> Value {
        let path = if self.is_inside {
            PROBE.to_owned()
        } else {
            scene.stage().probe.display().to_string()
        };
        let log = if self.is_inside {
            "/log".to_owned()
        } else {
            log(bundle)
        };
        let arguments: Vec<&str> = ["hook-program", "inside", "hook", &log, self.word]
            .into_iter()
            .chain(rest.iter().copied())
            .collect();
        json!({ "path": path, "args": arguments, "env": ["OF=the hook"] })
    }

    /// The bundle with an entry of this hook more.
    pub(super) fn add(self, bundle: Bundle, entry: Value) -> Bundle {
        bundle.set(&format!("/hooks/{}/-", self.word), entry)
    }
}

/// The file that hooks and the program write to: below the root filesystem, so that all reach it.
pub(super) fn log(bundle: &Bundle) -> String {
    bundle.rootfs().join("log").display().to_string()
}

/// A bundle whose program notes that it runs.
pub(super) fn bundle(scene: &Scene<'_>) -> Bundle {
    scene.bundle().does(&["note", "/log", "program"])
}

/// The lines of the log.
pub(super) fn notes(bundle: &Bundle) -> Vec<Value> {
    let text = std::fs::read_to_string(log(bundle)).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Their names.
pub(super) fn names(bundle: &Bundle) -> Vec<String> {
    notes(bundle)
        .iter()
        .filter_map(|note| note["name"].as_str().map(str::to_owned))
        .collect()
}

/// The one line of a hook.
pub(super) fn note(bundle: &Bundle, hook: Hook) -> Result<Value, Trouble> {
    match notes(bundle)
        .into_iter()
        .find(|note| note["name"] == hook.word)
    {
        Some(note) => Ok(note),
        None => failed(
            format!("{} runs", hook.word),
            format!("{:?}", names(bundle)),
        ),
    }
}

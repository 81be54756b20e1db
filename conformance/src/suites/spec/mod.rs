//! The runtime specification, sentence by sentence.
//!
//! One file an area, each a flat list. Families (mount words, limits, capabilities, …) are rows
//! of a table and one constructor. `tests/coverage.rs` holds the list against the schema: no
//! property of config.json is without a case.

use serde_json::Value;

use crate::case::{Case, Trouble, Verdict, failed};
use crate::scene::Scene;

mod annotations;
mod capabilities;
mod cgroups;
mod config;
mod default_devices;
mod device_rules;
mod devices;
mod features;
mod hook_table;
mod hooks;
mod id_maps;
mod idmapped_mounts;
mod intel_rdt;
mod lifecycle;
mod memory_policy;
mod mount_words;
mod mounts;
mod namespaces;
mod net_devices;
mod paths;
mod personality;
mod process;
mod propagation;
mod resources;
mod rlimits;
mod root;
mod scheduling;
mod schema;
mod seccomp;
mod seccomp_notify;
mod state;
mod sysctl;
mod terminal;
mod user;

/// Where the specification is; sentences are named by file and heading.
pub(super) const SPECIFICATION: &str = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0";

pub(super) fn cases() -> Vec<Case> {
    [
        config::cases(),
        root::cases(),
        mounts::cases(),
        mount_words::cases(),
        idmapped_mounts::cases(),
        process::cases(),
        terminal::cases(),
        user::cases(),
        capabilities::cases(),
        rlimits::cases(),
        scheduling::cases(),
        namespaces::cases(),
        id_maps::cases(),
        devices::cases(),
        default_devices::cases(),
        net_devices::cases(),
        cgroups::cases(),
        device_rules::cases(),
        resources::cases(),
        intel_rdt::cases(),
        memory_policy::cases(),
        seccomp::cases(),
        seccomp_notify::cases(),
        propagation::cases(),
        paths::cases(),
        sysctl::cases(),
        personality::cases(),
        hooks::cases(),
        lifecycle::cases(),
        state::cases(),
        annotations::cases(),
        features::cases(),
        schema::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a case is about, for the summary.
#[derive(Clone, Copy, Debug)]
struct Area(&'static str);

impl Area {
    /// A case: its name, the file and heading of its sentence, the sentence, the check.
    fn case(
        self,
        name: impl Into<String>,
        place: &str,
        sentence: &str,
        check: impl Fn(&Scene<'_>) -> Verdict + 'static,
    ) -> Case {
        let sentence = format!("{sentence} ({SPECIFICATION}/{place})");
        Case::new("spec", self.0, name, sentence, check)
    }

    /// A case: with this value at this JSON pointer of a config.json that is fine otherwise,
    /// `create` is an error and leaves no container.
    fn refuses(
        self,
        name: impl Into<String>,
        place: &str,
        sentence: &str,
        pointer: &'static str,
        value: Value,
    ) -> Case {
        self.case(name, place, sentence, move |scene| {
            let bundle = scene.bundle().set(pointer, value.clone());
            scene.is_refused(&bundle).map(drop)
        })
    }
}

/// The mount that is seen at a target: the last one there.
fn mount_at<'a>(report: &'a Value, target: &str) -> Result<&'a Value, Trouble> {
    let mounts = report["mounts"].as_array();
    let found = mounts.and_then(|all| all.iter().rfind(|mount| mount["target"] == target));
    match found {
        Some(mount) => Ok(mount),
        None => failed(format!("a mount at {target}"), "none"),
    }
}

/// Whether a list of strings has this one.
fn has(list: &Value, word: &str) -> bool {
    list.as_array()
        .is_some_and(|list| list.iter().any(|item| item == word))
}

/// Whether one of a list of strings begins so.
fn has_beginning(list: &Value, start: &str) -> bool {
    let begins = |item: &Value| item.as_str().is_some_and(|text| text.starts_with(start));
    list.as_array().is_some_and(|list| list.iter().any(begins))
}

/// Whether two values are equal; the failure names what they are of.
fn is(what: &str, seen: &Value, expected: impl Into<Value>) -> Verdict {
    let expected = expected.into();
    if *seen == expected {
        return Ok(());
    }
    failed(format!("{what}: {expected}"), seen.to_string())
}

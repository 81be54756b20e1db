//! What published escapes came from, tried again: R01 to R32.
//!
//! Every case stands on a ground of its own: a canary tree, the mount table, sysctls and the
//! runtime's own file are the same afterwards, whatever the case itself is about. `tests/coverage.rs`
//! holds the cases against [`ROWS`].

use std::time::Duration;

use serde_json::Value;

use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::run::Finished;
use crate::scene::Scene;

mod attacks;
mod binary;
mod cgroups;
mod console;
mod descriptors;
mod devices;
mod entering;
mod filters;
mod ground;
mod links;
mod masks;
mod names;
mod privileges;
mod procfs;
mod races;
mod readonly;
mod restore;
mod sizes;
mod state;
mod swapper;
mod users;

use ground::Ground;

/// The tests, and what each is about.
pub const ROWS: [(&str, &str); 32] = [
    ("R01", "the runtime's binary through /proc/PID/exe"),
    ("R02", "looking into who enters a container"),
    ("R03", "descriptors that the caller left open"),
    ("R04", "mount targets that become links"),
    ("R05", "links in an image"),
    ("R06", "/dev/null as a mask"),
    ("R07", "the console"),
    ("R08", "writes to procfs that are led elsewhere"),
    ("R09", "capabilities"),
    ("R10", "lengths"),
    ("R11", "cgroups as limits"),
    ("R12", "devices"),
    ("R13", "users"),
    ("R14", "groups"),
    ("R15", "environment"),
    ("R16", "names"),
    ("R17", "sysctls"),
    ("R18", "annotations"),
    ("R19", "delete"),
    ("R20", "unmounting at the end"),
    ("R21", "files that the host writes into an image"),
    ("R22", "the working directory"),
    ("R23", "read-only mounts"),
    ("R24", "keys of criu's external mounts"),
    ("R25", "what a checkpoint says"),
    ("R26", "a read-only root"),
    ("R27", "seccomp by every calling convention"),
    ("R28", "bpf(2) on kernels that write past its attributes"),
    ("R29", "cgroups that are frozen or taken"),
    ("R30", "the host's mount namespace"),
    ("R31", "modes of files"),
    ("R32", "keyrings"),
];

pub(super) fn cases() -> Vec<Case> {
    [
        binary::cases(),
        entering::cases(),
        descriptors::cases(),
        links::cases(),
        races::cases(),
        masks::cases(),
        console::cases(),
        procfs::cases(),
        privileges::cases(),
        sizes::cases(),
        cgroups::cases(),
        devices::cases(),
        users::cases(),
        names::cases(),
        state::cases(),
        readonly::cases(),
        restore::cases(),
        filters::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a case is about, for the summary.
#[derive(Clone, Copy, Debug)]
struct Area(&'static str);

impl Area {
    /// A case: its name, the row, the sentence, what taught it, the check. The host is looked at
    /// afterwards, whatever came of the check.
    fn case(
        self,
        name: impl Into<String>,
        row: &str,
        sentence: &str,
        origin: &str,
        check: impl Fn(&Scene<'_>, &Ground) -> Verdict + 'static,
    ) -> Case {
        let sentence = format!("{sentence} ({row}; {origin})");
        let case = Case::new("security", self.0, name, sentence, move |scene| {
            let ground = Ground::new(scene)?;
            let verdict = check(scene, &ground);
            let host = ground.check();
            match &verdict {
                // The first look has seen all; some of it is put back by now.
                Err(Trouble::Failed { expected, .. }) if expected == ground::AS_BEFORE => verdict,
                _ => host.and(verdict),
            }
        });
        case.of(row)
    }
}

/// How long a hostile bundle may keep the runtime busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// `run` to its end; then the container is removed and the host looked at.
fn run_and_look(scene: &Scene<'_>, ground: &Ground, bundle: &Bundle) -> Result<Finished, Trouble> {
    run_and_look_within(scene, ground, bundle, PATIENCE)
}

/// The same with patience of the case's own.
fn run_and_look_within(
    scene: &Scene<'_>,
    ground: &Ground,
    bundle: &Bundle,
    patience: Duration,
) -> Result<Finished, Trouble> {
    bundle.save();
    let words = ["run", "--bundle", &text(bundle.path()), bundle.id()];
    let finished = scene.runtime().call_within(&words, patience);
    remove(scene, bundle);
    ground.check()?;
    if finished.is_late {
        return failed("an end", finished.brief());
    }
    Ok(finished)
}

/// `delete --force`, which is no failure for what is not there.
fn remove(scene: &Scene<'_>, bundle: &Bundle) {
    // A runtime without any state fails at it.
    drop(scene.runtime().call(&["delete", "--force", bundle.id()]));
}

/// Refused: an error, and not by an end of patience.
fn is_refused(finished: &Finished, what: &str) -> Verdict {
    let is_it = finished.code != 0 && !finished.is_late;
    holds(is_it, &format!("an error for {what}"), finished.brief())
}

/// What came of each thing that a process tried; none where it did not run.
fn tried(finished: &Finished) -> Option<Value> {
    (finished.code == 0)
        .then(|| serde_json::from_str(&finished.stdout).ok())
        .flatten()
}

/// The names of what was tried and came out so.
fn tries_where(seen: &Value, is_it: impl Fn(&Value) -> bool) -> Vec<String> {
    let all = seen.as_object().into_iter().flatten();
    let matching = all.filter(|(_, value)| is_it(value));
    matching.map(|(name, _)| name.clone()).collect()
}

/// `exec` of the program that is in every root filesystem.
fn exec(scene: &Scene<'_>, flags: &[&str], bundle: &Bundle, words: &[&str]) -> Finished {
    let words = [&["exec"], flags, &[bundle.id(), PROBE, "inside"], words].concat();
    scene.runtime().call(&words)
}

/// What such a process says of itself.
fn exec_report(scene: &Scene<'_>, flags: &[&str], bundle: &Bundle) -> Result<Value, Trouble> {
    let finished = exec(scene, flags, bundle, &["report"]);
    match tried(&finished) {
        Some(report) => Ok(report),
        None => failed("the process runs and reports", finished.brief()),
    }
}

/// These capabilities, in all sets that a container usually has.
fn with_capabilities(bundle: Bundle, names: &[&str]) -> Bundle {
    let names = serde_json::json!(names);
    let sets = serde_json::json!({ "bounding": names, "effective": names, "permitted": names });
    bundle.set("/process/capabilities", sets)
}

/// The same without the mount of this place.
fn without_mount(bundle: Bundle, destination: &str) -> Bundle {
    let mounts = bundle.config()["mounts"].as_array().cloned();
    let is_other = |mount: &Value| mount["destination"] != destination;
    let mounts: Vec<Value> = mounts
        .unwrap_or_default()
        .into_iter()
        .filter(is_other)
        .collect();
    bundle.set("/mounts", mounts)
}

/// The same without a namespace of this kind.
fn without_namespace(bundle: Bundle, kind: &str) -> Bundle {
    let namespaces = bundle.config()["linux"]["namespaces"].as_array().cloned();
    let is_other = |namespace: &Value| namespace["type"] != kind;
    let namespaces: Vec<Value> = namespaces
        .unwrap_or_default()
        .into_iter()
        .filter(is_other)
        .collect();
    bundle.set("/linux/namespaces", namespaces)
}

/// A path as an argument.
fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

//! One bundle under two runtimes: what a process sees, what the kernel has set, what commands
//! give, compared fact by fact.
//!
//! Bundles are fixed ones and ones by chance, which their seed repeats. A difference is a failure
//! unless [`known`] has its reason.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::case::{Case, Verdict, failed, skipped};
use crate::scene::Scene;

mod cgroups;
mod compare;
mod fixed;
mod generate;
mod known;
mod observe;
mod outside;
mod random;
mod report;

/// How many bundles by chance a case has, and how many with `--long`.
const COUNT: u64 = 2;
const LONG_COUNT: u64 = 100;

/// A bundle, and what a process in its container tries: words of [`crate::inside`].
struct Recipe {
    bundle: Bundle,
    tries: Vec<String>,
    /// Whether `run` has to go well with one runtime at least: else two that both refuse a bundle
    /// would have nothing to differ in.
    succeeds: bool,
}

/// Where the promise is that all of this is about.
const SENTENCE: &str = "What a container is to its process does not depend on which runtime made \
     it: the configuration says it \
     (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/principles.md)";

pub(super) fn cases() -> Vec<Case> {
    let by_chance = generate::Theme::ALL.into_iter().map(|(name, theme)| {
        let name = format!("generated-{name}");
        Case::new("differential", "generated", name, SENTENCE, move |scene| {
            generated(scene, theme)
        })
    });
    fixed::cases().into_iter().chain(by_chance).collect()
}

/// A fixed bundle under both.
fn same(scene: &Scene<'_>, make: impl Fn(&Scene<'_>) -> Recipe) -> Verdict {
    let Some(peer) = peer(scene) else {
        return skipped("no other runtime to compare with: --against PATH");
    };
    differ(scene, &peer, make)
        .or_else(|told| failed(format!("the same as with {}", peer.display()), told))
}

/// Bundles by chance under both.
fn generated(scene: &Scene<'_>, theme: generate::Theme) -> Verdict {
    let Some(peer) = peer(scene) else {
        return skipped("no other runtime to compare with: --against PATH");
    };
    let stage = scene.stage();
    let count = match stage.is_long {
        true => LONG_COUNT,
        false => COUNT,
    };
    let mut told = String::new();
    for seed in (stage.seed..)
        .zip(0..stage.count.unwrap_or(count))
        .map(|(seed, _)| seed)
    {
        let found = differ(scene, &peer, |scene| {
            generate::recipe(theme, seed, scene.bundle())
        });
        if let Err(found) = found {
            // Writing to a string does not fail.
            writeln!(told, "--seed {seed} --count 1:\n{found}").ok();
        }
    }
    match told.is_empty() {
        true => Ok(()),
        false => failed(format!("the same as with {}", peer.display()), told),
    }
}

/// The runtime to compare with: the one that was named, else runc, which is thereby seen to do the
/// same twice when it is itself the one that is measured.
fn peer(scene: &Scene<'_>) -> Option<PathBuf> {
    let named = scene.stage().peer.clone();
    named.or_else(|| crate::theatre::find(Path::new("runc")).ok())
}

/// Whether both make the same of it; else the differences that no reason is known for.
fn differ(
    scene: &Scene<'_>,
    peer: &Path,
    make: impl Fn(&Scene<'_>) -> Recipe,
) -> Result<(), String> {
    let recipe = make(scene);
    let measured = observe::observe(scene, &recipe);
    let beside = scene.under(peer);
    let other = observe::observe(&beside, &make(&beside));
    beside.clear();
    if recipe.succeeds && ![&measured, &other].into_iter().any(observe::has_run) {
        return Err(format!(
            "neither runs it: {} and there {}",
            measured["run"], other["run"]
        ));
    }
    let config = recipe.bundle.config();
    let found = compare::differences(&measured, &other);
    let (known, unknown): (Vec<_>, Vec<_>) = found
        .iter()
        .map(|difference| (difference, known::known(difference, config)))
        .partition(|(_, known)| known.is_some());
    let lines: Vec<String> = unknown
        .iter()
        .map(|(difference, _)| difference.to_string())
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let complaints = [&measured, &other]
        .into_iter()
        .flat_map(observe::complaints)
        .map(|complaint| format!("said: {complaint}"));
    // Beside what is known, what is not is easier to understand.
    let mut reasons: Vec<String> = known
        .iter()
        .filter_map(|(_, known)| *known)
        .map(|known| format!("known there: {} {}", known.reason, known.sentence))
        .collect();
    reasons.dedup();
    Err(lines
        .into_iter()
        .chain(complaints)
        .chain(reasons)
        .collect::<Vec<_>>()
        .join("\n"))
}

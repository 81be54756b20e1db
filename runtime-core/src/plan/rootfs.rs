//! `root` and `linux.rootfsPropagation`.

use std::path::Path;

use super::namespaces::MOUNT;
use super::place::Place;
use super::text::{host_path, unknown};
use super::{NamespacesPlan, PlanOptions, RootEntry, RootfsPlan};
use crate::spec::{Linux, Spec};
use crate::violation::Violations;

/// The words of `rootfsPropagation`, and as mount options.
pub(super) const PROPAGATIONS: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// Resolves the root filesystem.
pub(super) fn plan(
    spec: &Spec<'_>,
    linux: &Linux<'_>,
    bundle: &Path,
    namespaces: &NamespacesPlan,
    options: &PlanOptions,
    violations: &mut Violations,
) -> RootfsPlan {
    let place = Place::ROOT.key("root");
    let path = spec
        .root
        .as_ref()
        .and_then(|root| root.path.as_deref())
        .unwrap_or_default();
    if spec.root.is_none() {
        violations.add(place, "is missing");
    } else if path.is_empty() {
        violations.add(place.key("path"), "is missing or empty");
    }
    let readonly = spec
        .root
        .as_ref()
        .and_then(|root| root.readonly)
        .unwrap_or(false);
    if readonly && !namespaces.has(MOUNT) {
        violations.add(
            place.key("readonly"),
            "needs a namespace of type mount in linux.namespaces",
        );
    }
    let entry = entry(namespaces, options);
    let chosen = propagation(linux, namespaces, entry, violations);
    RootfsPlan {
        path: host_path(path, bundle, place.key("path"), violations),
        readonly,
        propagation: first_propagation(chosen),
        final_propagation: chosen.filter(|flags| flags & libc::MS_PRIVATE == 0),
        entry,
    }
}

fn entry(namespaces: &NamespacesPlan, options: &PlanOptions) -> RootEntry {
    match (namespaces.has(MOUNT), options.no_pivot) {
        (false, _) => RootEntry::Chroot,
        (true, true) => RootEntry::Move,
        (true, false) => RootEntry::Pivot,
    }
}

fn propagation(
    linux: &Linux<'_>,
    namespaces: &NamespacesPlan,
    entry: RootEntry,
    violations: &mut Violations,
) -> Option<u64> {
    let word = linux
        .rootfs_propagation
        .as_deref()
        .filter(|word| !word.is_empty())?;
    let linux = Place::ROOT.key("linux");
    let place = linux.key("rootfsPropagation");
    let Some(&(_, flags)) = PROPAGATIONS.iter().find(|(known, _)| *known == word) else {
        let known = PROPAGATIONS.iter().map(|(word, _)| *word);
        violations.add(place, unknown("propagation", word, known));
        return None;
    };
    if !namespaces.has(MOUNT) {
        violations.add(place, "needs a namespace of type mount in linux.namespaces");
    }
    // Without pivot_root(2) the host's tree stays reachable below the container's root, and
    // a private one would hold the host's mounts for ever.
    if entry == RootEntry::Move && flags & libc::MS_PRIVATE != 0 {
        violations.add(place, "private is not safe without pivot_root (--no-pivot)");
    }
    Some(flags)
}

/// What all mounts of the new namespace become before anything is mounted. A private root is so
/// from here on: once more at the end would undo what mounts' own options say. Only `shared`
/// keeps the tie to the host's mounts in both directions; an unbindable tree could not be
/// bound from, and becomes so only at the end.
fn first_propagation(chosen: Option<u64>) -> u64 {
    match chosen {
        Some(flags) if flags & libc::MS_SHARED != 0 => flags,
        Some(flags) if flags & (libc::MS_PRIVATE | libc::MS_UNBINDABLE) != 0 => {
            libc::MS_PRIVATE | libc::MS_REC
        }
        _ => libc::MS_SLAVE | libc::MS_REC,
    }
}

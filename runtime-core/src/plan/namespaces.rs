//! `linux.namespaces` and what belongs to single namespaces: id mappings, time offsets,
//! host name and domain name.

use std::path::PathBuf;

use super::place::Place;
use super::text::{quoted, unknown};
use super::{IdMapping, JoinedNamespace, NamespacesPlan, idmap};
use crate::host::Host;
use crate::spec::{self, Linux, Spec};
use crate::violation::Violations;

pub(super) const MOUNT: u64 = libc::CLONE_NEWNS as u64;
pub(super) const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub(super) const UTS: u64 = libc::CLONE_NEWUTS as u64;
pub(super) const IPC: u64 = libc::CLONE_NEWIPC as u64;
pub(super) const USER: u64 = libc::CLONE_NEWUSER as u64;
pub(super) const PID: u64 = libc::CLONE_NEWPID as u64;
pub(super) const NETWORK: u64 = libc::CLONE_NEWNET as u64;
pub(super) const TIME: u64 = 0x80;

/// The specification's names of all namespace kinds, sorted, and their CLONE_NEW* flags.
pub const NAMESPACE_KINDS: [(&str, u64); 8] = [
    ("cgroup", CGROUP),
    ("ipc", IPC),
    ("mount", MOUNT),
    ("network", NETWORK),
    ("pid", PID),
    ("time", TIME),
    ("user", USER),
    ("uts", UTS),
];

/// What the kernel takes for a host name or domain name, in bytes.
const NAME_MAX: usize = 64;

/// The id mappings that config.json gives, whether the user namespace is new or joined.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    pub(super) uids: Vec<IdMapping>,
    pub(super) gids: Vec<IdMapping>,
}

/// Resolves everything about namespaces.
pub(super) fn plan(
    linux: &Linux<'_>,
    host: &Host,
    violations: &mut Violations,
) -> (NamespacesPlan, Mappings) {
    let place = Place::ROOT.key("linux");
    let mut plan = kinds(linux, place, violations);
    let mappings = mappings(linux, &plan, place, violations);
    if plan.new & USER != 0 {
        plan.uid_mappings.clone_from(&mappings.uids);
        plan.gid_mappings.clone_from(&mappings.gids);
    }
    if host.euid != 0 && !plan.has(USER) {
        violations.add(
            place.key("namespaces"),
            "an unprivileged user needs a user namespace here, and uidMappings and gidMappings \
             with it (`spec --rootless` writes such a config.json)",
        );
    }
    plan.time_offsets = time_offsets(linux, &plan, place, violations);
    (plan, mappings)
}

/// Adds `hostname` and `domainname`.
pub(super) fn names(spec: &Spec<'_>, plan: &mut NamespacesPlan, violations: &mut Violations) {
    plan.hostname = name("hostname", spec.hostname.as_deref(), plan, violations);
    plan.domainname = name("domainname", spec.domainname.as_deref(), plan, violations);
}

fn kinds(linux: &Linux<'_>, place: Place<'_>, violations: &mut Violations) -> NamespacesPlan {
    let mut plan = NamespacesPlan::default();
    let place = place.key("namespaces");
    for (index, namespace) in linux.namespaces.iter().flatten().enumerate() {
        if violations.is_full() {
            break;
        }
        let place = place.index(index);
        let Some(kind) = kind(namespace, place, violations) else {
            continue;
        };
        if plan.has(kind) {
            let name = namespace.kind.as_deref().unwrap_or_default();
            violations.add(
                place,
                format!("a namespace of type {name} is there already"),
            );
            continue;
        }
        match namespace.path.as_deref() {
            None | Some("") => plan.new |= kind,
            Some(path) => plan
                .joined
                .push(joined(kind, index, path, place, violations)),
        }
    }
    plan
}

fn kind(
    namespace: &spec::Namespace<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<u64> {
    let Some(name) = namespace.kind.as_deref() else {
        violations.add(place.key("type"), "is missing");
        return None;
    };
    let found = NAMESPACE_KINDS.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let known = NAMESPACE_KINDS.iter().map(|(name, _)| *name);
        violations.add(place.key("type"), unknown("namespace type", name, known));
    }
    found.map(|&(_, flag)| flag)
}

fn joined(
    kind: u64,
    index: usize,
    path: &str,
    place: Place<'_>,
    violations: &mut Violations,
) -> JoinedNamespace {
    if !path.starts_with('/') {
        violations.add(
            place.key("path"),
            format!("{} is not an absolute path", quoted(path)),
        );
    }
    if path.contains('\0') {
        violations.add(place.key("path"), "has a NUL byte");
    }
    JoinedNamespace {
        kind,
        // Kinds are unique, so more than 65535 entries have already been refused.
        index: u16::try_from(index).unwrap_or(u16::MAX),
        path: PathBuf::from(path),
    }
}

fn mappings(
    linux: &Linux<'_>,
    plan: &NamespacesPlan,
    place: Place<'_>,
    violations: &mut Violations,
) -> Mappings {
    let mut list = |key, entries: Option<&Vec<spec::IdMapping<'_>>>, root| {
        let entries = entries.map_or(&[][..], Vec::as_slice);
        let place = place.key(key);
        if plan.has(USER) {
            let mappings = idmap::mappings(entries, place, violations);
            new_namespace_maps_root(plan, entries, &mappings, root, place, violations);
            return mappings;
        }
        if !entries.is_empty() {
            violations.add(place, "needs a namespace of type user in linux.namespaces");
        }
        Vec::new()
    };
    Mappings {
        uids: list("uidMappings", linux.uid_mappings.as_ref(), "user 0"),
        gids: list("gidMappings", linux.gid_mappings.as_ref(), "group 0"),
    }
}

fn new_namespace_maps_root(
    plan: &NamespacesPlan,
    entries: &[spec::IdMapping<'_>],
    mappings: &[IdMapping],
    root: &str,
    place: Place<'_>,
    violations: &mut Violations,
) {
    if plan.new & USER == 0 {
        return;
    }
    if entries.is_empty() {
        violations.add(
            place,
            "is empty, but linux.namespaces has a new user namespace",
        );
    } else if mappings.len() == entries.len() && !idmap::contains(mappings, 0) {
        violations.add(
            place,
            format!("maps no id to the container's {root}, which sets the container up"),
        );
    }
}

fn time_offsets(
    linux: &Linux<'_>,
    plan: &NamespacesPlan,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<Vec<u8>> {
    let offsets = linux
        .time_offsets
        .as_ref()
        .filter(|offsets| !offsets.is_empty())?;
    let place = place.key("timeOffsets");
    if plan.new & TIME == 0 {
        violations.add(
            place,
            "needs a new namespace of type time in linux.namespaces",
        );
    }
    let mut lines = Vec::new();
    for (clock, offset) in offsets {
        if violations.is_full() {
            break;
        }
        let clock: &str = clock;
        let place = place.key(clock);
        if !["boottime", "monotonic"].contains(&clock) {
            let clocks = ["boottime", "monotonic"].into_iter();
            violations.add(place, unknown("clock", clock, clocks));
        }
        let nanosecs = offset.nanosecs.unwrap_or(0);
        if nanosecs >= 1_000_000_000 {
            violations.add(
                place.key("nanosecs"),
                format!("{nanosecs} is a second or more"),
            );
        }
        let secs = offset.secs.unwrap_or(0);
        lines.extend_from_slice(format!("{clock} {secs} {nanosecs}\n").as_bytes());
    }
    Some(lines)
}

fn name(
    key: &str,
    name: Option<&str>,
    plan: &NamespacesPlan,
    violations: &mut Violations,
) -> Option<Vec<u8>> {
    let name = name.filter(|name| !name.is_empty())?;
    let place = Place::ROOT.key(key);
    if !plan.has(UTS) {
        violations.add(place, "needs a namespace of type uts in linux.namespaces");
    }
    if name.len() > NAME_MAX {
        violations.add(
            place,
            format!("has {} bytes; the kernel takes {NAME_MAX}", name.len()),
        );
    }
    if name.contains('\0') {
        violations.add(place, "has a NUL byte");
    }
    Some(name.as_bytes().to_vec())
}

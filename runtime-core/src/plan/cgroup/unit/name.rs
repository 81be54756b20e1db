//! From `cgroupsPath` to a unit's name and its cgroup's path: `slice:prefix:name`, as runc
//! has it.

use super::Manager;
use crate::host::{CgroupLayout, Host};
use crate::id::ContainerId;
use crate::violation::Violations;

pub(super) const SLICE: &str = ".slice";

/// The longest name of a unit (UNIT_NAME_MAX).
const LONGEST_NAME: usize = 255;

const POINTER: &str = "/linux/cgroupsPath";

/// The root slice.
const ROOT_SLICE: &str = "-.slice";

/// What is decided by `cgroupsPath` and the host.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) unit: String,
    pub(super) slice: String,
    pub(super) manager: Manager,
    /// Below the mount point of every hierarchy, without a slash in front.
    pub(super) path: String,
}

/// Decides the names; `:tare:<id>` without `cgroupsPath`.
pub(super) fn plan(
    text: Option<&str>,
    id: &ContainerId,
    host: &Host,
    violations: &mut Violations,
) -> Named {
    let default = format!(":tare:{id}");
    let text = text.filter(|text| !text.is_empty()).unwrap_or(&default);
    let parts: Vec<&str> = text.split(':').collect();
    let (slice, prefix, name) = match parts[..] {
        [slice, prefix, name] => (slice, prefix, name),
        _ => {
            violations.add(
                POINTER,
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {} instead",
                    crate::plan::text::quoted(text)
                ),
            );
            ("", "tare", id.as_str())
        }
    };
    let manager = manager(host);
    let slice = match (slice, manager) {
        ("", Manager::System) => "system.slice",
        ("", Manager::User) => "user.slice",
        ("-", _) => ROOT_SLICE,
        (slice, _) => slice,
    };
    let unit = if name.ends_with(SLICE) {
        name.to_owned()
    } else {
        format!("{prefix}-{name}.scope")
    };
    check_slice(slice, violations);
    if unit.ends_with(SLICE) {
        check_slice(&unit, violations);
        if unit == ROOT_SLICE {
            violations.add(POINTER, "the root slice can't be a container's");
        }
    } else if name.is_empty() {
        violations.add(POINTER, "must name the container after the second colon");
    } else {
        check_name(&unit, violations);
    }
    if manager == Manager::User && !matches!(host.cgroups, CgroupLayout::V2(_)) {
        violations.add(
            POINTER,
            "systemd gives a user's units no cgroup v1: without privilege its cgroup driver needs a host with cgroup v2 only",
        );
    }
    Named {
        path: path(slice, &unit, manager, host),
        slice: slice.to_owned(),
        unit,
        manager,
    }
}

/// Whose unit it is. User 0 of a user namespace has a systemd of its own when it is a machine's
/// first process there, and else the user's, below which it runs.
fn manager(host: &Host) -> Manager {
    let below_users = own_components(host).any(is_user_manager);
    if host.euid != 0 || host.in_user_namespace && below_users {
        Manager::User
    } else {
        Manager::System
    }
}

/// The slice's own path, then the unit; a user's start at the user's manager.
fn path(slice: &str, unit: &str, manager: Manager, host: &Host) -> String {
    let mut parts = match manager {
        Manager::System => Vec::new(),
        Manager::User => user_manager(host),
    };
    if unit.ends_with(SLICE) {
        parts.extend(expanded(unit));
    } else {
        parts.extend(expanded(slice));
        parts.push(unit.to_owned());
    }
    parts.join("/")
}

/// The slices above, and the slice itself: `a-b.slice` is in `a.slice`.
fn expanded(slice: &str) -> Vec<String> {
    if slice == ROOT_SLICE {
        return Vec::new();
    }
    let stem = slice.strip_suffix(SLICE).unwrap_or(slice);
    let dashes = stem.match_indices('-').map(|(index, _)| index);
    dashes
        .chain([stem.len()])
        .map(|end| format!("{}{SLICE}", &stem[..end]))
        .collect()
}

/// Where the user's manager is: above this process, or in the user's slice beside it.
fn user_manager(host: &Host) -> Vec<String> {
    let own: Vec<&str> = own_components(host).collect();
    let owned = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
    if let Some(at) = own.iter().position(|part| is_user_manager(part)) {
        return owned(&own[..=at]);
    }
    let of_slice = |part: &&str| {
        let user = part.strip_prefix("user-")?.strip_suffix(SLICE)?;
        user.parse::<u32>().ok()
    };
    let found = own
        .iter()
        .enumerate()
        .find_map(|(at, part)| Some((at, of_slice(part)?)));
    let (mut parts, user) = match found {
        Some((at, user)) => (owned(&own[..=at]), user),
        None => (
            vec![
                "user.slice".to_owned(),
                format!("user-{}{SLICE}", host.euid),
            ],
            host.euid,
        ),
    };
    parts.push(format!("user@{user}.service"));
    parts
}

fn is_user_manager(part: &str) -> bool {
    let user = part
        .strip_prefix("user@")
        .and_then(|rest| rest.strip_suffix(".service"));
    user.is_some_and(|user| user.parse::<u32>().is_ok())
}

/// The runtime's own cgroup, in the hierarchy that systemd counts by.
fn own_components(host: &Host) -> impl Iterator<Item = &str> {
    let mount = match &host.cgroups {
        CgroupLayout::None => None,
        CgroupLayout::V2(mount) => Some(mount),
        CgroupLayout::V1 { hierarchies, .. } => hierarchies
            .iter()
            .find(|mount| mount.controllers.iter().any(|c| c == "name=systemd")),
    };
    let path = mount.map_or("", |mount| mount.own_path.as_str());
    path.split('/').filter(|part| !part.is_empty())
}

/// The rules of systemd.slice(5) for names: a dash between parts, and nowhere else.
fn check_slice(slice: &str, violations: &mut Violations) {
    if slice == ROOT_SLICE {
        return;
    }
    let shown = crate::plan::text::quoted(slice);
    let Some(stem) = slice.strip_suffix(SLICE) else {
        violations.add(POINTER, format!("the slice {shown} must end in \".slice\""));
        return;
    };
    if stem.is_empty() || stem.starts_with('-') || stem.ends_with('-') || stem.contains("--") {
        violations.add(
            POINTER,
            format!("{shown} is no slice: dashes stand between the parts of its name only"),
        );
        return;
    }
    check_name(slice, violations);
}

/// The letters of systemd.unit(5); `@` would make it an instance of a template.
fn check_name(name: &str, violations: &mut Violations) {
    let shown = crate::plan::text::quoted(name);
    if name.len() > LONGEST_NAME {
        violations.add(
            POINTER,
            format!("the unit name {shown} is longer than 255 bytes"),
        );
    }
    let is_letter =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\');
    if let Some(odd) = name.chars().find(|c| !is_letter(*c)) {
        violations.add(
            POINTER,
            format!("the unit name {shown} has {odd:?}: letters, digits, and \"-\", \"_\", \".\" and \"\\\" are possible"),
        );
    }
}

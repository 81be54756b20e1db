//! `linux.cgroupsPath` (config-linux.md#cgroups-path).

use serde::Serialize;

use crate::id::ContainerId;
use crate::violation::Violations;

/// The container's cgroup in every hierarchy: clean components joined by `/`, no slash in
/// front. Empty only in [`CgroupPath::default`], which no cgroup can be made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CgroupPath {
    /// Below the hierarchy's mount point: an absolute `cgroupsPath`, or the container's id.
    BelowMount(String),
    /// Below the runtime's own cgroup: a relative `cgroupsPath`. In a cgroup2 hierarchy it is
    /// the parent of the runtime's own one, for a cgroup with processes can't have children
    /// with controllers.
    BelowOwn(String),
}

impl Default for CgroupPath {
    fn default() -> Self {
        Self::BelowMount(String::new())
    }
}

impl CgroupPath {
    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        let (Self::BelowMount(path) | Self::BelowOwn(path)) = self;
        path.split('/').filter(|component| !component.is_empty())
    }
}

/// The longest name of a directory entry.
const LONGEST_COMPONENT: usize = 255;

/// The longest path: cgroup paths are shown by the kernel in PATH_MAX bytes.
const LONGEST_PATH: usize = 3500;

const POINTER: &str = "/linux/cgroupsPath";

/// Decides the path; `/<id>` without `cgroupsPath`.
pub(super) fn plan(
    text: Option<&str>,
    id: &ContainerId,
    violations: &mut Violations,
) -> CgroupPath {
    let text = match text {
        None | Some("") => return CgroupPath::BelowMount(id.as_str().to_owned()),
        Some(text) => text,
    };
    let Some(clean) = clean(text, violations) else {
        return CgroupPath::BelowMount(id.as_str().to_owned());
    };
    if text.starts_with('/') {
        CgroupPath::BelowMount(clean)
    } else {
        CgroupPath::BelowOwn(clean)
    }
}

/// The path without empty and `.` components; none and a violation if it is no path of ours.
fn clean(text: &str, violations: &mut Violations) -> Option<String> {
    let mut components = Vec::new();
    let broken = if text.contains(['\0', '\n']) {
        Some("must have no NUL and no newline")
    } else if text.len() > LONGEST_PATH {
        Some("must be at most 3500 bytes long")
    } else {
        components.extend(text.split('/').filter(|part| !matches!(*part, "" | ".")));
        rule_of_components(&components)
    };
    match broken {
        Some(rule) => {
            violations.add(POINTER, rule);
            None
        }
        None => Some(components.join("/")),
    }
}

/// The rule that the components break.
fn rule_of_components(components: &[&str]) -> Option<&'static str> {
    if components.is_empty() {
        Some("must name a cgroup below the root of the hierarchy")
    } else if components.contains(&"..") {
        Some("must have no component \"..\"")
    } else if components.iter().any(|part| part.len() > LONGEST_COMPONENT) {
        Some("must have no component longer than 255 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> (CgroupPath, Violations) {
        let mut violations = Violations::default();
        let id = "box".parse().unwrap();
        (plan(Some(text), &id, &mut violations), violations)
    }

    #[test]
    fn an_absent_path_is_the_containers_id_at_the_root() {
        let mut violations = Violations::default();
        let path = plan(None, &"box".parse().unwrap(), &mut violations);
        assert_eq!(path, CgroupPath::BelowMount("box".into()));
        assert_eq!(planned("").0, path);
    }

    #[test]
    fn absolute_and_relative_paths_are_told_apart_and_cleaned() {
        for (text, path) in [
            ("/a/b", CgroupPath::BelowMount("a/b".into())),
            ("//a/./b//", CgroupPath::BelowMount("a/b".into())),
            ("a/b/", CgroupPath::BelowOwn("a/b".into())),
            (
                "system.slice:cri:box",
                CgroupPath::BelowOwn("system.slice:cri:box".into()),
            ),
        ] {
            assert_eq!(planned(text), (path, Violations::default()), "{text}");
        }
    }

    #[test]
    fn paths_that_leave_or_are_the_hierarchy_are_refused() {
        let long = format!("/{}", "x".repeat(256));
        let longer = "/x".repeat(2000);
        for text in [
            "/", "//", "/.", "..", "/../x", "a/../b", "/a\0", "/a\nb", &long, &longer,
        ] {
            let violations = planned(text).1;
            assert_eq!(violations.0.len(), 1, "{text:?}");
            assert_eq!(violations.0[0].pointer, "/linux/cgroupsPath");
        }
    }
}

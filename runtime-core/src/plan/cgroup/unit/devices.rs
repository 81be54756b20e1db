//! Device rules as `DevicePolicy` and `DeviceAllow`, so that systemd, which sets its own rules
//! again at every daemon-reload, sets the container's.
//!
//! systemd can allow a device, all minors of a major, or all of a kind, and nothing else. On
//! cgroup v2 its program and tare's both have to allow a device, so what it can't say is said
//! wider to it, and tare's own program keeps the rule. On cgroup v1 there is one list for both,
//! and such a rule is refused.

use super::super::{Access, DeviceKind, DeviceRule, DeviceRules, Home, home};
use super::{Property, Value};
use crate::host::CgroupLayout;
use crate::violation::Violations;

pub(super) fn plan(
    rules: &DeviceRules,
    layout: &CgroupLayout,
    at: &str,
    violations: &mut Violations,
) -> Vec<Property> {
    let (allow, exact) = allowed(rules);
    if !exact && home(layout, "devices") == Some(Home::V1) {
        violations.add(
            format!("{at}/devices"),
            "systemd can't keep these rules on cgroup v1: it can allow single devices, all minors of a major, and all of a kind",
        );
    }
    // Without a list, `auto` allows everything and `strict` nothing.
    let policy = if allow.is_some() { "strict" } else { "auto" };
    vec![
        Property::new("DevicePolicy", Value::text(policy)),
        Property::new("DeviceAllow", Value::Pairs(allow.unwrap_or_default())),
    ]
}

/// What is allowed, at least; none for everything. And whether that is all that is said.
fn allowed(rules: &DeviceRules) -> (Option<Vec<(String, String)>>, bool) {
    let (default_allow, exceptions, listed) = match rules.list() {
        Ok(list) => (list.default_allow, list.exceptions, true),
        // A part is taken away from what an earlier rule gave: what was given, then.
        Err(_) => {
            let all = rules.as_slice();
            let given = all.iter().filter(|rule| rule.allow);
            if given.clone().any(DeviceRule::is_total) {
                return (None, false);
            }
            (false, given.copied().collect(), false)
        }
    };
    if default_allow {
        return (None, exceptions.is_empty());
    }
    let mut allow: Vec<(String, Access)> = Vec::new();
    let mut exact = listed;
    for rule in exceptions {
        let kinds = match rule.kind {
            DeviceKind::Any => &["block", "char"][..],
            DeviceKind::Block => &["block"],
            DeviceKind::Character => &["char"],
        };
        exact &= rule.major.is_some() || rule.minor.is_none();
        for kind in kinds {
            let node = node(kind, &rule);
            // Of two entries for the same devices, systemd would forget the first.
            match allow.iter_mut().find(|(other, _)| *other == node) {
                Some((_, access)) => *access = access.with(rule.access),
                None => allow.push((node, rule.access)),
            }
        }
    }
    let entry = |(node, access): (String, Access)| (node, access.to_string());
    (Some(allow.into_iter().map(entry).collect()), exact)
}

/// How `DeviceAllow` names the devices of a rule, or more of them.
fn node(kind: &str, rule: &DeviceRule) -> String {
    match (rule.major, rule.minor) {
        // Taken apart by systemd as text: no such file has to be there.
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, _) => format!("{kind}-*"),
    }
}

//! `process.capabilities`: five sets of names become five masks that the kernel will accept.

use std::str::FromStr;

use caps::Capability;
use runtime_init::CapabilityMasks;

use super::CapabilityPlan;
use super::place::Place;
use super::text::{nearest, quoted};
use crate::host::Host;
use crate::spec::{self, Text};
use crate::violation::Violations;

/// Every capability name of Linux, in the kernel's order.
pub fn capability_names() -> impl Iterator<Item = String> + Clone {
    numbered().map(|capability| capability.to_string())
}

/// The names in a mask, in the kernel's order.
pub(super) fn names(mask: u64) -> Vec<String> {
    numbered()
        .filter(|capability| mask & capability.bitmask() != 0)
        .map(|capability| capability.to_string())
        .collect()
}

fn numbered() -> impl Iterator<Item = Capability> + Clone {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(Capability::index);
    all.into_iter()
}

/// What the process can be given.
pub(super) fn grantable(host: &Host, in_user_namespace: bool) -> u64 {
    let known = u64::MAX >> (63 - host.last_capability.min(63));
    if in_user_namespace {
        known
    } else {
        known & host.capability_bounds
    }
}

/// Resolves the five sets.
///
/// What the host can't grant, and what the kernel would refuse because another set lacks it,
/// is left out with a warning, as the specification asks for.
pub(super) fn plan(
    capabilities: Option<&spec::Capabilities<'_>>,
    grantable: u64,
    place: Place<'_>,
    violations: &mut Violations,
    warnings: &mut Vec<String>,
) -> CapabilityPlan {
    let Some(capabilities) = capabilities else {
        return CapabilityPlan::default();
    };
    let mut set = |key, names: Option<&Vec<Text<'_>>>| {
        let names = names.map_or(&[][..], Vec::as_slice);
        mask(names, place.key(key), violations)
    };
    let bounding = set("bounding", capabilities.bounding.as_ref());
    let effective = set("effective", capabilities.effective.as_ref());
    let inheritable = set("inheritable", capabilities.inheritable.as_ref());
    let permitted = set("permitted", capabilities.permitted.as_ref());
    let ambient = set("ambient", capabilities.ambient.as_ref());

    let asked = bounding | effective | inheritable | permitted | ambient;
    warn(
        warnings,
        asked & !grantable,
        "can't be granted on this host",
    );
    let mut within = |set: u64, limit: u64, why| {
        warn(warnings, set & grantable & !limit, why);
        set & grantable & limit
    };
    let bounding = within(bounding, !0, "");
    let permitted = within(permitted, !0, "");
    let effective = within(
        effective,
        permitted,
        "can't be effective without being permitted",
    );
    let inheritable = within(
        inheritable,
        bounding,
        "can't be inheritable outside of the bounding set",
    );
    let ambient = within(
        ambient,
        permitted & inheritable,
        "can't be ambient without being permitted and inheritable",
    );
    CapabilityPlan {
        bounding,
        sets: CapabilityMasks {
            effective,
            permitted,
            inheritable,
            ambient,
        },
    }
}

fn warn(warnings: &mut Vec<String>, missing: u64, why: &str) {
    if missing != 0 {
        warnings.push(format!("{} {why}", names(missing).join(", ")));
    }
}

fn mask(names: &[Text<'_>], place: Place<'_>, violations: &mut Violations) -> u64 {
    let mut mask = 0;
    for (index, name) in names.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        match Capability::from_str(name) {
            Ok(capability) => mask |= capability.bitmask(),
            Err(_) => violations.add(place.index(index), unknown_capability(name)),
        }
    }
    mask
}

fn unknown_capability(name: &str) -> String {
    let known: Vec<String> = capability_names().collect();
    let found = quoted(name);
    let short = known
        .iter()
        .find(|known| known.strip_prefix("CAP_") == Some(name));
    let near = || nearest(name, known.iter().map(String::as_str));
    match short.map(String::as_str).or_else(near) {
        Some(near) => format!("unknown capability {found}; did you mean {near:?}?"),
        None => format!("unknown capability {found}; see capabilities(7)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sets: &str, grantable: u64) -> (CapabilityPlan, Vec<String>) {
        let capabilities: spec::Capabilities<'_> = serde_json::from_str(sets).unwrap();
        let mut violations = Violations::default();
        let mut warnings = Vec::new();
        let plan = plan(
            Some(&capabilities),
            grantable,
            Place::ROOT,
            &mut violations,
            &mut warnings,
        );
        assert!(violations.is_empty(), "{violations}");
        (plan, warnings)
    }

    #[test]
    fn what_the_host_lacks_is_left_out_with_one_warning() {
        let set =
            r#"{"bounding":["CAP_KILL","CAP_SYS_RESOURCE"],"permitted":["CAP_SYS_RESOURCE"]}"#;
        let (plan, warnings) = planned(set, !(1 << 24));
        assert_eq!(plan.bounding, 1 << 5);
        assert_eq!(plan.sets, CapabilityMasks::default());
        assert_eq!(warnings, ["CAP_SYS_RESOURCE can't be granted on this host"]);
    }

    #[test]
    fn sets_that_the_kernel_would_refuse_shrink_to_what_it_takes() {
        let set = r#"{"bounding":["CAP_KILL"],"effective":["CAP_CHOWN"],"permitted":["CAP_KILL"],
            "inheritable":["CAP_KILL","CAP_CHOWN"],"ambient":["CAP_KILL","CAP_CHOWN"]}"#;
        let (plan, warnings) = planned(set, !0);
        let kill = 1 << 5;
        let sets = CapabilityMasks {
            effective: 0,
            permitted: kill,
            inheritable: kill,
            ambient: kill,
        };
        assert_eq!(
            plan,
            CapabilityPlan {
                bounding: kill,
                sets
            }
        );
        assert_eq!(warnings.len(), 3);
    }

    #[test]
    fn a_new_user_namespace_grants_all_that_the_kernel_knows() {
        let host = crate::plan::tests::host();
        assert_eq!(grantable(&host, true), (1 << 41) - 1);
        assert_eq!(grantable(&host, false) & (1 << 24), 0);
    }
}

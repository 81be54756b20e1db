//! `linux.memoryPolicy`: set_mempolicy(2), for all processes of the container.

use super::flags::flags;
use super::numbers::{NumberSet, number_set};
use super::place::Place;
use super::text::unknown;
use crate::spec::Linux;
use crate::violation::Violations;

/// More memory nodes than any kernel is built for (CONFIG_NODES_SHIFT).
const NODES_MAX: u32 = 1024;

/// A memory policy, ready for set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicyPlan {
    /// MPOL_* and MPOL_F_* in one.
    pub mode: u32,
    /// None for modes that need none.
    pub nodes: NumberSet,
    /// The mode's name.
    pub name: &'static str,
}

/// Whether a mode is for nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nodes {
    Needed,
    Possible,
    None,
}

/// linux/mempolicy.h.
const MODES: [(&str, u32, Nodes); 7] = [
    ("MPOL_DEFAULT", 0, Nodes::None),
    (PREFERRED, 1, Nodes::Possible),
    (BIND, 2, Nodes::Needed),
    ("MPOL_INTERLEAVE", 3, Nodes::Needed),
    ("MPOL_LOCAL", 4, Nodes::None),
    (PREFERRED_MANY, 5, Nodes::Needed),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Needed),
];
const PREFERRED: &str = "MPOL_PREFERRED";
const BIND: &str = "MPOL_BIND";
const PREFERRED_MANY: &str = "MPOL_PREFERRED_MANY";

const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

/// linux/mempolicy.h.
const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", STATIC_NODES),
];

/// `linux.memoryPolicy.mode`: what this runtime knows.
pub fn memory_policy_modes() -> impl Iterator<Item = &'static str> + Clone {
    MODES.iter().map(|(name, _, _)| *name)
}

/// `linux.memoryPolicy.flags`: what this runtime knows.
pub fn memory_policy_flags() -> impl Iterator<Item = &'static str> + Clone {
    FLAGS.iter().map(|(name, _)| *name)
}

/// Resolves the policy of the container's processes.
pub(super) fn plan(linux: &Linux<'_>, violations: &mut Violations) -> Option<MemoryPolicyPlan> {
    let policy = linux.memory_policy.as_ref()?;
    let linux = Place::ROOT.key("linux");
    let place = linux.key("memoryPolicy");
    let flags = flags(
        policy.flags.as_deref(),
        &FLAGS,
        place.key("flags"),
        violations,
    );
    let at_nodes = place.key("nodes");
    let nodes = number_set(policy.nodes.as_deref(), NODES_MAX, at_nodes, violations);
    let name = policy.mode.as_deref().unwrap_or_default();
    let Some(&(name, mode, needs)) = MODES.iter().find(|(known, _, _)| *known == name) else {
        let rule = unknown("mode", name, memory_policy_modes());
        violations.add(place.key("mode"), rule);
        return None;
    };
    match (needs, &nodes) {
        (Nodes::Needed, None) => violations.add(at_nodes, format!("is required for {name}")),
        (Nodes::None, Some(_)) => violations.add(at_nodes, format!("must be empty for {name}")),
        _ => {}
    }
    let nodes = nodes.unwrap_or_default();
    check_flags(name, &nodes, flags, place.key("flags"), violations);
    Some(MemoryPolicyPlan {
        mode: mode | flags,
        nodes,
        name,
    })
}

/// What every kernel refuses with EINVAL alone.
fn check_flags(
    mode: &str,
    nodes: &NumberSet,
    flags: u32,
    place: Place<'_>,
    violations: &mut Violations,
) {
    let of_nodes = STATIC_NODES | RELATIVE_NODES;
    if flags & of_nodes == of_nodes {
        let rule = "must not have both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES";
        violations.add(place, rule);
    }
    if flags & of_nodes != 0 && nodes.words.is_empty() {
        let rule = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES are for modes with nodes";
        violations.add(place, rule);
    }
    if flags & NUMA_BALANCING != 0 && ![BIND, PREFERRED_MANY].contains(&mode) {
        let rule = "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY";
        violations.add(place, rule);
    }
}

impl MemoryPolicyPlan {
    /// The policy in a few words.
    pub(super) fn words(&self) -> String {
        let mut words = format!("memory policy {}", self.name);
        if !self.nodes.words.is_empty() {
            words.push_str(&format!(" of nodes {}", self.nodes));
        }
        for (name, _) in FLAGS.iter().filter(|(_, flag)| self.mode & flag != 0) {
            words.push_str(&format!(", {name}"));
        }
        words
    }
}

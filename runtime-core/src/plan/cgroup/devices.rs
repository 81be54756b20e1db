//! `resources.devices` (config-linux.md#allowed-device-list): ordered rules, and the two
//! forms that the kernel takes them in.
//!
//! The rules start from "nothing is allowed". For each kind of access, the last rule that
//! speaks of the device and of that access decides. After config.json's rules come built-in
//! ones that every container needs; config.json can't take them away.

use std::fmt;

use serde::Serialize;

use super::home::home;
use crate::host::{CgroupLayout, Host};
use crate::spec;
use crate::violation::Violations;

/// Rules in order: config.json's, then the built-in ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceRules(Vec<DeviceRule>);

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of device.
    pub kind: DeviceKind,
    /// None: any.
    pub major: Option<u32>,
    /// None: any.
    pub minor: Option<u32>,
    /// What is allowed or denied.
    pub access: Access,
}

/// Kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Both.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}

/// Kinds of access, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Access(u8);

impl Access {
    /// mknod(2).
    pub const MKNOD: Self = Self(1);
    /// Opening for reading.
    pub const READ: Self = Self(2);
    /// Opening for writing.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// BPF_DEVCG_ACC_* bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits; other bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// What is in one of the two sets.
    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        for letter in text.bytes() {
            bits |= match letter {
                b'm' => Self::MKNOD.0,
                b'r' => Self::READ.0,
                b'w' => Self::WRITE.0,
                _ => return None,
            };
        }
        (bits != 0).then_some(Self(bits))
    }
}

/// As the kernel's files have it: `rwm`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.0 & bit.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// As `devices.allow` and `devices.deny` take it: `c 1:3 rwm`, with `*` for any.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

/// `devices` as cgroup v1 keeps it: one answer for all, and exceptions from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    /// What holds for a device that no exception names.
    pub default_allow: bool,
    /// The others; kind is never [`DeviceKind::Any`], no two have the same kind and numbers.
    pub exceptions: Vec<DeviceRule>,
}

const fn built_in(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    let access = match major {
        None => Access::MKNOD,
        Some(_) => Access::ALL,
    };
    DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access,
    }
}

/// What every container may use: any mknod(2), and the default devices
/// (config-linux.md#default-devices) with pseudoterminals and the network tunnel.
const BUILT_IN: [DeviceRule; 11] = {
    use DeviceKind::{Block, Character};
    [
        built_in(Character, None, None),
        built_in(Block, None, None),
        built_in(Character, Some(1), Some(3)),    // null
        built_in(Character, Some(1), Some(5)),    // zero
        built_in(Character, Some(1), Some(7)),    // full
        built_in(Character, Some(1), Some(8)),    // random
        built_in(Character, Some(1), Some(9)),    // urandom
        built_in(Character, Some(5), Some(0)),    // tty
        built_in(Character, Some(5), Some(2)),    // ptmx
        built_in(Character, Some(136), None),     // pts/*
        built_in(Character, Some(10), Some(200)), // net/tun
    ]
};

impl DeviceRules {
    /// The given rules and the built-in ones after them.
    #[must_use]
    pub fn new(rules: Vec<DeviceRule>) -> Self {
        let mut all = rules;
        all.extend(BUILT_IN);
        Self(all)
    }

    /// All rules, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[DeviceRule] {
        &self.0
    }

    /// The rules that config.json gave.
    pub(super) fn asked(&self) -> &[DeviceRule] {
        &self.0[..self.0.len() - BUILT_IN.len()]
    }

    /// The rules as cgroup v1 keeps them.
    ///
    /// # Errors
    ///
    /// The index of a rule that takes away a part of what an earlier rule gave (or gives back
    /// a part of what one took) that v1's list can't name.
    pub fn list(&self) -> Result<DeviceList, usize> {
        let start = self.0.iter().rposition(|rule| rule.is_total());
        let (default_allow, rest) = match start {
            None => (false, 0),
            Some(index) => (self.0[index].allow, index + 1),
        };
        let numbered = || self.0.iter().enumerate().skip(rest);
        let plain = DeviceList::new(default_allow, vec![]).with(numbered());
        plain.or_else(|index| {
            // The other way round: all devices are an exception from the opposite answer.
            let all = [DeviceKind::Block, DeviceKind::Character]
                .map(|kind| DeviceRule {
                    allow: default_allow,
                    kind,
                    ..DeviceRule::TOTAL
                })
                .to_vec();
            let exceptions = DeviceList::new(!default_allow, all);
            exceptions.with(numbered()).map_err(|_| index)
        })
    }
}

impl DeviceRule {
    const TOTAL: Self = Self {
        allow: true,
        kind: DeviceKind::Any,
        major: None,
        minor: None,
        access: Access::ALL,
    };

    /// Whether it speaks of every access to every device.
    pub(crate) fn is_total(&self) -> bool {
        Self {
            allow: true,
            ..*self
        } == Self::TOTAL
    }

    /// Whether it speaks of every device that `other` speaks of.
    fn covers(&self, other: &Self) -> bool {
        let within = |all: Option<u32>, part| all.is_none() || all == part;
        self.kind == other.kind
            && within(self.major, other.major)
            && within(self.minor, other.minor)
    }

    /// Whether some access to some device is in both.
    fn meets(&self, other: &Self) -> bool {
        let both = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && both(self.major, other.major)
            && both(self.minor, other.minor)
            && self.access.0 & other.access.0 != 0
    }

    /// The same for block devices and for character devices alone.
    fn by_kind(self) -> Vec<Self> {
        match self.kind {
            DeviceKind::Any => [DeviceKind::Block, DeviceKind::Character]
                .map(|kind| Self { kind, ..self })
                .to_vec(),
            DeviceKind::Block | DeviceKind::Character => vec![self],
        }
    }
}

impl DeviceList {
    fn new(default_allow: bool, exceptions: Vec<DeviceRule>) -> Self {
        Self {
            default_allow,
            exceptions,
        }
    }

    /// The list after these rules; an error is the index of the one it can't hold.
    fn with<'a>(
        mut self,
        rules: impl Iterator<Item = (usize, &'a DeviceRule)>,
    ) -> Result<Self, usize> {
        for (index, rule) in rules {
            for rule in rule.by_kind() {
                if rule.allow == self.default_allow {
                    self.drop_exceptions(&rule).ok_or(index)?;
                } else {
                    self.add_exception(rule);
                }
            }
        }
        Ok(self)
    }

    fn add_exception(&mut self, rule: DeviceRule) {
        let same = |e: &&mut DeviceRule| e.covers(&rule) && rule.covers(e);
        match self.exceptions.iter_mut().find(same) {
            Some(exception) => exception.access.0 |= rule.access.0,
            None => self.exceptions.push(rule),
        }
    }

    /// Takes the rule's part out of the exceptions; none if a part of one would have to stay.
    fn drop_exceptions(&mut self, rule: &DeviceRule) -> Option<()> {
        for exception in &mut self.exceptions {
            if rule.covers(exception) {
                exception.access.0 &= !rule.access.0;
            } else if rule.meets(exception) {
                return None;
            }
        }
        self.exceptions.retain(|exception| exception.access.0 != 0);
        Some(())
    }
}

/// Resolves the rules; none for a rootless runtime.
pub(super) fn plan(
    resources: &spec::Resources<'_>,
    host: &Host,
    at: &str,
    violations: &mut Violations,
) -> Option<DeviceRules> {
    let list = resources.devices.as_deref().unwrap_or_default();
    let mut rules = Vec::with_capacity(list.len() + BUILT_IN.len());
    for (index, spec) in list.iter().enumerate() {
        rules.extend(rule(spec, &format!("{at}/{index}"), violations));
    }
    if host.is_rootless() {
        return None;
    }
    let complete = rules.len() == list.len();
    let rules = DeviceRules::new(rules);
    match &host.cgroups {
        CgroupLayout::V2(_) => {}
        CgroupLayout::V1 { .. } if home(&host.cgroups, "devices").is_some() => {
            if let (true, Err(index)) = (complete, rules.list()) {
                // A built-in rule can only clash with one of config.json's.
                let index = index.min(list.len().saturating_sub(1));
                violations.add(
                    format!("{at}/{index}"),
                    "changes a part of what another rule says, which cgroup v1 can't express",
                );
            }
        }
        CgroupLayout::V1 {
            unified: Some(_), ..
        } => {}
        CgroupLayout::V1 { unified: None, .. } | CgroupLayout::None => violations.add(
            at,
            "needs the cgroup controller devices or cgroup v2, and this host has neither",
        ),
    }
    Some(rules)
}

/// One rule of config.json.
fn rule(spec: &spec::DeviceRule<'_>, at: &str, violations: &mut Violations) -> Option<DeviceRule> {
    let before = violations.0.len();
    let kind = match spec.kind.as_deref() {
        None | Some("" | "a") => DeviceKind::Any,
        Some("b") => DeviceKind::Block,
        Some("c" | "u") => DeviceKind::Character,
        Some(_) => {
            violations.add(format!("{at}/type"), "must be a, b or c");
            DeviceKind::Any
        }
    };
    let access = match spec.access.as_deref() {
        None => Some(Access::ALL),
        Some(text) => Access::parse(text),
    };
    if access.is_none() {
        violations.add(format!("{at}/access"), "must be one or more of r, w and m");
    }
    if spec.allow.is_none() {
        violations.add(format!("{at}/allow"), "is required");
    }
    let rule = DeviceRule {
        allow: spec.allow == Some(true),
        kind,
        major: number(spec.major, &format!("{at}/major"), violations),
        minor: number(spec.minor, &format!("{at}/minor"), violations),
        access: access.unwrap_or(Access::ALL),
    };
    (violations.0.len() == before).then_some(rule)
}

/// A device number; -1 and absent are any.
fn number(number: Option<i64>, at: &str, violations: &mut Violations) -> Option<u32> {
    match number {
        None | Some(-1) => None,
        Some(number) => u32::try_from(number)
            .map_err(|_| violations.add(at, "must be a device number, or -1 for any"))
            .ok(),
    }
}

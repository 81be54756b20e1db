//! The container's cgroups as a unit of systemd: its name, its place, its properties.
//!
//! Pure like the rest of the plan: which unit would be asked for is known, printed and tested
//! without a systemd. Only the description and the first process are added when it is.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{CgroupPath, DeviceRules, Resources};
use crate::host::Host;
use crate::id::ContainerId;
use crate::spec::Spec;
use crate::violation::Violations;

mod annotations;
mod devices;
mod name;
mod properties;
mod quantity;
#[cfg(test)]
mod tests;
mod text;
mod unified;

pub(crate) use self::properties::of_resources;

/// Who makes the container's cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// tare itself, by mkdir(2).
    #[default]
    Filesystem,
    /// systemd, as a transient unit; `cgroupsPath` has the form `slice:prefix:name`.
    Systemd,
}

/// A transient unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitPlan {
    /// Such as `tare-box.scope`.
    pub name: String,
    /// Whose unit it is.
    pub manager: Manager,
    /// Which slice it is in, such as `system.slice`.
    pub slice: String,
    /// Everything that is asked for at the start but `Description` and `PIDs`; each name once.
    pub properties: Vec<Property>,
}

impl UnitPlan {
    /// Whether it is a scope, which lives as long as it has processes; a slice needs none.
    #[must_use]
    pub fn is_scope(&self) -> bool {
        !self.name.ends_with(name::SLICE)
    }
}

/// An instance of systemd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// The host's first process.
    #[default]
    System,
    /// The user's own.
    User,
}

/// One property of a unit, as `systemctl show` names it on D-Bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Property {
    /// Such as `MemoryMax`.
    pub name: Cow<'static, str>,
    /// With the type that systemd wants.
    pub value: Value,
}

impl Property {
    fn new(name: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// A value of one of the D-Bus types that unit properties have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `t`
    Uint64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    /// The D-Bus signature.
    #[must_use]
    pub const fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Int32(_) => "i",
            Self::Uint64(_) => "t",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }

    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// As GVariant text, in which annotations give values too.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int32(value) => value.fmt(f),
            Self::Uint64(value) => write!(f, "uint64 {value}"),
            Self::Text(text) => quoted(text, f),
            Self::Texts(texts) => list(texts, "@as ", f, |text, f| quoted(text, f)),
            Self::Bytes(bytes) => list(bytes, "@ay ", f, |byte, f| write!(f, "0x{byte:02x}")),
            Self::Numbers(numbers) => list(numbers, "@au ", f, |number, f| number.fmt(f)),
            Self::Pairs(pairs) => list(pairs, "@a(ss) ", f, |(one, other), f| {
                f.write_str("(")?;
                quoted(one, f)?;
                f.write_str(", ")?;
                quoted(other, f)?;
                f.write_str(")")
            }),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("'")?;
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => write!(f, "\\{letter}")?,
            letter => write!(f, "{}", letter.escape_debug())?,
        }
    }
    f.write_str("'")
}

/// An empty list needs its type in front.
fn list<T>(
    items: &[T],
    kind: &str,
    f: &mut fmt::Formatter<'_>,
    item: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        f.write_str(kind)?;
    }
    f.write_str("[")?;
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        item(one, f)?;
    }
    f.write_str("]")
}

/// Decides the unit and where its cgroup will be.
pub(super) fn plan(
    spec: &Spec<'_>,
    id: &ContainerId,
    host: &Host,
    (resources, devices): (&Resources, Option<&DeviceRules>),
    violations: &mut Violations,
) -> (CgroupPath, UnitPlan) {
    let text = spec.linux.as_ref().and_then(|l| l.cgroups_path.as_deref());
    let named = name::plan(text, id, host, violations);
    let mut unit = UnitPlan {
        properties: defaults(&named, host),
        name: named.unit,
        manager: named.manager,
        slice: named.slice,
    };
    let at = "/linux/resources";
    let mut limits = of_resources(resources, &host.cgroups, at, violations);
    if let Some(rules) = devices {
        limits.extend(devices::plan(rules, &host.cgroups, at, violations));
    }
    annotations::add(&mut unit.properties, &mut limits, spec, violations);
    unit.properties.extend(limits);
    (CgroupPath::BelowMount(named.path), unit)
}

/// What every unit of a container has; annotations may say otherwise, but for its place.
fn defaults(named: &name::Named, host: &Host) -> Vec<Property> {
    let slice = named.slice.clone();
    let mut properties = if named.unit.ends_with(name::SLICE) {
        // A slice's own name says where it is.
        vec![Property::new("Wants", Value::Texts(vec![slice]))]
    } else {
        vec![
            Property::new("Slice", Value::Text(slice)),
            Property::new("Delegate", Value::Bool(true)),
        ]
    };
    let accounting = match super::home(&host.cgroups, "io") {
        Some(super::Home::V1) => "BlockIOAccounting",
        _ => "IOAccounting",
    };
    for counted in [
        "CPUAccounting",
        "MemoryAccounting",
        accounting,
        "TasksAccounting",
    ] {
        properties.push(Property::new(counted, Value::Bool(true)));
    }
    properties.push(Property::new("DefaultDependencies", Value::Bool(false)));
    // A unit that failed goes away by itself, too.
    properties.push(Property::new(
        "CollectMode",
        Value::text("inactive-or-failed"),
    ));
    properties
}

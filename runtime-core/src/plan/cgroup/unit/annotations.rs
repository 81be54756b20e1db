//! `org.systemd.property.NAME` annotations: further properties of the unit.
//!
//! An annotation can come from whoever may start a container, and some properties reach far
//! beyond it: `SuccessAction` restarts the host, `PIDs` drags foreign processes in, `Slice`
//! leaves the limits above, dependencies start and stop other units, `BPFProgram` and
//! `IPIngressFilterPath` name files of the host. So what may be set is a list, with the type of
//! each; every other name is refused. No value reaches systemd but as a typed value.

use super::text::{Kind, parse};
use super::{Property, Value};
use crate::spec::Spec;
use crate::violation::{Violations, pointer_token};

const PREFIX: &str = "org.systemd.property.";

/// The properties of org.freedesktop.systemd1(5) that concern the unit alone.
const ALLOWED: [(&str, Kind); 44] = [
    ("After", Kind::Texts),
    ("AllowedCPUs", Kind::Bytes),
    ("AllowedMemoryNodes", Kind::Bytes),
    ("Before", Kind::Texts),
    ("BlockIOAccounting", Kind::Bool),
    ("BlockIOWeight", Kind::Uint64),
    ("CPUAccounting", Kind::Bool),
    ("CPUQuotaPerSecUSec", Kind::Uint64),
    ("CPUQuotaPeriodUSec", Kind::Uint64),
    ("CPUShares", Kind::Uint64),
    ("CPUWeight", Kind::Uint64),
    ("CollectMode", Kind::Text),
    ("DefaultDependencies", Kind::Bool),
    ("Delegate", Kind::Bool),
    ("FinalKillSignal", Kind::Int32),
    ("IOAccounting", Kind::Bool),
    ("IOWeight", Kind::Uint64),
    ("IPAccounting", Kind::Bool),
    ("KillMode", Kind::Text),
    ("KillSignal", Kind::Int32),
    ("ManagedOOMMemoryPressure", Kind::Text),
    ("ManagedOOMPreference", Kind::Text),
    ("ManagedOOMSwap", Kind::Text),
    ("MemoryAccounting", Kind::Bool),
    ("MemoryHigh", Kind::Uint64),
    ("MemoryLimit", Kind::Uint64),
    ("MemoryLow", Kind::Uint64),
    ("MemoryMax", Kind::Uint64),
    ("MemoryMin", Kind::Uint64),
    ("MemorySwapMax", Kind::Uint64),
    ("MemoryZSwapMax", Kind::Uint64),
    ("OOMPolicy", Kind::Text),
    ("RuntimeMaxUSec", Kind::Uint64),
    ("RuntimeRandomizedExtraUSec", Kind::Uint64),
    ("SendSIGHUP", Kind::Bool),
    ("SendSIGKILL", Kind::Bool),
    ("StartupBlockIOWeight", Kind::Uint64),
    ("StartupCPUShares", Kind::Uint64),
    ("StartupCPUWeight", Kind::Uint64),
    ("StartupIOWeight", Kind::Uint64),
    ("TasksAccounting", Kind::Bool),
    ("TasksMax", Kind::Uint64),
    ("TimeoutStopUSec", Kind::Uint64),
    ("WatchdogSignal", Kind::Int32),
];

/// Adds the properties that annotations ask for. They may change tare's own defaults, and not
/// what `linux.resources` says.
pub(super) fn add(
    defaults: &mut [Property],
    limits: &mut Vec<Property>,
    spec: &Spec<'_>,
    violations: &mut Violations,
) {
    let mut asked: Vec<Property> = Vec::new();
    for (key, text) in spec.annotations.iter().flatten() {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        if let Err(rule) = one(name, text, &mut asked, (defaults, limits)) {
            violations.add(format!("/annotations/{}", pointer_token(key)), rule);
        }
    }
    limits.extend(asked);
}

fn one(
    name: &str,
    text: &str,
    asked: &mut Vec<Property>,
    (defaults, limits): (&mut [Property], &[Property]),
) -> Result<(), String> {
    let property = read(name, text)?;
    if asked.iter().any(|other| other.name == property.name) {
        return Err(format!("sets {} a second time", property.name));
    }
    if property.name == "Delegate" && property.value != Value::Bool(true) {
        return Err("must be true: systemd must leave the container's cgroup to tare".to_owned());
    }
    if let Some(limit) = limits.iter().find(|limit| limit.name == property.name) {
        return if limit.value == property.value {
            Ok(())
        } else {
            Err(format!(
                "contradicts linux.resources, by which {limit}: give it in one of the two places"
            ))
        };
    }
    match defaults.iter_mut().find(|own| own.name == property.name) {
        Some(own) => own.value = property.value,
        None => asked.push(property),
    }
    Ok(())
}

/// The property of that name; a time in seconds is one in microseconds.
fn read(name: &str, text: &str) -> Result<Property, String> {
    let in_seconds = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U'));
    let full = match in_seconds {
        Some(stem) => format!("{stem}USec"),
        None => name.to_owned(),
    };
    let (known, kind) = ALLOWED
        .iter()
        .find(|(known, _)| *known == full)
        .ok_or_else(|| {
            format!(
                "{} is no property that an annotation may set: those that concern the container's unit alone are possible",
                crate::plan::text::quoted(name)
            )
        })?;
    let value = match in_seconds {
        Some(_) => seconds(text),
        None => parse(text, *kind),
    };
    let value = value.ok_or_else(|| {
        format!(
            "{} is no GVariant text of type {}, such as {}",
            crate::plan::text::quoted(text),
            if in_seconds.is_some() {
                "number of seconds"
            } else {
                kind.name()
            },
            if in_seconds.is_some() {
                "90"
            } else {
                kind.example()
            },
        )
    })?;
    Ok(Property::new(*known, value))
}

/// Seconds, whole or not, as microseconds.
fn seconds(text: &str) -> Option<Value> {
    if let Some(Value::Uint64(whole)) = parse(text, Kind::Uint64) {
        return whole.checked_mul(1_000_000).map(Value::Uint64);
    }
    let (whole, part) = text.trim().split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let micros: u64 = format!("{part:0<6}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole
        .checked_mul(1_000_000)?
        .checked_add(micros)
        .map(Value::Uint64)
}

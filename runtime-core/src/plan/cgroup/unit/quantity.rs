//! Quantities in the form that systemd takes them in.

use super::super::Limit;
use super::{Property, Value};

/// systemd's `infinity`.
pub(super) const INFINITY: u64 = u64::MAX;

/// The kernel's period for a quota without one.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// systemd keeps a quota in its unit files as a whole percentage of one CPU, so what is not is
/// rounded up: else a daemon-reload would take some of it away.
const QUOTA_STEP_US: u64 = 10_000;

/// The highest CPU or memory node that is told: more than any kernel is built for.
const HIGHEST_BIT: usize = 8191;

/// A limit in systemd's form.
pub(super) fn amount(limit: Limit) -> Value {
    Value::Uint64(match limit {
        Limit::Unlimited => INFINITY,
        Limit::At(value) => value,
    })
}

/// A number of processes; systemd knows no limit of none.
pub(super) fn tasks(limit: Limit) -> Value {
    amount(match limit {
        Limit::At(0) => Limit::At(1),
        limit => limit,
    })
}

/// CPU time in each second, and the period in which it is measured.
pub(super) fn quota(quota: Option<Limit>, period_us: Option<u64>) -> Vec<Property> {
    let per_second = quota.map(|quota| match quota {
        Limit::Unlimited => INFINITY,
        Limit::At(quota) => {
            let period = u128::from(period_us.unwrap_or(DEFAULT_PERIOD_US).max(1));
            let per_second = (u128::from(quota) * 1_000_000).div_ceil(period);
            let per_second = u64::try_from(per_second).unwrap_or(INFINITY);
            per_second
                .checked_next_multiple_of(QUOTA_STEP_US)
                .unwrap_or(INFINITY)
        }
    });
    let property = |name: &'static str, value| Property::new(name, Value::Uint64(value));
    let per_second = per_second.map(|value| property("CPUQuotaPerSecUSec", value));
    let period = period_us.map(|value| property("CPUQuotaPeriodUSec", value));
    per_second.into_iter().chain(period).collect()
}

/// A list such as `0-3,7` as a set of bits, the lowest first; none if it is no such list.
pub(super) fn bits(list: &str) -> Option<Value> {
    let mut bytes = Vec::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last || last > HIGHEST_BIT {
            return None;
        }
        if bytes.len() <= last / 8 {
            bytes.resize(last / 8 + 1, 0_u8);
        }
        for bit in first..=last {
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(Value::Bytes(bytes))
}

/// Digits and nothing else.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim();
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

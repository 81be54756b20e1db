//! A container's figures as containerd's clients want them: the messages of the package
//! containerd/cgroups, one for each version of cgroups.

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use runtime_core::statistics::{Limit, Statistics};

use crate::failure::Failure;

mod v1;
mod v2;

/// The message for these figures.
///
/// # Errors
///
/// When it can't be encoded.
pub(crate) fn encode(statistics: &Statistics) -> Result<Any, Failure> {
    let (type_url, value) = match statistics {
        Statistics::V1(statistics) => (
            "io.containerd.cgroups.v1.Metrics",
            v1::metrics(statistics).write_to_bytes(),
        ),
        Statistics::V2(statistics) => (
            "io.containerd.cgroups.v2.Metrics",
            v2::metrics(statistics).write_to_bytes(),
        ),
    };
    let value =
        value.map_err(|error| Failure::unknown(format!("encode the statistics: {error}")))?;
    Ok(Any {
        type_url: type_url.to_owned(),
        value,
        ..Any::default()
    })
}

/// A limit as a number, and this one for none.
fn number(limit: Option<Limit>, none: u64) -> u64 {
    match limit {
        Some(Limit::At(number)) => number,
        Some(Limit::Unlimited) => none,
        None => 0,
    }
}

/// A count of handles or objects; the largest number for no limit.
fn narrow(limit: Option<Limit>) -> u32 {
    u32::try_from(number(limit, u64::MAX)).unwrap_or(u32::MAX)
}

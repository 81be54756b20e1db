//! JSON that no two readers can read differently: one object, no name twice, bounded.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The largest document, in bytes. distribution-spec asks for at least 4 MiB of a manifest.
pub const MAX_DOCUMENT: u64 = 8 << 20;

/// Parses `bytes`; `what` names the document in errors.
pub(crate) fn strict(bytes: &[u8], what: &str) -> Result<Value> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        let message = format!(
            "{what}: {} bytes, and {MAX_DOCUMENT} is the most",
            bytes.len()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let Strict(value) = serde_json::from_slice(bytes).map_err(|error| corrupt(what, error))?;
    Ok(value)
}

/// The same, where only an object will do.
pub(super) fn object(bytes: &[u8], what: &str) -> Result<Value> {
    let value = strict(bytes, what)?;
    if !value.is_object() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{what}: no JSON object"),
        ));
    }
    Ok(value)
}

/// A checked object as a type.
pub(crate) fn typed<T: DeserializeOwned>(value: Value, what: &str) -> Result<T> {
    serde_json::from_value(value).map_err(|error| corrupt(what, error))
}

fn corrupt(what: &str, error: serde_json::Error) -> Error {
    Error::with_source(ErrorKind::Corrupt, format!("{what}: {error}"), error)
}

/// A value in which no object names a member twice. (serde_json bounds the depth itself.)
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            // encoding/json of Go ignores case, so "Layers" would be a second "layers" there.
            let is_twin = map
                .keys()
                .any(|other| other.eq_ignore_ascii_case(&name) && is_ours(&name));
            if map.contains_key(&name) || is_twin {
                let message = format!("member {name:?} stands there twice");
                return Err(serde::de::Error::custom(message));
            }
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

/// Names with a meaning in these documents; of others (labels, annotations) case counts.
fn is_ours(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "schemaVersion",
        "mediaType",
        "manifests",
        "layers",
        "config",
        "digest",
        "size",
        "rootfs",
        "diff_ids",
        "platform",
        "urls",
        "data",
        "subject",
        "artifactType",
        "fsLayers",
    ];
    NAMES.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

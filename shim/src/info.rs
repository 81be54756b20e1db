//! `-info` and `-version`: what this shim is and what its runtime can do.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use runtime_core::Features;

use crate::bootstrap;
use crate::failure::Failure;
use crate::foreign;
use crate::options::Options;

/// The runtime's name, as containerd's configuration has it.
pub const NAME: &str = "io.containerd.tare.v1";

/// The type of the features, whose value is JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// The commit that this program was built from, if the build knew it.
const REVISION: &str = match option_env!("TARE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What `-version` prints, in the shape of Go's shims.
#[must_use]
pub fn version(program: &str) -> String {
    let name = Path::new(program).file_name().unwrap_or_default();
    format!(
        "{}:\n  Version:  {}\n  Revision: {REVISION}\n\n",
        name.display(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// What `-info` prints: a RuntimeInfo, for the options that standard input has.
///
/// # Errors
///
/// The options can't be used, or name a runtime that can't be asked.
pub fn info(input: impl AsFd + Read) -> Result<Vec<u8>, Failure> {
    let asked = bootstrap::read_to_end(input)?;
    let options = Any::parse_from_bytes(&asked).map_err(|error| {
        Failure::invalid(format!("standard input is no Any with options: {error}"))
    })?;
    let options = (!options.type_url.is_empty()).then_some(options);
    let features = features(&Options::from_any(options.as_ref())?)?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: REVISION.to_owned(),
            ..RuntimeVersion::default()
        }),
        options: options.into(),
        features: MessageField::some(Any {
            type_url: FEATURES.to_owned(),
            value: features,
            ..Any::default()
        }),
        ..RuntimeInfo::default()
    };
    let encoded = info.write_to_bytes();
    encoded.map_err(|error| Failure::unknown(format!("encode the answer: {error}")))
}

/// The features as JSON: tare's own, or what the runtime says that the options name.
fn features(options: &Options) -> Result<Vec<u8>, Failure> {
    if options.is_foreign() {
        return foreign::features(&options.binary_name);
    }
    let json = serde_json::to_vec(&Features::of_this_library());
    json.map_err(|error| Failure::unknown(format!("encode the features: {error}")))
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::shim::oci;
    use serde_json::Value;

    use super::*;

    fn info_of(stdin: &[u8]) -> Result<RuntimeInfo, Failure> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, stdin).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        info(&file).map(|bytes| RuntimeInfo::parse_from_bytes(&bytes).unwrap())
    }

    fn any(options: &oci::Options) -> Any {
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().unwrap(),
            ..Any::default()
        }
    }

    #[test]
    fn what_cri_decides_by_is_in_the_features() {
        let options = any(&oci::Options {
            binary_name: "/usr/bin/tare".into(),
            ..Default::default()
        });
        let info = info_of(&options.write_to_bytes().unwrap()).unwrap();
        assert_eq!(info.name, "io.containerd.tare.v1");
        assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(*info.options, options);
        assert_eq!(info.features.type_url, FEATURES);
        let features: Value = serde_json::from_slice(&info.features.value).unwrap();
        let has = |pointer: &str, name: &str| {
            let list = features.pointer(pointer).and_then(Value::as_array);
            list.unwrap().iter().any(|value| value == name)
        };
        assert!(has("/mountOptions", "rro") && has("/linux/namespaces", "user"));
        assert_eq!(
            features["linux"]["mountExtensions"]["idmap"]["enabled"],
            true
        );
    }

    #[test]
    fn without_options_none_are_echoed_and_garbage_is_refused() {
        assert!(info_of(b"").unwrap().options.is_none());
        assert!(info_of(&[0xff; 20]).is_err());
    }

    #[test]
    fn another_runtime_is_asked_itself() {
        let named = |binary: &str| {
            let options = any(&oci::Options {
                binary_name: binary.into(),
                ..Default::default()
            });
            info_of(&options.write_to_bytes().unwrap())
        };
        // It says the word that it is asked with.
        assert_eq!(named("echo").unwrap().features.value, b"features\n");
        let failure = named("/nonexistent/runc").unwrap_err();
        let expected = "OCI runtime features failed: run /nonexistent/runc: no such file or directory (ENOENT)";
        assert!(failure.message.starts_with(expected), "{failure}");
    }

    #[test]
    fn the_version_names_the_program_as_it_is_called() {
        let text = version("/usr/bin/containerd-shim-tare-v1");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("containerd-shim-tare-v1:"));
        assert_eq!(
            lines.next(),
            Some(concat!("  Version:  ", env!("CARGO_PKG_VERSION")))
        );
    }
}

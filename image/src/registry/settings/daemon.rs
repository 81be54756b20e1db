//! What dockerd is told of registries in its `daemon.json`: `registry-mirrors` and
//! `insecure-registries`. Everything else in it is dockerd's own affair.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::proxies::{is_within, parse_network};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::url::Origin;

/// No such file is longer.
const MAX_FILE: u64 = 4 << 20;

/// What it says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Daemon {
    /// URLs that are asked before docker.io.
    #[serde(rename = "registry-mirrors")]
    pub(super) mirrors: Vec<String>,
    /// `host`, `host:port` or a network: TLS is not needed, nor a good certificate.
    #[serde(rename = "insecure-registries")]
    insecure: Vec<String>,
}

impl Daemon {
    /// A file that is missing says nothing.
    pub(super) fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let step = |error| Error::system(format!("read {}", path.display()), error);
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(step(error)),
        };
        let mut text = String::new();
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(step)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&text).map_err(|error| {
            let message = format!("{}: {error}", path.display());
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })
    }

    /// Whether a registry may do without encryption. Its name is not looked up for that: a
    /// network means registries that are named by their address.
    pub(super) fn permits_insecure(&self, authority: &str) -> bool {
        let address = Origin::new(true, authority)
            .ok()
            .and_then(|origin| origin.host().parse().ok());
        self.insecure
            .iter()
            .any(|entry| match parse_network(entry) {
                Some(network) => address.is_some_and(|address| is_within(address, network)),
                None => entry.eq_ignore_ascii_case(authority),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Daemon> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("daemon.json");
        std::fs::write(&file, text).expect("written");
        Daemon::read(Some(&file))
    }

    #[test]
    fn two_keys_are_read_and_the_others_are_dockerds() {
        let daemon = read(
            r#"{"debug": true, "registry-mirrors": ["https://m.io"],
                "insecure-registries": ["r.io:5000", "10.0.0.0/8", "fd00::/8"]}"#,
        )
        .expect("well-formed");
        assert_eq!(daemon.mirrors, ["https://m.io"]);
        for (authority, expected) in [
            ("r.io:5000", true),
            ("R.io:5000", true),
            ("r.io", false),
            ("10.1.2.3:80", true),
            ("11.1.2.3", false),
            ("[fd12::1]:5000", true),
            ("x.io", false),
        ] {
            assert_eq!(daemon.permits_insecure(authority), expected, "{authority}");
        }
    }

    #[test]
    fn no_file_says_nothing_and_a_malformed_one_is_named() {
        assert_eq!(Daemon::read(None).expect("none"), Daemon::default());
        let missing = Daemon::read(Some(Path::new("/missing/daemon.json")));
        assert_eq!(missing.expect("none"), Daemon::default());
        assert_eq!(read(" \n").expect("nothing"), Daemon::default());
        for text in ["{", "{\"registry-mirrors\": \"m.io\"}"] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("daemon.json"), "{error}");
        }
    }
}

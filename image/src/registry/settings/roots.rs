//! Whose certificates are believed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, PrivateKey, parse_pem};

use crate::error::{Error, ErrorKind, Result};

/// Where distributions keep the certificates of authorities; the first that exists counts.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/share/ca-certificates/ca-bundle.crt",
];

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Files of which the first that exists is the system's bundle. If none does, Mozilla's
    /// list, as it was when this program was built, is believed.
    pub bundles: Vec<PathBuf>,
    /// Files that are believed besides.
    pub further: Vec<PathBuf>,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            bundles: SYSTEM.iter().map(PathBuf::from).collect(),
            further: Vec::new(),
        }
    }
}

impl Roots {
    /// `SSL_CERT_FILE` takes the place of the system's bundle.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        match get("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            Some(file) => Self {
                bundles: vec![file.into()],
                further: Vec::new(),
            },
            None => Self::default(),
        }
    }

    /// The certificates of the system and of `more`; none if only Mozilla's are to be believed.
    pub(crate) fn load(&self, more: &[PathBuf]) -> Result<Vec<Certificate<'static>>> {
        let mut certificates = Vec::new();
        let bundle = self.bundles.iter().find(|path| path.exists());
        if let Some(bundle) = bundle {
            // A bundle may hold what this TLS library can't read; others in it still count.
            let pem = read(bundle)?;
            certificates.extend(parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            }));
        }
        for path in self.further.iter().chain(more) {
            certificates.extend(read_certificates(path)?);
        }
        Ok(certificates)
    }

    /// Whether there is a bundle of the system.
    pub(crate) fn has_bundle(&self) -> bool {
        self.bundles.iter().any(|path| path.exists())
    }
}

/// All certificates of a PEM file; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = read(path)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(malformed(path, &error.to_string())),
        }
    }
    if certificates.is_empty() {
        return Err(malformed(path, "no certificate in it"));
    }
    Ok(certificates)
}

/// The private key in a PEM file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKey<'static>> {
    let pem = read(path)?;
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::PrivateKey(key)) => return Ok(key),
            Ok(_) => {}
            Err(error) => return Err(malformed(path, &error.to_string())),
        }
    }
    Err(malformed(
        path,
        "no private key in it (encrypted ones can't be used)",
    ))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::system(format!("read {}", path.display()), error))
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("PEM file {}: {why}", path.display()),
    )
}

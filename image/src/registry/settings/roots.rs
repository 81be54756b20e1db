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
    /// Files of which the first that exists is the system's bundle. If none does, and nothing
    /// else is set here, Mozilla's list, as it was when this program was built, is believed.
    pub bundles: Vec<PathBuf>,
    /// A file in place of the system's bundle. It must be there, and have a certificate.
    pub file: Option<PathBuf>,
    /// Directories whose files are believed besides, as far as they are certificates; one that
    /// is missing has none.
    pub directories: Vec<PathBuf>,
    /// Files that are believed besides.
    pub further: Vec<PathBuf>,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            bundles: SYSTEM.iter().map(PathBuf::from).collect(),
            file: None,
            directories: Vec::new(),
            further: Vec::new(),
        }
    }
}

impl Roots {
    /// `SSL_CERT_FILE` takes the place of the system's bundle; the directories of `SSL_CERT_DIR`,
    /// with colons between them, come to it, as programs written in Go have it.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let directories = set("SSL_CERT_DIR").unwrap_or_default();
        Self {
            file: set("SSL_CERT_FILE").map(PathBuf::from),
            directories: std::env::split_paths(&directories)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            ..Self::default()
        }
    }

    /// The certificates of the system and of `more`; none if only Mozilla's are to be believed.
    pub(crate) fn load(&self, more: &[PathBuf]) -> Result<Vec<Certificate<'static>>> {
        let mut certificates = Vec::new();
        if let Some(file) = &self.file {
            certificates.extend(read_certificates(file)?);
        } else if let Some(bundle) = self.bundle() {
            // A bundle may hold what this TLS library can't read; others in it still count.
            certificates.extend(readable(&read(bundle)?));
        }
        for directory in &self.directories {
            certificates.extend(read_directory(directory)?);
        }
        for path in self.further.iter().chain(more) {
            certificates.extend(read_certificates(path)?);
        }
        Ok(certificates)
    }

    /// Whether anybody has said whom to believe, were it nobody.
    pub(crate) fn are_set(&self) -> bool {
        self.file.is_some() || !self.directories.is_empty() || self.bundle().is_some()
    }

    fn bundle(&self) -> Option<&PathBuf> {
        self.bundles.iter().find(|path| path.exists())
    }
}

/// The certificates of a directory's files, whatever else lies there.
fn read_directory(directory: &Path) -> Result<Vec<Certificate<'static>>> {
    let step = |error| Error::system(format!("read {}", directory.display()), error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(step(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(step)?.path());
    }
    paths.sort();
    let mut certificates = Vec::new();
    // A link may lead to nothing: an authority that was removed.
    for path in paths.iter().filter(|path| path.is_file()) {
        certificates.extend(readable(&read(path)?));
    }
    Ok(certificates)
}

fn readable(pem: &[u8]) -> impl Iterator<Item = Certificate<'static>> {
    let items: Vec<_> = parse_pem(pem).collect();
    items.into_iter().filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    })
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

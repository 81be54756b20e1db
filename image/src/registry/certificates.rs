//! The certificates that are shown to a server that asks who one is, and which of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, SignatureScheme};

use super::settings::roots;
use crate::error::{Error, ErrorKind, Result};

/// All certificates that may be shown to one host, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Shown>);

/// A certificate with its chain and its key.
#[derive(Debug)]
struct Shown {
    certified: Arc<CertifiedKey>,
    /// Who has signed it, and who has signed what its chain has; names in DER.
    issuers: Vec<DistinguishedName>,
}

impl Certificates {
    /// Reads certificates, each with its chain, and their keys, all in PEM.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not that, and for a key of another certificate.
    pub(super) fn read(files: &[(PathBuf, PathBuf)]) -> Result<Self> {
        let shown = files
            .iter()
            .map(|(certificate, key)| read(certificate, key));
        shown.collect::<Result<_>>().map(Self)
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Shown> {
    let chain = roots::read_certificates(certificate)?;
    let private = roots::read_key(key)?;
    let chain = chain
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der().to_vec()));
    certified(chain.collect(), private.der()).map_err(|error| {
        let message = format!(
            "client certificate {} with key {}: {error}",
            certificate.display(),
            key.display()
        );
        Error::with_source(ErrorKind::InvalidInput, message, error)
    })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> std::result::Result<Shown, rustls::Error> {
    let issuers = chain.iter().filter_map(issuer).collect();
    let key = PrivateKeyDer::try_from(key.to_vec())
        .map_err(|why| rustls::Error::General(why.to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(Shown {
        certified: Arc::new(CertifiedKey::from_der(chain, key, &provider)?),
        issuers,
    })
}

/// As a server names an authority. What can't be read was signed by nobody that we know of.
fn issuer(certificate: &CertificateDer<'_>) -> Option<DistinguishedName> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(DistinguishedName::in_sequence(parsed.issuer()))
}

impl Shown {
    fn can_sign(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }

    /// Whether a server that believes these authorities believes it; if it names none, it may.
    fn is_believed(&self, authorities: &[&[u8]]) -> bool {
        let is_named = |issuer: &DistinguishedName| authorities.contains(&issuer.as_ref());
        authorities.is_empty() || self.issuers.iter().any(is_named)
    }
}

impl ResolvesClientCert for Certificates {
    /// The first whose key can sign as the server wants it, and whose chain leads to whom it
    /// believes. If none leads there, the first that can sign: then the server says what is
    /// wrong with it, instead of that there is none.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let able = || self.0.iter().filter(|shown| shown.can_sign(schemes));
        let fitting = able().find(|shown| shown.is_believed(authorities));
        let chosen = fitting.or_else(|| able().next())?;
        Some(Arc::clone(&chosen.certified))
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

//! The encryption of a connection, from the files that were configured for it.

use super::settings::{Settings, hosts::TlsFiles, roots};
use crate::error::{Error, ErrorKind, Result};

/// Whose certificates are believed, and which is shown.
pub(super) fn config(settings: &Settings, files: &TlsFiles) -> Result<ureq::tls::TlsConfig> {
    use ureq::tls::{RootCerts, TlsConfig};
    let authorities = settings.roots.load(&files.authorities)?;
    let roots = if authorities.is_empty() && !settings.roots.are_set() {
        RootCerts::WebPki
    } else {
        RootCerts::from(authorities)
    };
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(client_certificate(files)?)
        .disable_verification(files.skip_verify)
        .build())
}

fn client_certificate(files: &TlsFiles) -> Result<Option<ureq::tls::ClientCert>> {
    let Some((certificate, key)) = &files.client else {
        return Ok(None);
    };
    let chain = roots::read_certificates(certificate)?;
    let private = roots::read_key(key)?;
    check_pair(&chain, &private).map_err(|error| {
        let message = format!(
            "client certificate {} with key {}: {error}",
            certificate.display(),
            key.display()
        );
        Error::with_source(ErrorKind::InvalidInput, message, error)
    })?;
    Ok(Some(ureq::tls::ClientCert::new_with_certs(&chain, private)))
}

/// ureq would end the program over a certificate that does not fit its key.
fn check_pair(
    chain: &[ureq::tls::Certificate<'static>],
    key: &ureq::tls::PrivateKey<'static>,
) -> std::result::Result<(), rustls::Error> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = chain
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der().to_vec()))
        .collect();
    let key = PrivateKeyDer::try_from(key.der().to_vec())
        .map_err(|why| rustls::Error::General(why.to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(chain, key)?;
    Ok(())
}

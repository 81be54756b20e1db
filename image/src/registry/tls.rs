//! The encryption of a connection, from the files that were configured for it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use super::certificates::Certificates;
use super::encrypted;
use super::settings::{Settings, hosts::TlsFiles};
use crate::error::{Error, ErrorKind, Result};

/// Connections to a host that are encrypted as its files say: whose certificates are believed,
/// and which are shown.
pub(super) fn agent(
    config: ConfigBuilder<AgentScope>,
    settings: &Settings,
    files: &TlsFiles,
) -> Result<ureq::Agent> {
    let authorities = settings.roots.load(&files.authorities)?;
    let are_set = settings.roots.are_set() || !authorities.is_empty();
    let authorities = are_set.then_some(authorities);
    if files.clients.is_empty() {
        let tls = TlsConfig::builder()
            .root_certs(authorities.map_or(RootCerts::WebPki, RootCerts::from))
            .disable_verification(files.skip_verify)
            .build();
        return Ok(config.tls_config(tls).build().new_agent());
    }
    // ureq knows one certificate to show, and ends the program if that doesn't fit its key.
    let tls = with_certificates(authorities, files)?;
    Ok(encrypted::agent(config.build(), tls))
}

/// `authorities` are Mozilla's if they are none.
fn with_certificates(
    authorities: Option<Vec<Certificate<'static>>>,
    files: &TlsFiles,
) -> Result<ClientConfig> {
    let shown = Arc::new(Certificates::read(&files.clients)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            let message = format!("TLS: {error}");
            Error::with_source(ErrorKind::Unsupported, message, error)
        })?;
    let builder = match files.skip_verify {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody)),
        false => builder.with_root_certificates(believed(authorities)),
    };
    Ok(builder.with_client_cert_resolver(shown))
}

fn believed(authorities: Option<Vec<Certificate<'static>>>) -> RootCertStore {
    let mut believed = RootCertStore::empty();
    match &authorities {
        None => believed.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(authorities) => {
            let authorities = authorities
                .iter()
                .map(|one| CertificateDer::from(one.der()));
            believed.add_parsable_certificates(authorities);
        }
    }
    believed
}

/// Believes that everybody is who they say, where the configuration asks for that.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // None of them is looked at, so none need be left out.
        vec![
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

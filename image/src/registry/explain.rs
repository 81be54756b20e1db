//! What a broken connection means, in a person's words.

use std::io;

use rustls::AlertDescription;

use super::exchange::Broken;
use super::settings::Timeouts;
use crate::error::{Error, ErrorKind};

/// What ureq's error means, in a person's words.
pub(super) fn explain(error: ureq::Error, authority: &str, timeouts: &Timeouts) -> Broken {
    use ureq::{Error as Ureq, Timeout};
    let (kind, message, may_pass) = match &error {
        Ureq::Timeout(Timeout::Resolve) => (
            ErrorKind::TimedOut,
            format!(
                "{authority}: its name was not resolved within {} s",
                timeouts.connect.as_secs()
            ),
            false,
        ),
        Ureq::Timeout(Timeout::Connect) => (
            ErrorKind::TimedOut,
            format!(
                "{authority}: no connection within {} s",
                timeouts.connect.as_secs()
            ),
            false,
        ),
        Ureq::Timeout(Timeout::RecvResponse) => (
            ErrorKind::TimedOut,
            format!(
                "{authority}: no answer within {} s",
                timeouts.answer.as_secs()
            ),
            true,
        ),
        Ureq::Timeout(_) => (
            ErrorKind::TimedOut,
            format!("{authority}: silent for {:?}", timeouts.stall),
            true,
        ),
        Ureq::Io(io) => return explain_io(error_text(io), io, authority).with(error),
        Ureq::HostNotFound => (
            ErrorKind::Unreachable,
            format!("{authority}: no such host"),
            false,
        ),
        Ureq::ConnectProxyFailed(why) => (
            ErrorKind::Unreachable,
            format!(
                "{authority}: the proxy does not connect: {}",
                super::problem::printable(why, 100)
            ),
            true,
        ),
        Ureq::Protocol(_) | Ureq::LargeResponseHeader(..) | Ureq::BodyStalled => (
            ErrorKind::Registry,
            format!("{authority}: what comes from it is no HTTP: {error}"),
            true,
        ),
        other => (
            ErrorKind::Unreachable,
            format!("{authority}: {other}"),
            false,
        ),
    };
    Broken {
        error: Error::with_source(kind, message, error),
        may_pass,
        after: None,
    }
}

fn error_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => runtime_core::errno::Words(runtime_core::errno::of_io(error)).to_string(),
        None => super::problem::printable(&error.to_string(), 200),
    }
}

struct Explained(ErrorKind, String, bool);

impl Explained {
    fn with(self, source: ureq::Error) -> Broken {
        Broken {
            error: Error::with_source(self.0, self.1, source),
            may_pass: self.2,
            after: None,
        }
    }
}

fn explain_io(text: String, error: &io::Error, authority: &str) -> Explained {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        return explain_tls(tls, authority);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Explained(
            ErrorKind::Unreachable,
            format!("{authority}: the connection ended early"),
            true,
        ),
        _ => Explained(ErrorKind::Unreachable, format!("{authority}: {text}"), true),
    }
}

fn explain_tls(error: &rustls::Error, authority: &str) -> Explained {
    let advice = match error {
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
        ) => " (its authority's certificate belongs in certs.d, as ca.crt)",
        rustls::Error::InvalidMessage(_) => {
            " (it may speak plain HTTP, which only the configuration can permit)"
        }
        rustls::Error::AlertReceived(alert) => advice_on(*alert),
        _ => "",
    };
    let message = format!("{authority}: TLS: {error}{advice}");
    Explained(ErrorKind::Unreachable, message, false)
}

/// What a server may want that ended the connection.
fn advice_on(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => {
            " (it wants to see a certificate, which belongs in certs.d, as NAME.cert and NAME.key)"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate => {
            " (it may want to see another certificate: those in certs.d are NAME.cert and NAME.key)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_a_certificate_is_explained() {
        let told = |alert| {
            let Explained(kind, message, may_pass) =
                explain_tls(&rustls::Error::AlertReceived(alert), "r.io");
            assert_eq!((kind, may_pass), (ErrorKind::Unreachable, false));
            message
        };
        let required = told(AlertDescription::CertificateRequired);
        assert!(
            required.contains("wants to see a certificate"),
            "{required}"
        );
        let unknown = told(AlertDescription::UnknownCA);
        assert!(unknown.contains("another certificate"), "{unknown}");
        let other = told(AlertDescription::DecodeError);
        assert!(!other.contains("certs.d"), "{other}");
    }
}

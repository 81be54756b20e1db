use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self {
            certificate: params.self_signed(&key).expect("signed"),
            issuer: Issuer::new(params, key),
        }
    }

    fn signs(&self, key: &KeyPair) -> rcgen::Certificate {
        let names = ["r.example", "127.0.0.1"].map(str::to_owned);
        let params = CertificateParams::new(names).expect("names");
        params.signed_by(key, &self.issuer).expect("signed")
    }

    /// Writes a certificate and its key.
    fn pair(&self, directory: &Path, name: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
        let path = |kind: &str| directory.join(format!("{name}.{kind}"));
        let files = (path("cert"), path("key"));
        std::fs::write(&files.0, self.signs(key).pem()).expect("written");
        std::fs::write(&files.1, key.serialize_pem()).expect("written");
        files
    }

    /// A server that has a certificate of its, and wants to see one.
    fn server(&self) -> ServerConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(believed(Some(vec![self.as_believed()])));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let key = KeyPair::generate().expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a root"))
            .with_single_cert(
                vec![self.signs(&key).der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            );
        ServerConnection::new(Arc::new(config.expect("a pair"))).expect("configured")
    }

    fn as_believed(&self) -> Certificate<'static> {
        Certificate::from_der(self.certificate.der()).to_owned()
    }
}

/// Lets both talk until neither has anything to say.
fn talk(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("in memory");
        server.read_tls(&mut wire.as_slice()).expect("in memory");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("in memory");
        client.read_tls(&mut wire.as_slice()).expect("in memory");
        client.process_new_packets()?;
    }
    Ok(())
}

/// What a server gets to see.
fn shown(
    clients: &[(PathBuf, PathBuf)],
    server: &Authority,
    skip_verify: bool,
) -> Result<Vec<u8>, rustls::Error> {
    let files = TlsFiles {
        clients: clients.to_vec(),
        skip_verify,
        ..TlsFiles::default()
    };
    let believed = (!skip_verify).then(|| vec![server.as_believed()]);
    let config = with_certificates(believed, &files).expect("pairs");
    let name = ServerName::try_from("r.example").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("configured");
    let mut server = server.server();
    talk(&mut client, &mut server)?;
    let peer = server.peer_certificates().expect("shown");
    Ok(peer[0].to_vec())
}

fn der(file: &Path) -> Vec<u8> {
    let read = crate::registry::settings::roots::read_certificates(file);
    read.expect("PEM")[0].der().to_vec()
}

#[test]
fn a_server_gets_to_see_the_certificate_that_it_believes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, other, third) = (
        Authority::new("one"),
        Authority::new("other"),
        Authority::new("third"),
    );
    let key = || KeyPair::generate().expect("a key");
    let clients = [
        one.pair(directory.path(), "a", &key()),
        other.pair(directory.path(), "b", &key()),
    ];
    for skip_verify in [false, true] {
        for (authority, (file, _)) in [(&one, &clients[0]), (&other, &clients[1])] {
            let seen = shown(&clients, authority, skip_verify).expect("believed");
            assert_eq!(seen, der(file));
        }
        // It says what is wrong with the first one.
        let refused = shown(&clients, &third, skip_verify).expect_err("a stranger");
        let is_about_it = matches!(refused, rustls::Error::InvalidCertificate(_));
        assert!(is_about_it, "{refused:?}");
    }
}

#[test]
fn a_key_signs_as_the_server_wants_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let clients = [
        one.pair(directory.path(), "a", &KeyPair::generate().expect("a key")),
        other.pair(directory.path(), "b", &edwards),
    ];
    let certificates = Certificates::read(&clients).expect("pairs");
    let resolve = |authorities: &[&[u8]], schemes: &[SignatureScheme]| {
        let chosen = certificates.resolve(authorities, schemes)?;
        clients
            .iter()
            .position(|(file, _)| der(file) == chosen.cert[0].as_ref())
    };
    let (nist, edwards) = (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ED25519,
    );
    assert_eq!(resolve(&[], &[edwards, nist]), Some(0));
    assert_eq!(resolve(&[], &[edwards]), Some(1));
    assert_eq!(resolve(&[], &[SignatureScheme::RSA_PSS_SHA256]), None);
    let subject = |authority: &Authority| {
        let roots = believed(Some(vec![authority.as_believed()]));
        roots.subjects().remove(0)
    };
    let (one, other) = (subject(&one), subject(&other));
    assert_eq!(resolve(&[other.as_ref()], &[edwards, nist]), Some(1));
    let both = [other.as_ref(), one.as_ref()];
    assert_eq!(resolve(&both, &[edwards, nist]), Some(0));
    // Believed or not, a key that can't sign is of no use.
    assert_eq!(resolve(&[other.as_ref()], &[nist]), Some(0));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = Authority::new("one");
    let key = || KeyPair::generate().expect("a key");
    let mine = one.pair(directory.path(), "a", &key());
    let yours = one.pair(directory.path(), "b", &key());
    let error = Certificates::read(&[mine.clone(), (mine.0, yours.1)]).expect_err("mixed up");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("b.key"), "{error}");
}

/// Answers so many requests on one connection, and says whose certificate it has seen.
fn serve(
    listener: &TcpListener,
    server: ServerConnection,
    body: &[u8],
    requests: usize,
) -> Vec<u8> {
    let (stream, _) = listener.accept().expect("somebody comes");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("set");
    let mut reader = BufReader::new(StreamOwned::new(server, stream));
    for _ in 0..requests {
        let mut line = "GET".to_owned();
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line).expect("a request");
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        stream.flush().expect("sent");
    }
    let shown = reader.get_ref().conn.peer_certificates();
    shown.expect("it showed one")[0].to_vec()
}

#[test]
fn requests_go_one_after_the_other_over_one_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let key = || KeyPair::generate().expect("a key");
    let files = TlsFiles {
        clients: vec![
            one.pair(directory.path(), "a", &key()),
            other.pair(directory.path(), "b", &key()),
        ],
        ..TlsFiles::default()
    };
    let tls = with_certificates(Some(vec![other.as_believed()]), &files).expect("pairs");
    let limit = Some(Duration::from_secs(20));
    let config = ureq::Agent::config_builder().timeout_global(limit);
    let agent = encrypted::agent(config.proxy(None).build(), tls);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    // More than any buffer on the way holds.
    let body: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&listener, other.server(), &body, 2));
        for _ in 0..2 {
            let answer = agent.get(&url).call().expect("an answer");
            let mut received = Vec::new();
            let mut reader = answer.into_body().into_reader();
            reader.read_to_end(&mut received).expect("a body");
            assert!(received == body, "{} bytes", received.len());
        }
        assert_eq!(serving.join().expect("served"), der(&files.clients[1].0));
    });
}

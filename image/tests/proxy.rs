//! Through a proxy that really tunnels, and tokens that end in the middle.

mod network;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use image::error::{Error, ErrorKind};
use image::pull::{PullOptions, Pulled, pull};
use image::registry::settings::{Credential, Proxies};
use image::registry::{Client, Settings};
use image::{Reference, Store};
use network::certificates::Authority;
use network::fake::{Fake, Seen, answer};
use network::{Made, Notes, quick};
use testkit::Marker;

/// A proxy that connects whoever asks with one server, whatever name is asked for.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let address = listener.local_addr().expect("bound");
        let (kept, stopped) = (Arc::clone(&heads), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || tunnel(stream, target, &kept));
            }
        });
        Self {
            address,
            heads,
            stop,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn tunnel(mut client: TcpStream, target: SocketAddr, heads: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heads.lock().expect("no panic").push(head);
    let mut server = TcpStream::connect(target).expect("it listens");
    client
        .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
        .expect("sent");
    let (mut from_client, mut to_server) = (
        client.try_clone().expect("cloned"),
        server.try_clone().expect("cloned"),
    );
    let there = std::thread::spawn(move || {
        // A broken tunnel is the end of it, on whichever side.
        std::io::copy(&mut from_client, &mut to_server).ok();
        to_server.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut server, &mut client).ok();
    client.shutdown(Shutdown::Both).ok();
    there.join().expect("no panic");
}

fn made() -> Made {
    Made::new(&[b"one", b"two", b"three"])
}

fn pull_into_nothing(settings: Settings, name: &str) -> Result<Pulled, Error> {
    let directory = Marker::new("proxy").directory();
    let store = Store::open(&directory.path().join("store")).expect("a store");
    let reference: Reference = name.parse().expect("a reference");
    let options = PullOptions {
        parallel: 3,
        ..PullOptions::default()
    };
    pull(
        &Client::new(settings),
        &store,
        &reference,
        &options,
        &Notes::default(),
    )
}

#[test]
fn a_proxy_tunnels_and_learns_neither_names_content_nor_credentials() {
    let authority = Authority::named("registry.invalid");
    let directory = Marker::new("proxy").directory();
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).expect("written");
    let alice = Credential::Password {
        username: "alice".into(),
        password: "open sesame".into(),
    };
    for is_encrypted in [true, false] {
        let handler = |seen: &Seen| {
            let challenge = [("WWW-Authenticate", "Basic realm=\"x\"")];
            match seen.header("authorization") {
                None => answer(401, &challenge, b""),
                Some(_) => made().serve(seen),
            }
        };
        let fake = match is_encrypted {
            true => Fake::encrypted(authority.pair().server(), handler),
            false => Fake::start(handler),
        };
        let proxy = Proxy::to(fake.address);
        let mut settings = quick();
        settings.roots.further = vec![ca.clone()];
        let through = Some(format!("http://{}", proxy.address));
        settings.proxies.https = through.clone().filter(|_| is_encrypted);
        settings.proxies.http = through.filter(|_| !is_encrypted);
        if !is_encrypted {
            settings.hosts.plain_http = vec!["registry.invalid".into()];
        }
        settings
            .keyring
            .given
            .insert("registry.invalid:5000".into(), alice.clone());
        // Nobody but the proxy can know this name.
        let pulled = pull_into_nothing(settings, "registry.invalid:5000/a:b").expect("pulled");
        assert_eq!(pulled.descriptor, made().descriptor());
        let heads = proxy.heads.lock().expect("no panic").clone();
        assert!(!heads.is_empty());
        for head in heads {
            assert!(
                head.starts_with("CONNECT registry.invalid:5000 HTTP/1.1\r\n"),
                "{head}"
            );
            assert!(!head.contains("uthorization"), "{head}");
        }
        assert!(fake.learned("YWxpY2U6b3BlbiBzZXNhbWU="));
    }
}

#[test]
fn a_proxys_own_password_goes_to_the_proxy_alone() {
    let authority = Authority::named("registry.invalid");
    let directory = Marker::new("proxy").directory();
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).expect("written");
    let server = authority.pair().server();
    let fake = Fake::encrypted(server, |seen| made().serve(seen));
    let proxy = Proxy::to(fake.address);
    let variables = |except: Option<&str>| {
        let mut settings = quick();
        settings.roots.further = vec![ca.clone()];
        let through = format!("http://bob:hidden@{}", proxy.address);
        settings.proxies = Proxies::from_variables(|name| match name {
            "HTTPS_PROXY" => Some(through.clone().into()),
            "NO_PROXY" => except.map(Into::into),
            _ => None,
        });
        settings
    };
    pull_into_nothing(variables(None), "registry.invalid:5000/a:b").expect("pulled");
    let heads = proxy.heads.lock().expect("no panic").clone();
    assert!(!heads.is_empty());
    for head in &heads {
        // base64 of "bob:hidden".
        let head = head.to_ascii_lowercase();
        let basic = "proxy-authorization: basic ".to_owned() + &"Ym9iOmhpZGRlbg==".to_lowercase();
        assert!(head.contains(&basic), "{head}");
    }
    assert!(!fake.learned("Ym9iOmhpZGRlbg=="));

    // Without the proxy nobody knows the name.
    for except in [
        "registry.invalid",
        ".invalid",
        "a.b,registry.invalid:5000",
        "*",
    ] {
        let pulled = pull_into_nothing(variables(Some(except)), "registry.invalid:5000/a:b");
        let error = pulled.expect_err(except);
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{except}: {error}");
    }
    assert_eq!(proxy.heads.lock().expect("no panic").len(), heads.len());
    let others = variables(Some("other.invalid,10.0.0.0/8,registry.invalid:5001"));
    pull_into_nothing(others, "registry.invalid:5000/a:b").expect("pulled");
}

#[test]
fn a_token_that_ends_in_the_middle_is_fetched_anew_once_for_all_threads() {
    let count = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&count);
    let service = Arc::new(Fake::start(move |_| {
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        answer(200, &[], format!("{{\"token\": \"t{number}\"}}").as_bytes())
    }));
    let realm = format!("Bearer realm=\"{}\",service=\"s\"", service.url("/token"));
    let fake = Fake::start(move |seen| {
        // Blobs are not to be had with the first token any more.
        let wanted = match seen.path().contains("/blobs/") {
            true => "Bearer t2",
            false => "Bearer t1",
        };
        let has = seen.header("authorization");
        let is_old = seen.path().contains("/blobs/") && has == Some("Bearer t1");
        if has == Some(wanted) {
            return made().serve(seen);
        }
        assert!(is_old || has.is_none(), "{has:?}");
        answer(401, &[("WWW-Authenticate", &realm)], b"")
    });
    pull_into_nothing(quick(), &format!("{}/a:b", fake.name())).expect("pulled");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_token_that_is_never_good_enough_is_asked_for_once() {
    let service = Arc::new(Fake::start(|_| {
        answer(200, &[], b"{\"access_token\": \"t\"}")
    }));
    let realm = format!("Bearer realm=\"{}\",service=\"s\"", service.url("/token"));
    let fake = Fake::start(move |seen| match seen.path() {
        "/v2/" => answer(200, &[], b""),
        _ => answer(401, &[("WWW-Authenticate", &realm)], b""),
    });
    let error = pull_into_nothing(quick(), &format!("{}/a:b", fake.name()));
    let error = error.expect_err("never");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // HEAD, and GET for the words: each with what was fetched before, and once more.
    assert!(service.seen().len() <= 2, "{}", service.seen().len());
}

#[test]
fn token_services_that_answer_nonsense_are_called_so() {
    for (body, words) in [
        (&b"{}"[..], "holds no token"),
        (b"<html>", "is malformed"),
        (b"{\"token\": \"a\\r\\nX-Evil: b\"}", "is no token"),
        (b"{\"token\": 5}", "is malformed"),
    ] {
        let service = Arc::new(Fake::start(move |_| answer(200, &[], body)));
        let realm = format!("Bearer realm=\"{}\",service=\"s\"", service.url("/token"));
        let fake = Fake::start(move |seen| match seen.path() {
            "/v2/" => answer(200, &[], b""),
            _ => answer(401, &[("WWW-Authenticate", &realm)], b""),
        });
        let error = pull_into_nothing(quick(), &format!("{}/a:b", fake.name()));
        let error = error.expect_err("nonsense").to_string();
        assert!(error.contains(words), "{error}");
    }
}

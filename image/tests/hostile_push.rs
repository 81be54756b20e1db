//! Registries that break off, refuse and send elsewhere while they are pushed to; lists without
//! an end; copies of what is corrupt.

mod network;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::copy::{CopyOptions, copy};
use image::document::{Descriptor, MediaType};
use image::error::{Error, ErrorKind};
use image::push::{PushOptions, push};
use image::registry::settings::Credential;
use image::registry::{Client, Settings};
use image::{Digest, Reference, Store};
use network::certificates::Authority;
use network::fake::{Fake, Reply, Seen, answer, redirect};
use network::{Made, Notes, quick};
use testkit::Marker;

/// What a registry has taken.
#[derive(Default)]
struct Taken {
    blobs: Vec<Vec<u8>>,
    session: Vec<u8>,
    manifests: Vec<(String, Vec<u8>)>,
}

type Shared = Arc<Mutex<Taken>>;

/// A registry that takes what it gets, one upload at a time.
fn taking(taken: &Shared, seen: &Seen) -> Reply {
    let mut taken = taken.lock().expect("no panic");
    let path = seen.path();
    let next = [("Location", "/session?state=1")];
    match seen.method.as_str() {
        "GET" if path == "/v2/" => answer(200, &[], b"{}"),
        "HEAD" => {
            let mut blobs = taken.blobs.iter();
            let is_there = blobs.any(|blob| path.ends_with(Digest::of(blob).hex()));
            answer(if is_there { 200 } else { 404 }, &[], b"")
        }
        "POST" => {
            taken.session.clear();
            answer(202, &next, b"")
        }
        "GET" if path == "/session" => {
            let range = format!("0-{}", taken.session.len().saturating_sub(1));
            answer(204, &[next[0], ("Range", &*range)], b"")
        }
        "PATCH" => {
            let start = format!("{}-", taken.session.len());
            let range = seen.header("content-range").unwrap_or_default();
            if !range.starts_with(&start) {
                return answer(416, &[], b"");
            }
            taken.session.extend(&seen.body);
            answer(202, &next, b"")
        }
        "PUT" if path == "/session" => {
            let mut blob = std::mem::take(&mut taken.session);
            blob.extend(&seen.body);
            if !seen.target.contains(Digest::of(&blob).hex()) {
                return answer(400, &[], b"{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}");
            }
            taken.blobs.push(blob);
            answer(201, &[], b"")
        }
        "PUT" if path.contains("/manifests/") => {
            taken.manifests.push((path.to_owned(), seen.body.clone()));
            answer(201, &[], b"")
        }
        "DELETE" => answer(204, &[], b""),
        _ => answer(404, &[], b""),
    }
}

fn registry(special: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> (Fake, Shared) {
    let taken = Shared::default();
    let shared = Arc::clone(&taken);
    let fake = Fake::start(move |seen| special(seen).unwrap_or_else(|| taking(&shared, seen)));
    (fake, taken)
}

/// Answers the first `times` requests that fit in a special way.
fn at_first(
    times: usize,
    fits: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    special: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move |seen| {
        let is_special = fits(seen) && count.fetch_add(1, Ordering::SeqCst) < times;
        is_special.then(|| special(seen))
    }
}

struct Scene {
    _directory: tempfile::TempDir,
    store: Store,
    image: Descriptor,
    made: Made,
    notes: Notes,
}

impl Scene {
    /// An image of one layer.
    fn new(layer: &[u8]) -> Self {
        let directory = Marker::new("push").directory();
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let made = Made::new(&[layer]);
        let lease = store.lease().expect("a lease");
        let put = |media_type, bytes: &[u8]| store.put(media_type, bytes).expect("written");
        put(MediaType::Other("application/octet-stream".into()), layer);
        put(MediaType::OciConfig, &made.config);
        let image = put(MediaType::OciManifest, &made.manifest);
        drop(lease);
        Self {
            _directory: directory,
            store,
            image,
            made,
            notes: Notes::default(),
        }
    }

    fn push(&self, settings: Settings, fake: &Fake, piece: Option<u64>) -> Result<(), Error> {
        self.push_by(settings, fake, piece, 1)
    }

    fn push_by(
        &self,
        settings: Settings,
        fake: &Fake,
        piece: Option<u64>,
        parallel: usize,
    ) -> Result<(), Error> {
        let client = Client::new(settings);
        let reference: Reference = format!("{}/a/b:c", fake.name()).parse().expect("one");
        let options = PushOptions {
            piece,
            parallel,
            ..PushOptions::default()
        };
        push(
            &client,
            &self.store,
            &self.image,
            &reference,
            &options,
            &self.notes,
        )
        .map(drop)
    }

    /// The registry has everything, and nothing else.
    fn arrived(&self, taken: &Shared) {
        let taken = taken.lock().expect("no panic");
        let mut blobs = taken.blobs.clone();
        let mut expected = vec![self.made.layers[0].clone(), self.made.config.clone()];
        blobs.sort();
        expected.sort();
        assert!(blobs == expected, "{} blobs", blobs.len());
        let manifest = ("/v2/a/b/manifests/c".to_owned(), self.made.manifest.clone());
        assert_eq!(taken.manifests, [manifest]);
    }
}

fn layer() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn an_upload_that_broke_is_begun_anew_and_the_old_one_cancelled() {
    let is_put = |seen: &Seen| seen.is("PUT", "/session");
    let (fake, taken) = registry(at_first(2, is_put, |_| answer(500, &[], b"")));
    let scene = Scene::new(&layer());
    scene.push(quick(), &fake, None).expect("pushed");
    scene.arrived(&taken);
    assert_eq!(fake.asked("DELETE", "/session").len(), 2);
    assert!(scene.notes.contain("trying again"));

    let (down, taken) = registry(move |seen| is_put(seen).then(|| answer(503, &[], b"")));
    let error = scene.push(quick(), &down, None).expect_err("never");
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    assert!(taken.lock().expect("no panic").manifests.is_empty());
}

#[test]
fn pieces_go_on_from_where_the_registry_says_that_it_is() {
    let count = AtomicUsize::new(0);
    let taken = Shared::default();
    let shared = Arc::clone(&taken);
    // The third piece arrives, but the answer to it doesn't.
    let fake = Fake::start(move |seen| {
        let reply = taking(&shared, seen);
        let is_third = seen.method == "PATCH" && count.fetch_add(1, Ordering::SeqCst) == 2;
        if is_third { Vec::new() } else { reply }
    });
    let scene = Scene::new(&layer());
    scene.push(quick(), &fake, Some(30_000)).expect("pushed");
    scene.arrived(&taken);
    let ranges: Vec<String> = fake
        .asked("PATCH", "")
        .iter()
        .filter_map(|seen| seen.header("content-range").map(str::to_owned))
        .filter(|range| range.len() > 6)
        .collect();
    let expected = [
        "0-29999",
        "30000-59999",
        "60000-89999",
        "90000-119999",
        "120000-149999",
        "150000-179999",
        "180000-199999",
    ];
    assert_eq!(ranges, expected);
    assert_eq!(fake.asked("GET", "/session").len(), 1);
}

#[test]
fn no_piece_is_shorter_than_the_registry_takes() {
    for (method, shortest, expected) in [
        (
            "POST",
            "70000",
            &["0-69999", "70000-139999", "140000-199999"][..],
        ),
        (
            "PATCH",
            "90000",
            &["0-29999", "30000-119999", "120000-199999"],
        ),
        ("POST", "20000", &["0-29999", "30000-59999"]),
        ("POST", "9999999999999999", &["0-199999"]),
        ("POST", "none", &["0-29999"]),
    ] {
        let taken = Shared::default();
        let shared = Arc::clone(&taken);
        let fake = Fake::start(move |seen| {
            let reply = taking(&shared, seen);
            if seen.method != method {
                return reply;
            }
            let headers = [
                ("Location", "/session?state=1"),
                ("OCI-Chunk-Min-Length", shortest),
            ];
            match seen.method.as_str() {
                "PATCH" if seen.body.len() < 1000 => reply,
                _ => answer(202, &headers, b""),
            }
        });
        let scene = Scene::new(&layer());
        scene.push(quick(), &fake, Some(30_000)).expect("pushed");
        scene.arrived(&taken);
        let of_layer: Vec<String> = fake
            .asked("PATCH", "")
            .iter()
            .filter(|seen| seen.body.len() > 1000)
            .filter_map(|seen| seen.header("content-range").map(str::to_owned))
            .collect();
        assert_eq!(of_layer[..expected.len()], *expected, "{method} {shortest}");
    }
}

#[test]
fn an_upload_that_is_given_up_for_another_ones_sake_is_cancelled() {
    let scene = Scene::new(&layer());
    let config = Digest::of(&scene.made.config);
    let begun = AtomicBool::new(false);
    let denied = AtomicBool::new(false);
    let wait = |for_it: &AtomicBool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !for_it.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "the other upload does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let (fake, taken) = registry(move |seen| match seen.method.as_str() {
        // The larger one is under way, when the other one is refused.
        "HEAD" if seen.path().ends_with(config.hex()) => {
            wait(&begun);
            denied.store(true, Ordering::SeqCst);
            Some(answer(403, &[], b""))
        }
        "PATCH" => {
            begun.store(true, Ordering::SeqCst);
            wait(&denied);
            std::thread::sleep(Duration::from_millis(20));
            None
        }
        _ => None,
    });
    let error = scene.push_by(quick(), &fake, Some(1000), 2);
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Denied);
    assert_eq!(fake.asked("DELETE", "/session").len(), 1);
    assert!(taken.lock().expect("no panic").blobs.is_empty());
}

#[test]
fn what_is_too_large_for_one_request_is_sent_in_pieces() {
    let large = vec![5; 17 << 20];
    let (fake, taken) = registry(|seen| {
        let is_large = seen.is("PUT", "/session") && seen.body.len() > 16 << 20;
        is_large.then(|| answer(413, &[], b""))
    });
    let scene = Scene::new(&large);
    scene.push(quick(), &fake, None).expect("pushed");
    scene.arrived(&taken);

    let (short, taken) = registry(|seen| {
        let is_large = seen.is("PUT", "/session") && seen.body.len() > 16 << 20;
        is_large.then(Vec::new)
    });
    scene.push(quick(), &short, None).expect("pushed");
    scene.arrived(&taken);

    let (narrow, _) = registry(|seen| (!seen.body.is_empty()).then(|| answer(413, &[], b"")));
    let error = scene.push(quick(), &narrow, None).expect_err("never");
    assert!(error.to_string().contains("takes no blob"), "{error}");
}

#[test]
fn a_registry_that_has_put_down_something_else_is_not_believed() {
    let (fake, _) = registry(|seen| {
        let other = Digest::of(b"other").to_string();
        seen.is("PUT", "/manifests/")
            .then(|| answer(201, &[("Docker-Content-Digest", &other)], b""))
    });
    let error = Scene::new(&layer())
        .push(quick(), &fake, None)
        .expect_err("another");
    assert!(error.to_string().contains("has put down"), "{error}");
}

fn alice(fake: &Fake) -> Settings {
    let mut settings = quick();
    let alice = Credential::Password {
        username: "alice".into(),
        password: "open sesame".into(),
    };
    settings.keyring.given.insert(fake.name(), alice);
    settings
}

/// U17.
#[test]
fn an_upload_that_goes_on_elsewhere_goes_on_without_credentials() {
    let taken = Shared::default();
    let shared = Arc::clone(&taken);
    let storage = Arc::new(Fake::start(move |seen| taking(&shared, seen)));
    let to = storage.url("/session?upload=1");
    let (fake, here) = registry(move |seen| {
        if seen.header("authorization").is_none() && seen.path() != "/v2/" {
            return Some(answer(
                401,
                &[("WWW-Authenticate", "Basic realm=\"x\"")],
                b"",
            ));
        }
        (seen.method == "POST").then(|| answer(202, &[("Location", &to)], b""))
    });
    let scene = Scene::new(&layer());
    scene.push(alice(&fake), &fake, None).expect("pushed");
    assert_eq!(taken.lock().expect("no panic").blobs.len(), 2);
    assert_eq!(here.lock().expect("no panic").manifests.len(), 1);
    assert!(!storage.learned("uthorization"), "{:?}", storage.seen());
}

/// U17.
#[test]
fn an_encrypted_upload_does_not_go_on_unencrypted() {
    let thief = Arc::new(Fake::start(|_| answer(201, &[], b"")));
    let authority = Authority::new();
    let directory = Marker::new("tls").directory();
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).expect("written");
    for status in [202, 307] {
        let to = thief.url("/session");
        let taken = Shared::default();
        let fake = Fake::encrypted(authority.pair().server(), move |seen| {
            match seen.method.as_str() {
                "POST" => answer(status, &[("Location", &to)], b""),
                _ => taking(&taken, seen),
            }
        });
        let mut settings = alice(&fake);
        settings.roots.further = vec![ca.clone()];
        let error = Scene::new(&layer())
            .push(settings, &fake, None)
            .expect_err("refused");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(error.to_string().contains("ncrypted"), "{error}");
    }
    assert!(thief.seen().is_empty());
}

/// U17: what a password is posted to does not send it on.
#[test]
fn a_token_service_that_redirects_gets_no_password_sent_on() {
    let thief = Arc::new(Fake::start(|_| answer(200, &[], b"{\"token\": \"t\"}")));
    let to = thief.url("/token");
    let service = Arc::new(Fake::start(move |_| redirect(&to)));
    let realm = format!("Bearer realm=\"{}\",service=\"s\"", service.url("/token"));
    let (fake, _) = registry(move |seen| {
        let is_known = seen.header("authorization") == Some("Bearer t");
        (!is_known && seen.path() != "/v2/")
            .then(|| answer(401, &[("WWW-Authenticate", &realm)], b""))
    });
    Scene::new(&layer())
        .push(alice(&fake), &fake, None)
        .expect("the token is a token");
    assert!(service.learned("YWxpY2U6b3BlbiBzZXNhbWU="));
    assert!(!thief.learned("YWxpY2U6b3BlbiBzZXNhbWU=") && !thief.learned("sesame"));
}

#[test]
fn an_unencrypted_realm_elsewhere_needs_the_configuration() {
    let (fake, _) = registry(|seen| {
        let realm = "Bearer realm=\"http://tokens.invalid/token\",service=\"s\"";
        (seen.path() != "/v2/").then(|| answer(401, &[("WWW-Authenticate", realm)], b""))
    });
    let error = Scene::new(&layer())
        .push(alice(&fake), &fake, None)
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("no configuration permits it"),
        "{error}"
    );
}

#[test]
fn lists_are_read_page_by_page_and_have_an_end() {
    let (fake, _) = registry(|seen| {
        if !seen.path().ends_with("/tags/list") {
            return None;
        }
        let page = |tags: &str, link: &str| {
            let body = format!("{{\"name\": \"a\", \"tags\": {tags}}}");
            answer(200, &[("Link", link)], body.as_bytes())
        };
        Some(
            match seen.target.split_once("last=").map(|(_, last)| last) {
                None => page(
                    "[\"1\", \"2\"]",
                    "</first>; rel=\"first\", </v2/a/tags/list?n=2&last=2>; rel=\"next\"",
                ),
                Some("2") => page("[\"3\"]", "<list?n=2&last=3>; rel=next"),
                _ => page("null", "</other>; rel=\"prev\""),
            },
        )
    });
    let client = Client::new(quick());
    let notes = Notes::default();
    let tags = |fake: &Fake| {
        let reference: Reference = format!("{}/a", fake.name()).parse().expect("one");
        client.repository(&reference, &notes).tags()
    };
    assert_eq!(tags(&fake).expect("listed"), ["1", "2", "3"]);

    let (endless, _) = registry(|seen| {
        let link = [("Link", &*format!("<{}>; rel=\"next\"", seen.target))];
        seen.path()
            .ends_with("/tags/list")
            .then(|| answer(200, &link, b"{\"tags\": [\"x\"]}"))
    });
    let error = tags(&endless).expect_err("endless");
    assert!(error.to_string().contains("has no end"), "{error}");

    let (elsewhere, _) = registry(|seen| {
        let link = [("Link", "<http://127.0.0.2:1/x>; rel=\"next\"")];
        seen.path()
            .ends_with("/tags/list")
            .then(|| answer(200, &link, b"{\"tags\": []}"))
    });
    let error = tags(&elsewhere).expect_err("elsewhere");
    assert!(
        error.to_string().contains("continues its list elsewhere"),
        "{error}"
    );
}

#[test]
fn a_registrys_own_list_of_what_is_about_an_image_is_read_and_filtered() {
    let (fake, _) = registry(|seen| {
        let entry = |kind: &str| {
            format!(
                "{{\"mediaType\": \"{}\", \"digest\": \"{}\", \"size\": 1, \"artifactType\": \"{kind}\"}}",
                MediaType::OciManifest,
                Digest::of(kind.as_bytes())
            )
        };
        let index = format!(
            "{{\"schemaVersion\": 2, \"manifests\": [{}, {}]}}",
            entry("a/b"),
            entry("c/d")
        );
        let headers = [("Content-Type", MediaType::OciIndex.as_str().to_owned())];
        let headers = [(headers[0].0, headers[0].1.as_str())];
        seen.path()
            .contains("/referrers/")
            .then(|| answer(200, &headers, index.as_bytes()))
    });
    let client = Client::new(quick());
    let notes = Notes::default();
    let reference: Reference = format!("{}/a", fake.name()).parse().expect("one");
    let repository = client.repository(&reference, &notes);
    let subject = Digest::of(b"subject");
    assert_eq!(
        repository.referrers(&subject, None).expect("listed").len(),
        2
    );
    let wanted = repository.referrers(&subject, Some("c/d")).expect("listed");
    assert_eq!(wanted.len(), 1);
    assert_eq!(fake.asked("GET", "artifactType=c/d").len(), 1);
}

#[test]
fn what_is_corrupt_is_not_copied() {
    let made = Made::new(&[&layer()]);
    let digest = made.descriptor().digest.to_string();
    let source = Fake::start(move |seen| {
        if seen.path() == "/v2/" {
            return answer(200, &[], b"");
        }
        if seen.path().contains("/manifests/") {
            let kind = MediaType::OciManifest.as_str().to_owned();
            let headers = [
                ("Content-Type", &*kind),
                ("Docker-Content-Digest", &*digest),
            ];
            return answer(200, &headers, &made.manifest);
        }
        let blobs = [&made.config, &made.layers[0]];
        let wanted = blobs
            .into_iter()
            .find(|blob| seen.path().ends_with(Digest::of(blob).hex()));
        let mut blob = wanted.cloned().unwrap_or_default();
        if blob.len() > 100_000 {
            blob[99_999] ^= 1;
        }
        answer(200, &[], &blob)
    });
    let (target, taken) = registry(|_| None);
    let client = Client::new(quick());
    let name = |fake: &Fake| -> Reference { format!("{}/a:b", fake.name()).parse().expect("one") };
    let notes = Notes::default();
    let options = CopyOptions::default();
    let error = copy(&client, &name(&source), &name(&target), &options, &notes);
    let error = error.expect_err("corrupt");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(taken.lock().expect("no panic").manifests.is_empty());
    assert_eq!(taken.lock().expect("no panic").blobs.len(), 1);
}

#[test]
fn who_keeps_the_list_of_what_is_about_an_image_needs_none_at_a_tag() {
    for (knows, lists) in [(true, 0), (false, 1)] {
        let (fake, _) = registry(move |seen| {
            let headers = [("OCI-Subject", "sha256:it-knows")];
            let is_known = knows && seen.is("PUT", "/manifests/");
            is_known.then(|| answer(201, &headers, b""))
        });
        let mut scene = Scene::new(&layer());
        let lease = scene.store.lease().expect("a lease");
        let put = |media_type, bytes: &[u8]| scene.store.put(media_type, bytes).expect("written");
        let empty = put(MediaType::Empty, b"{}");
        let artifact = serde_json::json!({"schemaVersion": 2, "artifactType": "x/y",
            "mediaType": MediaType::OciManifest.as_str(), "config": empty, "layers": [empty],
            "subject": scene.image});
        let artifact = put(MediaType::OciManifest, artifact.to_string().as_bytes());
        drop(lease);
        let subject = std::mem::replace(&mut scene.image, artifact);
        scene.push(quick(), &fake, None).expect("pushed");
        let tag = format!("/manifests/sha256-{}", subject.digest.hex());
        assert_eq!(fake.asked("PUT", &tag).len(), lists);
        assert_eq!(fake.asked("PUT", "/manifests/").len(), 1 + lists);
    }
}

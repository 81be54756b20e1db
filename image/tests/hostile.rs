//! Registries that lie, stall, break off, send elsewhere: a clear error or a good end, nothing
//! half-done in the store, and no secret for anybody else.

#[path = "network/mod.rs"]
mod network;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use image::error::{Error, ErrorKind};
use image::pull::{PullOptions, Pulled, pull};
use image::registry::settings::Credential;
use image::registry::{Client, Settings};
use image::{Reference, Store};
use network::certificates::Authority;
use network::fake::{Fake, Reply, Seen, Step, answer, redirect};
use network::{Made, Notes, quick};
use testkit::Marker;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A pull into an empty store, and what came of it.
struct Attempt {
    result: Result<Pulled, Error>,
    store: Store,
    notes: Notes,
    _directory: tempfile::TempDir,
}

fn attempt(settings: Settings, name: &str) -> Attempt {
    let directory = Marker::new("hostile").directory();
    let store = Store::open(&directory.path().join("store")).expect("a store");
    let notes = Notes::default();
    let client = Client::new(settings);
    let reference: Reference = name.parse().expect("a reference");
    let result = pull(&client, &store, &reference, &PullOptions::default(), &notes);
    Attempt {
        result,
        store,
        notes,
        _directory: directory,
    }
}

impl Attempt {
    /// It failed so, and nothing has a name.
    fn fails(&self, kind: ErrorKind, words: &str) {
        let error = self.result.as_ref().expect_err("it must fail");
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(words), "{text}\nhas no {words:?}");
        assert!(!text.contains('\n'), "{text}");
        assert!(self.store.images().expect("a list").is_empty());
    }

    fn succeeds(&self, made: &Made) {
        let pulled = self
            .result
            .as_ref()
            .unwrap_or_else(|error| panic!("{error}\n{:#?}", self.notes.all()));
        assert_eq!(pulled.descriptor.digest, made.descriptor().digest);
        assert_eq!(self.store.images().expect("a list").len(), 1);
    }
}

/// A registry that is good, but for what `special` answers.
fn registry(made: Made, special: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    Fake::start(honest(made, special))
}

fn honest(
    made: Made,
    special: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| special(seen).unwrap_or_else(|| good(&made, seen))
}

fn good(made: &Made, seen: &Seen) -> Reply {
    if seen.path() == "/v2/" {
        return answer(200, &[], b"{}");
    }
    if seen.path().contains("/manifests/") {
        let digest = made.descriptor().digest.to_string();
        let headers = [
            ("Content-Type", OCI_MANIFEST),
            ("Docker-Content-Digest", &*digest),
        ];
        return match seen.method.as_str() {
            "HEAD" => {
                let length = made.manifest.len().to_string();
                let all = [headers[0], headers[1], ("Content-Length", &*length)];
                answer(200, &all, b"")
            }
            _ => answer(200, &headers, &made.manifest),
        };
    }
    let mut blobs = made.layers.iter().chain([&made.config]);
    let wanted = blobs.find(|blob| seen.path().ends_with(image::Digest::of(blob).hex()));
    let Some(blob) = wanted else {
        return answer(404, &[], b"");
    };
    match range(seen) {
        None => answer(200, &[], blob),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
            answer(206, &[("Content-Range", &*range)], &blob[start..])
        }
    }
}

fn range(seen: &Seen) -> Option<usize> {
    let range = seen.header("range")?.strip_prefix("bytes=")?;
    range.strip_suffix('-')?.parse().ok()
}

fn name(fake: &Fake) -> String {
    format!("{}/a/b:c", fake.name())
}

/// A layer that is long enough to break off in, and its digest's digits.
static LAYER: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
    let layer: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let hex = image::Digest::of(&layer).hex().to_owned();
    (layer, hex)
});

fn layer() -> Vec<u8> {
    LAYER.0.clone()
}

/// The layer's path ends so.
fn layer_hex() -> String {
    LAYER.1.clone()
}

fn is_layer(seen: &Seen) -> bool {
    seen.method == "GET" && seen.path().ends_with(&layer_hex())
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

#[test]
fn a_good_registry_is_pulled_from_and_the_second_pull_fetches_nothing() {
    let fake = registry(Made::new(&[&layer(), b"small"]), |_| None);
    let first = attempt(quick(), &name(&fake));
    first.succeeds(&Made::new(&[&layer(), b"small"]));
    let before = fake.asked("GET", "/").len();
    let client = Client::new(quick());
    let reference: Reference = name(&fake).parse().expect("a reference");
    let again = pull(
        &client,
        &first.store,
        &reference,
        &PullOptions::default(),
        &first.notes,
    );
    assert_eq!(again.expect("pulled").bytes, 0);
    // Only what asks whether this is a registry, and what it speaks.
    assert_eq!(fake.asked("GET", "/").len(), before + 1);
}

#[test]
fn nothing_is_to_be_packed_on_its_way_and_what_is_anyhow_is_not_taken() {
    let fake = registry(Made::new(&[&layer()]), |seen| {
        let headers = [("Content-Encoding", "gzip")];
        is_layer(seen).then(|| answer(200, &headers, &layer()[..5000]))
    });
    attempt(quick(), &name(&fake)).fails(ErrorKind::Corrupt, "offers 5000 bytes");
    for seen in fake.seen() {
        assert_eq!(seen.header("accept-encoding"), Some("identity"), "{seen:?}");
    }
}

#[test]
fn other_bytes_under_the_right_digest_are_corrupt() {
    let fake = registry(Made::new(&[&layer()]), |seen| {
        is_layer(seen).then(|| {
            let mut bytes = layer();
            bytes[7] ^= 1;
            answer(200, &[], &bytes)
        })
    });
    let attempt = attempt(quick(), &name(&fake));
    attempt.fails(ErrorKind::Corrupt, "its digest is");
}

#[test]
fn another_size_is_corrupt_whether_it_is_said_or_not() {
    let fake = registry(Made::new(&[&layer()]), |seen| {
        is_layer(seen).then(|| answer(200, &[], &[layer(), layer()].concat()))
    });
    attempt(quick(), &name(&fake)).fails(ErrorKind::Corrupt, "were promised");

    let endless = registry(Made::new(&[&layer()]), |seen| {
        is_layer(seen).then(|| {
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            vec![Step::Send(head), Step::Repeat(vec![7; 1 << 16], usize::MAX)]
        })
    });
    attempt(quick(), &name(&endless)).fails(ErrorKind::Corrupt, "sends more than");
}

#[test]
fn a_registry_that_breaks_off_is_asked_for_the_rest() {
    let fake = registry(
        Made::new(&[&layer()]),
        at_first(2, is_layer, |seen| {
            let start = range(seen).unwrap_or(0);
            let rest = &layer()[start..];
            let mut reply = match start {
                0 => answer(200, &[], rest),
                _ => {
                    let range = format!("bytes {start}-{}/{}", layer().len() - 1, layer().len());
                    answer(206, &[("Content-Range", &*range)], rest)
                }
            };
            reply[1] = Step::Send(rest[..rest.len() / 2].to_vec());
            reply
        }),
    );
    let attempt = attempt(quick(), &name(&fake));
    attempt.succeeds(&Made::new(&[&layer()]));
    let size = layer().len();
    let starts: Vec<_> = fake.asked("GET", &layer_hex()).iter().map(range).collect();
    assert_eq!(starts, [None, Some(size / 2), Some(size / 2 + size / 4)]);
    assert!(attempt.notes.contain("ended"), "{:?}", attempt.notes.all());
}

#[test]
fn a_registry_that_knows_no_ranges_or_denies_them_is_asked_for_the_whole() {
    let broken = |_: &Seen| {
        let mut reply = answer(200, &[], &layer());
        reply[1] = Step::Send(layer()[..5000].to_vec());
        reply
    };
    let first = at_first(1, is_layer, broken);
    let ignorant = registry(Made::new(&[&layer()]), move |seen| {
        let whole = is_layer(seen).then(|| answer(200, &[], &layer()));
        first(seen).or(whole)
    });
    attempt(quick(), &name(&ignorant)).succeeds(&Made::new(&[&layer()]));

    let first = at_first(1, is_layer, broken);
    let denying = registry(Made::new(&[&layer()]), move |seen| {
        let denied = is_layer(seen) && range(seen).is_some();
        first(seen).or_else(|| denied.then(|| answer(416, &[], b"")))
    });
    attempt(quick(), &name(&denying)).succeeds(&Made::new(&[&layer()]));
    let starts: Vec<_> = denying
        .asked("GET", &layer_hex())
        .iter()
        .map(range)
        .collect();
    assert_eq!(starts, [None, Some(5000), None]);
}

#[test]
fn another_range_than_was_asked_for_is_not_taken_for_it() {
    let first = at_first(1, is_layer, |_| {
        let mut reply = answer(200, &[], &layer());
        reply[1] = Step::Send(layer()[..5000].to_vec());
        reply
    });
    let fake = registry(Made::new(&[&layer()]), move |seen| {
        let shifted = is_layer(seen) && range(seen) == Some(5000);
        first(seen).or_else(|| {
            shifted.then(|| {
                let rest = &layer()[..layer().len() - 5000];
                let range = format!("bytes 0-{}/{}", rest.len() - 1, layer().len());
                answer(206, &[("Content-Range", &*range)], rest)
            })
        })
    });
    attempt(quick(), &name(&fake)).fails(ErrorKind::Corrupt, "another range");
}

#[test]
fn a_resumed_download_of_the_wrong_bytes_is_fetched_again_from_the_beginning() {
    let made = || Made::new(&[&layer()]);
    let liar = registry(made(), |seen| {
        is_layer(seen).then(|| {
            let mut reply = answer(200, &[], &layer());
            reply[1] = Step::Send(vec![9; 5000]);
            reply
        })
    });
    let first = attempt(quick(), &name(&liar));
    first.fails(ErrorKind::Unreachable, "ended");
    // The same store, and a registry that tells the truth.
    let fake = registry(made(), |_| None);
    let reference: Reference = name(&fake).parse().expect("a reference");
    let client = Client::new(quick());
    let notes = Notes::default();
    pull(
        &client,
        &first.store,
        &reference,
        &PullOptions::default(),
        &notes,
    )
    .expect("pulled");
    assert!(notes.contain("began at 5000"), "{:?}", notes.all());
    assert!(
        notes.contain("fetched again from the beginning"),
        "{:?}",
        notes.all()
    );
}

#[test]
fn a_silent_registry_is_given_up_wherever_it_falls_silent() {
    let impatient = || {
        let mut settings = quick();
        settings.timeouts.stall = Duration::from_millis(200);
        settings.retry.attempts = 2;
        settings
    };
    let in_the_body = registry(Made::new(&[&layer()]), |seen| {
        is_layer(seen).then(|| {
            let mut reply = answer(200, &[], &layer());
            reply[1] = Step::Send(layer()[..10].to_vec());
            reply.push(Step::Stall);
            reply
        })
    });
    attempt(impatient(), &name(&in_the_body)).fails(ErrorKind::TimedOut, "silent for 200ms");

    let in_the_head = registry(Made::new(&[&layer()]), |seen| {
        let half = b"HTTP/1.1 200 OK\r\nContent-".to_vec();
        is_layer(seen).then(|| vec![Step::Send(half), Step::Stall])
    });
    attempt(impatient(), &name(&in_the_head)).fails(ErrorKind::TimedOut, "silent for 200ms");

    let from_the_beginning = registry(Made::new(&[&layer()]), |seen| {
        seen.path()
            .contains("/manifests/")
            .then(|| vec![Step::Stall])
    });
    let attempt = attempt(impatient(), &name(&from_the_beginning));
    attempt.fails(ErrorKind::TimedOut, "tried 2 times");
}

#[test]
fn errors_of_the_moment_are_tried_again_and_told() {
    let flaky = |status: u16| {
        registry(
            Made::new(&[&layer()]),
            at_first(
                2,
                |seen| seen.path().contains("/v2/a"),
                move |_| answer(status, &[], b""),
            ),
        )
    };
    for status in [500, 502, 503, 504, 408] {
        let fake = flaky(status);
        let attempt = attempt(quick(), &name(&fake));
        attempt.succeeds(&Made::new(&[&layer()]));
        assert!(
            attempt.notes.contain("trying again"),
            "{:?}",
            attempt.notes.all()
        );
    }
    let down = registry(Made::new(&[&layer()]), |seen| {
        seen.path().contains("/v2/a").then(|| {
            answer(
                503,
                &[],
                b"{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"maintenance\"}]}",
            )
        })
    });
    let attempt = attempt(quick(), &name(&down));
    attempt.fails(ErrorKind::Registry, "503 (Service Unavailable)");
}

#[test]
fn a_registry_says_when_to_come_back() {
    let fake = registry(
        Made::new(&[&layer()]),
        at_first(1, is_layer, |_| answer(429, &[("Retry-After", "1")], b"")),
    );
    attempt(quick(), &name(&fake)).succeeds(&Made::new(&[&layer()]));
    let asked = fake.asked("GET", &layer_hex());
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));

    let closed = registry(Made::new(&[&layer()]), |seen| {
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull limit reached"}]}"#;
        let headers = [
            ("Retry-After", "3600"),
            ("Content-Type", "application/json"),
        ];
        is_layer(seen).then(|| answer(429, &headers, body))
    });
    let attempt = attempt(quick(), &name(&closed));
    attempt.fails(ErrorKind::RateLimited, "come back in 3600 s");
    attempt.fails(ErrorKind::RateLimited, "pull limit reached");
}

#[test]
fn warnings_are_shown_once_and_cannot_touch_the_terminal() {
    let fake = registry(Made::new(&[&layer()]), |seen| {
        let warning = [("Warning", "299 - \"going\x1b[2J away\"")];
        seen.path().contains("/blobs/").then(|| {
            let made = Made::new(&[&layer()]);
            let mut reply = good(&made, seen);
            if let Step::Send(head) = &mut reply[0] {
                let end = head.len() - 2;
                let line = format!("{}: {}\r\n", warning[0].0, warning[0].1);
                head.splice(end..end, line.into_bytes());
            }
            reply
        })
    });
    let attempt = attempt(quick(), &name(&fake));
    // A control character is no header at all for some; whoever takes it doesn't show it.
    assert!(!attempt.notes.all().join("").contains('\x1b'));

    let polite = registry(Made::new(&[&layer()]), |seen| {
        let made = Made::new(&[&layer()]);
        seen.path().contains("/manifests/").then(|| {
            let digest = made.descriptor().digest.to_string();
            let headers = [
                ("Content-Type", OCI_MANIFEST),
                ("Docker-Content-Digest", &*digest),
                ("Warning", "299 - \"this repository moves\""),
                ("RateLimit-Remaining", "3;w=21600"),
            ];
            answer(200, &headers, &made.manifest)
        })
    });
    let attempt = self::attempt(quick(), &name(&polite));
    attempt.succeeds(&Made::new(&[&layer()]));
    let told = attempt.notes.all();
    let count = |text: &str| told.iter().filter(|note| note.contains(text)).count();
    assert_eq!(count("warns: this repository moves"), 1, "{told:?}");
    assert_eq!(count("little is left"), 1, "{told:?}");
}

#[test]
fn manifests_that_are_not_what_they_are_called_are_refused() {
    let served = |headers: &'static [(&'static str, &'static str)], body: &'static [u8]| {
        registry(Made::new(&[b"x"]), move |seen| {
            seen.path()
                .contains("/manifests/")
                .then(|| answer(200, headers, body))
        })
    };
    let schema1 = served(
        &[(
            "Content-Type",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        )],
        br#"{"schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": [], "history": []}"#,
    );
    attempt(quick(), &name(&schema1)).fails(ErrorKind::Unsupported, "schema 1");

    let confused = served(
        &[("Content-Type", "application/vnd.oci.image.index.v1+json")],
        br#"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}"#,
    );
    attempt(quick(), &name(&confused)).fails(ErrorKind::Corrupt, "calls itself");

    let both = served(
        &[("Content-Type", OCI_MANIFEST)],
        br#"{"schemaVersion": 2, "config": {}, "layers": [], "manifests": []}"#,
    );
    attempt(quick(), &name(&both)).fails(ErrorKind::Corrupt, "manifest and an index at once");

    let page = served(
        &[("Content-Type", "text/html")],
        b"<html>log in first</html>",
    );
    attempt(quick(), &name(&page)).fails(ErrorKind::Corrupt, "manifest");

    let lying = served(
        &[
            ("Content-Type", OCI_MANIFEST),
            (
                "Docker-Content-Digest",
                "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ],
        b"{}",
    );
    attempt(quick(), &name(&lying)).fails(ErrorKind::Corrupt, "was promised");
}

#[test]
fn a_huge_manifest_is_not_read_to_its_end() {
    for head in ["", "Content-Length: 99999999999\r\n"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {OCI_MANIFEST}\r\n{head}\r\n"
        );
        let fake = registry(Made::new(&[b"x"]), move |seen| {
            let head = Step::Send(head.clone().into_bytes());
            let body = Step::Repeat(vec![b' '; 1 << 16], usize::MAX);
            seen.path()
                .contains("/manifests/")
                .then(|| vec![head, body])
        });
        attempt(quick(), &name(&fake)).fails(ErrorKind::Corrupt, "more than");
    }
}

#[test]
fn garbage_in_place_of_http_is_called_so() {
    for garbage in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: x/y\r\n\r\nzz\r\nhello\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let fake = registry(Made::new(&[&layer()]), move |seen| {
            is_layer(seen).then(|| vec![Step::Send(garbage.to_vec())])
        });
        let attempt = attempt(quick(), &name(&fake));
        let error = attempt.result.as_ref().expect_err("garbage");
        let is_told = matches!(error.kind(), ErrorKind::Registry | ErrorKind::Unreachable);
        assert!(is_told, "{error}");
        assert!(attempt.store.images().expect("a list").is_empty());
    }
}

#[test]
fn what_a_registry_says_is_shown_without_its_control_characters() {
    let fake = registry(Made::new(&[b"x"]), |seen| {
        let body = b"{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"\\u001b]0;owned\\u0007no such \\u202ename\"}]}";
        seen.path()
            .contains("/manifests/")
            .then(|| answer(404, &[("Content-Type", "application/json")], body))
    });
    let attempt = attempt(quick(), &name(&fake));
    attempt.fails(ErrorKind::NotFound, "NAME_UNKNOWN");
    let text = attempt.result.as_ref().expect_err("none").to_string();
    assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
}

#[test]
fn a_digest_wins_over_the_tag_and_is_verified() {
    let made = Made::new(&[&layer()]);
    let right = made.descriptor().digest;
    let fake = registry(Made::new(&[&layer()]), |_| None);
    let attempt_right = attempt(quick(), &format!("{}/a/b:other@{right}", fake.name()));
    attempt_right.succeeds(&made);
    assert!(fake.asked("GET", "manifests/other").is_empty());

    let wrong = image::Digest::of(b"something else");
    let attempt_wrong = attempt(quick(), &format!("{}/a/b:c@{wrong}", fake.name()));
    attempt_wrong.fails(ErrorKind::Corrupt, &wrong.to_string());
}

#[test]
fn redirects_end_somewhere_and_lead_somewhere() {
    let round = registry(Made::new(&[&layer()]), |seen| {
        is_layer(seen).then(|| redirect(&seen.target))
    });
    attempt(quick(), &name(&round)).fails(ErrorKind::Registry, "redirects more than");

    for location in ["ftp://x/y", "http://user:pw@x/", "http://", "\\\\x"] {
        let nowhere = registry(Made::new(&[&layer()]), move |seen| {
            is_layer(seen).then(|| redirect(location))
        });
        let attempt = attempt(quick(), &name(&nowhere));
        assert!(attempt.result.is_err(), "{location}");
    }
}

type Lie = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// Settings by which `mirror` is asked before `fake`, with a header of its own.
fn mirrored(directory: &std::path::Path, fake: &Fake, mirror: &Fake) -> Settings {
    let hosts = directory.join(fake.name());
    std::fs::create_dir(&hosts).expect("made");
    let text = format!(
        "server = \"{}\"\n[host.\"{1}\"]\n[host.\"{1}\".header]\nx-secret = \"for the mirror\"\n",
        fake.url(""),
        mirror.url("")
    );
    std::fs::write(hosts.join("hosts.toml"), text).expect("written");
    let mut settings = quick();
    settings.hosts.directories = vec![directory.to_owned()];
    settings.keyring.given.insert(fake.name(), alice());
    settings
}

#[test]
fn a_mirror_that_fails_is_told_and_the_registry_asked() {
    let mirror = Fake::start(|_| answer(404, &[], b""));
    let fake = registry(Made::new(&[&layer()]), |_| None);
    let directory = Marker::new("hosts").directory();
    let attempt = attempt(mirrored(directory.path(), &fake, &mirror), &name(&fake));
    attempt.succeeds(&Made::new(&[&layer()]));
    assert!(
        attempt.notes.contain("asking the next"),
        "{:?}",
        attempt.notes.all()
    );
    let namespace = format!("ns={}", fake.name());
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.target.contains(&namespace))
    );
    assert!(mirror.learned("for the mirror"));
    assert!(!fake.learned("for the mirror"));
    assert!(!mirror.learned("open sesame") && !mirror.learned("Authorization"));
}

#[test]
fn a_mirror_that_lies_is_no_reason_not_to_get_the_truth() {
    let twisted = || {
        let mut bytes = layer();
        bytes[7] ^= 1;
        bytes
    };
    let too_short = |_: &Seen| answer(200, &[], &layer()[..9000]);
    let wrong = move |_: &Seen| answer(200, &[], &twisted());
    let half_wrong = move |_: &Seen| {
        let mut reply = answer(200, &[], &twisted());
        reply[1] = Step::Send(twisted()[..9000].to_vec());
        reply
    };
    let lies: [Lie; 3] = [Box::new(too_short), Box::new(wrong), Box::new(half_wrong)];
    for lie in lies {
        let mirror = registry(Made::new(&[&layer()]), move |seen| {
            is_layer(seen).then(|| lie(seen))
        });
        let fake = registry(Made::new(&[&layer()]), |_| None);
        let directory = Marker::new("hosts").directory();
        let attempt = attempt(mirrored(directory.path(), &fake, &mirror), &name(&fake));
        attempt.succeeds(&Made::new(&[&layer()]));
        assert!(!mirror.asked("GET", &layer_hex()).is_empty());
        assert!(!fake.asked("GET", &layer_hex()).is_empty());
    }
}

fn alice() -> Credential {
    Credential::Password {
        username: "alice".into(),
        password: "open sesame".into(),
    }
}

/// base64 of alice:open sesame.
const BASIC: &str = "YWxpY2U6b3BlbiBzZXNhbWU=";

/// Demands Basic authentication before it answers.
fn guarded(made: Made, special: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    Fake::start(honest(made, move |seen| {
        let is_known = seen.header("authorization") == Some(&format!("Basic {BASIC}"));
        if is_known || seen.path() == "/v2/" {
            special(seen)
        } else {
            Some(answer(
                401,
                &[("WWW-Authenticate", "Basic realm=\"x\"")],
                b"",
            ))
        }
    }))
}

fn with_alice(fake: &Fake) -> Settings {
    let mut settings = quick();
    settings.keyring.given.insert(fake.name(), alice());
    settings
}

/// U17.
#[test]
fn credentials_stay_with_the_host_that_they_are_for() {
    let elsewhere = Arc::new(Fake::start(|seen| match range(seen) {
        None => answer(200, &[], &layer()),
        Some(_) => answer(416, &[], b""),
    }));
    let target = elsewhere.url("/signed?x=y");
    let fake = guarded(Made::new(&[&layer()]), move |seen| {
        is_layer(seen).then(|| redirect(&target))
    });
    attempt(with_alice(&fake), &name(&fake)).succeeds(&Made::new(&[&layer()]));
    assert!(fake.learned(BASIC));
    assert_eq!(elsewhere.seen().len(), 1);
    assert!(!elsewhere.learned("uthorization"), "{:?}", elsewhere.seen());

    // Not even when it asks for them, in either way.
    let greedy = Arc::new(Fake::start(|seen| {
        let host = seen.header("host").unwrap_or_default();
        let bearer = format!("Bearer realm=\"http://{host}/token\", Basic realm=\"x\"");
        answer(401, &[("WWW-Authenticate", &bearer)], b"")
    }));
    let target = greedy.url("/give");
    let fake = guarded(Made::new(&[&layer()]), move |seen| {
        is_layer(seen).then(|| redirect(&target))
    });
    attempt(with_alice(&fake), &name(&fake)).fails(ErrorKind::Denied, "401");
    assert!(!greedy.learned(BASIC) && !greedy.learned("sesame"));
    assert!(greedy.asked("GET", "/token").is_empty() && greedy.asked("POST", "").is_empty());
}

/// U17.
#[test]
fn an_encrypted_registry_leads_to_nothing_unencrypted() {
    let thief = Arc::new(Fake::start(|_| answer(200, &[], b"{\"token\": \"t\"}")));
    let authority = Authority::new();
    let directory = Marker::new("tls").directory();
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).expect("written");
    let trusting = |fake: &Fake| {
        let mut settings = with_alice(fake);
        settings.roots.further = vec![ca.clone()];
        settings
    };

    let to = thief.url("/v2/a/b/blobs/x");
    let redirecting = Fake::encrypted(
        authority.pair().server(),
        honest(Made::new(&[&layer()]), move |seen| {
            is_layer(seen).then(|| redirect(&to))
        }),
    );
    let attempt_redirect = attempt(trusting(&redirecting), &name(&redirecting));
    attempt_redirect.fails(ErrorKind::Registry, "not encrypted: refused");

    let realm = format!("Bearer realm=\"{}\",service=\"s\"", thief.url("/token"));
    let asking = Fake::encrypted(
        authority.pair().server(),
        honest(Made::new(&[&layer()]), move |_| {
            Some(answer(401, &[("WWW-Authenticate", &realm)], b""))
        }),
    );
    let attempt_realm = attempt(trusting(&asking), &name(&asking));
    attempt_realm.fails(ErrorKind::Denied, "not encrypted, though the registry is");
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
    assert!(!asking.learned("open sesame") && !asking.learned(BASIC));
}

/// U17.
#[test]
fn layers_elsewhere_are_fetched_encrypted_and_anonymously_or_not_at_all() {
    let authority = Authority::new();
    let directory = Marker::new("foreign").directory();
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).expect("written");
    let foreign = Fake::encrypted(authority.pair().server(), |_| answer(200, &[], &layer()));
    let plain = Fake::start(|_| answer(200, &[], &layer()));

    let with_urls = |urls: [String; 2]| {
        let made = Made::new(&[&layer()]);
        let mut manifest: serde_json::Value = serde_json::from_slice(&made.manifest).expect("JSON");
        manifest["layers"][0]["urls"] = serde_json::json!(urls);
        manifest["layers"][0]["mediaType"] =
            "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
        Made {
            manifest: manifest.to_string().into_bytes(),
            ..made
        }
    };
    let missing = |seen: &Seen| is_layer(seen).then(|| answer(404, &[], b""));
    let served = |made: Made| guarded(made, missing);

    let urls = [plain.url("/x"), foreign.url("/y")];
    let fake = served(with_urls(urls.clone()));
    let mut settings = with_alice(&fake);
    settings.roots.further = vec![ca.clone()];
    attempt(settings, &name(&fake)).succeeds(&with_urls(urls));
    assert_eq!(foreign.seen().len(), 1);
    assert!(!foreign.learned("uthorization"));
    assert!(plain.seen().is_empty());

    let only_plain = served(with_urls([plain.url("/x"), plain.url("/z")]));
    let attempt = attempt(with_alice(&only_plain), &name(&only_plain));
    attempt.fails(ErrorKind::NotFound, "404");
    assert!(plain.seen().is_empty());
}

#[test]
fn a_proxy_is_asked_for_a_tunnel_and_hosts_can_be_excepted() {
    let proxy = Fake::start(|_| answer(403, &[], b""));
    let mut settings = quick();
    settings.hosts.plain_http = vec!["registry.invalid:80".into()];
    settings.proxies.http = Some(format!("http://u:p%20w@{}", proxy.address));
    let through = attempt(settings.clone(), "registry.invalid:80/a/b:c");
    through.fails(ErrorKind::Unreachable, "proxy");
    let asked = proxy.asked("CONNECT", "registry.invalid:80");
    assert_eq!(
        asked[0].header("proxy-authorization"),
        Some("Basic dTpwIHc=")
    );

    let before = proxy.seen().len();
    settings.proxies.except = vec!["registry.invalid".into()];
    let directly = attempt(settings, "registry.invalid:80/a/b:c");
    assert!(directly.result.is_err());
    assert_eq!(proxy.seen().len(), before);
}

#[test]
fn a_name_that_does_not_exist_and_a_closed_port_fail_at_once() {
    let mut settings = quick();
    settings.retry.first_pause = Duration::from_secs(600);
    // An address that no other test uses, so that nobody takes the port meanwhile.
    let nobody = std::net::TcpListener::bind("127.0.0.77:0").expect("a port");
    let address = nobody.local_addr().expect("bound");
    drop(nobody);
    let attempt_port = attempt(settings.clone(), &format!("{address}/a/b:c"));
    attempt_port.fails(ErrorKind::Unreachable, "ECONNREFUSED");
    let attempt_name = attempt(settings, "registry.invalid/a/b:c");
    attempt_name.fails(ErrorKind::Unreachable, "registry.invalid");
}

//! The command line and registries: whose certificates variables say are believed, and what a
//! registry has about an image.

mod network;
mod place;

use std::fs;

use image::document::MediaType;
use image::{Digest, Store};
use network::certificates::Authority;
use network::debian::Registry;
use network::fake::{Fake, answer};
use place::Place;
use serde_json::{Value, json};
use testkit::{Marker, needs};

#[test]
fn variables_say_whose_certificates_are_believed() {
    needs!(Program("docker-registry"));
    let place = Place::new("roots");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let write = |name: &str, text: &str| {
        fs::write(place.path(name), text).expect("written");
        place.path(name).display().to_string()
    };
    let server = authority.pair();
    let http = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        write("s.pem", &server.certificate),
        write("s.key", &server.key)
    );
    let registry = Registry::start(Marker::new("roots").directory(), &http, "");
    let right = write("right.pem", &authority.certificate);
    let wrong = write("wrong.pem", &stranger.certificate);
    for directory in ["some", "none"] {
        fs::create_dir(place.path(directory)).expect("made");
        write(&format!("{directory}/README"), "no certificate");
    }
    write("some/stranger.pem", &stranger.certificate);
    write("some/7d0b38bd.0", &authority.certificate);
    std::os::unix::fs::symlink("gone", place.path("some/0.0")).expect("made");
    let none = place.path("none").display().to_string();
    let some = format!("{none}:/missing:{}", place.path("some").display());

    place.import_busybox("a:1", &[]);
    let name = format!("{}/a:1", registry.name());
    let push = |file: Option<&str>, directory: Option<&str>| {
        let mut command = place.command(&["push", "a:1", &name]);
        command
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR");
        command.envs(file.map(|file| ("SSL_CERT_FILE", file)));
        command.envs(directory.map(|directory| ("SSL_CERT_DIR", directory)));
        testkit::finish(&mut command, place::DEADLINE)
    };
    for (file, directory, words) in [
        (None, None, "UnknownIssuer"),
        (Some(&*wrong), None, "UnknownIssuer"),
        (None, Some(&*none), "UnknownIssuer"),
        (Some("/missing"), Some(&*some), "read /missing"),
        (
            Some(&*format!("{none}/README")),
            None,
            "no certificate in it",
        ),
    ] {
        let failed = push(file, directory);
        assert_eq!(failed.code, 1, "{failed:#}");
        assert!(failed.stderr.contains(words), "{words}: {failed:#}");
    }
    push(Some(&right), None).succeeded();
    push(None, Some(&some)).succeeded();
    push(Some(&wrong), Some(&some)).succeeded();
    drop(registry);
    place.finish();
}

/// `inspect --referrers`, and what it found.
fn referrers(place: &Place, words: &[&str]) -> Value {
    let words = [&["inspect", "--referrers"], words].concat();
    let text = place.must(&words);
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.into_iter().next().expect("one")
}

fn types(found: &Value) -> Vec<&str> {
    let list = found["referrers"].as_array().expect("a list");
    list.iter()
        .filter_map(|entry| entry["artifactType"].as_str())
        .collect()
}

#[test]
fn what_is_about_an_image_is_found_at_the_tag_of_a_registry_without_lists() {
    needs!(Program("docker-registry"));
    let (registry, place) = (Registry::plain(), Place::new("referrers"));
    place.import_busybox("a:1", &[]);
    let name = format!("{}/team/a:1", registry.name());
    let pushed = place.must(&["push", "a:1", &name]);
    let (_, digest) = pushed.trim().split_once('@').expect("a digest");
    assert_eq!(types(&referrers(&place, &[&name])), [] as [&str; 0]);

    let store = Store::open(&place.path("root")).expect("a store");
    let subject = store.find("a:1").expect("there").descriptor;
    for kind in ["application/x-signature", "application/x-bill"] {
        let lease = store.lease().expect("a lease");
        let empty = store.put(MediaType::Empty, b"{}").expect("written");
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OciManifest.as_str(),
            "artifactType": kind, "config": empty, "layers": [empty], "subject": subject});
        let manifest = manifest.to_string();
        let put = store.put(MediaType::OciManifest, manifest.as_bytes());
        let short = kind.rsplit('-').next().expect("a word");
        let reference = format!("{}/team/a:{short}", registry.name());
        let reference = reference.parse().expect("a reference");
        store
            .tag(&reference, &put.expect("written"))
            .expect("tagged");
        drop(lease);
        place.must(&["push", &reference.to_string()]);
    }
    drop(store);
    // It is asked for without being here, by its tag or its digest.
    place.must(&["remove", "a:1"]);
    let by_digest = format!("{}/team/a@{digest}", registry.name());
    for name in [&name, &by_digest] {
        let found = referrers(&place, &[name]);
        assert_eq!(found["digest"], digest);
        let mut kinds = types(&found);
        kinds.sort_unstable();
        assert_eq!(kinds, ["application/x-bill", "application/x-signature"]);
    }
    let wanted = ["--artifact-type", "application/x-bill", &name];
    let found = referrers(&place, &wanted);
    assert_eq!(types(&found), ["application/x-bill"]);
    let bill = found["referrers"][0]["reference"].as_str().expect("a name");
    place.must(&["pull", bill]);

    let missing = place.image(&["inspect", "--referrers", &format!("{}/b", registry.name())]);
    assert_eq!(missing.code, 1, "{missing:#}");
    let alone = place.image(&["inspect", "--artifact-type", "x", "a:1"]);
    assert_eq!(alone.code, 2, "{alone:#}");
    drop(registry);
    place.finish();
}

#[test]
fn a_registrys_own_lists_are_read_to_their_end() {
    let subject = Digest::of(b"subject");
    let said = subject.to_string();
    let fake = Fake::start(move |seen| {
        let entry = |kind: &str| {
            json!({"mediaType": MediaType::OciManifest.as_str(), "size": 1,
                "digest": Digest::of(kind.as_bytes()), "artifactType": kind})
        };
        let page = |kinds: &[&str], link: Option<&str>| {
            let entries: Vec<Value> = kinds.iter().map(|kind| entry(kind)).collect();
            let index = json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(),
                "manifests": entries});
            let mut headers = vec![("Content-Type", MediaType::OciIndex.as_str())];
            headers.extend(link.map(|link| ("Link", link)));
            answer(200, &headers, index.to_string().as_bytes())
        };
        match (seen.method.as_str(), seen.path()) {
            ("GET", "/v2/") => answer(200, &[], b""),
            ("HEAD", "/v2/a/manifests/1") => {
                let headers = [
                    ("Content-Type", MediaType::OciIndex.as_str()),
                    ("Docker-Content-Digest", &*said),
                    ("Content-Length", "100"),
                ];
                answer(200, &headers, b"")
            }
            ("GET", path) if path.contains("/referrers/") => match seen.target.contains("page=2") {
                false => {
                    let next = format!("<{path}?page=2>; rel=\"next\"");
                    page(&["x/one", "x/two"], Some(&next))
                }
                true => page(&["x/three"], None),
            },
            _ => answer(404, &[], b""),
        }
    });
    let place = Place::new("referrers");
    let name = format!("{}/a:1", fake.name());
    let found = referrers(&place, &[&name]);
    assert_eq!(found["digest"], subject.to_string());
    assert_eq!(types(&found), ["x/one", "x/two", "x/three"]);
    let found = referrers(&place, &["--artifact-type", "x/two", &name]);
    assert_eq!(types(&found), ["x/two"]);
    let asked = fake.asked("GET", &format!("/referrers/{subject}?artifactType=x"));
    assert_eq!(asked.len(), 1);
    place.finish();
}

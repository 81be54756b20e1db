//! A registry's tags: several that are set at once, those that it lists, and those that go.

mod network;
mod place;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use image::digest::{Algorithm, Hasher};
use image::document::{Compression, Descriptor, MediaType};
use image::error::{Error, ErrorKind};
use image::push::{PushOptions, push_all};
use image::registry::Client;
use image::store::Ingest;
use image::{Reference, Store};
use network::debian::Registry;
use network::fake::{Fake, Reply, Seen, answer};
use network::{Made, Notes, quick};
use place::Place;
use serde_json::{Value, json};
use testkit::{Marker, needs};

/// What each tag means, by the registry's own account.
type Tags = Arc<Mutex<BTreeMap<String, String>>>;

/// What a registry makes of the tags in a query: which of them it takes, or another answer.
type Choice = dyn Fn(&[String]) -> Result<Vec<String>, Reply> + Send + Sync;

/// A registry that has every blob already.
fn registry(choice: Box<Choice>) -> (Fake, Tags) {
    let tags = Tags::default();
    let shared = Arc::clone(&tags);
    let fake = Fake::start(move |seen| match seen.method.as_str() {
        "HEAD" => answer(200, &[], b""),
        "PUT" if seen.path().contains("/manifests/") => put(seen, &choice, &shared),
        _ => answer(404, &[], b""),
    });
    (fake, tags)
}

fn put(seen: &Seen, choice: &Choice, tags: &Tags) -> Reply {
    let (_, version) = seen.path().rsplit_once('/').expect("a path");
    if !version.contains(':') {
        let digest = image::Digest::of(&seen.body).to_string();
        let mut tags = tags.lock().expect("no panic");
        tags.insert(version.to_owned(), digest.clone());
        return answer(201, &[("Docker-Content-Digest", &digest)], b"");
    }
    let taken = match choice(&wanted(seen)) {
        Ok(taken) => taken,
        Err(reply) => return reply,
    };
    for tag in &taken {
        let mut tags = tags.lock().expect("no panic");
        tags.insert(tag.clone(), version.to_owned());
    }
    // In two headers, of which one is a list.
    let (first, others) = taken.split_at(taken.len().min(1));
    let others = others.join(", ");
    let headers = first.iter().map(|tag| ("OCI-Tag", tag.as_str()));
    let headers = headers.chain((!others.is_empty()).then_some(("oci-tag", &*others)));
    answer(201, &headers.collect::<Vec<_>>(), b"")
}

/// The tags in a request's query.
fn wanted(seen: &Seen) -> Vec<String> {
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    let tags = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("tag="));
    tags.map(str::to_owned).collect()
}

struct Scene {
    _directory: tempfile::TempDir,
    store: Store,
    image: Descriptor,
}

impl Scene {
    fn new() -> Self {
        let directory = Marker::new("tags").directory();
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let made = Made::compressed(&[b"a layer"]);
        let lease = store.lease().expect("a lease");
        let put = |media_type, bytes: &[u8]| store.put(media_type, bytes).expect("written");
        put(MediaType::layer(Compression::Gzip), &made.layers[0]);
        put(MediaType::OciConfig, &made.config);
        let image = put(MediaType::OciManifest, &made.manifest);
        drop(lease);
        Self {
            _directory: directory,
            store,
            image,
        }
    }

    fn push(&self, fake: &Fake, names: &[&str]) -> Result<Descriptor, Error> {
        let name = |name: &&str| format!("{}/{name}", fake.name()).parse::<Reference>();
        let names: Vec<_> = names
            .iter()
            .map(|text| name(text).expect("a name"))
            .collect();
        let (client, options) = (Client::new(quick()), PushOptions::default());
        let notes = Notes::default();
        push_all(&client, &self.store, &self.image, &names, &options, &notes)
    }
}

/// The targets of all manifests that were sent, without what all of them begin with.
fn sent(fake: &Fake) -> Vec<String> {
    let puts = fake.asked("PUT", "/manifests/");
    let target = |seen: &Seen| seen.target.replace("/v2/a/manifests/", "");
    puts.iter().map(target).collect()
}

fn everything(tags: &[String]) -> Result<Vec<String>, Reply> {
    Ok(tags.to_vec())
}

fn nothing(_: &[String]) -> Result<Vec<String>, Reply> {
    Ok(Vec::new())
}

#[test]
fn several_tags_are_set_with_one_request() {
    let (fake, tags) = registry(Box::new(everything));
    let scene = Scene::new();
    let digest = scene.image.digest.to_string();
    let pushed = scene.push(&fake, &["a:1.2.3", "a:1.2", "a:1.2.3", "a:latest"]);
    assert_eq!(pushed.expect("pushed"), scene.image);
    let expected = [format!("{digest}?tag=1.2.3&tag=1.2&tag=latest")];
    assert_eq!(sent(&fake), expected);
    let tags = tags.lock().expect("no panic");
    assert!(tags.values().all(|meant| *meant == digest), "{tags:?}");
    let names: Vec<_> = tags.keys().map(String::as_str).collect();
    assert_eq!(names, ["1.2", "1.2.3", "latest"]);
}

#[test]
fn what_the_registry_did_not_take_is_set_by_itself() {
    let scene = Scene::new();
    let digest = scene.image.digest.to_string();
    let first = format!("{digest}?tag=1&tag=2&tag=3");

    // It says nothing, since it doesn't know the form.
    let (fake, tags) = registry(Box::new(nothing));
    scene.push(&fake, &["a:1", "a:2", "a:3"]).expect("pushed");
    assert_eq!(sent(&fake), [&*first, "1", "2", "3"]);
    assert_eq!(tags.lock().expect("no panic").len(), 3);

    // It takes some, and one that nobody has asked for.
    let some = |_: &[String]| Ok(vec!["3".to_owned(), "2 ".to_owned(), "other".to_owned()]);
    let (fake, _) = registry(Box::new(some));
    scene.push(&fake, &["a:1", "a:2", "a:3"]).expect("pushed");
    assert_eq!(sent(&fake), [&*first, "1"]);

    // It refuses requests of this form.
    for status in [400, 405, 414, 431] {
        let refuse = move |_: &[String]| Err(answer(status, &[], b""));
        let (fake, tags) = registry(Box::new(refuse));
        scene.push(&fake, &["a:1", "a:2", "a:3"]).expect("pushed");
        assert_eq!(sent(&fake), [&*first, "1", "2", "3"]);
        assert_eq!(tags.lock().expect("no panic").len(), 3);
    }

    // It may not be written to, in whatever form.
    let (fake, _) = registry(Box::new(|_| Err(answer(403, &[], b""))));
    let denied = scene.push(&fake, &["a:1", "a:2"]).expect_err("denied");
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
    assert!(denied.to_string().contains("a:1, "), "{denied}");
    assert_eq!(sent(&fake).len(), 1);
}

#[test]
fn no_request_has_more_tags_than_every_registry_takes() {
    let names: Vec<String> = (1..=23).map(|number| format!("a:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::new();
    let (fake, tags) = registry(Box::new(everything));
    scene.push(&fake, &names).expect("pushed");
    let counts: Vec<_> = fake.asked("PUT", "/manifests/");
    let counts: Vec<_> = counts.iter().map(|seen| wanted(seen).len()).collect();
    assert_eq!(counts, [10, 10, 3]);
    assert_eq!(tags.lock().expect("no panic").len(), 23);

    // One that doesn't know the form is asked once.
    let (fake, tags) = registry(Box::new(nothing));
    scene.push(&fake, &names).expect("pushed");
    assert_eq!(fake.asked("PUT", "?tag=").len(), 1);
    assert_eq!(tags.lock().expect("no panic").len(), 23);
}

#[test]
fn one_tag_or_none_is_asked_for_as_ever() {
    let scene = Scene::new();
    let digest = scene.image.digest.to_string();
    let (fake, _) = registry(Box::new(everything));
    scene.push(&fake, &["a:1"]).expect("pushed");
    let by_digest = format!("a@{digest}");
    scene
        .push(&fake, &[&by_digest, &by_digest])
        .expect("pushed");
    scene.push(&fake, &[&by_digest, "a:2"]).expect("pushed");
    assert_eq!(sent(&fake), ["1", &*digest, "2"]);
}

#[test]
fn names_of_different_repositories_are_refused_before_anything_is_sent() {
    let scene = Scene::new();
    let (fake, _) = registry(Box::new(everything));
    for names in [&["a:1", "b:1"][..], &[]] {
        let refused = scene.push(&fake, names).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    }
    let other = format!("a:1@{}", image::Digest::of(b"something else"));
    let refused = scene.push(&fake, &["a:2", &other]).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    assert!(fake.seen().is_empty());
}

/// At a tag's own place in the interface the registry would choose sha256.
#[test]
fn a_tag_can_mean_a_manifest_whose_digest_is_another_than_sha256() {
    let mut scene = Scene::new();
    let bytes = scene.store.read(&scene.image).expect("it is there");
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let (media_type, size) = (scene.image.media_type.clone(), bytes.len() as u64);
    scene.image = Descriptor::new(media_type, hasher.finish(), size);
    match scene.store.ingest(&scene.image).expect("begun") {
        Ingest::Present => panic!("it is there under another digest"),
        Ingest::Writer(mut writer) => {
            writer.append(&bytes).expect("written");
            writer.commit().expect("verified");
        }
    }
    let (fake, tags) = registry(Box::new(everything));
    scene.push(&fake, &["a:1"]).expect("pushed");
    let meant = tags.lock().expect("no panic").get("1").cloned();
    assert_eq!(meant, Some(scene.image.digest.to_string()));

    // A registry that can't is not said to have done it.
    let (fake, _) = registry(Box::new(nothing));
    let error = scene.push(&fake, &["a:1"]).expect_err("it means another");
    assert_eq!(error.kind(), ErrorKind::Registry, "{error}");
}

#[test]
fn the_command_line_sets_lists_and_removes_tags() {
    needs!(Program("docker-registry"));
    let registry = Registry::plain();
    let place = Place::new("tags");
    place.import_busybox("b", &[]);
    let name = |name: &str| format!("{}/{name}", registry.name());
    let (one, other, longer) = (name("a:1"), name("other:1"), name("a:1.2"));
    let pushed = place.must(&["push", "b", &one, &other, &longer]);
    let (_, digest) = pushed.trim_end().rsplit_once('@').expect("a digest");
    let line = |name: &String| format!("{name}@{digest}\n");
    let expected = format!("{}{}{}", line(&one), line(&longer), line(&other));
    assert_eq!(pushed, expected, "those of one repository together");

    let repository = name("a");
    let listed = place.must(&["list", "--remote", &repository]);
    assert_eq!(listed, format!("NAME\n{one}\n{longer}\n"));
    let words = ["list", "--remote", &repository, "--format", "json"];
    let listed = |more: &[&str]| -> Value {
        let words: Vec<_> = words.iter().chain(more).collect();
        serde_json::from_str(&place.must(&words)).expect("it is JSON")
    };
    let only = json!([{"name": longer, "tag": "1.2", "digest": digest}]);
    assert_eq!(listed(&["--digests", "1.2"]), only);
    assert_eq!(listed(&["nothing like it"]), json!([]));

    let refused = |words: &[&str], why: &str| {
        let finished = place.image(words);
        assert_eq!(finished.code, 1, "{finished:#}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:#}");
        assert!(finished.stderr.contains(why), "{finished:#}");
    };
    refused(&["list", "--remote", &one], "without a tag");
    refused(&["list", "--remote", &name("missing")], "NAME_UNKNOWN");
    refused(&["remove", "--remote", &repository], "which tag or digest");
    refused(&["remove", "--remote", &one], "by their digest only");
    let by_digest = format!("{repository}@{digest}");
    let removed = place.must(&["remove", "--remote", &by_digest]);
    assert_eq!(removed, format!("removed {by_digest}\n"));
    assert_eq!(listed(&[]), json!([]));
    refused(&["remove", "--remote", &by_digest], "404");
    // The other repository, and what is here, have lost nothing.
    place.must(&["pull", &other]);
    place.must(&["inspect", "b"]);
    place.finish();
}

#[test]
fn a_list_shows_what_the_registry_says_and_no_more() {
    let image = Made::compressed(&[b"a layer"]).descriptor();
    let digest = image.digest.to_string();
    let said = digest.clone();
    let fake = Fake::start(move |seen| match (seen.method.as_str(), seen.path()) {
        ("GET", "/v2/a/tags/list") if seen.target.contains("last=2") => {
            answer(200, &[], b"{\"tags\": [\"3\\u001b[2J\", \"4\"]}")
        }
        ("GET", "/v2/a/tags/list") => {
            let next = "</v2/a/tags/list?last=2>; rel=\"next\"";
            answer(200, &[("Link", next)], b"{\"tags\": [\"1\", \"2\"]}")
        }
        ("HEAD", "/v2/a/manifests/1" | "/v2/a/manifests/2") => {
            let headers = [
                ("Content-Type", MediaType::OciManifest.as_str()),
                ("Docker-Content-Digest", &said),
                ("Content-Length", "100"),
            ];
            answer(200, &headers, b"")
        }
        _ => answer(404, &[], b""),
    });
    let place = Place::new("taglist");
    let repository = format!("{}/a", fake.name());
    let listed = place.must(&["list", "--remote", &repository, "--digests"]);
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let name = |tag: &str| format!("{repository}:{tag}");
    // What was removed meanwhile means nothing, nor does what is no tag.
    let expected = [
        ["NAME", "DIGEST"],
        [&name("1"), &digest],
        [&name("2"), &digest],
        ["3\\u{1b}[2J", "-"],
        [&name("4"), "-"],
    ];
    assert_eq!(rows, expected);
    place.finish();
}

#[test]
fn what_a_registry_does_not_remove_is_said() {
    for (status, kind) in [
        (202, None),
        (204, None),
        (400, Some(ErrorKind::Unsupported)),
        (405, Some(ErrorKind::Unsupported)),
        (404, Some(ErrorKind::NotFound)),
        (403, Some(ErrorKind::Denied)),
    ] {
        let fake = Fake::start(move |seen| match seen.method.as_str() {
            "DELETE" => answer(status, &[], b""),
            _ => answer(404, &[], b""),
        });
        let (client, notes) = (Client::new(quick()), Notes::default());
        let image = format!("{}/a:1", fake.name()).parse::<Reference>();
        let image = image.expect("a name");
        let repository = client.repository(&image, &notes);
        let by_digest = image.at(image::Digest::of(b"x"));
        for outcome in [
            repository.delete(&image),
            repository.delete(&by_digest),
            repository.delete_blob(&image::Digest::of(b"x")),
        ] {
            assert_eq!(outcome.err().map(|error| error.kind()), kind, "{status}");
        }
        assert_eq!(fake.asked("DELETE", "/v2/a/manifests/1").len(), 1);
        assert_eq!(fake.asked("DELETE", "/v2/a/").len(), 3);
    }
}

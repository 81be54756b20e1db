//! registries.conf: who is asked, under which name, and who is not; skopeo reads the same file.

mod kit;
mod network;
mod place;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image::error::{Error, ErrorKind};
use image::pull::{PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::settings::{Credential, RegistriesFiles};
use image::registry::{Client, Settings};
use image::{Reference, Store};
use network::debian::Registry;
use network::fake::{Fake, Reply, Seen, answer};
use network::{Made, Notes, quick};
use place::Place;
use testkit::{Marker, needs};

fn made() -> Made {
    Made::new(&[b"a layer", b"another one"])
}

fn good(seen: &Seen) -> Reply {
    match seen.path() {
        "/v2/" => answer(200, &[], b""),
        _ => made().serve(seen),
    }
}

struct Scene {
    directory: tempfile::TempDir,
    notes: Notes,
}

impl Scene {
    fn new() -> Self {
        Self {
            directory: Marker::new("registries").directory(),
            notes: Notes::default(),
        }
    }

    fn file(&self, text: &str) -> PathBuf {
        let file = self.directory.path().join("registries.conf");
        std::fs::write(&file, text).expect("written");
        file
    }

    fn settings(&self, text: &str) -> Settings {
        let mut settings = quick();
        settings.hosts.registries = RegistriesFiles {
            file: Some(self.file(text)),
            ..RegistriesFiles::default()
        };
        settings
    }

    /// Into a store that is new each time.
    fn pull(&self, settings: Settings, name: &str) -> Result<(), Error> {
        let store = tempfile::tempdir_in(self.directory.path()).expect("a directory");
        let store = Store::open(store.path()).expect("a store");
        let reference: Reference = name.parse().expect("a reference");
        let client = Client::new(settings);
        let options = PullOptions::default();
        pull(&client, &store, &reference, &options, &self.notes)?;
        assert_eq!(
            store.images().expect("a list")[0].reference,
            Some(reference)
        );
        Ok(())
    }

    fn pulls(&self, settings: Settings, name: &str) {
        if let Err(error) = self.pull(settings, name) {
            panic!("{error}\n{:#?}", self.notes.all());
        }
    }
}

fn is_asked_for_content(fake: &Fake) -> bool {
    fake.seen().iter().any(|seen| seen.path() != "/v2/")
}

#[test]
fn mirrors_are_asked_first_under_their_own_names_and_the_location_last() {
    let scene = Scene::new();
    let (mirror, location) = (Fake::start(good), Fake::start(good));
    let text = |mirror: &Fake| {
        format!(
            "[[registry]]\nprefix = \"r.example/team\"\nlocation = \"{}/there\"\n\
             [[registry.mirror]]\nlocation = \"{}/cache/team\"\n",
            location.name(),
            mirror.name()
        )
    };
    scene.pulls(scene.settings(&text(&mirror)), "r.example/team/app:1");
    assert!(!is_asked_for_content(&location));
    let paths: Vec<_> = mirror.seen().into_iter().map(|seen| seen.target).collect();
    assert!(
        paths.contains(&"/v2/cache/team/app/manifests/1".to_owned()),
        "{paths:?}"
    );
    assert!(paths.iter().all(|path| !path.contains("ns=")), "{paths:?}");

    // A mirror that lies is no reason not to get the truth from where it really is.
    let liar = Fake::start(|seen| match seen.path().contains("/blobs/") {
        true => answer(200, &[], b"something else"),
        false => good(seen),
    });
    scene.pulls(scene.settings(&text(&liar)), "r.example/team/app:1");
    assert!(!location.asked("GET", "/v2/there/app/blobs/").is_empty());
    assert!(
        scene.notes.contain("asking the next"),
        "{:?}",
        scene.notes.all()
    );
}

#[test]
fn mirrors_for_tags_or_for_digests_are_asked_for_those_alone() {
    let digest = made().descriptor().digest;
    let by_tag = "r.example/app:1".to_owned();
    let by_digest = format!("r.example/app@{digest}");
    for (word, name, is_asked) in [
        ("digest-only", &by_digest, true),
        ("digest-only", &by_tag, false),
        ("tag-only", &by_tag, true),
        ("tag-only", &by_digest, false),
        ("all", &by_tag, true),
        ("all", &by_digest, true),
    ] {
        let scene = Scene::new();
        let (mirror, location) = (Fake::start(good), Fake::start(good));
        let text = format!(
            "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\n\
             [[registry.mirror]]\nlocation = \"{}\"\npull-from-mirror = \"{word}\"\n",
            location.name(),
            mirror.name()
        );
        scene.pulls(scene.settings(&text), name);
        assert_eq!(is_asked_for_content(&mirror), is_asked, "{word} {name}");
        assert_eq!(is_asked_for_content(&location), !is_asked, "{word} {name}");
    }
}

#[test]
fn what_is_blocked_is_neither_read_nor_written_and_nobody_is_asked() {
    let scene = Scene::new();
    let fake = Fake::start(good);
    let text = format!(
        "[[registry]]\nlocation = \"{0}/secret\"\nblocked = true\n\
         [[registry.mirror]]\nlocation = \"{0}/open\"\n",
        fake.name()
    );
    let blocked = format!("{}/secret/a:1", fake.name());
    let error = scene
        .pull(scene.settings(&text), &blocked)
        .expect_err("blocked");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("registries.conf"), "{error}");

    let store = Store::open(&scene.directory.path().join("source")).expect("a store");
    let lease = store.lease().expect("a lease");
    let layer = kit::ingest(&store, b"a layer", 9).expect("written");
    let image = kit::image(&store, &[layer], "x").expect("written");
    drop(lease);
    let reference: Reference = blocked.parse().expect("a reference");
    let client = Client::new(scene.settings(&text));
    let options = PushOptions::default();
    let error = push(&client, &store, &image, &reference, &options, &scene.notes);
    assert_eq!(error.expect_err("blocked").kind(), ErrorKind::Denied);
    assert_eq!(fake.seen().len(), 0);

    scene.pulls(scene.settings(&text), &format!("{}/other/a:1", fake.name()));
}

#[test]
fn credentials_are_those_of_the_place_and_never_go_to_another_one() {
    let scene = Scene::new();
    let guarded = |seen: &Seen| {
        if seen.path() != "/v2/" && seen.header("authorization").is_none() {
            return answer(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], b"");
        }
        good(seen)
    };
    let (mirror, location) = (Fake::start(guarded), Fake::start(guarded));
    let text = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        location.name(),
        mirror.name()
    );
    let mut settings = scene.settings(&text);
    let password = |password: &str| Credential::Password {
        username: "alice".into(),
        password: password.into(),
    };
    let given = &mut settings.keyring.given;
    given.insert("r.example".into(), password("logical"));
    given.insert(location.name(), password("physical"));
    scene.pulls(settings, "r.example/app:1");
    // base64 of "alice:logical" and of "alice:physical".
    assert!(!mirror.learned("YWxpY2U6"));
    assert!(!location.learned("YWxpY2U6bG9naWNhbA=="));
    assert!(location.learned("YWxpY2U6cGh5c2ljYWw="));
}

#[test]
fn where_names_without_a_registry_go_is_told() {
    let scene = Scene::new();
    let fake = Fake::start(good);
    let text = format!(
        "unqualified-search-registries = [\"elsewhere.example\"]\n\
         [[registry]]\nprefix = \"docker.io\"\nlocation = \"{}\"\n",
        fake.name()
    );
    scene.pulls(scene.settings(&text), "app");
    assert!(fake.asked("GET", "/v2/library/app/blobs/").len() >= 3);
    let notes = scene.notes.all();
    let told = |note: &&String| note.contains("unqualified-search-registries is not used");
    assert_eq!(notes.iter().filter(told).count(), 1, "{notes:?}");
}

/// The same file, read by skopeo.
fn skopeo(file: &Path, image: &str) -> String {
    let mut command = Command::new("skopeo");
    let home = file.parent().expect("a directory");
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home);
    command.arg("--registries-conf").arg(file);
    command.args([
        "inspect",
        "--no-tags",
        "--format",
        "{{.Digest}}",
        &format!("docker://{image}"),
    ]);
    let finished = testkit::finish(&mut command, Duration::from_secs(60)).success();
    finished.stdout.trim().to_owned()
}

#[test]
fn the_command_line_and_skopeo_find_the_same_by_the_same_file() {
    needs!(Program("docker-registry"), Program("skopeo"));
    let (registry, place) = (Registry::plain(), Place::new("registries"));
    place.import_busybox("there/app:1", &[]);
    let target = format!("{}/deep/there/app:1", registry.name());
    place.must(&["push", "there/app:1", &target]);

    // It speaks no TLS, which it may, and its mirror is not there at all.
    let file = place.path("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"*.example\"\nlocation = \"{0}/deep\"\ninsecure = true\n\
         [[registry]]\nprefix = \"r.example/team\"\nlocation = \"{0}/deep/there\"\n\
         insecure = true\n[[registry.mirror]]\nlocation = \"127.0.0.1:1/nowhere\"\n",
        registry.name()
    );
    std::fs::write(&file, text).expect("written");
    for name in ["r.example/team/app:1", "other.example/there/app:1"] {
        let mut command = place.command(&["pull", name]);
        command.env("CONTAINERS_REGISTRIES_CONF", &file);
        let pulled = testkit::finish(&mut command, place::DEADLINE).success();
        let (_, digest) = pulled.stdout.trim().split_once('@').expect("a digest");
        assert_eq!(skopeo(&file, name), digest, "{name}");
    }
    // Without the file there is no such host.
    let without = place.image(&["pull", "r.example/team/app:1"]);
    assert_eq!(without.code, 1, "{without:#}");
    drop(registry);
    place.finish();
}

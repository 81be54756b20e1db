//! Debian's docker-registry and skopeo: what we push they read, what they push we read, byte by
//! byte.

mod kit;
mod network;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use image::copy::{CopyOptions, copy};
use image::document::{Compression, Descriptor, Document, MediaType};
use image::error::{Error, ErrorKind};
use image::pull::{Platforms, PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::login::{Login, Place, login, logout};
use image::registry::settings::{Credential, HelperEnvironment, Keyring};
use image::registry::{Client, Settings};
use image::{Digest, Reference, Store};
use network::certificates::Authority;
use network::debian::{HTPASSWD, Registry};
use network::fake::{Fake, Seen, answer};
use network::{Made, Notes, quick};
use serde_json::json;
use testkit::{Marker, needs};

struct Scene {
    directory: tempfile::TempDir,
    store: Store,
    notes: Notes,
}

impl Scene {
    fn new() -> Self {
        let directory = Marker::new("image").directory();
        let store = Store::open(&directory.path().join("store")).expect("a store");
        Self {
            directory,
            store,
            notes: Notes::default(),
        }
    }

    /// Puts an image of two layers into the store.
    fn image(&self, salt: &str) -> Descriptor {
        let layer = |name: &str| format!("{salt} {name}\n").repeat(5000).into_bytes();
        let made = Made::compressed(&[&layer("lower"), &layer("upper")]);
        self.keep(&made)
    }

    fn keep(&self, made: &Made) -> Descriptor {
        let _lease = self.store.lease().expect("a lease");
        let put = |media_type: MediaType, bytes: &[u8]| {
            self.store.put(media_type, bytes).expect("written")
        };
        for layer in &made.layers {
            put(MediaType::layer(Compression::Gzip), layer);
        }
        put(MediaType::OciConfig, &made.config);
        put(MediaType::OciManifest, &made.manifest)
    }

    /// An index of images for two platforms, and an attestation.
    fn index(&self, salt: &str) -> (Descriptor, Vec<Descriptor>) {
        let mut entries = Vec::new();
        for platform in ["linux/amd64", "linux/arm64", "unknown/unknown"] {
            let mut entry = self.image(&format!("{salt} {platform}"));
            let (os, architecture) = platform.split_once('/').expect("two words");
            entry.platform = Some(image::Platform {
                os: os.into(),
                architecture: architecture.into(),
                ..image::Platform::default()
            });
            entries.push(entry);
        }
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(),
            "manifests": entries});
        let _lease = self.store.lease().expect("a lease");
        let index = self
            .store
            .put(MediaType::OciIndex, index.to_string().as_bytes());
        (index.expect("written"), entries)
    }

    fn push(&self, settings: Settings, root: &Descriptor, name: &str) -> Result<Descriptor, Error> {
        self.push_with(settings, root, name, &PushOptions::default())
    }

    fn push_with(
        &self,
        settings: Settings,
        root: &Descriptor,
        name: &str,
        options: &PushOptions,
    ) -> Result<Descriptor, Error> {
        let client = Client::new(settings);
        push(
            &client,
            &self.store,
            root,
            &reference(name),
            options,
            &self.notes,
        )
    }

    fn pull(&self, settings: Settings, name: &str) -> Result<Descriptor, Error> {
        let client = Client::new(settings);
        let options = PullOptions {
            platforms: Platforms::These(vec!["linux/amd64".parse().expect("a platform")]),
            ..PullOptions::default()
        };
        let pulled = pull(
            &client,
            &self.store,
            &reference(name),
            &options,
            &self.notes,
        )?;
        Ok(pulled.descriptor)
    }
}

fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

fn skopeo(arguments: &[&str]) -> testkit::Finished {
    let mut command = Command::new("skopeo");
    // It looks for credentials and policies in the home directory.
    command
        .args(["--insecure-policy"])
        .args(arguments)
        .env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
    testkit::finish(&mut command, Duration::from_secs(120))
}

#[test]
fn skopeo_reads_what_we_push() {
    needs!(Program("docker-registry"), Program("skopeo"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let image = scene.image("ours");
    let name = format!("{}/team/app:1", registry.name());
    let pushed = scene.push(quick(), &image, &name).expect("pushed");
    assert_eq!(pushed, image);

    let url = format!("docker://{name}");
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &url]).success();
    assert_eq!(Digest::of(raw.stdout.as_bytes()), image.digest);
    let target = scene.directory.path().join("copied");
    let target = format!("oci:{}:x", target.display());
    skopeo(&["copy", "--src-tls-verify=false", &url, &target]).succeeded();
    let copied = Store::open(&scene.directory.path().join("copied")).expect("a layout");
    assert!(copied.contains(&image).expect("readable"));
    kit::assert_sound(&copied);
}

#[test]
fn we_read_what_skopeo_pushes() {
    needs!(Program("docker-registry"), Program("skopeo"));
    let (registry, scene, other) = (Registry::plain(), Scene::new(), Scene::new());
    let image = other.image("skopeo's");
    other
        .store
        .tag(&reference("x.example/x:y"), &image)
        .expect("tagged");
    let source = format!("oci:{}:x.example/x:y", other.store.path().display());
    for (format, media_type) in [
        ("oci", MediaType::OciManifest),
        ("v2s2", MediaType::DockerManifest),
    ] {
        let name = format!("{}/{format}:1", registry.name());
        let target = format!("docker://{name}");
        let copied = [
            "copy",
            "--dest-tls-verify=false",
            "--format",
            format,
            &source,
            &target,
        ];
        skopeo(&copied).succeeded();
        let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &target]).success();
        let pulled = scene.pull(quick(), &name).expect("pulled");
        assert_eq!(pulled.media_type, media_type);
        assert_eq!(Digest::of(raw.stdout.as_bytes()), pulled.digest);
        kit::assert_sound(&scene.store);
        if format == "oci" {
            assert_eq!(pulled.digest, image.digest);
        }
    }
}

#[test]
fn an_index_is_pushed_whole_and_pulled_for_one_platform_or_all() {
    needs!(Program("docker-registry"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let (index, entries) = scene.index("many");
    let name = format!("{}/many:1", registry.name());
    scene.push(quick(), &index, &name).expect("pushed");

    let one = Scene::new();
    assert_eq!(one.pull(quick(), &name).expect("pulled"), index);
    let has =
        |scene: &Scene, entry: usize| scene.store.contains(&entries[entry]).expect("readable");
    assert_eq!(
        [0, 1, 2].map(|entry| has(&one, entry)),
        [true, false, false]
    );

    // What is not here must be there.
    let elsewhere = format!("{}/elsewhere:1", registry.name());
    let error = one
        .push(quick(), &index, &elsewhere)
        .expect_err("incomplete");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("linux/arm64"), "{error}");
    one.push(quick(), &index, &format!("{}/many:2", registry.name()))
        .expect("they are there");
    let only = PushOptions {
        platform: Some("linux/amd64".parse().expect("a platform")),
        ..PushOptions::default()
    };
    let pushed = one
        .push_with(quick(), &index, &elsewhere, &only)
        .expect("pushed");
    assert_eq!(pushed.digest, entries[0].digest);

    let all = Scene::new();
    let options = PullOptions {
        platforms: Platforms::All,
        ..PullOptions::default()
    };
    let client = Client::new(quick());
    let pulled = pull(&client, &all.store, &reference(&name), &options, &all.notes);
    assert_eq!(pulled.expect("pulled").manifests.len(), 3);
    assert_eq!([0, 1, 2].map(|entry| has(&all, entry)), [true; 3]);
}

#[test]
fn blobs_are_sent_in_pieces_and_mounted_from_other_repositories() {
    needs!(Program("docker-registry"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let image = scene.image("pieces");
    let pieces = PushOptions {
        piece: Some(10_000),
        parallel: 1,
        ..PushOptions::default()
    };
    let first = format!("{}/first:1", registry.name());
    scene
        .push_with(quick(), &image, &first, &pieces)
        .expect("pushed");
    scene.store.tag(&reference(&first), &image).expect("tagged");
    assert!(scene.notes.contain("ended: Upload"));

    let other = Notes::default();
    let client = Client::new(quick());
    let second = reference(&format!("{}/second/one:1", registry.name()));
    let options = PushOptions::default();
    push(&client, &scene.store, &image, &second, &options, &other).expect("pushed");
    assert!(!other.contain("ended: Upload"), "{:?}", other.all());

    let fresh = Scene::new();
    for name in [first, second.to_string()] {
        assert_eq!(
            fresh.pull(quick(), &name).expect("pulled").digest,
            image.digest
        );
    }
}

#[test]
fn encryption_needs_the_right_authority_and_may_need_a_certificate() {
    needs!(Program("docker-registry"));
    let directory = Marker::new("registry").directory();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
        directory.path().join(name)
    };
    let (server, client) = (authority.pair(), authority.pair());
    let ca = write("ca.pem", &authority.certificate);
    let http = format!(
        "  tls:\n    certificate: {}\n    key: {}\n    clientcas: [{}]\n",
        write("s.pem", &server.certificate).display(),
        write("s.key", &server.key).display(),
        ca.display()
    );
    let registry = Registry::start(Marker::new("registry").directory(), &http, "");
    let name = format!("{}/a:1", registry.name());
    let scene = Scene::new();
    let image = scene.image("tls");

    let certs = scene.directory.path().join("certs.d");
    let place = certs.join(registry.name());
    std::fs::create_dir_all(&place).expect("made");
    let mut settings = quick();
    settings.hosts.directories = vec![certs];
    std::fs::write(place.join("ca.crt"), &stranger.certificate).expect("written");
    let error = scene
        .push(settings.clone(), &image, &name)
        .expect_err("a stranger");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");

    std::fs::write(place.join("ca.crt"), &authority.certificate).expect("written");
    let error = scene
        .push(settings.clone(), &image, &name)
        .expect_err("no certificate");
    assert!(error.to_string().contains("ertificate"), "{error}");

    std::fs::write(place.join("me.cert"), &client.certificate).expect("written");
    std::fs::write(place.join("me.key"), &server.key).expect("written");
    let error = scene
        .push(settings.clone(), &image, &name)
        .expect_err("another's key");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    std::fs::write(place.join("me.key"), &client.key).expect("written");
    scene.push(settings.clone(), &image, &name).expect("pushed");
    let fresh = Scene::new();
    assert_eq!(
        fresh.pull(settings.clone(), &name).expect("pulled").digest,
        image.digest
    );

    // Of several certificates that is shown which the registry believes.
    let unknown = stranger.pair();
    std::fs::write(place.join("a.cert"), &unknown.certificate).expect("written");
    std::fs::write(place.join("a.key"), &unknown.key).expect("written");
    let other = format!("{}/b:1", registry.name());
    scene
        .push(settings.clone(), &image, &other)
        .expect("pushed");

    std::fs::write(place.join("ca.crt"), &stranger.certificate).expect("written");
    settings.hosts.skip_verify = vec![registry.name().to_owned()];
    fresh.pull(settings, &name).expect("nobody looks at it");
}

fn guarded() -> Registry {
    let directory = Marker::new("registry").directory();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, HTPASSWD).expect("written");
    let auth = format!(
        "  htpasswd:\n    realm: tests\n    path: {}\n",
        file.display()
    );
    Registry::start(directory, "", &auth)
}

#[test]
fn a_password_is_tried_kept_used_and_forgotten() {
    needs!(Program("docker-registry"), Program("skopeo"));
    let (registry, scene) = (guarded(), Scene::new());
    let image = scene.image("basic");
    let name = format!("{}/a:1", registry.name());
    let error = scene.push(quick(), &image, &name).expect_err("anonymous");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("login"), "{error}");

    let file = scene.directory.path().join("docker/config.json");
    let helpers = HelperEnvironment::default();
    let place = Place {
        file: &file,
        helpers: &helpers,
    };
    let client = Client::new(quick());
    let error = login(&client, registry.name(), "alice", "wrong", place).expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(!file.exists());
    let outcome = login(&client, registry.name(), "alice", "open sesame", place);
    assert_eq!(outcome.expect("right"), Login::Accepted);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("written").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    let mut settings = quick();
    settings.keyring.files = vec![file.clone()];
    scene.push(settings.clone(), &image, &name).expect("pushed");
    let inspect = ["inspect", "--raw", "--tls-verify=false", "--authfile"];
    let url = format!("docker://{name}");
    let shown = file.display().to_string();
    skopeo(&[&inspect[..], &[&shown, &url]].concat()).succeeded();

    assert!(logout(registry.name(), place).expect("forgotten"));
    assert!(!logout(registry.name(), place).expect("nothing there"));
    let error = scene.pull(settings, &name).expect_err("anonymous again");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn a_helper_runs_by_its_absolute_path_in_a_clean_environment() {
    needs!(Program("docker-registry"));
    let (registry, scene) = (guarded(), Scene::new());
    let bin = scene.directory.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    // What it was asked, and what it saw, stand beside it.
    let script = format!(
        "#!/bin/sh\ncd {0}\nread -r line\necho \"$0 $1 $line\" >> asked\nenv >> environment\n\
         case $1 in\nget) [ -e kept ] || {{ echo credentials not found in native keychain; exit 1; }}\n\
         printf '{{\"Username\":\"alice\",\"Secret\":\"open sesame\"}}' ;;\n\
         store) touch kept ;;\nerase) rm -f kept ;;\nesac\n",
        bin.display()
    );
    let helper = bin.join("docker-credential-test");
    std::fs::write(&helper, script).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&helper, executable).expect("set");
    let file = scene.directory.path().join("config.json");
    let before = json!({"credsStore": "test", "psFormat": "table", "auths": {"other.io": {}}});
    std::fs::write(&file, before.to_string()).expect("written");

    // A program in a directory that depends on where one stands is nothing that may be run.
    let decoy = scene.directory.path().join("decoy");
    std::fs::create_dir(&decoy).expect("made");
    let bad = decoy.join("docker-credential-test");
    let text = format!("#!/bin/sh\ntouch {}/ran\nexit 1\n", decoy.display());
    std::fs::write(&bad, text).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bad, executable).expect("set");
    let here = std::env::current_dir().expect("there is one");
    let up = "../".repeat(here.components().count() - 1);
    let relative = format!("{up}{}", &decoy.display().to_string()[1..]);
    assert!(Path::new(&relative).join("docker-credential-test").exists());

    let mut search = std::ffi::OsString::from(format!(".:{relative}:"));
    search.push(&bin);
    search.push(":/usr/bin:/bin");
    let helpers = HelperEnvironment {
        search_path: search,
        variables: vec![("GIVEN".into(), "yes".into())],
        ..HelperEnvironment::default()
    };
    let place = Place {
        file: &file,
        helpers: &helpers,
    };
    let client = Client::new(quick());
    login(&client, registry.name(), "alice", "open sesame", place).expect("kept");
    let text = std::fs::read_to_string(&file).expect("there");
    assert!(!text.contains("\"auth\""), "{text}");
    assert!(
        text.contains("psFormat") && text.contains("other.io"),
        "{text}"
    );

    let mut settings = quick();
    settings.keyring = Keyring {
        files: vec![file.clone()],
        helpers: helpers.clone(),
        ..Keyring::default()
    };
    let name = format!("{}/a:1", registry.name());
    scene
        .push(settings.clone(), &scene.image("helped"), &name)
        .expect("pushed");
    assert!(logout(registry.name(), place).expect("forgotten"));
    assert_eq!(
        scene.pull(settings, &name).expect_err("anonymous").kind(),
        ErrorKind::Denied
    );

    let asked = std::fs::read_to_string(bin.join("asked")).expect("it ran");
    let expected = format!("{} store ", helper.display());
    assert!(asked.starts_with(&expected), "{asked}");
    assert!(
        asked.contains(&format!("get {}", registry.name())),
        "{asked}"
    );
    let environment = std::fs::read_to_string(bin.join("environment")).expect("it ran");
    assert!(environment.contains("GIVEN=yes"));
    assert!(!environment.contains("CARGO"), "{environment}");
    assert!(!environment.contains("decoy"), "{environment}");
    assert!(!decoy.join("ran").exists());
}

#[test]
fn a_helper_that_does_not_answer_is_killed() {
    let directory = Marker::new("helper").directory();
    let helper = directory.path().join("docker-credential-slow");
    let pid = directory.path().join("pid");
    let text = format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", pid.display());
    std::fs::write(&helper, text).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&helper, executable).expect("set");
    let file = directory.path().join("config.json");
    std::fs::write(&file, "{\"credsStore\": \"slow\"}").expect("written");
    let mut search = directory.path().as_os_str().to_owned();
    search.push(":/usr/bin:/bin");
    let keyring = Keyring {
        files: vec![file],
        helpers: HelperEnvironment {
            search_path: search,
            // Long enough for a shell to say who it is, on any machine.
            patience: Duration::from_secs(2),
            ..HelperEnvironment::default()
        },
        ..Keyring::default()
    };
    let error = keyring.find("r.example", "x").expect_err("it sleeps");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(
        error.to_string().contains("docker-credential-slow"),
        "{error}"
    );
    let pid = std::fs::read_to_string(pid).expect("it ran");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// A token service, as docker-registry knows it: signed JSON with the service's certificate.
struct Tokens {
    key: ring::signature::EcdsaKeyPair,
    certificate: String,
    /// Services of the older kind know only GET.
    knows_post: bool,
}

impl Tokens {
    fn answer(&self, seen: &Seen) -> network::fake::Reply {
        let form = if seen.method == "POST" {
            if !self.knows_post {
                return answer(405, &[], b"");
            }
            seen.text()
        } else {
            seen.target
                .split_once('?')
                .map(|(_, query)| query.to_owned())
                .unwrap_or_default()
        };
        let field = |name: &str| {
            let mut fields = form.split('&').filter_map(|field| field.split_once('='));
            let found = fields.find(|(known, _)| *known == name);
            found
                .map(|(_, value)| value.replace("%20", " ").replace("%2C", ","))
                .unwrap_or_default()
        };
        let is_alice = match field("grant_type").as_str() {
            "password" => field("username") == "alice" && field("password") == "open sesame",
            "refresh_token" => field("refresh_token") == "lasting",
            _ => seen.header("authorization") == Some("Basic YWxpY2U6b3BlbiBzZXNhbWU="),
        };
        if !is_alice {
            return answer(
                401,
                &[("Content-Type", "application/json")],
                b"{\"details\":\"incorrect\"}",
            );
        }
        let scopes = form
            .split('&')
            .filter_map(|field| field.strip_prefix("scope="))
            .flat_map(|scopes| {
                scopes
                    .replace("%20", " ")
                    .replace("%2C", ",")
                    .split(' ')
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            });
        let token = self.token(&scopes.filter(|scope| !scope.is_empty()).collect::<Vec<_>>());
        let mut reply = json!({"access_token": token, "expires_in": 300});
        if field("access_type") == "offline" || field("offline_token") == "true" {
            reply["refresh_token"] = "lasting".into();
        }
        answer(
            200,
            &[("Content-Type", "application/json")],
            reply.to_string().as_bytes(),
        )
    }

    fn token(&self, scopes: &[String]) -> String {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let access: Vec<_> = scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<_> = actions.split(',').collect();
                Some(json!({"type": kind, "name": name, "actions": actions}))
            })
            .collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({"iss": "tester", "sub": "alice", "aud": "tests", "jti": "1",
            "nbf": now - 10, "iat": now, "exp": now + 300, "access": access});
        let signed = format!(
            "{}.{}",
            encode(head.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let random = ring::rand::SystemRandom::new();
        let signature = self.key.sign(&random, signed.as_bytes()).expect("signed");
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

/// A token service, and a registry that believes it.
fn with_tokens(knows_post: bool) -> (Fake, Registry) {
    use base64::Engine as _;
    let authority = Authority::new();
    let pair = authority.pair();
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let tokens = Tokens {
        key: ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, &pair.key_der, &random)
            .expect("a key"),
        certificate: base64::engine::general_purpose::STANDARD.encode(&pair.certificate_der),
        knows_post,
    };
    let fake = Fake::start(move |seen| tokens.answer(seen));
    let directory = Marker::new("registry").directory();
    let bundle = directory.path().join("bundle.pem");
    std::fs::write(&bundle, &authority.certificate).expect("written");
    let auth = format!(
        "  token:\n    realm: {}\n    service: tests\n    issuer: tester\n    rootcertbundle: {}\n",
        fake.url("/token"),
        bundle.display()
    );
    (fake, Registry::start(directory, "", &auth))
}

#[test]
fn tokens_are_fetched_by_post_or_get_once_for_each_scope() {
    needs!(Program("docker-registry"));
    for knows_post in [true, false] {
        let (service, registry) = with_tokens(knows_post);
        let scene = Scene::new();
        let image = scene.image("token");
        let mut settings = quick();
        let name = format!("{}/team/app:1", registry.name());
        let error = scene
            .push(settings.clone(), &image, &name)
            .expect_err("anonymous");
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");

        let alice = Credential::Password {
            username: "alice".into(),
            password: "open sesame".into(),
        };
        settings
            .keyring
            .given
            .insert(registry.name().to_owned(), alice);
        let before = service.seen().len();
        scene.push(settings.clone(), &image, &name).expect("pushed");
        let methods: Vec<_> = service.seen()[before..]
            .iter()
            .map(|seen| seen.method.clone())
            .collect();
        let expected: &[&str] = if knows_post {
            &["POST"]
        } else {
            &["POST", "GET"]
        };
        assert_eq!(
            methods, expected,
            "one token serves four blobs and a manifest"
        );

        let wanted = service.seen()[before].text();
        assert!(
            wanted.contains("scope=repository:team/app:pull%2Cpush"),
            "{wanted}"
        );
        assert!(wanted.contains("service=tests"), "{wanted}");

        // A blob of another repository needs the right to read there, too.
        scene.store.tag(&reference(&name), &image).expect("tagged");
        let other = format!("{}/team/other:1", registry.name());
        let client = Client::new(settings);
        let notes = Notes::default();
        let options = PushOptions::default();
        push(
            &client,
            &scene.store,
            &image,
            &reference(&other),
            &options,
            &notes,
        )
        .expect("pushed");
        assert!(!notes.contain("ended: Upload"), "{:?}", notes.all());
    }
}

#[test]
fn login_keeps_a_lasting_token_in_place_of_the_password() {
    needs!(Program("docker-registry"));
    let (service, registry) = with_tokens(true);
    let scene = Scene::new();
    let file = scene.directory.path().join("auth.json");
    let helpers = HelperEnvironment::default();
    let place = Place {
        file: &file,
        helpers: &helpers,
    };
    let client = Client::new(quick());
    let error = login(&client, registry.name(), "alice", "wrong", place).expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    login(&client, registry.name(), "alice", "open sesame", place).expect("right");
    let text = std::fs::read_to_string(&file).expect("kept");
    assert!(text.contains("lasting"), "{text}");
    assert!(!text.contains("YWxpY2U6b3BlbiBzZXNhbWU="), "{text}");

    let mut settings = quick();
    settings.keyring.files = vec![file];
    let before = service.seen().len();
    let name = format!("{}/a:1", registry.name());
    scene
        .push(settings, &scene.image("lasting"), &name)
        .expect("pushed");
    assert!(
        service.seen()[before]
            .text()
            .contains("grant_type=refresh_token")
    );
}

#[test]
fn copies_need_no_store_and_keep_every_digest() {
    needs!(Program("docker-registry"), Program("skopeo"));
    let (from, to, scene) = (Registry::plain(), Registry::plain(), Scene::new());
    let (index, entries) = scene.index("copied");
    let source = format!("{}/a/b:1", from.name());
    scene.push(quick(), &index, &source).expect("pushed");

    let client = Client::new(quick());
    let target = format!("{}/c:2", to.name());
    let notes = Notes::default();
    let options = CopyOptions::default();
    let copied = copy(
        &client,
        &reference(&source),
        &reference(&target),
        &options,
        &notes,
    );
    assert_eq!(copied.expect("copied"), index);
    let raw = format!("docker://{target}");
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &raw]).success();
    assert_eq!(Digest::of(raw.stdout.as_bytes()), index.digest);
    let fresh = Scene::new();
    assert_eq!(fresh.pull(quick(), &target).expect("pulled"), index);

    let one = CopyOptions {
        platform: Some("linux/arm64".parse().expect("a platform")),
        piece: Some(7000),
    };
    let target = format!("{}/d:3", to.name());
    let copied = copy(
        &client,
        &reference(&source),
        &reference(&target),
        &one,
        &notes,
    );
    assert_eq!(copied.expect("copied").digest, entries[1].digest);

    // Within one registry nothing is sent.
    let notes = Notes::default();
    let within = format!("{}/other:1", from.name());
    copy(
        &client,
        &reference(&source),
        &reference(&within),
        &options,
        &notes,
    )
    .expect("copied");
    assert!(!notes.contain("ended: Upload"), "{:?}", notes.all());
}

#[test]
fn tags_are_listed_and_what_is_about_an_image_is_found() {
    needs!(Program("docker-registry"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let image = scene.image("subject");
    let name = |tag: &str| format!("{}/a:{tag}", registry.name());
    for tag in ["1", "2", "latest"] {
        scene.push(quick(), &image, &name(tag)).expect("pushed");
    }
    let client = Client::new(quick());
    let of = reference(&name("1"));
    let repository = client.repository(&of, &scene.notes);
    let mut tags = repository.tags().expect("listed");
    tags.sort();
    assert_eq!(tags, ["1", "2", "latest"]);
    let missing = reference(&format!("{}/missing", registry.name()));
    let missing = client
        .repository(&missing, &scene.notes)
        .tags()
        .expect_err("none");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");

    // This registry keeps no list of its own: it lies at a tag.
    assert_eq!(
        repository
            .referrers(&image.digest, None)
            .expect("none")
            .len(),
        0
    );
    for kind in ["application/x-signature", "application/x-bill"] {
        let lease = scene.store.lease().expect("a lease");
        let empty = scene.store.put(MediaType::Empty, b"{}").expect("written");
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OciManifest.as_str(),
            "artifactType": kind, "config": empty, "layers": [empty], "subject": image,
            "annotations": {"x": "y"}});
        let bytes = manifest.to_string();
        let artifact = scene
            .store
            .put(MediaType::OciManifest, bytes.as_bytes())
            .expect("written");
        drop(lease);
        let target = format!("{}/a@{}", registry.name(), artifact.digest);
        scene.push(quick(), &artifact, &target).expect("pushed");
        // A second time changes nothing.
        scene.push(quick(), &artifact, &target).expect("pushed");
    }
    assert_eq!(
        repository
            .referrers(&image.digest, None)
            .expect("listed")
            .len(),
        2
    );
    let wanted = Some("application/x-signature");
    let found = repository.referrers(&image.digest, wanted).expect("listed");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].annotation("x"), Some("y"));
    let fetched = repository.manifest(&found[0]).expect("it is there");
    assert!(matches!(fetched.document, Document::Manifest(_)));

    // What is removed is not in the list any more, and what was removed is not there.
    let artifact = of.at(found[0].digest.clone());
    repository.delete(&artifact).expect("removed");
    let left = repository.referrers(&image.digest, None).expect("listed");
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|entry| entry.digest != found[0].digest));
    let again = repository.delete(&artifact).expect_err("not there");
    assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");
    let empty = Digest::of(b"{}");
    repository.delete_blob(&empty).expect("removed");
    let again = repository.delete_blob(&empty).expect_err("not there");
    assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");

    // A tag alone can't be removed from this registry, as from most.
    let by_tag = repository.delete(&of).expect_err("by its digest only");
    assert_eq!(by_tag.kind(), ErrorKind::Unsupported, "{by_tag}");
    repository
        .delete(&of.at(image.digest.clone()))
        .expect("removed");
    assert!(repository.resolve(&of).is_err());
    let again = repository
        .delete(&of.at(image.digest))
        .expect_err("not there");
    assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");
}

#[test]
fn content_that_is_named_by_sha512_goes_both_ways() {
    use image::digest::{Algorithm, Hasher};
    needs!(Program("docker-registry"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let bytes = b"a layer with a long name".repeat(1000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let tar = MediaType::layer(Compression::None);
    let layer = Descriptor::new(tar, hasher.finish(), bytes.len() as u64);
    let lease = scene.store.lease().expect("a lease");
    let ingest = scene.store.ingest(&layer).expect("begun");
    let image::store::Ingest::Writer(mut writer) = ingest else {
        panic!("it is not there yet");
    };
    writer.append(&bytes).expect("written");
    writer.commit().expect("verified");
    let image = kit::image(&scene.store, &[layer], "x").expect("written");
    drop(lease);
    let name = format!("{}/a:1", registry.name());
    scene.push(quick(), &image, &name).expect("pushed");
    let fresh = Scene::new();
    assert_eq!(
        fresh.pull(quick(), &name).expect("pulled").digest,
        image.digest
    );
    kit::assert_sound(&fresh.store);
}

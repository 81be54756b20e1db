//! Docker and podman, through one registry with us: what one pushes the others pull and run, and
//! digests stay what they are where the content does.

mod network;
mod place;

use network::debian::Registry;
use place::Place;
use serde_json::Value;
use testkit::{Engine, Finished, Podman, TestBundle, needs};

/// An engine's command line.
trait Peer {
    fn run(&self, words: &[&str]) -> Finished;

    fn must(&self, words: &[&str]) -> String {
        self.run(words).success().stdout.trim().to_owned()
    }

    /// The first of these facts of an image.
    fn fact(&self, image: &str, format: &str) -> String {
        self.must(&["image", "inspect", "--format", format, image])
    }
}

impl Peer for Engine {
    fn run(&self, words: &[&str]) -> Finished {
        self.docker(words)
    }
}

impl Peer for Podman {
    fn run(&self, words: &[&str]) -> Finished {
        self.podman(words)
    }
}

/// What we know of an image.
fn inspect(place: &Place, name: &str) -> Value {
    let all: Vec<Value> = serde_json::from_str(&place.must(&["inspect", name])).expect("JSON");
    all.into_iter().next().expect("one")
}

fn layers(image: &Value) -> Vec<&str> {
    let layers = image["manifest"]["document"]["layers"].as_array();
    let layers = layers.expect("a list").iter();
    layers
        .filter_map(|layer| layer["digest"].as_str())
        .collect()
}

fn text<'v>(image: &'v Value, key: &str) -> &'v str {
    image[key].as_str().expect(key)
}

/// What both have in common. `insecure` are the words without which the peer would insist on
/// encryption; `own` is an image that it has.
fn exchange(place: &Place, registry: &Registry, peer: &dyn Peer, insecure: &[&str], own: &str) {
    let word = |command: &'static str| [&[command], insecure].concat();
    let name = |path: &str| format!("{}/{path}", registry.name());

    // Ours goes to the peer, and runs there. Its layer must not be the peer's own by chance:
    // Docker would say of our plain archive that it is its compressed one.
    let bundle = TestBundle::busybox(&place.marker);
    std::fs::write(bundle.rootfs().join("ours"), "").expect("it is ours");
    place::pack(&bundle.rootfs(), &place.path("busybox.tar"));
    place.import_busybox("ours:1", &["CMD [\"echo\", \"from ours\"]"]);
    let ours = name("ours:1");
    let pushed = place.must(&["push", "ours:1", &ours]);
    let (_, digest) = pushed.trim().split_once('@').expect("a digest");
    let before = inspect(place, "ours:1");
    peer.must(&[&word("pull")[..], &[&ours]].concat());
    let names = peer.fact(&ours, "{{range .RepoDigests}}{{.}} {{end}}");
    assert!(names.contains(digest), "{names} {digest}");
    let id = peer.fact(&ours, "{{.Id}}");
    let hex = |text: &str| text.trim_start_matches("sha256:").to_owned();
    assert_eq!(hex(&id), hex(text(&before, "id")));
    let said = peer.must(&["run", "--rm", "--network", "none", &ours]);
    assert_eq!(said, "from ours");

    // From there it comes back as it was: its configuration, and so its layers' content.
    let back = name("back:1");
    peer.must(&["tag", &ours, &back]);
    peer.must(&[&word("push")[..], &[&back]].concat());
    place.must(&["pull", &back]);
    let after = inspect(place, &back);
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["chainIds"], before["chainIds"]);
    assert_eq!(layers(&after), layers(&before), "no layer was packed again");

    // What the peer has made comes to us, and runs here.
    let theirs = name("theirs:1");
    peer.must(&["tag", own, &theirs]);
    peer.must(&[&word("push")[..], &[&theirs]].concat());
    place.must(&["pull", &theirs]);
    let found = inspect(place, &theirs);
    assert_eq!(hex(text(&found, "id")), hex(&peer.fact(own, "{{.Id}}")));
    let said = place
        .run(&[&theirs, "echo", "from theirs"])
        .success()
        .stdout;
    assert_eq!(said.trim(), "from theirs");
}

#[test]
fn docker_and_we_pull_what_the_other_has_pushed() {
    needs!(Root, Engines, Program("docker-registry"));
    let (registry, place) = (Registry::plain(), Place::new("peerdocker"));
    let engine = Engine::docker_with(&place.marker, &[]);
    // A registry on loopback may do without encryption.
    exchange(&place, &registry, &engine, &[], engine.image());
    drop((engine, registry));
    place.finish();
}

#[test]
fn podman_and_we_pull_what_the_other_has_pushed() {
    needs!(Root, Podman, Program("docker-registry"));
    let (registry, place) = (Registry::plain(), Place::new("peerpodman"));
    let tare = place::tare().display();
    let configuration = format!(
        "[engine]\nruntime = \"tare\"\nruntime_supports_json = [\"tare\"]\n\n\
         [engine.runtimes]\ntare = [\"{tare}\"]\n"
    );
    let podman = Podman::of_root(&place.marker, &configuration);
    let own = podman.image();
    exchange(&place, &registry, &podman, &["--tls-verify=false"], own);
    drop((podman, registry));
    place.finish();
}

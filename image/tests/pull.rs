//! Pulls that are killed, that meet each other, that are larger than the memory they may take.

mod kit;
mod network;

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::document::MediaType;
use image::pull::{PullOptions, pull};
use image::registry::Client;
use image::{Digest, Reference, Store};
use network::fake::{Fake, Reply, Seen, Step, answer};
use network::{Made, Notes, quick};
use serde_json::json;
use testkit::{Marker, Residue};

/// Tells a child what to pull.
const NAME: &str = "TARE_TEST_REFERENCE";

/// Killed when the test is over, whatever its end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            self.0.kill().expect("it is ours");
            self.0.wait().expect("reaped");
        }
    }
}

fn start(root: &Path, name: &str) -> Killed {
    let mut command = kit::child("child_that_pulls", root, 0);
    command
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    Killed(command.spawn().expect("this program again"))
}

/// Ends well, and says how much memory it took at most, in kB.
fn end(mut child: Killed) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = child.0.try_wait().expect("ours") {
            let mut output = String::new();
            let stdout = child.0.stdout.as_mut().expect("piped");
            std::io::Read::read_to_string(stdout, &mut output).expect("text");
            assert!(status.success(), "{status}: {output}");
            let peak = output.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.expect("told").trim().trim_end_matches(" kB");
            return peak.parse().expect("a number");
        }
        assert!(Instant::now() < deadline, "the child does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "run by the tests below"]
fn child_that_pulls() {
    let Some(root) = kit::told_root() else { return };
    let name = std::env::var(NAME).expect("told");
    let store = Store::open(&root).expect("a store");
    let client = Client::new(quick());
    let reference: Reference = name.parse().expect("a reference");
    let options = PullOptions::default();
    let notes = Notes::default();
    if let Err(error) = pull(&client, &store, &reference, &options, &notes) {
        panic!("{error}\n{:#?}", notes.all());
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    writeln!(std::io::stdout(), "\n{}", peak.expect("Linux has it")).expect("a pipe");
}

fn layer() -> Vec<u8> {
    (0..400_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn serve(made: &Made, seen: &Seen) -> Reply {
    if seen.path() == "/v2/" {
        return answer(200, &[], b"");
    }
    if seen.path().contains("/manifests/") {
        let kind = MediaType::OciManifest.as_str().to_owned();
        let digest = made.descriptor().digest.to_string();
        let headers = [
            ("Content-Type", &*kind),
            ("Docker-Content-Digest", &*digest),
        ];
        return answer(200, &headers, &made.manifest);
    }
    let mut blobs = made.layers.iter().chain([&made.config]);
    let found = blobs.find(|blob| seen.path().ends_with(Digest::of(blob).hex()));
    let blob = found.expect("it has it");
    let start = seen.header("range").map(|range| {
        let range = range.trim_start_matches("bytes=").trim_end_matches('-');
        range.parse::<usize>().expect("a number")
    });
    match start {
        None => answer(200, &[], blob),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
            answer(206, &[("Content-Range", &*range)], &blob[start..])
        }
    }
}

#[test]
fn what_a_killed_pull_has_left_is_where_the_next_one_goes_on() {
    let marker = Marker::new("killed");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let root = directory.path().join("store");
    let made = Arc::new(Made::new(&[&layer(), b"small"]));
    let hex = Digest::of(&layer()).hex().to_owned();

    let (served, long) = (Arc::clone(&made), hex.clone());
    let stalling = Fake::start(move |seen| {
        let mut reply = serve(&served, seen);
        if seen.method == "GET" && seen.path().ends_with(&long) {
            reply[1] = Step::Send(layer()[..1_000_000].to_vec());
            reply.push(Step::Stall);
        }
        reply
    });
    let child = start(&root, &format!("{}/a:b", stalling.name()));
    let half = root.join("ingest").join(format!("sha256-{hex}"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(&half).map_or(0, |half| half.len()) < 1_000_000 {
        assert!(Instant::now() < deadline, "the first half does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut child = child;
    child.0.kill().expect("it runs");
    let status = child.0.wait().expect("reaped");
    assert_eq!(status.signal(), Some(9));
    let store = Store::open(&root).expect("a store");
    assert!(store.images().expect("a list").is_empty());

    let fake = Fake::start(move |seen| serve(&made, seen));
    end(start(&root, &format!("{}/a:b", fake.name())));
    let ranges: Vec<_> = fake
        .asked("GET", &hex)
        .iter()
        .map(|seen| seen.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [Some("bytes=1000000-".to_owned())]);
    kit::assert_sound(&store);
    assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    drop((store, stalling, fake, directory));
    residue.assert_none(&[]);
}

#[test]
fn pulls_of_the_same_image_share_what_they_download() {
    let directory = Marker::new("both").directory();
    let root = directory.path().join("store");
    let made = Arc::new(Made::new(&[&layer(), &layer()[8..], b"small"]));
    let served = Arc::clone(&made);
    let fake = Fake::start(move |seen| serve(&served, seen));
    let name = format!("{}/a:b", fake.name());
    let children: Vec<Killed> = (0..3).map(|_| start(&root, &name)).collect();
    for child in children {
        end(child);
    }
    for blob in made.layers.iter().chain([&made.config]) {
        assert_eq!(fake.asked("GET", Digest::of(blob).hex()).len(), 1);
    }
    let store = Store::open(&root).expect("a store");
    kit::assert_sound(&store);
    assert_eq!(store.images().expect("a list").len(), 1);
}

#[test]
fn a_layer_takes_no_memory_for_its_size() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 80;
    let directory = Marker::new("memory").directory();
    let piece: Vec<u8> = (0..PIECE).map(|at| at.to_le_bytes()[1]).collect();
    let mut hasher = image::digest::Hasher::new(image::digest::Algorithm::Sha256);
    (0..PIECES).for_each(|_| hasher.update(&piece));
    let layer = hasher.finish();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer]}});
    let mut made = Made::new(&[]);
    made.config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OciManifest.as_str(),
        "config": image::document::Descriptor::of(MediaType::OciConfig, &made.config),
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer, "size": PIECE * PIECES}]});
    made.manifest = manifest.to_string().into_bytes();
    let hex = layer.hex().to_owned();
    let fake = Fake::start(move |seen| {
        if !seen.path().ends_with(&hex) {
            return serve(&made, seen);
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            PIECE * PIECES
        );
        vec![
            Step::Send(head.into_bytes()),
            Step::Repeat(piece.clone(), PIECES),
        ]
    });
    let root = directory.path().join("store");
    let peak = end(start(&root, &format!("{}/a:b", fake.name())));
    assert!(peak < 64 << 10, "{peak} kB");
}

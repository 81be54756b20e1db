//! One blob over several connections: from registries that are slow, that have no pieces, that
//! send other ones, that break off; and what a process that is killed leaves of it.

mod kit;
mod network;

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use image::error::{Error, ErrorKind};
use image::pull::{PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::settings::{Credential, Ranges};
use image::registry::{Client, Settings};
use image::store::Untagged;
use image::{Digest, Reference, Store};
use network::debian::Registry;
use network::fake::{Fake, Reply, Seen, Step, answer, redirect};
use network::{Made, Notes, quick};
use testkit::{Marker, Residue, needs};

/// Tells a child what to pull.
const NAME: &str = "TARE_TEST_REFERENCE";
const PIECE: usize = 256 << 10;
const CONNECTIONS: usize = 4;

/// Many pieces, and a last one that is shorter.
static LAYER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = (0..700_000_u32).map(|word| word.wrapping_mul(2_654_435_761));
    words.flat_map(u32::to_le_bytes).chain([7; 13]).collect()
});

static HEX: LazyLock<String> = LazyLock::new(|| Digest::of(&LAYER).hex().to_owned());

fn made() -> Made {
    Made::new(&[&LAYER, b"small"])
}

/// Small pieces, and every connection counts as slow.
fn pieces() -> Settings {
    Settings {
        ranges: Ranges {
            connections: CONNECTIONS,
            larger_than: 1 << 20,
            piece: PIECE as u64,
            fast: u64::MAX,
        },
        ..quick()
    }
}

/// The bytes that are asked for: the first one, and the first one after them, if there is an end.
fn range(seen: &Seen) -> Option<(usize, Option<usize>)> {
    let (first, last) = seen
        .header("range")?
        .strip_prefix("bytes=")?
        .split_once('-')?;
    let last: Option<usize> = last.parse().ok();
    Some((first.parse().ok()?, last.map(|last| last + 1)))
}

fn is_layer(seen: &Seen) -> bool {
    seen.method == "GET" && seen.path().ends_with(&**HEX)
}

/// A piece of the layer that is not the first one.
fn is_later_piece(seen: &Seen) -> bool {
    is_layer(seen) && range(seen).is_some_and(|(start, end)| start > 0 && end.is_some())
}

fn good(made: &Made, seen: &Seen) -> Reply {
    if seen.path() == "/v2/" {
        return answer(200, &[], b"");
    }
    if seen.path().contains("/manifests/") {
        return made.serve(seen);
    }
    let mut blobs = made.layers.iter().chain([&made.config]);
    let found = blobs.find(|blob| seen.path().ends_with(Digest::of(blob).hex()));
    let blob = found.expect("it has it");
    match range(seen) {
        None => answer(200, &[], blob),
        Some((start, end)) => {
            let end = end.unwrap_or(blob.len());
            let range = format!("bytes {start}-{}/{}", end - 1, blob.len());
            answer(206, &[("Content-Range", &*range)], &blob[start..end])
        }
    }
}

/// A good registry, but for what `special` makes of its answers.
fn registry(special: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> Fake {
    let made = made();
    Fake::start(move |seen| special(seen, good(&made, seen)))
}

/// The same answer, slowly: 64 kB every 5 ms.
fn slowly(reply: Reply) -> Reply {
    let pace = |step| match step {
        Step::Send(bytes) => Step::Paced(bytes, 64 << 10, Duration::from_millis(5)),
        other => other,
    };
    reply.into_iter().map(pace).collect()
}

struct Scene {
    directory: tempfile::TempDir,
    store: Store,
    notes: Notes,
}

impl Scene {
    fn new() -> Self {
        let directory = Marker::new("ranges").directory();
        Self {
            store: Store::open(&directory.path().join("store")).expect("a store"),
            directory,
            notes: Notes::default(),
        }
    }

    fn pull(&self, settings: Settings, registry: &str) -> Result<(), Error> {
        let reference: Reference = format!("{registry}/a/b:c").parse().expect("a reference");
        let client = Client::new(settings);
        let options = PullOptions::default();
        pull(&client, &self.store, &reference, &options, &self.notes).map(|_| ())
    }

    /// It works, and what is in the store is what it should be.
    fn pulls(&self, settings: Settings, fake: &Fake) {
        if let Err(error) = self.pull(settings, &fake.name()) {
            panic!("{error}\n{:#?}", self.notes.all());
        }
        kit::assert_sound(&self.store);
        assert_eq!(self.store.images().expect("a list").len(), 1);
        assert_eq!(kit::unfinished(self.store.path()), [] as [String; 0]);
    }
}

/// What was asked for of the layer, in its order.
fn asked(fake: &Fake) -> Vec<Option<(usize, Option<usize>)>> {
    let mut ranges: Vec<_> = fake.asked("GET", &HEX).iter().map(range).collect();
    ranges.sort_unstable();
    ranges
}

/// Each byte was asked for once.
fn assert_covers(fake: &Fake) {
    let mut reached = 0;
    for range in asked(fake) {
        let (start, end) = range.expect("there are pieces alone");
        assert_eq!(start, reached, "{:?}", asked(fake));
        reached = end.unwrap_or(LAYER.len());
    }
    assert_eq!(reached, LAYER.len());
}

#[test]
fn a_slow_registry_is_asked_over_several_connections_at_once() {
    // No piece but the first is answered before so many have been asked for: with fewer
    // connections nothing would ever come.
    let waiting = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let fake = registry(move |seen, reply| {
        if is_later_piece(seen) {
            let (count, changed) = &*waiting;
            let mut count = count.lock().expect("no panic");
            *count += 1;
            changed.notify_all();
            let limit = Duration::from_secs(60);
            let is_alone = |count: &mut usize| *count < CONNECTIONS;
            let waited = changed.wait_timeout_while(count, limit, is_alone);
            let is_timed_out = waited.expect("no panic").1.timed_out();
            assert!(!is_timed_out, "there are fewer connections");
        }
        slowly(reply)
    });
    let scene = Scene::new();
    scene.pulls(pieces(), &fake);
    assert_covers(&fake);
    assert_eq!(
        asked(&fake).len(),
        1 + (LAYER.len() - PIECE).div_ceil(PIECE)
    );
    // What is small comes at once.
    let small = fake.asked("GET", Digest::of(b"small").hex());
    assert!(small[0].header("range").is_none());
}

#[test]
fn a_connection_that_is_measured_to_be_slow_gets_company_and_a_fast_one_does_not() {
    let fake = registry(|_, reply| slowly(reply));
    let settings = |fast| Settings {
        ranges: Ranges {
            fast,
            ..pieces().ranges
        },
        ..quick()
    };
    // It has at most 64 kB in 5 ms, which are 13 MB in a second.
    Scene::new().pulls(settings(Ranges::default().fast), &fake);
    assert!(asked(&fake).len() > 4, "{:?}", asked(&fake));

    let fake = registry(|_, reply| reply);
    Scene::new().pulls(settings(1), &fake);
    let expected = [Some((0, Some(PIECE))), Some((PIECE, None))];
    assert_eq!(asked(&fake), expected);

    let fake = registry(|_, reply| reply);
    let mut alone = pieces();
    alone.ranges.connections = 1;
    Scene::new().pulls(alone, &fake);
    assert_eq!(asked(&fake), [None]);
}

#[test]
fn a_registry_that_knows_no_ranges_is_asked_once() {
    let fake = registry(|seen, reply| match is_layer(seen) {
        true => slowly(answer(200, &[], &LAYER)),
        false => reply,
    });
    Scene::new().pulls(pieces(), &fake);
    assert_eq!(asked(&fake), [Some((0, Some(PIECE)))]);
}

#[test]
fn who_answers_a_piece_with_anything_else_is_asked_for_the_whole() {
    let shifted = |seen: &Seen| {
        let (start, end) = range(seen).expect("a piece");
        let end = end.expect("a piece");
        let said = format!("bytes {}-{}/{}", start + 1, end, LAYER.len());
        answer(206, &[("Content-Range", &*said)], &LAYER[start + 1..=end])
    };
    let of_another = |seen: &Seen| {
        let (start, end) = range(seen).expect("a piece");
        let end = end.expect("a piece");
        let said = format!("bytes {start}-{}/{}", end - 1, LAYER.len() + 1);
        answer(206, &[("Content-Range", &*said)], &LAYER[start..end])
    };
    let short = |seen: &Seen| {
        let (start, _) = range(seen).expect("a piece");
        let said = format!("bytes {start}-{}/{}", start + 9, LAYER.len());
        answer(206, &[("Content-Range", &*said)], &LAYER[start..start + 10])
    };
    let more = |seen: &Seen| {
        let (start, end) = range(seen).expect("a piece");
        let end = end.expect("a piece");
        let said = format!("bytes {start}-{}/{}", end - 1, LAYER.len());
        let headers = [("Content-Range", &*said), ("Transfer-Encoding", "chunked")];
        let mut body = format!("{:x}\r\n", end - start + 5).into_bytes();
        body.extend(LAYER[start..end].iter().chain(&[9; 5]));
        body.extend(b"\r\n0\r\n\r\n");
        answer(206, &headers, &body)
    };
    let silent = |_: &Seen| answer(206, &[], b"x");
    let unsatisfied = |_: &Seen| answer(416, &[], b"");
    let denied = |_: &Seen| answer(403, &[], b"");
    type Lie = fn(&Seen) -> Reply;
    let lies: [(&str, Lie); 7] = [
        ("shifted", shifted),
        ("of another", of_another),
        ("short", short),
        ("more", more),
        ("silent", silent),
        ("unsatisfied", unsatisfied),
        ("denied", denied),
    ];
    for (name, lie) in lies {
        let is_piece = |seen: &Seen| is_layer(seen) && range(seen).is_some_and(|r| r.1.is_some());
        let fake = registry(move |seen, reply| match is_piece(seen) {
            true => lie(seen),
            false => reply,
        });
        Scene::new().pulls(pieces(), &fake);
        let ranges = asked(&fake);
        assert_eq!(ranges.len(), 2, "{name}: {ranges:?}");
        let rest = ranges
            .iter()
            .filter(|range| range.is_none_or(|(_, end)| end.is_none()));
        assert_eq!(rest.count(), 1, "{name}: {ranges:?}");

        // The first piece is good, and several connections are at work when others are not.
        let fake = registry(move |seen, reply| match is_later_piece(seen) {
            true => lie(seen),
            false => reply,
        });
        let scene = Scene::new();
        scene.pulls(pieces(), &fake);
        let ranges = asked(&fake);
        let rest = ranges.iter().flatten().find(|range| range.1.is_none());
        assert!(
            rest.is_some_and(|rest| rest.0 >= PIECE),
            "{name}: {ranges:?}"
        );
        let is_told = scene.notes.contain("going on with one connection");
        assert!(is_told, "{name}: {:?}", scene.notes.all());
    }
}

#[test]
fn a_piece_that_broke_off_goes_on_where_it_ended() {
    let fake = registry(|seen, reply| {
        let Some((start, Some(end))) = range(seen).filter(|_| is_later_piece(seen)) else {
            return reply;
        };
        if end - start < PIECE / 2 {
            return reply;
        }
        let half = LAYER[start..start + (end - start) / 2 + 1].to_vec();
        vec![reply[0].clone(), Step::Send(half)]
    });
    let scene = Scene::new();
    scene.pulls(pieces(), &fake);
    let ranges = asked(&fake);
    let halves = ranges
        .iter()
        .flatten()
        .filter(|(start, _)| start % PIECE > 0);
    assert_eq!(
        halves.count(),
        LAYER.len().div_ceil(PIECE) - 1,
        "{ranges:?}"
    );
    assert!(!scene.notes.contain("one connection"));
    // The whole was not asked for again.
    let bytes: usize = ranges
        .iter()
        .flatten()
        .map(|(start, end)| end.expect("pieces alone") - start)
        .sum();
    assert!(bytes < 2 * LAYER.len(), "{ranges:?}");
}

#[test]
fn a_registry_that_allows_one_connection_is_asked_over_one() {
    let at_once = Arc::new(AtomicUsize::new(0));
    let fake = registry(move |seen, reply| {
        if is_later_piece(seen) && at_once.fetch_add(1, Ordering::SeqCst) > 1 {
            return answer(429, &[("Retry-After", "0")], b"");
        }
        reply
    });
    let scene = Scene::new();
    scene.pulls(pieces(), &fake);
    let notes = scene.notes.all();
    assert!(
        scene.notes.contain("going on with one connection"),
        "{notes:?}"
    );
    let ranges = asked(&fake);
    let last = ranges.iter().flatten().find(|range| range.1.is_none());
    let (start, _) = last.expect("the rest is asked for");
    assert_eq!(start % PIECE, 0, "what has come is kept: {ranges:?}");
    assert!(*start > 0);
}

#[test]
fn pieces_lie_where_the_registry_sends_us_and_nobody_there_learns_who_one_is() {
    let storage = registry(|_, reply| reply);
    let url = storage.url("");
    let fake = registry(move |seen, reply| match seen.header("authorization") {
        None if seen.path() != "/v2/" => {
            answer(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], b"")
        }
        Some(_) if seen.path().contains("/blobs/") => {
            redirect(&format!("{url}{}?signed=yes", seen.path()))
        }
        _ => reply,
    });
    let mut settings = pieces();
    let alice = Credential::Password {
        username: "alice".into(),
        password: "open sesame".into(),
    };
    settings.keyring.given.insert(fake.name(), alice);
    Scene::new().pulls(settings, &fake);
    assert_covers(&storage);
    assert!(asked(&storage).len() > CONNECTIONS);
    assert!(fake.learned("YWxpY2U6b3BlbiBzZXNhbWU="));
    let mut there = storage.seen().into_iter();
    assert!(there.all(|seen| seen.header("authorization").is_none()));
}

#[test]
fn wrong_bytes_in_one_piece_are_found_out() {
    let fake = registry(|seen, reply| match range(seen) {
        Some((start, Some(_))) if is_later_piece(seen) && start == 4 * PIECE => {
            vec![reply[0].clone(), Step::Send(vec![0; PIECE])]
        }
        _ => reply,
    });
    let scene = Scene::new();
    let error = scene.pull(pieces(), &fake.name()).expect_err("corrupt");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(scene.store.images().expect("a list").is_empty());
    let blob = scene.store.path().join("blobs/sha256").join(&*HEX);
    assert!(!blob.exists());
    assert_eq!(kit::unfinished(scene.store.path()), [] as [String; 0]);
}

#[test]
fn when_another_blob_fails_the_pieces_are_given_up() {
    let is_missed = AtomicBool::new(false);
    let fake = registry(move |seen, reply| {
        if seen.path().ends_with(Digest::of(b"small").hex()) {
            is_missed.store(true, Ordering::SeqCst);
            return answer(404, &[], b"");
        }
        if !is_later_piece(seen) {
            return reply;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_missed.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "nobody asks for the other blob");
            std::thread::sleep(Duration::from_millis(5));
        }
        vec![reply[0].clone(), Step::Send(vec![1; 9]), Step::Stall]
    });
    let scene = Scene::new();
    let mut settings = pieces();
    settings.timeouts.stall = Duration::from_secs(2);
    let error = scene.pull(settings, &fake.name()).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!scene.notes.contain("going on"), "{:?}", scene.notes.all());
}

#[test]
#[ignore = "run by the tests below"]
fn child_that_pulls_pieces() {
    let Some(root) = kit::told_root() else { return };
    let name = std::env::var(NAME).expect("told");
    let store = Store::open(&root).expect("a store");
    let reference: Reference = name.parse().expect("a reference");
    let settings = match kit::told_number() {
        0 => pieces(),
        // Pieces as large as they are, and however fast it is.
        _ => Settings {
            ranges: Ranges {
                fast: u64::MAX,
                ..Ranges::default()
            },
            ..quick()
        },
    };
    let client = Client::new(settings);
    let notes = Notes::default();
    if let Err(error) = pull(&client, &store, &reference, &PullOptions::default(), &notes) {
        panic!("{error}\n{:#?}", notes.all());
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    writeln!(std::io::stdout(), "\n{}", peak.expect("Linux has it")).expect("a pipe");
}

#[test]
fn what_a_pull_that_was_killed_amid_pieces_has_left_is_used() {
    let marker = Marker::new("ranges");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let root = directory.path().join("store");
    // One piece never comes; those after it do, and have to wait for their turn.
    let stalling = registry(|seen, reply| match range(seen) {
        Some((start, Some(_))) if is_layer(seen) && start == 3 * PIECE => {
            vec![
                reply[0].clone(),
                Step::Send(LAYER[start..start + 5000].to_vec()),
                Step::Stall,
            ]
        }
        _ => reply,
    });
    let mut command = kit::child("child_that_pulls_pieces", &root, 0);
    command.env(NAME, format!("{}/a/b:c", stalling.name()));
    command.stdout(Stdio::null());
    let mut child = command.spawn().expect("this program again");
    let half = root.join("ingest").join(format!("sha256-{}", &*HEX));
    let deadline = Instant::now() + Duration::from_secs(60);
    let kept = 3 * PIECE + 5000;
    let length = || std::fs::metadata(&half).map_or(0, |half| half.len());
    let has_later = || asked(&stalling).iter().flatten().any(|r| r.0 == 5 * PIECE);
    while length() < kept as u64 || !has_later() {
        if Instant::now() >= deadline {
            child.kill().expect("it runs");
            child.wait().expect("reaped");
            panic!("the beginning does not come");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it runs");
    assert_eq!(child.wait().expect("reaped").signal(), Some(9));
    assert_eq!(length(), kept as u64);
    let spools: Vec<String> = kit::unfinished(&root);
    let spools = spools.iter().filter(|name| name.starts_with("unnamed"));
    assert_eq!(spools.count(), 0, "what was ahead of its turn has no name");

    let fake = registry(|_, reply| reply);
    let store = Store::open(&root).expect("a store");
    assert!(store.images().expect("a list").is_empty());
    let reference: Reference = format!("{}/a/b:c", fake.name()).parse().expect("one");
    let client = Client::new(pieces());
    let options = PullOptions::default();
    pull(&client, &store, &reference, &options, &Notes::default()).expect("pulled");
    assert_eq!(asked(&fake)[0], Some((kept, Some(kept + PIECE))));
    kit::assert_sound(&store);
    assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    drop((store, stalling, fake, directory));
    residue.assert_none(&[]);
}

#[test]
fn killed_at_any_moment_amid_pieces_it_comes_to_its_end_at_last() {
    let is_long = std::env::var_os("TARE_LONG").is_some();
    let rounds: u64 = if is_long { 100 } else { 5 };
    let directory = Marker::new("ranges").directory();
    let fake = registry(|_, reply| slowly(reply));
    for round in 0..rounds {
        let root = directory.path().join(format!("store{round}"));
        let mut command = kit::child("child_that_pulls_pieces", &root, 0);
        command.env(NAME, format!("{}/a/b:c", fake.name()));
        command.stdout(Stdio::null());
        // Twice, so that what a resumed pull leaves is used as well.
        for _ in 0..2 {
            let mut child = command.spawn().expect("this program again");
            std::thread::sleep(Duration::from_millis(30 + round * 137 % 170));
            // It may have ended before.
            child.kill().ok();
            child.wait().expect("reaped");
        }
        let finished = testkit::finish(&mut command, Duration::from_secs(120));
        finished.succeeded();
        let store = Store::open(&root).expect("a store");
        kit::assert_sound(&store);
        assert_eq!(store.images().expect("a list").len(), 1);
        store.prune(Untagged::Remove, |_| false).expect("pruned");
        assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    }
}

/// Pulls the layer into a store on a disk of this size.
fn pull_onto(size: &str, number: u32) {
    let marker = Marker::new("ranges");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let fake = registry(|_, reply| reply);
    let child = kit::child(
        "child_that_pulls_onto_a_small_disk",
        directory.path(),
        number,
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
    let mount = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && exec \"$@\"");
    unshare.arg(mount).arg(directory.path());
    unshare.arg(child.get_program()).args(child.get_args());
    unshare.env(kit::ROOT, directory.path());
    unshare.env(kit::NUMBER, number.to_string());
    unshare.env(NAME, format!("{}/a/b:c", fake.name()));
    testkit::finish(&mut unshare, Duration::from_secs(120)).succeeded();
    drop((fake, directory));
    residue.assert_none(&[]);
}

#[test]
fn what_is_ahead_of_its_turn_needs_no_room_that_there_is_not() {
    needs!(Root);
    // For the layer of 2.8 MB, but not for the eight pieces besides that may be ahead.
    pull_onto("3400k", 0);
    pull_onto("2000k", 1);
}

#[test]
#[ignore = "run by the test above"]
fn child_that_pulls_onto_a_small_disk() {
    let Some(disk) = kit::told_root() else { return };
    let store = Store::open(&disk.join("store")).expect("there is room");
    let name = std::env::var(NAME).expect("told");
    let reference: Reference = name.parse().expect("a reference");
    let (client, notes) = (Client::new(pieces()), Notes::default());
    let pulled = pull(&client, &store, &reference, &PullOptions::default(), &notes);
    let is_told = notes.contain("ENOSPC") && notes.contain("going on with one connection");
    assert!(is_told, "{:?}", notes.all());
    match kit::told_number() {
        0 => {
            pulled.expect("it fits");
            kit::assert_sound(&store);
        }
        _ => {
            let error = pulled.expect_err("it does not fit");
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            assert!(store.images().expect("a list").is_empty());
        }
    }
    assert_eq!(kit::unfinished(store.path()), [] as [String; 0]);
}

#[test]
fn pieces_take_no_memory_for_their_size() {
    let directory = Marker::new("ranges").directory();
    let layer: Vec<u8> = (0..80_u32 << 20).map(|at| at.to_le_bytes()[2]).collect();
    let made = Made::new(&[&layer]);
    let hex = Digest::of(&layer).hex().to_owned();
    drop(layer);
    let fake = Fake::start(move |seen| good(&made, seen));
    let root = directory.path().join("store");
    let mut command = kit::child("child_that_pulls_pieces", &root, 1);
    command.env(NAME, format!("{}/a/b:c", fake.name()));
    let finished = testkit::finish(&mut command, Duration::from_secs(120)).success();
    assert!(fake.asked("GET", &hex).len() > 15);
    let mut lines = finished.stdout.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.expect("told").trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().expect("a number");
    assert!(peak < 64 << 10, "{peak} kB");
}

#[test]
fn debians_registry_has_pieces() {
    needs!(Program("docker-registry"));
    let (registry, scene) = (Registry::plain(), Scene::new());
    let source = Store::open(&scene.directory.path().join("source")).expect("a store");
    let lease = source.lease().expect("a lease");
    let layer = kit::ingest(&source, &LAYER, 1 << 20).expect("written");
    let image = kit::image(&source, &[layer], "x").expect("written");
    drop(lease);
    let reference: Reference = format!("{}/a/b:c", registry.name()).parse().expect("one");
    let client = Client::new(quick());
    let options = PushOptions::default();
    push(&client, &source, &image, &reference, &options, &scene.notes).expect("pushed");
    if let Err(error) = scene.pull(pieces(), registry.name()) {
        panic!("{error}\n{:#?}", scene.notes.all());
    }
    assert!(!scene.notes.contain("one connection"));
    kit::assert_sound(&scene.store);
}

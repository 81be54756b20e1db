//! The store under what machines do to it: many processes at once, processes that are killed,
//! disks that are full.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::document::Descriptor;
use image::store::{Ingest, Store, Untagged};
use image::{Error, ErrorKind};
use testkit::{Marker, Residue, needs};

mod kit;

use kit::{assert_sound, content, reference};

/// A generator of numbers that is the same at every run: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn is_long() -> bool {
    std::env::var_os("TARE_LONG").is_some()
}

/// Ends a child that a failing test leaves.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn spawn(command: &mut Command) -> Killed {
    Killed(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts"),
    )
}

fn wait(child: &mut Killed, limit: Duration) {
    let started = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().expect("it is ours") {
            assert!(status.success(), "{status}");
            return;
        }
        assert!(started.elapsed() < limit, "it still runs after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn processes_and_threads_write_tag_and_prune_at_once() {
    let marker = Marker::new("imgmany");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let root = directory.path().join("store");
    let mut children: Vec<Killed> = (0..4)
        .map(|number| spawn(&mut kit::child("child_of_many", &root, number)))
        .collect();
    for child in &mut children {
        wait(child, Duration::from_secs(300));
    }
    let store = Store::open(&root).expect("it opens");
    assert_sound(&store);
    store.prune(Untagged::Remove, |_| false).expect("pruned");
    assert_sound(&store);
    assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    assert!(
        store.images().expect("a list").len() <= 6,
        "a name is there once"
    );
    drop((store, children, directory));
    residue.assert_none(&[]);
}

/// Three threads that make images of the same few layers, and remove them, and prune.
#[test]
#[ignore = "a child of another test"]
fn child_of_many() {
    let Some(root) = kit::told_root() else { return };
    let rounds = if is_long() { 300 } else { 25 };
    let store = Store::open(&root).expect("several may make it at once");
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let store = store.clone();
            let mut numbers = Numbers(u64::from(kit::told_number()) * 16 + thread + 1);
            scope.spawn(move || {
                for _ in 0..rounds {
                    one_round(&store, &mut numbers);
                }
            });
        }
    });
}

fn one_round(store: &Store, numbers: &mut Numbers) {
    let name = reference(&format!("image-{}", numbers.below(6)));
    if numbers.below(4) == 0 {
        store.prune(Untagged::Remove, |_| false).expect("pruned");
        return;
    }
    if numbers.below(4) == 0 {
        match store.untag(&name) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        return;
    }
    let lease = store.lease().expect("prunings end");
    let layers: Vec<Descriptor> = (0..3)
        .map(|_| {
            let bytes = content(&format!("layer {}", numbers.below(5)), 150_000);
            kit::ingest(store, &bytes, 20_000).expect("written, by whomever")
        })
        .collect();
    let mut unnamed = store.writer_unnamed().expect("begun");
    unnamed
        .append(&content("unnamed", 30_000))
        .expect("written");
    unnamed.commit(kit::layer_type()).expect("committed");
    let manifest = kit::image(store, &layers, "x").expect("written");
    store
        .tag(&name, &manifest)
        .expect("under the lease everything stays");
    for layer in &layers {
        let bytes = store.read(layer).expect("it is there, and right");
        assert_eq!(bytes.len(), 150_000);
    }
    drop(lease);
}

/// One image from nothing to a name and back, with all that a store does on the way.
#[test]
#[ignore = "a child of another test"]
fn child_of_one_life() {
    let Some(root) = kit::told_root() else { return };
    one_life(&root).expect("nothing is in the way");
}

fn one_life(root: &Path) -> Result<(), Error> {
    let store = Store::open(root)?;
    let lease = store.lease()?;
    let bytes = content("life", 40_000);
    let descriptor = Descriptor::of(kit::layer_type(), &bytes);
    if let Ingest::Writer(mut writer) = store.ingest(&descriptor)?
        && writer.offset() == 0
    {
        // A download that breaks.
        writer.append(&bytes[..10_000])?;
    }
    let first = kit::ingest(&store, &bytes, 15_000)?;
    let mut unnamed = store.writer_unnamed()?;
    unnamed.append(&content("unnamed", 20_000))?;
    let second = unnamed.commit(kit::layer_type())?;
    let old = kit::image(&store, std::slice::from_ref(&first), "old")?;
    store.tag(&reference("life"), &old)?;
    let new = kit::image(&store, &[first, second], "new")?;
    store.tag(&reference("life"), &new)?;
    store.untag(&reference("life"))?;
    store.tag(&reference("life:kept"), &new)?;
    drop(lease);
    store.prune(Untagged::Remove, |_| false)?;
    Ok(())
}

fn assert_recovers(root: &Path, what: &str) {
    let store = Store::open(root).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_sound(&store);
    one_life(root).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_sound(&store);
    let names: Vec<String> = store
        .images()
        .expect("a list")
        .iter()
        .map(image::store::Image::shown)
        .collect();
    assert_eq!(names, ["life:kept"], "{what}");
    assert_eq!(kit::unfinished(root), [] as [String; 0], "{what}");
}

/// The calls that change something, or follow at once on one that does.
const CALLS: [&str; 7] = [
    "mkdirat",
    "/^rename",
    "unlinkat",
    "fsync",
    "ftruncate",
    "flock",
    "write",
];

#[test]
fn killed_at_any_call_the_store_is_sound_and_the_next_one_goes_on() {
    needs!(Program("strace"));
    let marker = Marker::new("imgkill");
    let residue = Residue::watch(&marker);
    let stride = if is_long() { 1 } else { 2 };
    let mut seen = 0;
    for call in CALLS {
        let mut at = 1;
        while kill_at(&marker, call, at) {
            at += stride;
        }
        assert!(at > 1, "{call} is never made");
        seen += at - 1;
    }
    assert!(seen > 60, "only {seen} calls were seen");
    residue.assert_none(&[]);
}

/// Kills one life at its call number `at` of this kind; says whether it came so far.
fn kill_at(marker: &Marker, call: &str, at: u32) -> bool {
    let directory = marker.directory();
    let root = directory.path().join("store");
    let life = kit::child("child_of_one_life", &root, 0);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "--output=/dev/null"])
        .arg(format!("--inject={call}:signal=KILL:when={at}"));
    strace
        .arg(life.get_program())
        .args(life.get_args())
        .env(kit::ROOT, &root);
    let finished = testkit::finish(&mut strace, Duration::from_secs(60));
    if finished.code == 0 {
        return false;
    }
    assert_eq!(finished.code, 137, "{finished:#}");
    assert_recovers(&root, &format!("killed at {call} number {at}"));
    true
}

#[test]
fn killed_at_any_time_many_at_work_leave_a_sound_store() {
    let marker = Marker::new("imgkills");
    let directory = marker.directory();
    let root = directory.path().join("store");
    let mut numbers = Numbers(0x5eed);
    let rounds = if is_long() { 300 } else { 12 };
    for round in 0..rounds {
        let mut children: Vec<Killed> = (0..2)
            .map(|number| spawn(&mut kit::child("child_of_many", &root, round * 2 + number)))
            .collect();
        std::thread::sleep(Duration::from_millis(20 + numbers.below(150)));
        for child in &mut children {
            child.0.kill().expect("it is ours");
        }
        drop(children);
        let store = Store::open(&root).expect("it opens");
        assert_sound(&store);
    }
    let store = Store::open(&root).expect("it opens");
    one_round(&store, &mut numbers);
    store
        .prune(Untagged::Remove, |_| false)
        .expect("no lock is left");
    assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    assert_sound(&store);
}

#[test]
fn a_full_disk_is_called_so_and_leaves_nothing() {
    needs!(Root);
    let marker = Marker::new("imgfull");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    let child = kit::child("child_on_a_small_disk", &disk, 0);
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
    unshare
        .arg("mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"")
        .arg(&disk);
    unshare
        .arg(child.get_program())
        .args(child.get_args())
        .env(kit::ROOT, &disk);
    testkit::finish(&mut unshare, Duration::from_secs(120)).succeeded();
    drop(directory);
    residue.assert_none(&[]);
}

#[test]
#[ignore = "a child of another test"]
fn child_on_a_small_disk() {
    let Some(disk) = kit::told_root() else { return };
    assert!(
        Command::new("mountpoint")
            .arg("-q")
            .arg(&disk)
            .status()
            .expect("run")
            .success()
    );
    content_larger_than_the_disk_is_refused(&disk);
    std::fs::remove_dir_all(disk.join("large")).expect("removed");
    let filler = disk.join("filler");
    // Full after so many further pages: at each step in turn.
    let mut failed = 0;
    for pages in 0.. {
        std::fs::remove_file(&filler).ok();
        let root = disk.join("store");
        let store = Store::open(&root).expect("there is room");
        let before = kit::image(&store, &[], "before").expect("there is room");
        let images = store.images().expect("a list");
        fill(&filler, pages);
        let result = one_life_at(&store, pages);
        std::fs::remove_file(&filler).expect("removed");
        match result {
            Ok(()) => {
                assert!(failed >= 5, "only {failed} steps met a full disk");
                assert!(store.contains(&before).expect("asked"));
                return;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                assert!(error.to_string().contains("ENOSPC"), "{error}");
                failed += 1;
            }
        }
        assert_eq!(kit::unfinished(&root), [] as [String; 0], "{pages} pages");
        assert_eq!(store.images().expect("a list"), images, "{pages} pages");
        assert_sound(&store);
        std::fs::remove_dir_all(&root).expect("removed");
    }
}

fn content_larger_than_the_disk_is_refused(disk: &Path) {
    let root = disk.join("large");
    let store = Store::open(&root).expect("there is room");
    let error = kit::ingest(&store, &content("large", 3 << 20), 1 << 16).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    for word in ["ENOSPC", "write blob sha256:", "tare image prune"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut unnamed = store.writer_unnamed().expect("begun");
    let error = unnamed
        .append(&content("large", 3 << 20))
        .expect_err("full");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    drop(unnamed);
    assert_eq!(kit::unfinished(&root), [] as [String; 0]);
    kit::ingest(&store, &content("small", 1 << 20), 1 << 16).expect("the room is given back");
}

fn one_life_at(store: &Store, pages: usize) -> Result<(), Error> {
    let layer = kit::ingest(store, &content(&format!("layer {pages}"), 10_000), 3_000)?;
    let manifest = kit::image(store, &[layer], "after")?;
    store.tag(&reference("after"), &manifest)
}

/// Takes everything but so many pages.
fn fill(path: &Path, pages: usize) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("made");
    let page = [1; 4096];
    while file.write_all(&page).is_ok() {}
    let length = file.metadata().expect("asked").len() / 4096 * 4096;
    let left = (pages as u64) * 4096;
    file.set_len(length.saturating_sub(left)).expect("cut");
}

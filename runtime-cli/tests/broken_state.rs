//! State on disk that is cut off, empty, garbage, of another version, or held by another
//! operation: every command says so, and `delete --force` takes the container away.

use std::fs;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, needs};

struct Broken {
    residue: Residue,
    runtime: Runtime,
    bundle: TestBundle,
}

impl Broken {
    /// A container that runs.
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        let broken = Self {
            residue: Residue::watch(&marker),
            runtime: Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker),
            bundle: TestBundle::busybox(&marker)
                .args(&["sleep", "1000"])
                .set("/linux/cgroupsPath", format!("/{marker}").into()),
        };
        broken.runtime.run_detached(&broken.bundle).succeeded();
        broken
    }

    fn file(&self, name: &str) -> PathBuf {
        self.runtime.root().join(self.bundle.id()).join(name)
    }

    fn call(&self, words: &[&str]) -> Finished {
        self.runtime.call(&[words, &[self.bundle.id()]].concat())
    }

    /// Every command but `delete --force` refuses in one line that says what to do.
    fn is_refused(&self, says: &str) {
        for words in [
            &["state"][..],
            &["start"],
            &["kill"],
            &["pause"],
            &["ps"],
            &["delete"],
        ] {
            let refused = self.call(words);
            assert_eq!(refused.code, 1, "{refused}");
            assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
            assert!(refused.stderr.contains(says), "{refused}");
            assert!(refused.stderr.contains("delete --force"), "{refused}");
        }
        let list = self.runtime.call(&["list", "--quiet"]);
        assert_eq!((list.code, list.stdout.as_str()), (0, ""), "{list}");
        assert!(list.stderr.contains(self.bundle.id()), "{list}");
    }

    /// By force it goes, again and again, and nothing is left.
    fn goes_by_force(self) {
        for _ in 0..2 {
            self.call(&["delete", "--force"]).succeeded();
        }
        let Self {
            residue,
            runtime,
            bundle,
        } = self;
        drop(bundle);
        residue.assert_none(&[&runtime]);
    }
}

/// What is done to a state file, in words and as a function, and what `state` says then.
type Breakage<'a> = (&'a str, &'a dyn Fn(&[u8]) -> Vec<u8>, &'a str);

#[test]
fn a_broken_record_is_refused_and_its_container_deleted_by_force() {
    needs!(Root);
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let newer = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).expect("JSON is text");
        text.replacen("\"version\":1", "\"version\":99", 1)
            .into_bytes()
    };
    let broken: [Breakage<'_>; 7] = [
        ("cut", &cut, "state.json is broken"),
        ("empty", &|_| Vec::new(), "state.json is broken"),
        ("garbage", &|_| vec![0xfe; 4096], "state.json is broken"),
        (
            "zeros",
            &|bytes| vec![0; bytes.len()],
            "state.json is broken",
        ),
        ("other", &|_| b"[1, 2]".to_vec(), "state.json is broken"),
        ("deep", &|_| vec![b'['; 1 << 20], "state.json is broken"),
        ("newer", &newer, "version 99"),
    ];
    for (topic, change, says) in broken {
        let container = Broken::new(topic);
        let file = container.file("state.json");
        let bytes = fs::read(&file).expect("there is a record");
        fs::write(&file, change(&bytes)).expect("it is ours");
        container.is_refused(says);
        container.goes_by_force();
    }
}

#[test]
fn a_record_that_is_a_link_or_a_fifo_is_not_followed() {
    needs!(Root);
    let container = Broken::new("link");
    let file = container.file("state.json");
    fs::rename(&file, container.file("elsewhere")).expect("it is ours");
    std::os::unix::fs::symlink("elsewhere", &file).expect("it is ours");
    let state = container.call(&["state"]);
    assert!(state.code == 1 && state.stderr.contains("ELOOP"), "{state}");
    fs::remove_file(&file).expect("it is ours");
    fs::rename(container.file("elsewhere"), &file).expect("it is ours");
    container.goes_by_force();

    let container = Broken::new("fifo");
    let file = container.file("state.json");
    let bytes = fs::read(&file).expect("there is a record");
    fs::remove_file(&file).expect("it is ours");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a fifo can be made");
    assert_eq!(container.call(&["state"]).code, 1);
    fs::remove_file(&file).expect("it is ours");
    fs::write(&file, bytes).expect("it is ours");
    container.goes_by_force();
}

#[test]
fn a_directory_without_a_record_is_no_container_and_goes_by_delete() {
    let marker = Marker::new("stale");
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    for words in [&["delete"][..], &["delete", "--force"]] {
        let directory = runtime.root().join("stale");
        fs::create_dir(&directory).expect("the root is ours");
        let state = runtime.call(&["state", "stale"]);
        assert!(state.stderr.contains("does not exist"), "{state}");
        let list = runtime.call(&["list", "--quiet"]).success();
        assert_eq!((list.stdout.as_str(), list.stderr.as_str()), ("", ""));
        let delete = runtime.call(&[words, &["stale"]].concat());
        let is_forced = words.len() == 2;
        assert_eq!(delete.code == 0, is_forced, "{delete}");
        assert!(
            is_forced || delete.stderr.contains("does not exist"),
            "{delete}"
        );
        assert!(!directory.exists());
    }
}

#[test]
fn strangers_in_the_root_disturb_nobody() {
    let marker = Marker::new("stranger");
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    fs::write(runtime.root().join("file"), "").expect("the root is ours");
    fs::create_dir(runtime.root().join("not an id")).expect("the root is ours");
    std::os::unix::fs::symlink("/", runtime.root().join("link")).expect("the root is ours");
    let list = runtime.call(&["list", "--quiet"]).success();
    assert_eq!((list.stdout.as_str(), list.stderr.as_str()), ("", ""));
    let state = runtime.call(&["state", "file"]);
    assert!(
        state.code == 1 && state.stderr.contains("ENOTDIR"),
        "{state}"
    );
    let delete = runtime.call(&["delete", "--force", "link"]);
    assert_eq!(delete.code, 1, "a link was followed: {delete}");
}

#[test]
fn an_operation_that_waits_for_another_says_so_in_time() {
    needs!(Root);
    let container = Broken::new("locked");
    let directory = fs::File::open(container.file("")).expect("it is ours");
    let lock = Flock::lock(directory, FlockArg::LockExclusive).expect("nobody holds it");
    // Looking needs no lock.
    assert_eq!(
        container.runtime.state(container.bundle.id())["status"],
        "running"
    );
    let mut waiting = container.runtime.command(&["pause", container.bundle.id()]);
    let refused = testkit::finish(&mut waiting, std::time::Duration::from_secs(90));
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("is busy"), "{refused}");
    drop(lock);
    container.call(&["pause"]).succeeded();
    container.goes_by_force();
}

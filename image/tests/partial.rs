//! Archives and copies outside of the store, whose making is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::{finish, needs};

use self::place::{DEADLINE, Place};

mod place;

fn entries(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("it is there");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A place with an image of a thousand files, and a directory for what is made of it, in which a
/// user has files of his own.
fn place() -> (Place, PathBuf) {
    let place = Place::new("imgpartial");
    let tree = place.path("tree");
    for number in 0..1000 {
        let directory = tree.join(format!("d{}", number % 20));
        fs::create_dir_all(&directory).expect("it is ours");
        fs::write(directory.join(number.to_string()), vec![b'x'; 3000]).expect("it is ours");
    }
    let archive = place.path("tree.tar");
    place::pack(&tree, &archive);
    place.must(&["import", &archive.display().to_string(), "many"]);
    place.must(&["unpack", "many"]);
    let out = place.path("out");
    fs::create_dir_all(out.join(OWN[0])).expect("it is ours");
    fs::write(out.join(OWN[1]), "a user's own").expect("it is ours");
    (place, out)
}

/// What looks as if we had left it, and is a user's.
const OWN: [&str; 2] = ["it.0123456789abcdef.partial", "it.partial"];

fn assert_only(out: &Path, more: &[&str]) {
    let expected: Vec<&str> = more.iter().chain(&OWN).copied().collect();
    assert_eq!(entries(out), expected);
}

fn kill_after(place: &Place, words: &[&str], pause: Duration) {
    let mut child = place.command(words).spawn().expect("it starts");
    std::thread::sleep(pause);
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

/// Killed when it is about to make the call for the n-th time; whether it came to that.
fn kill_at(place: &Place, words: &[&str], call: &str, number: usize) -> bool {
    let program = place.command(words);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    strace.arg(format!("trace={call}")).arg("-e");
    strace.arg(format!("inject={call}:signal=SIGKILL:when={number}"));
    strace.arg(program.get_program()).args(program.get_args());
    let finished = finish(&mut strace, DEADLINE);
    assert!(finished.code == 0 || finished.code == 137, "{finished}");
    finished.code != 0
}

#[test]
fn a_killed_archive_leaves_nothing() {
    needs!(Root, Program("strace"));
    let (place, out) = place();
    let path = out.join("it");
    let name = path.to_str().expect("text");
    for command in ["save", "export"] {
        let words = [command, "-o", name, "many"];
        for round in 0..4_u64 {
            kill_after(&place, &words, Duration::from_millis(30 * round));
            if path.exists() {
                fs::remove_file(&path).expect("it is ours");
            }
            assert_only(&out, &[]);
        }
        assert!(kill_at(&place, &words, "linkat", 1));
        assert_only(&out, &[]);
        place.must(&words);
        let whole = fs::read(&path).expect("it is there");
        assert_only(&out, &["it"]);
        for round in 0..4_u64 {
            kill_after(&place, &words, Duration::from_millis(30 * round));
            assert_eq!(fs::read(&path).expect("it is there").len(), whole.len());
        }
        place.must(&words);
        assert_only(&out, &["it"]);
        fs::remove_file(&path).expect("it is ours");
    }
    // What killed exports have mounted.
    place.must(&["prune"]);
    place.finish();
}

#[test]
fn what_a_kill_between_two_names_leaves_is_removed_by_the_next() {
    needs!(Root, Program("strace"));
    let (place, out) = place();
    let path = out.join("it");
    let name = path.to_str().expect("text");
    let words = ["save", "-o", name, "many"];
    fs::write(&path, "an older one").expect("it is ours");
    assert!(kill_at(&place, &words, "/^rename", 1));
    assert_eq!(fs::read(&path).expect("it is there"), b"an older one");
    assert_eq!(entries(&out).len(), 4);
    // Another target, or a pruning, finds it as well.
    place.must(&[
        "save",
        "-o",
        out.join("other").to_str().expect("text"),
        "many",
    ]);
    let mut all = ["it", "other"]
        .iter()
        .chain(&OWN)
        .copied()
        .collect::<Vec<_>>();
    all.sort_unstable();
    assert_eq!(entries(&out), all);
    assert!(kill_at(&place, &words, "/^rename", 1));
    assert_eq!(entries(&out).len(), 5);
    place.must(&["prune"]);
    fs::remove_file(out.join("other")).expect("it is ours");
    assert_only(&out, &["it"]);
    place.finish();
}

#[test]
fn a_killed_copy_is_removed_by_the_next() {
    needs!(Root, Program("strace"));
    let (place, out) = place();
    let path = out.join("it");
    let words = ["unpack", "many", path.to_str().expect("text")];
    let mut left = 0;
    let mut clear = |place: &Place| {
        left += usize::from(entries(&out).len() > 2);
        place.must(&["prune"]);
        assert_only(&out, &[]);
    };
    for number in (1..).step_by(4) {
        let is_killed = kill_at(&place, &words, "/^(mkdir|rename|unlink)", number);
        if path.exists() {
            let files = (0..20).map(|number| entries(&path.join(format!("d{number}"))).len());
            assert_eq!(files.sum::<usize>(), 1000);
            fs::remove_dir_all(&path).expect("it is ours");
        }
        clear(&place);
        if !is_killed {
            break;
        }
    }
    assert!(left > 1, "only {left} kills have left anything");
    place.must(&words);
    assert_only(&out, &["it"]);
    place.finish();
}

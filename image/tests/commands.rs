//! The program's commands, each by what it leaves and says.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::{finish, needs};

use self::network::debian::Registry;
use self::place::{DEADLINE, Place};

mod network;
mod place;

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    needs!(Root, Program("docker-registry"));
    let registry = Registry::plain();
    let place = Place::new("imgcycle");
    place.import_busybox("b", &["CMD [\"echo\", \"hello\"]"]);
    let remote = format!("{}/some/busybox:1", registry.name());
    let pushed = place.must(&["push", "b", &remote]);
    let other = Place::new("imgcycle2");
    let pulled = other.must(&["pull", "--unpack", &remote]);
    assert_eq!(pushed, pulled);
    let digest = pushed.trim_end().rsplit('@').next().expect("a digest");
    let listed: Value =
        serde_json::from_str(&other.must(&["list", "--format", "json"])).expect("it is JSON");
    assert_eq!(listed[0]["digest"], digest);
    assert_eq!(listed[0]["name"], remote);
    let finished = other.run(&["--pull", "never", &remote]);
    assert_eq!(finished.stdout, "hello\n", "{finished}");
    // What isn't there is pulled by `run`.
    other.must(&["remove", &remote]);
    let finished = other.run(&[&remote, "echo", "again"]);
    assert_eq!(finished.stdout, "again\n", "{finished}");
    let copied = format!("{}/other:2", registry.name());
    other.must(&["copy", &remote, &copied]);
    let by_digest = format!("{}/other@{digest}", registry.name());
    other.must(&["pull", &by_digest]);
    let missing = format!("{}/nothing:1", registry.name());
    let finished = other.image(&["pull", &missing]);
    assert_eq!(
        (finished.code, finished.stderr.lines().count()),
        (1, 1),
        "{finished}"
    );
    place.finish();
    other.finish();
}

#[test]
fn an_archive_goes_out_and_comes_in() {
    needs!(Root);
    let place = Place::new("imgarchive");
    place.import_busybox("b:1", &["LABEL x=y"]);
    let archive = place.path("archive.tar").display().to_string();
    place.must(&["save", "--output", &archive, "b:1"]);
    let other = Place::new("imgarchive2");
    assert_eq!(other.must(&["load", "--input", &archive]), "loaded b:1\n");
    let digest = |place: &Place| {
        let text = place.must(&["inspect", "b:1"]);
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        (
            value[0]["digest"].clone(),
            value[0]["config"]["config"]["Labels"]["x"].clone(),
        )
    };
    assert_eq!(digest(&place), digest(&other));
    assert_eq!(digest(&place).1, "y");
    // From a pipe, and an image layout as it is.
    let bytes = fs::read(&archive).expect("it was written");
    let third = Place::new("imgarchive3");
    let mut load = third.command(&["load"]);
    let mut child = load
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&bytes)
        .expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let fourth = Place::new("imgarchive4");
    let layout = place.path("root").display().to_string();
    assert_eq!(fourth.must(&["load", "--input", &layout]), "loaded b:1\n");
    // A file that can't be made whole isn't there.
    let nowhere = place.path("no/such/archive.tar").display().to_string();
    assert_eq!(place.image(&["save", "--output", &nowhere, "b:1"]).code, 1);
    for place in [place, other, third, fourth] {
        place.finish();
    }
}

#[test]
fn a_mount_shows_the_image_and_goes_without_a_trace() {
    needs!(Root);
    let place = Place::new("imgmount");
    place.import_busybox("b", &[]);
    let target = place.path("target");
    fs::create_dir(&target).expect("it is ours");
    let text = target.display().to_string();
    assert_eq!(place.must(&["mount", "b", &text]), format!("{text}\n"));
    assert!(target.join("bin/busybox").exists());
    assert!(
        fs::write(target.join("new"), "x").is_err(),
        "it is read-only"
    );
    // In use, so a pruning lets it be, even when its image is gone.
    place.must(&["remove", "b"]);
    assert!(target.join("bin/busybox").exists());
    place.must(&["unmount", &text]);
    assert!(!target.join("bin").exists());
    let finished = place.image(&["unmount", &text]);
    assert!(
        finished.stderr.contains("is no mount of an image"),
        "{finished}"
    );
    place.import_busybox("b", &[]);
    let own = place.must(&["mount", "--writable", "b"]);
    let own = std::path::PathBuf::from(own.trim_end());
    fs::write(own.join("new"), "x").expect("it can be written");
    fs::write(target.join("file"), "x").expect("it is ours");
    let finished = place.image(&["mount", "b", &text]);
    assert!(finished.stderr.contains("is not empty"), "{finished}");
    let diff = place.must(&["diff", &mount_name(&place)]);
    assert_eq!(diff, "A /new\n");
    place.must(&["unmount", &own.display().to_string()]);
    place.finish();
}

/// The only mount's name.
fn mount_name(place: &Place) -> String {
    let entries = fs::read_dir(place.path("root/snapshots/active")).expect("it is there");
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}");
    };
    name.clone()
}

#[test]
fn names_come_and_go_and_content_goes_with_the_last() {
    needs!(Root);
    let place = Place::new("imgnames");
    place.import_busybox("one", &[]);
    place.must(&["tag", "one", "two:2", "localhost:5000/three"]);
    let finished = place.image(&["tag", "one", "good", "Bad"]);
    assert!(finished.stderr.contains("lower case"), "{finished}");
    assert!(!place.must(&["list"]).contains("good"));
    place.must(&["unpack", "two:2"]);
    place.must(&["remove", "one"]);
    assert!(place.must(&["list"]).contains("two:2"));
    let blobs = || {
        let directory = place.path("root/blobs/sha256");
        fs::read_dir(directory).expect("it is there").count()
    };
    let layers = || {
        let directory = place.path("root/snapshots/layers");
        fs::read_dir(directory).expect("it is there").count()
    };
    assert_eq!((blobs(), layers()), (3, 1));
    place.must(&["rm", "two:2"]);
    place.must(&["rm", "localhost:5000/three"]);
    assert_eq!((blobs(), layers()), (0, 0));
    let finished = place.image(&["inspect", "one"]);
    assert_eq!(
        (finished.code, finished.stderr.lines().count()),
        (1, 1),
        "{finished}"
    );
    place.finish();
}

#[test]
fn an_output_that_is_no_file_stays_what_it_is() {
    needs!(Root, Program("mknod"));
    let place = Place::new("imgoutput");
    place.import_busybox("b", &[]);
    let null = place.path("null").display().to_string();
    let mut mknod = Command::new("mknod");
    finish(mknod.args([&null, "c", "1", "3"]), DEADLINE).succeeded();
    let full = place.path("full").display().to_string();
    let mut mknod = Command::new("mknod");
    finish(mknod.args([&full, "c", "1", "7"]), DEADLINE).succeeded();
    let (link, file) = (place.path("link"), place.path("file"));
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    let link = link.display().to_string();
    for command in ["save", "export"] {
        for output in [&null, &link] {
            place.must(&[command, "--output", output, "b"]);
        }
        let refused = place.image(&[command, "--output", &full, "b"]);
        assert!(refused.stderr.contains("ENOSPC"), "{refused}");
        assert!(file.metadata().expect("written").len() > 1000);
        fs::remove_file(&file).expect("ours");
    }
    for device in [&null, &full] {
        let kind = fs::symlink_metadata(device).expect("there").file_type();
        assert!(kind.is_char_device(), "{device}");
    }
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    place.finish();
}

#[test]
fn a_name_goes_though_others_are_at_work_for_long() {
    needs!(Root, Program("flock"));
    let place = Place::new("imgbusy");
    place.import_busybox("b", &[]);
    // As a pull does it.
    let mut holder = Command::new("flock");
    holder.arg("--shared").arg(place.path("root/locks/lease"));
    holder.args(["sh", "-c", "echo held; cat"]);
    let pipes = holder.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = pipes.spawn().expect("started");
    let mut held = [0; 5];
    let mut said = holder.stdout.take().expect("a pipe");
    said.read_exact(&mut held).expect("it holds the lock");
    let blobs = || {
        fs::read_dir(place.path("root/blobs/sha256"))
            .expect("there")
            .count()
    };
    let removed = place.image(&["remove", "b"]).success();
    assert!(removed.stdout.contains("untagged b:latest"), "{removed}");
    assert!(removed.stderr.contains("stays for a later"), "{removed}");
    assert_eq!(blobs(), 3);
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    place.must(&["prune"]);
    assert_eq!(blobs(), 0);
    place.finish();
}

#[test]
fn a_root_filesystem_is_unpacked_and_exported_whole() {
    needs!(Root);
    let place = Place::new("imgexport");
    place.import_busybox("b", &[]);
    let directory = place.path("rootfs");
    place.must(&["unpack", "b", &directory.display().to_string()]);
    let archive = place.path("out.tar").display().to_string();
    place.must(&["export", "--output", &archive, "b"]);
    let again = place.path("again");
    fs::create_dir(&again).expect("it is ours");
    let mut tar = Command::new("tar");
    tar.args(["-xpf", &archive, "-C"]).arg(&again);
    finish(&mut tar, DEADLINE).succeeded();
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference"])
        .arg(&directory)
        .arg(&again);
    finish(&mut diff, DEADLINE).succeeded();
    let finished = place.image(&["unpack", "b", &directory.display().to_string()]);
    assert!(finished.stderr.contains("EEXIST"), "{finished}");
    place.finish();
}

#[test]
fn two_images_are_compared_by_their_files() {
    needs!(Root);
    let place = Place::new("imgdiff");
    place.import_busybox("one", &[]);
    let tree = place.path("tree");
    place.must(&["unpack", "one", &tree.display().to_string()]);
    fs::remove_file(tree.join("etc/group")).expect("busybox has one");
    fs::write(tree.join("etc/new"), "x").expect("it is ours");
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("it is ours");
    let archive = place.path("two.tar");
    place::pack(&tree, &archive);
    place.must(&["import", &archive.display().to_string(), "two"]);
    let text = place.must(&["diff", "one", "two"]);
    let lines: Vec<&str> = text.lines().collect();
    for line in ["D /etc/group", "A /etc/new", "C /etc/passwd"] {
        assert!(lines.contains(&line), "{text}");
    }
    assert_eq!(place.must(&["diff", "one", "one"]), "");
    place.finish();
}

#[test]
fn wrong_words_are_explained_and_help_is_no_error() {
    let place = Place::new("imgwords");
    assert_eq!(place.image(&["--help"]).code, 0);
    assert_eq!(place.image(&["pull", "--help"]).code, 0);
    assert_eq!(place.image(&["pull"]).code, 2);
    assert_eq!(place.image(&["fetch"]).code, 2);
    let finished = place.image(&["list"]);
    assert_eq!(
        (finished.code, finished.stdout.lines().count()),
        (0, 1),
        "{finished}"
    );
    place.finish();
}

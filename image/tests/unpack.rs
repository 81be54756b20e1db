//! Unpacking that is killed, that is done twice at once, that has no room, and that is lied to.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{finish, needs};

use self::place::{DEADLINE, Place};

mod place;

/// Imports a tree of so many files under a name.
fn import_tree(place: &Place, name: &str, files: usize) {
    let tree = place.path(&format!("tree-{files}"));
    for number in 0..files {
        let directory = tree.join(format!("d{}", number % 50));
        fs::create_dir_all(&directory).expect("it is ours");
        fs::write(directory.join(number.to_string()), vec![b'x'; 3000]).expect("it is ours");
    }
    let archive = place.path("tree.tar");
    place::pack(&tree, &archive);
    place.must(&["import", &archive.display().to_string(), name]);
}

fn entries(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

#[test]
fn a_killed_unpacking_leaves_nothing_that_looks_like_a_layer() {
    needs!(Root);
    let place = Place::new("imgkilled");
    import_tree(&place, "many", 4000);
    let layers = place.path("root/snapshots/layers");
    for round in 0..12_u64 {
        let mut child = place
            .command(&["unpack", "many"])
            .spawn()
            .expect("it starts");
        std::thread::sleep(Duration::from_millis(7 * round));
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        // There is a layer, whole, or there is none.
        for layer in entries(&layers) {
            assert_eq!(entries(&layers.join(layer).join("fs")).len(), 50);
            place.must(&["remove", "--no-prune", "many"]);
            place.must(&["prune", "--all"]);
            import_tree(&place, "many", 4000);
        }
    }
    place.must(&["unpack", "many"]);
    let unfinished = place.path("root/snapshots/new");
    assert_eq!(entries(&unfinished), Vec::<String>::new());
    let layer = layers.join(&entries(&layers)[0]).join("fs");
    let count: usize = entries(&layer)
        .iter()
        .map(|name| entries(&layer.join(name)).len())
        .sum();
    assert_eq!(count, 4000);
    place.finish();
}

/// What a disk has of a file system at any moment is what is left of it when the power fails.
#[test]
fn after_a_power_failure_an_image_is_unpacked_again() {
    needs!(Root);
    let place = Place::new("imgpower");
    import_tree(&place, "many", 2000);
    // The boot that follows has another id, and nothing else of it matters.
    let script = r#"
        set -e
        cd "$1"
        truncate -s 300M disk
        mkfs.ext4 -q disk
        mkdir before after
        mount -o loop disk before
        "$2" --quiet --root before/root import tree.tar many > out
        "$2" --quiet --root before/root unpack many > out
        # Names are on the disk by this, and what files hold is not.
        echo x > before/other
        sync before/other
        cp disk crashed
        umount before
        mount -o loop crashed after
        ls after/root/snapshots/unsynced | wc -l
        for note in after/root/snapshots/unsynced/*; do
            mv "$note" "${note%/*}/00000000-0000-4000-8000-000000000000.1"
        done
        "$2" --quiet --root after/root unpack many > out
        diff -r tree-2000 after/root/snapshots/layers/*/fs
        umount after
    "#;
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", script, "sh"]);
    shell
        .arg(place.path(""))
        .arg(env!("CARGO_BIN_EXE_tare-image"));
    let said = finish(&mut shell, DEADLINE).success().stdout;
    assert_eq!(said, "1\n");
    place.finish();
}

#[test]
fn a_killed_copy_has_no_name_that_anybody_knows() {
    needs!(Root);
    let place = Place::new("imgcopykilled");
    import_tree(&place, "many", 2000);
    place.must(&["unpack", "many"]);
    let copy = place.path("copy");
    let words = ["unpack", "many", copy.to_str().expect("text")];
    for round in 0..10_u64 {
        let mut child = place.command(&words).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(20 * round));
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        // It is there, whole, or it isn't.
        if copy.exists() {
            assert_eq!(entries(&copy).len(), 50);
            let files = (0..50).map(|number| entries(&copy.join(format!("d{number}"))).len());
            assert_eq!(files.sum::<usize>(), 2000);
            fs::remove_dir_all(&copy).expect("it is ours");
        }
    }
    place.must(&words);
    let again = place.image(&words);
    assert!(again.stderr.contains("EEXIST"), "{again}");
    place.must(&["prune"]);
    place.finish();
}

#[test]
fn two_at_once_share_the_work() {
    needs!(Root);
    let place = Place::new("imgtwo");
    import_tree(&place, "many", 2000);
    let mut children: Vec<_> = (0..5)
        .map(|_| {
            place
                .command(&["unpack", "many"])
                .spawn()
                .expect("it starts")
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(entries(&place.path("root/snapshots/layers")).len(), 1);
    assert_eq!(
        entries(&place.path("root/snapshots/new")),
        Vec::<String>::new()
    );
    place.finish();
}

#[test]
fn a_full_disk_is_told_and_nothing_remains() {
    needs!(Root);
    let place = Place::new("imgfull");
    import_tree(&place, "many", 3000);
    let script =
        "mount -t tmpfs -o size=4m,mode=700 t \"$1/root/snapshots\" && shift && exec \"$@\"";
    fs::create_dir(place.path("root/snapshots")).expect("it is ours");
    let program = place.command(&["unpack", "many"]);
    let mut full = Command::new("unshare");
    full.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    full.arg(place.directory.path());
    full.arg("sh").args([
        "-c",
        "\"$@\"; code=$?; ls \"$0/layers\" \"$0/new\"; exit $code",
    ]);
    full.arg(place.path("root/snapshots"));
    full.arg(program.get_program()).args(program.get_args());
    let finished = finish(&mut full, DEADLINE);
    assert_eq!(finished.code, 1, "{finished}");
    assert!(finished.stderr.contains("ENOSPC"), "{finished}");
    let left: Vec<&str> = finished
        .stdout
        .lines()
        .filter(|line| !line.ends_with(':'))
        .collect();
    assert!(left.iter().all(|line| line.is_empty()), "{finished}");
    place.must(&["unpack", "many"]);
    place.finish();
}

#[test]
fn a_configuration_that_lies_about_a_layer_is_found_out() {
    needs!(Root);
    let place = Place::new("imglie");
    import_tree(&place, "good", 5);
    // The same image, whose configuration promises other content.
    let raw = |what: &str| place.must(&["inspect", "--raw", what, "good"]);
    let mut config: Value = serde_json::from_str(&raw("config")).expect("it is JSON");
    let mut manifest: Value = serde_json::from_str(&raw("manifest")).expect("it is JSON");
    config["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "0".repeat(64))]);
    let blobs = place.path("root/blobs/sha256");
    let put = |value: &Value| {
        let bytes = value.to_string().into_bytes();
        let digest = image::Digest::of(&bytes);
        fs::write(blobs.join(digest.hex()), &bytes).expect("it is ours");
        (digest.to_string(), bytes.len())
    };
    let (digest, size) = put(&config);
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    let (digest, size) = put(&manifest);
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/bad:latest"}}]});
    fs::write(place.path("root/index.json"), index.to_string()).expect("it is ours");
    let finished = place.image(&["unpack", "bad"]);
    assert_eq!(
        (finished.code, finished.stderr.lines().count()),
        (1, 1),
        "{finished}"
    );
    assert!(finished.stderr.contains("sha256:0000"), "{finished}");
    assert_eq!(
        entries(&place.path("root/snapshots/layers")),
        Vec::<String>::new()
    );
    assert_eq!(
        entries(&place.path("root/snapshots/new")),
        Vec::<String>::new()
    );
    place.finish();
}

//! What is refused before criu is asked anything, on any kernel.

use std::os::unix::fs::symlink;

use serde_json::json;
use testkit::{TestBundle, needs};

use crate::place::{Place, text};

/// A place with a directory that looks like images.
fn with_images(topic: &str, change: impl FnOnce(TestBundle) -> TestBundle) -> Place {
    let place = Place::new(topic, change);
    std::fs::create_dir(place.directory("cp")).unwrap();
    std::fs::write(place.directory("cp/inventory.img"), "no image").unwrap();
    place
}

#[test]
fn flags_with_a_wrong_value_are_named() {
    let place = Place::new("cpflags", |bundle| bundle);
    for (words, said) in [
        (
            &["checkpoint", "--manage-cgroups-mode", "hard", "x"] as &[&str],
            "invalid manage-cgroups-mode value",
        ),
        (
            &["checkpoint", "--network-lock", "rope", "x"],
            "invalid network-lock value",
        ),
        (
            &["checkpoint", "--empty-ns", "mount", "x"],
            "is not supported by --empty-ns",
        ),
        (
            &["checkpoint", "--page-server", "nowhere", "x"],
            "give it as ADDRESS:PORT",
        ),
        (
            &["checkpoint", "--status-fd", "987", "x"],
            "invalid --status-fd argument 987",
        ),
        (&["checkpoint", "--status-fd", "x", "x"], "invalid value"),
        (&["checkpoint", "x"], "does not exist"),
        (&["checkpoint"], "requires exactly 1 argument(s)"),
        (
            &["restore", "--bundle", "/nonexistent", "x"],
            "the bundle /nonexistent does not exist",
        ),
        (
            &["restore", "--lsm-mount-context"],
            "flag needs an argument",
        ),
    ] {
        let failed = place.call(words);
        assert_eq!(failed.code, 1, "{failed}");
        assert!(failed.stderr.contains(said), "{said}: {failed}");
    }
    place.finish();
}

#[test]
fn a_container_is_saved_only_when_it_runs() {
    needs!(Root, Program("criu"));
    let place = Place::new("cpstatus", |bundle| bundle.args(&["true"]));
    place.runtime.create(&place.bundle).succeeded();
    let failed = place.checkpoint(&[]);
    assert!(
        failed
            .stderr
            .contains("cannot be checkpointed in created state"),
        "{failed}"
    );
    place.call(&["start", place.id()]).succeeded();
    place.runtime.wait_for_status(place.id(), "stopped");
    let failed = place.checkpoint(&[]);
    assert!(failed.stderr.contains("container not running"), "{failed}");
    assert!(!place.directory("cp").exists());
    place.finish();
}

#[test]
fn without_criu_the_error_says_what_to_install() {
    needs!(Root);
    let place = with_images("cpnone", |bundle| bundle);
    let words = [
        "restore",
        "--detach",
        "--bundle",
        text(place.bundle.path()),
        place.id(),
    ];
    let mut command = place.runtime.command(&words);
    command.env("PATH", "/nonexistent");
    let failed = testkit::finish(&mut command, crate::place::LIMIT);
    place.refused(
        &failed,
        &[
            "executable file not found in $PATH",
            "install the package criu",
        ],
    );
    place.finish();
}

#[test]
fn what_a_restore_can_not_do_is_refused_by_name() {
    needs!(Root, Program("criu"));
    let place = with_images("cpcannot", |bundle| bundle);
    for (flags, said) in [
        (
            &["--manage-cgroups-mode", "full"] as &[&str],
            "soft or ignore",
        ),
        (&["--manage-cgroups-mode", "strict"], "soft or ignore"),
        (&["--no-pivot"], "pivot_root(2)"),
        (&["--tcp-close", "--tcp-established"], "exclude each other"),
        (
            &["--console-socket", "/nonexistent"],
            "cannot use console socket",
        ),
    ] {
        place.refused(&place.restore(flags), &[said]);
    }
    let hook = json!([{"path": "/bin/true"}]);
    let place = place.change(|bundle| bundle.set("/hooks/createContainer", hook));
    place.refused(&place.restore(&[]), &["hooks.createContainer"]);
    let place = place.change(|bundle| {
        let namespaces =
            json!([{"type": "mount"}, {"type": "cgroup", "path": "/proc/1/ns/cgroup"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "network"}]);
        bundle
            .set("/hooks", json!({}))
            .set("/linux/namespaces", namespaces)
    });
    place.refused(&place.restore(&[]), &["linux.namespaces[1]", "can't join"]);
    place.finish();
}

#[test]
fn what_a_checkpoint_can_not_do_is_refused_by_name() {
    needs!(Root, Program("criu"));
    let place = Place::new("cpcannot2", |bundle| bundle);
    place.start();
    for (flags, said) in [
        (
            &["--parent-path", "/absolute"] as &[&str],
            "relative to the image directory",
        ),
        (
            &["--parent-path", "../none"],
            "../none: no such file or directory",
        ),
        (&["--lazy-pages"], "lazy_pages needs a page_server"),
        (
            &["--status-fd", "1"],
            "status_fd is of use with lazy_pages only",
        ),
    ] {
        let failed = place.checkpoint(flags);
        assert_eq!(failed.code, 1, "{failed}");
        assert!(failed.stderr.contains(said), "{said}: {failed}");
    }
    place.wait_beyond(place.count());
    place.finish();
}

#[test]
fn no_link_in_an_image_is_followed() {
    needs!(Root, Program("criu"));
    let place = with_images("cplinks", |bundle| bundle);
    let secret = place.directory("secret");
    std::fs::write(&secret, "secret").unwrap();
    for name in [
        "restore.log",
        "descriptors.json",
        "core-1.img",
        "stats-restore",
        "seccomp.img",
    ] {
        let link = place.directory("cp").join(name);
        symlink(&secret, &link).unwrap();
        place.refused(
            &place.restore(&[]),
            &[name, "a symbolic link, which is never followed"],
        );
        std::fs::remove_file(&link).unwrap();
    }
    symlink("cp", place.directory("linked")).unwrap();
    place.refused(&place.restore_from("linked", &[]), &["is a symbolic link"]);
    for (text, said) in [
        ("/", "must be relative"),
        ("../linked", "over a symbolic link"),
        ("..", "inventory.img"),
    ] {
        let link = place.directory("cp/parent");
        symlink(text, &link).unwrap();
        let failed = place.restore(&[]);
        assert!(
            failed.stderr.contains(said) || failed.stderr.contains("symbolic link"),
            "{failed}"
        );
        place.refused(&failed, &[]);
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    place.finish();
}

#[test]
fn no_link_in_the_way_of_a_dump_is_followed() {
    needs!(Root, Program("criu"));
    let place = Place::new("cpdumplinks", |bundle| bundle);
    place.start();
    let secret = place.directory("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::create_dir(place.directory("cp")).unwrap();
    for name in ["dump.log", "descriptors.json", "pages-1.img"] {
        let link = place.directory("cp").join(name);
        symlink(&secret, &link).unwrap();
        let failed = place.checkpoint(&[]);
        assert!(
            failed.stderr.contains("which is never followed"),
            "{failed}"
        );
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    place.wait_beyond(place.count());
    place.finish();
}

#[test]
fn an_image_that_others_may_change_is_refused() {
    needs!(Root, Program("criu"));
    let place = with_images("cpothers", |bundle| bundle);
    let images = place.directory("cp");
    std::os::unix::fs::chown(images.join("inventory.img"), Some(1000), None).unwrap();
    place.refused(
        &place.restore(&[]),
        &["inventory.img can be changed by others"],
    );
    place.finish();
}

#[test]
fn an_image_that_is_none_is_refused_by_criu_and_nothing_is_left() {
    needs!(Root, Program("criu"));
    let place = with_images("cpbad", |bundle| bundle);
    let failed = place.restore(&[]);
    place.refused(&failed, &["criu"]);
    place.finish();
}

/// An annotation or a label makes no restore of a run, and no file of the host's is read for it.
#[test]
fn a_run_is_a_run_whatever_annotations_say() {
    needs!(Root);
    let place = with_images("cpannotation", |bundle| {
        let images = json!({
            "io.kubernetes.cri-o.annotations.checkpoint.name": "x",
            "io.podman.annotations.checkpoint.name": "x",
            "org.criu.config": "/etc/passwd",
            "checkpoint": "true",
        });
        bundle
            .set("/annotations", images)
            .args(&["sh", "-c", "grep NoNewPrivs /proc/self/status"])
    });
    let ran = place.runtime.run(&place.bundle).success();
    assert_eq!(ran.stdout, "NoNewPrivs:\t1\n");
    assert!(!place.directory("cp/restore.log").exists());
    place.finish();
}

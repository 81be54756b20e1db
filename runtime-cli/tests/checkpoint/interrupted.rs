//! Whoever is killed in the middle leaves something that can be found and removed.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::needs;

use crate::place::{LIMIT, Place, text};

/// Starts a restore that stops in a hook, kills it there, and gives what was left to delete.
#[test]
fn a_restore_that_is_killed_in_the_middle_leaves_nothing_after_delete() {
    needs!(Root, Criu);
    for moment in ["createRuntime", "poststart"] {
        let place = Place::new("cpkilled", |bundle| bundle);
        place.start();
        place.checkpoint(&[]).succeeded();
        let sign = place.directory("here");
        let script = format!("touch {}; sleep 5", text(&sign));
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        let place = place.change(|bundle| bundle.set(&format!("/hooks/{moment}"), hook));
        let words = [
            "restore",
            "--detach",
            "--bundle",
            text(place.bundle.path()),
            "--image-path",
        ];
        let images = place.directory("cp");
        let words = [&words as &[&str], &[text(&images), place.id()]].concat();
        let mut restore = place.runtime.command(&words).spawn().unwrap();
        let started = Instant::now();
        while !sign.exists() {
            assert!(started.elapsed() < LIMIT, "the hook did not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        restore.kill().unwrap();
        restore.wait().unwrap();
        // What is told of it meanwhile is no error.
        place.call(&["list"]).succeeded();
        place.call(&["delete", "--force", place.id()]).succeeded();
        // The hook is nobody's any more, and ends by itself.
        std::thread::sleep(Duration::from_secs(5));
        place.finish();
    }
}

#[test]
fn a_restore_that_fails_in_a_hook_leaves_nothing() {
    needs!(Root, Criu);
    for moment in ["createRuntime", "poststart"] {
        let place = Place::new("cphookfails", |bundle| bundle);
        place.start();
        place.checkpoint(&[]).succeeded();
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 4"]}]);
        let place = place.change(|bundle| bundle.set(&format!("/hooks/{moment}"), hook));
        let failed = place.restore(&[]);
        place.refused(&failed, &[moment, "exit status 4, output: no"]);
        place.finish();
    }
}

//! Debian's containerd and its own client, with tare as the binary of the stock runc shim.

use std::path::Path;
use std::time::Duration;

use testkit::{Engine, Finished, Marker, Residue, Runtime, needs};

/// The exit code and standard output.
fn outcome(finished: Finished) -> (i32, String) {
    (finished.code, finished.stdout)
}

#[test]
fn containerds_own_client_runs_enters_measures_and_kills() {
    needs!(Root, Engines, Program("umoci"), Program("skopeo"));
    let seen = containerd_case(Path::new("runc"));
    let binary = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    assert_eq!(containerd_case(&binary), seen);
}

/// What a container under `ctr` shows: exit codes and output of each step.
fn containerd_case(binary: &Path) -> Vec<(i32, String)> {
    let marker = Marker::new("ctr");
    let residue = Residue::watch(&marker);
    let engine = Engine::containerd(&marker);
    let archive = testkit::busybox_image(&marker, &engine.path("layout"));
    let archive = archive.display().to_string();
    engine
        .ctr(&["image", "import", "--base-name", "local/busybox", &archive])
        .succeeded();
    let image = engine.ctr(&["image", "ls", "--quiet"]).success().stdout;
    let image = image.trim();
    let runtime = binary.display().to_string();
    let run = ["run", "--snapshotter", "native", "--runc-binary", &runtime];
    let mounts = engine.mounts();

    let script = [
        "--rm",
        image,
        "first",
        "sh",
        "-c",
        "echo from $(hostname -f); exit 3",
    ];
    let mut seen = vec![outcome(engine.ctr(&[&run[..], &script].concat()))];
    let sleeper = [&run[..], &["--detach", image, "second", "sleep", "1000"]].concat();
    seen.push(outcome(engine.ctr(&sleeper)));
    for words in [
        &[
            "task",
            "exec",
            "--exec-id",
            "e1",
            "second",
            "sh",
            "-c",
            "echo in; exit 4",
        ][..],
        &["task", "pause", "second"],
        &["task", "resume", "second"],
        &["task", "kill", "--signal", "SIGKILL", "second"],
    ] {
        seen.push(outcome(engine.ctr(words)));
    }
    std::thread::sleep(Duration::from_millis(500));
    seen.push(outcome(engine.ctr(&["task", "delete", "second"])));
    seen.push(outcome(engine.ctr(&["container", "delete", "second"])));
    assert_eq!(
        engine.mounts(),
        mounts,
        "mounts are left where the engine runs"
    );
    drop(engine);
    residue.assert_none(&[]);
    seen
}

//! The shims' own `start` and `delete`, run as containerd runs them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Marker;

use crate::Error;
use crate::figures::{Figure, median_ms};
use crate::rival::{BOTH, Rival};

/// `start` until the address is there, and `delete` when nothing is left.
pub(crate) fn measure(rounds: usize) -> Result<Vec<Figure>, Error> {
    let mut starts = [Vec::new(), Vec::new()];
    let mut deletes = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (place, rival) in BOTH.iter().enumerate() {
            let marker = Marker::new("start");
            let directory = marker.directory();
            let id = format!("{marker}-{round}");
            let bundle = directory.path().join(&id);
            make_bundle(&bundle)?;
            let started = timed(&mut command(rival, &bundle, &id, "start"))?;
            starts[place].push(started.0);
            kill_server(rival, &id);
            let deleted = timed(&mut command(rival, &bundle, &id, "delete"))?;
            deletes[place].push(deleted.0);
            remove_socket(&started.1);
        }
    }
    let figure = |name: &str, durations: &[Vec<Duration>; 2]| Figure {
        name: name.to_owned(),
        unit: "ms",
        tare: median_ms(&durations[0]),
        rival: median_ms(&durations[1]),
        most_ratio: None,
        most: Some(2.0),
    };
    Ok(vec![
        figure("shim's `start`", &starts),
        figure("shim's `delete`, nothing left", &deletes),
    ])
}

/// As much of a bundle as there is before `Create`, in a directory that is named after the
/// container, as containerd's are.
fn make_bundle(bundle: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(bundle.join("rootfs"))?;
    std::fs::write(bundle.join("config.json"), r#"{"ociVersion":"1.0.0"}"#)?;
    // The stock shim's `delete` wants to know which binary its container had.
    std::fs::write(bundle.join("runtime"), "runc")?;
    Ok(())
}

fn command(rival: &Rival, bundle: &Path, id: &str, action: &str) -> Command {
    let mut command = Command::new(rival.binary);
    command
        .current_dir(bundle)
        .args(["-namespace", "bench", "-id", id])
        .args(["-address", "/run/tare-bench/containerd.sock"])
        .args(["-publish-binary", "/bin/true"])
        .env("TTRPC_ADDRESS", "/run/tare-bench/containerd.sock.ttrpc")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if action == "delete" {
        command.arg("-bundle").arg(bundle);
    }
    command.arg(action);
    command
}

/// How long it took until it had ended and its output was closed, and the output.
fn timed(command: &mut Command) -> Result<(Duration, String), Error> {
    let started = Instant::now();
    let output = command.output()?;
    let took = started.elapsed();
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok((
        took,
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    ))
}

/// Ends the server that `start` has left.
fn kill_server(rival: &Rival, id: &str) {
    for pid in crate::memory::servers(rival, id) {
        let pid = nix::unistd::Pid::from_raw(pid);
        // It may have ended.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
}

fn remove_socket(address: &str) {
    if let Some(path) = address.strip_prefix("unix://") {
        // `delete` may have removed it.
        std::fs::remove_file(path).ok();
    }
}

//! Any runtime with runc's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::bundle::TestBundle;
use crate::command::{Finished, finish, finish_with_input};
use crate::fact::find_program;
use crate::marker::Marker;

/// A runtime's binary and a state root of its own.
#[derive(Debug)]
pub struct Runtime {
    binary: PathBuf,
    root: TempDir,
    limit: Duration,
}

impl Runtime {
    /// The runtime at `binary`, with a new and empty state root that carries the marker.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, marker: &Marker) -> Self {
        Self {
            binary: binary.into(),
            root: marker.directory(),
            limit: Duration::from_secs(20),
        }
    }

    /// The runtime that `TARE_UNDER_TEST` names (a path, or a program on the path), else the
    /// one at `built`, which is what cargo built for this test.
    #[must_use]
    pub fn under_test(built: &str, marker: &Marker) -> Self {
        Self::new(Self::binary_under_test(built), marker)
    }

    /// The path that [`Runtime::under_test`] takes.
    ///
    /// # Panics
    ///
    /// If `TARE_UNDER_TEST` names no program.
    #[must_use]
    pub fn binary_under_test(built: &str) -> PathBuf {
        match std::env::var("TARE_UNDER_TEST") {
            Ok(path) if path.contains('/') => PathBuf::from(path),
            Ok(name) => find_program(&name)
                .unwrap_or_else(|| panic!("TARE_UNDER_TEST={name}: no such program")),
            Err(_) => PathBuf::from(built),
        }
    }

    /// The file name of the binary: `tare`, `runc`, …
    #[must_use]
    pub fn name(&self) -> &str {
        self.binary
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("?")
    }

    /// The directory that it keeps its containers in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The command `RUNTIME --root ROOT ARGUMENTS`, not started.
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.root.path());
        command.args(arguments.iter().map(S::as_ref));
        command
    }

    /// Runs a command of the runtime to its end.
    pub fn call<S: AsRef<str>>(&self, arguments: &[S]) -> Finished {
        finish(&mut self.command(arguments), self.limit)
    }

    /// Runs a command of the runtime to its end, with standard input.
    pub fn call_with_input<S: AsRef<str>>(&self, arguments: &[S], input: &[u8]) -> Finished {
        finish_with_input(&mut self.command(arguments), input, self.limit)
    }

    /// `run`, in the foreground, under the bundle's own name.
    pub fn run(&self, bundle: &TestBundle) -> Finished {
        self.with_bundle(bundle, &["run"])
    }

    /// `create`.
    pub fn create(&self, bundle: &TestBundle) -> Finished {
        self.with_bundle(bundle, &["create"])
    }

    /// `run --detach`.
    pub fn run_detached(&self, bundle: &TestBundle) -> Finished {
        self.with_bundle(bundle, &["run", "--detach"])
    }

    fn with_bundle(&self, bundle: &TestBundle, command: &[&str]) -> Finished {
        bundle.save();
        let directory = bundle.path().to_str().expect("a temporary path is text");
        self.call(&[command, &["--bundle", directory, bundle.id()]].concat())
    }

    /// What `state` prints.
    ///
    /// # Panics
    ///
    /// If `state` fails or prints no JSON.
    #[must_use]
    pub fn state(&self, id: &str) -> Value {
        let finished = self.call(&["state", id]).success();
        serde_json::from_str(&finished.stdout).expect("`state` prints JSON")
    }

    /// Waits until `state` says `status`.
    ///
    /// # Panics
    ///
    /// If it does not within ten seconds.
    pub fn wait_for_status(&self, id: &str, status: &str) {
        let mut last = Value::Null;
        for _ in 0..500 {
            last = self.state(id)["status"].take();
            if last == status {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{id} is {last}, not {status}");
    }
}

impl Drop for Runtime {
    /// Deletes what a failing test has left running. Nothing here may panic.
    fn drop(&mut self) {
        let containers = std::fs::read_dir(self.root.path())
            .into_iter()
            .flatten()
            .flatten();
        for container in containers {
            let mut delete = Command::new(&self.binary);
            delete
                .arg("--root")
                .arg(self.root.path())
                .args(["delete", "--force"]);
            delete.arg(container.file_name());
            delete
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            delete.status().ok();
        }
    }
}

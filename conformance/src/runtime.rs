//! The runtime that is measured: a path, a state root, and runc's command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{Finished, LIMIT, finish};

/// A runtime binary with a state root of its own.
#[derive(Clone, Debug)]
pub struct Runtime {
    path: PathBuf,
    root: PathBuf,
}

impl Runtime {
    /// The binary at `path`, with its containers below `root`.
    #[must_use]
    pub fn new(path: &Path, root: &Path) -> Self {
        Self {
            path: path.to_owned(),
            root: root.to_owned(),
        }
    }

    /// Where the binary is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its containers are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The command with these arguments after `--root`, not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).args(arguments);
        // What is set by accident where this runs must not be seen inside.
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments), b"", LIMIT)
    }

    /// Runs it to its end, with a deadline of the caller's.
    #[must_use]
    pub fn call_within(&self, arguments: &[&str], limit: Duration) -> Finished {
        finish(&mut self.command(arguments), b"", limit)
    }

    /// `state`, parsed; none when there is no such container.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<serde_json::Value> {
        let state = self.call(&["state", id]);
        (state.code == 0)
            .then(|| serde_json::from_str(&state.stdout).ok())
            .flatten()
    }

    /// The status of a container; empty when there is none.
    #[must_use]
    pub fn status(&self, id: &str) -> String {
        let state = self.state(id).unwrap_or_default();
        state["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Init's pid; 0 when there is none.
    #[must_use]
    pub fn pid(&self, id: &str) -> i32 {
        let state = self.state(id).unwrap_or_default();
        let pid = state["pid"].as_i64().unwrap_or(0);
        i32::try_from(pid).unwrap_or(0)
    }
}

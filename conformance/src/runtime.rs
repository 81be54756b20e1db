//! The runtime that is measured: a path, a state root, and runc's command line.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

use crate::missing::Filter;
use crate::run::{Finished, LIMIT, finish};

/// A runtime binary with a state root of its own.
#[derive(Clone, Debug)]
pub struct Runtime {
    path: PathBuf,
    root: PathBuf,
    manner: Manner,
    /// The commands that failed.
    complaints: Rc<RefCell<Vec<Complaint>>>,
}

/// A command that failed.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// `create`, `start`, …
    pub command: String,
    /// How it ended, and what it said.
    pub words: String,
}

/// How a runtime is run.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Whether systemd makes the cgroups.
    pub is_systemd: bool,
    /// What takes system calls away from it.
    pub filter: Option<Filter>,
}

impl Runtime {
    /// The binary at `path`, with its containers below `root`.
    #[must_use]
    pub fn new(path: &Path, root: &Path, manner: &Manner) -> Self {
        Self {
            path: path.to_owned(),
            root: root.to_owned(),
            manner: manner.clone(),
            complaints: Rc::default(),
        }
    }

    /// The same runtime, whose binary is at another place.
    #[must_use]
    pub fn at(&self, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
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
        command.arg("--root").arg(&self.root);
        if self.manner.is_systemd {
            command.arg("--systemd-cgroup");
        }
        command.args(arguments);
        self.under_filter(&mut command);
        // What is set by accident where this runs must not be seen inside.
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        command
    }

    /// Takes away from a command, and from the runtime that it starts, what is taken from the runtime.
    pub fn under_filter(&self, command: &mut Command) {
        if let Some(filter) = &self.manner.filter {
            crate::sys::under_filter(command, filter.clone());
        }
    }

    /// Runs a command of [`Runtime::command`] with these arguments, which was altered, to its end.
    #[must_use]
    pub fn finish(&self, command: &mut Command, arguments: &[&str]) -> Finished {
        let finished = finish(command, b"", LIMIT);
        self.note(arguments, &finished);
        finished
    }

    /// Runs it to its end.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Finished {
        self.call_within(arguments, LIMIT)
    }

    /// Runs it to its end, with a deadline of the caller's.
    #[must_use]
    pub fn call_within(&self, arguments: &[&str], limit: Duration) -> Finished {
        let finished = finish(&mut self.command(arguments), b"", limit);
        self.note(arguments, &finished);
        finished
    }

    /// Remembers a command that failed.
    pub fn note(&self, arguments: &[&str], finished: &Finished) {
        if finished.code != 0 {
            self.complaints.borrow_mut().push(Complaint {
                command: arguments.first().copied().unwrap_or_default().to_owned(),
                words: finished.brief(),
            });
        }
    }

    /// Remembers a command that was started by hand, if it has failed; it complained to this file.
    pub fn note_end(&self, arguments: &[&str], status: Option<ExitStatus>, file: &Path) {
        let stderr = std::fs::read_to_string(file).unwrap_or_default();
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        let finished = Finished {
            code,
            stdout: String::new(),
            stderr,
            is_late: false,
        };
        self.note(arguments, &finished);
    }

    /// The first command that failed with these words.
    pub fn complaint(&self, has_words: impl Fn(&str) -> bool) -> Option<Complaint> {
        let complaints = self.complaints.borrow();
        complaints
            .iter()
            .find(|complaint| has_words(&complaint.words))
            .cloned()
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

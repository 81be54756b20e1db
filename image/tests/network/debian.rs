//! Debian's docker-registry, private to one test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    child: Child,
    address: String,
    directory: TempDir,
}

/// `alice` with the password `open sesame`, by bcrypt.
pub(crate) const HTPASSWD: &str =
    "alice:$2y$05$2sccsxIka5DHvYc0vIijEuNNssTXR5PdXpoK.cgCChhPi7N/xCW6u\n";

impl Registry {
    /// Without encryption, for everybody.
    pub(crate) fn plain() -> Self {
        Self::start(testkit::Marker::new("registry").directory(), "", "")
    }

    /// `http` and `auth` are further sections of its configuration, indented by two blanks.
    pub(crate) fn start(directory: TempDir, http: &str, auth: &str) -> Self {
        let path = directory.path();
        let auth = if auth.is_empty() {
            String::new()
        } else {
            format!("auth:\n{auth}")
        };
        let configuration = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:0\n{http}\n{auth}\n",
            path.join("content").display()
        );
        let file = path.join("config.yml");
        std::fs::write(&file, configuration).expect("written");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let stderr = child.stderr.take().expect("piped");
        let address = announced(BufReader::new(stderr));
        Self {
            child,
            address: address.expect("docker-registry says where it listens"),
            directory,
        }
    }

    /// As references name it: `127.0.0.1:PORT`.
    pub(crate) fn name(&self) -> &str {
        &self.address
    }

    /// The size of all that it has.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("reaped");
    }
}

/// What it logs, up to where it listens; the rest is read, and forgotten.
fn announced(log: impl BufRead + Send + 'static) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines() {
            let Ok(line) = line else { return };
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find([',', '"', ' ']).unwrap_or(rest.len());
                sender.send(rest[..end].to_owned()).ok();
            }
        }
    });
    receiver.recv_timeout(Duration::from_secs(60)).ok()
}

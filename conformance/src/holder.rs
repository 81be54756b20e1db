//! Namespaces that a case makes for a runtime to join.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::case::{Trouble, failed};

/// A process in namespaces of its own; it ends with this value.
#[derive(Debug)]
pub struct Holder {
    child: Child,
    /// Of the process that is in them.
    pid: u32,
}

impl Holder {
    /// A process in new namespaces of these kinds, in config.json's words.
    ///
    /// # Errors
    ///
    /// When this host does not let it have them.
    pub fn new(probe: &Path, kinds: &[&str]) -> Result<Self, Trouble> {
        let mut child = Command::new(probe)
            .args(["inside", "hold"])
            .args(kinds)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Trouble::Skipped(format!("{}: {error}", probe.display())))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // What can't be read is no number.
            BufReader::new(stdout).read_line(&mut line).ok();
        }
        match line.trim().parse() {
            Ok(pid) => Ok(Self { child, pid }),
            Err(_) => {
                child.wait().ok();
                failed(
                    "namespaces for the runtime to join",
                    format!("none: {kinds:?}"),
                )
            }
        }
    }

    /// The file of one of its namespaces, by /proc's name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("ns")
            .join(name)
    }

    /// What /proc says of that namespace: `net:[4026531840]`.
    #[must_use]
    pub fn link(&self, name: &str) -> String {
        std::fs::read_link(self.file(name))
            .map(|link| link.display().to_string())
            .unwrap_or_default()
    }

    /// Maps the ids 0 to 65535 of its user namespace to those of the host from `first` on.
    ///
    /// # Errors
    ///
    /// When the kernel does not take it.
    pub fn map_ids(&self, first: u32) -> Result<(), Trouble> {
        for name in ["uid_map", "gid_map"] {
            let path = Path::new("/proc").join(self.pid.to_string()).join(name);
            std::fs::write(&path, format!("0 {first} 65536")).or_else(|error| {
                failed("ids can be mapped", format!("{}: {error}", path.display()))
            })?;
        }
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

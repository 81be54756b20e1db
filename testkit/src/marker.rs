//! The name that everything a test makes carries.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// A word that occurs nowhere else on the machine: part of the ids, cgroups and paths of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker(String);

impl Marker {
    /// A marker for the test that is about `topic` (letters and digits).
    #[must_use]
    pub fn new(topic: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(format!("tt-{topic}-{}-{number}", std::process::id()))
    }

    /// The marker as text; also a valid container id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new directory, readable by all, with the marker in its name.
    ///
    /// # Panics
    ///
    /// If the directory for temporary files can't be written.
    #[must_use]
    pub fn directory(&self) -> TempDir {
        use std::os::unix::fs::PermissionsExt;
        tempfile::Builder::new()
            .prefix(&format!("{}-", self.0))
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory can be made")
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

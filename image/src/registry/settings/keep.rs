//! Writes credential files: what else stands in them stays, and nobody else can read them.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::credentials::{encode_pair, normalize, read_if_there, server_name};
use super::helper::{self, HelperEnvironment};
use super::{Credential, CredentialFile};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Lock, Share};

/// Another login holds the file for the time of one write.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// Keeps a credential: with the helper that the file names for the registry, else in the file.
pub(crate) fn store(
    path: &Path,
    registry: &str,
    username: &str,
    credential: &Credential,
    helpers: &HelperEnvironment,
) -> Result<()> {
    let file = Editor::open(path)?;
    let helper = file.helper(registry)?;
    if let Some(name) = &helper {
        helper::store(name, server_name(registry), credential, helpers)?;
    }
    file.edit(|auths| {
        auths.retain(|key, _| normalize(key) != registry);
        let entry = match (&helper, credential) {
            // As Docker does it: the name stands there, so that logout finds it.
            (Some(_), _) => json!({}),
            (None, Credential::Password { username, password }) => {
                json!({"auth": encode_pair(username, password)})
            }
            (None, Credential::IdentityToken(token)) => {
                json!({"auth": encode_pair(username, ""), "identitytoken": token})
            }
            (None, Credential::RegistryToken(token)) => json!({"registrytoken": token}),
        };
        auths.insert(server_name(registry).to_owned(), entry);
    })
}

/// Forgets a registry's credential; whether there was one.
pub(crate) fn erase(path: &Path, registry: &str, helpers: &HelperEnvironment) -> Result<bool> {
    if CredentialFile::read(path)?.is_none() {
        return Ok(false);
    }
    let file = Editor::open(path)?;
    let mut was_there = false;
    if let Some(name) = file.helper(registry)? {
        was_there = helper::get(&name, server_name(registry), helpers)?.is_some();
        helper::erase(&name, server_name(registry), helpers)?;
    }
    file.edit(|auths| {
        let before = auths.len();
        auths.retain(|key, _| normalize(key) != registry);
        was_there |= auths.len() < before;
    })?;
    Ok(was_there)
}

/// A credential file that nobody else edits meanwhile.
struct Editor {
    /// No link.
    path: PathBuf,
    /// On its directory.
    _lock: Lock,
}

impl Editor {
    fn open(path: &Path) -> Result<Self> {
        let path = target(path)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| Error::system(format!("make {}", parent.display()), error))?;
        let directory = File::open(parent)
            .map_err(|error| Error::system(format!("open {}", parent.display()), error))?;
        let lock = Lock::of(directory, parent, Share::Exclusive, LOCK_DEADLINE)?;
        Ok(Self { path, _lock: lock })
    }

    fn helper(&self, registry: &str) -> Result<Option<String>> {
        let file = CredentialFile::read(&self.path)?;
        Ok(file.and_then(|file| file.helper(registry).map(str::to_owned)))
    }

    fn edit(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<()> {
        let malformed = || {
            let message = format!("credential file {}: malformed", self.path.display());
            Error::new(ErrorKind::InvalidInput, message)
        };
        let bytes = read_if_there(&self.path)?.unwrap_or_default();
        let mut content = if bytes.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|_| malformed())?
        };
        let auths = content.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        change(auths.as_object_mut().ok_or_else(malformed)?);
        let mut text = serde_json::to_vec_pretty(&content).map_err(|_| malformed())?;
        text.push(b'\n');
        self.replace(&text)
    }

    /// Whoever reads it sees the old or the new file, whole.
    fn replace(&self, text: &[u8]) -> Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".new.{}", std::process::id()));
        let temporary = PathBuf::from(name);
        let step = |error| Error::system(format!("write {}", self.path.display()), error);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(text)?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            // The error that is told is why it could not be written.
            std::fs::remove_file(&temporary).ok();
        }
        written.map_err(step)
    }
}

/// A rename puts a file in the place of whatever is there, be it /dev/null.
fn regular(path: PathBuf) -> Result<PathBuf> {
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => {
            let message = format!("credential file {}: it is no regular file", path.display());
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        _ => Ok(path),
    }
}

/// What a link leads to: people keep such files elsewhere, and a rename would replace the link.
fn target(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..16 {
        match std::fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("/")).join(next),
            Err(_) => return regular(path),
        }
    }
    let message = format!("credential file {}: too many links", path.display());
    Err(Error::new(ErrorKind::InvalidInput, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_never_becomes_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        let mode = rustix::fs::Mode::RUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).expect("made");
        std::os::unix::fs::symlink(&pipe, &link).expect("linked");
        for path in [&pipe, &link, &directory.path().to_owned()] {
            let error = Editor::open(path).err().expect("it is refused");
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        assert!(Editor::open(&directory.path().join("new")).is_ok());
    }
}

//! Who one is to a registry: Docker's `config.json`, containers' `auth.json`, and helpers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use super::helper::{self, HelperEnvironment};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::DEFAULT_REGISTRY;

/// Under which name Docker's own registry stands in credential files.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// No credential file is longer.
const MAX_FILE: u64 = 4 << 20;

/// What proves who one is. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password.
    Password {
        /// The name.
        username: String,
        /// The secret.
        password: String,
    },
    /// What a token service takes in a password's place (OAuth 2's refresh token).
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

/// Where credentials come from: those that were given first, then file after file.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// By registry (`host` or `host:port`), as a command line gives them.
    pub given: BTreeMap<String, Credential>,
    /// Docker's `config.json` or containers' `auth.json`. A file that is missing has none.
    pub files: Vec<PathBuf>,
    /// What helpers run with.
    pub helpers: HelperEnvironment,
}

impl Keyring {
    /// The credentials for a repository, if there are any: those of the longest name that
    /// contains it.
    ///
    /// # Errors
    /// A file that can't be read or is malformed, a helper that is missing or fails: going on
    /// anonymously would only lead to an error that is harder to understand.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        if let Some(given) = self.given.get(registry) {
            return Ok(Some(given.clone()));
        }
        for path in &self.files {
            let Some(file) = CredentialFile::read(path)? else {
                continue;
            };
            if let Some(found) = file.find(registry, repository, &self.helpers)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// What a credential file says.
#[derive(Clone, Debug)]
pub struct CredentialFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    #[serde(deserialize_with = "null_is_empty")]
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(deserialize_with = "null_is_empty")]
    cred_helpers: BTreeMap<String, String>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.auths.keys()).finish()
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl CredentialFile {
    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is malformed; the kernel's refusals.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = read_if_there(path)? else {
            return Ok(None);
        };
        let content = if bytes.iter().all(u8::is_ascii_whitespace) {
            Content::default()
        } else {
            serde_json::from_slice(&bytes).map_err(|error| {
                // serde's words can quote a value; only where it stands is told.
                let (line, column) = (error.line(), error.column());
                let message = format!(
                    "credential file {}: malformed at line {line}, column {column}",
                    path.display()
                );
                Error::new(ErrorKind::InvalidInput, message)
            })?
        };
        Ok(Some(Self {
            path: path.to_owned(),
            content,
        }))
    }

    /// The helper that holds a registry's credentials, if one does.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let named = self
            .content
            .cred_helpers
            .iter()
            .find(|(key, _)| normalize(key) == registry);
        let name = named
            .map(|(_, name)| name)
            .or(self.content.creds_store.as_ref());
        name.map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The credentials for a repository.
    ///
    /// # Errors
    /// As [`Keyring::find`].
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        helpers: &HelperEnvironment,
    ) -> Result<Option<Credential>> {
        if let Some(name) = self.helper(registry) {
            let found = helper::get(name, server_name(registry), helpers)
                .map_err(|error| error.within(format_args!("{}", self.path.display())))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let mut name = format!("{registry}/{repository}");
        loop {
            let entry = self
                .content
                .auths
                .iter()
                .find(|(key, _)| normalize(key) == name);
            if let Some((key, entry)) = entry
                && let Some(found) = self.credential(key, entry)?
            {
                return Ok(Some(found));
            }
            match name.rsplit_once('/') {
                Some((parent, _)) => name = parent.to_owned(),
                None => return Ok(None),
            }
        }
    }

    fn credential(&self, key: &str, entry: &Entry) -> Result<Option<Credential>> {
        if !entry.registrytoken.is_empty() {
            return Ok(Some(Credential::RegistryToken(entry.registrytoken.clone())));
        }
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(entry.identitytoken.clone())));
        }
        if !entry.auth.is_empty() {
            let pair = decode_pair(&entry.auth).ok_or_else(|| {
                let message = format!(
                    "credential file {}: auths[{key:?}].auth is no base64 of name:password",
                    self.path.display()
                );
                Error::new(ErrorKind::InvalidInput, message)
            })?;
            return Ok(Some(pair));
        }
        Ok((!entry.username.is_empty()).then(|| Credential::Password {
            username: entry.username.clone(),
            password: entry.password.clone(),
        }))
    }
}

/// The name by which helpers and Docker know a registry.
#[must_use]
pub fn server_name(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY {
        DOCKER_HUB_KEY
    } else {
        registry
    }
}

/// `name:password` as `auth` holds it.
#[must_use]
pub(crate) fn encode_pair(username: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
}

fn decode_pair(auth: &str) -> Option<Credential> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(auth.trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Docker's client pads what it has stored with zero bytes.
    Some(Credential::Password {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// `https://index.docker.io/v1/` and its sisters are `docker.io`.
pub(crate) fn normalize(key: &str) -> String {
    let name = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        host => host,
    };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    let step = || format!("read credential file {}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Error::system(step(), error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::system(step(), error))?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("{}: longer than {MAX_FILE} bytes", step());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(Some(bytes))
}

fn null_is_empty<'de, D, T>(deserializer: D) -> std::result::Result<BTreeMap<String, T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(json: &str) -> (tempfile::TempDir, Keyring) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.json");
        std::fs::write(&path, json).expect("written");
        let keyring = Keyring {
            files: vec![directory.path().join("missing.json"), path],
            ..Keyring::default()
        };
        (directory, keyring)
    }

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn every_form_of_entry_is_understood() {
        let (_directory, keyring) = keyring(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOmE6Yg=="},
                "r.io:5000": {"username": "u", "password": "p"},
                "quay.io/team": {"auth": "dGVhbTpzZWNyZXQA"},
                "quay.io": {"auth": "YWxsOnNlY3JldA=="},
                "t.io": {"identitytoken": "refresh", "auth": "PHRva2VuPjo="},
                "s.io": {"registrytoken": "bearer"},
                "empty.io": {}
            }, "credHelpers": null, "HttpHeaders": {"x": "y"}}"#,
        );
        let find = |registry: &str, repository: &str| {
            keyring.find(registry, repository).expect("well-formed")
        };
        assert_eq!(find("docker.io", "library/x"), Some(password("hub", "a:b")));
        assert_eq!(find("r.io:5000", "x"), Some(password("u", "p")));
        assert_eq!(find("r.io", "x"), None);
        assert_eq!(find("quay.io", "team/x"), Some(password("team", "secret")));
        assert_eq!(find("quay.io", "teams/x"), Some(password("all", "secret")));
        assert_eq!(
            find("t.io", "x"),
            Some(Credential::IdentityToken("refresh".into()))
        );
        assert_eq!(
            find("s.io", "x"),
            Some(Credential::RegistryToken("bearer".into()))
        );
        assert_eq!(find("empty.io", "x"), None);
        assert!(!format!("{keyring:?} {:?}", find("quay.io", "x")).contains("secret"));
    }

    #[test]
    fn a_malformed_file_is_an_error_that_quotes_nothing_of_it() {
        for json in [
            r#"{"auths": {"r.io": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"r.io": {"auth": "c2Vj cmV0"}}}"#,
            r#"{"auths": {"r.io": "c2VjcmV0"}}"#,
            r#"{"auths": "#,
        ] {
            let (_directory, keyring) = keyring(json);
            let error = keyring.find("r.io", "x").expect_err(json);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(!error.to_string().contains("c2V"), "{error}");
        }
    }
}

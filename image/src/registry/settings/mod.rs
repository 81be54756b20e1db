//! Everything that talking to registries depends on, as values. Nothing here reads the
//! environment by itself: whoever makes the values decides where they come from.
//!
//! Where a registry's content is to be had is said by the first of these that says anything of it,
//! and by that one alone:
//!
//! 1. containerd's `hosts.toml` in the directories of [`Hosts`], that of `_default` among them;
//! 2. the `[[registry]]` table of [`RegistriesFiles`] with the longest prefix of the image's name;
//! 3. Docker's `registry-mirrors` for docker.io ([`Hosts::mirrors`], and dockerd's `daemon.json`),
//!    and its `insecure-registries`;
//! 4. nobody: it is the registry itself, over TLS.
//!
//! But what a `[[registry]]` table blocks is blocked, whoever else says where it is; certificates
//! of `certs.d` count for every host; and [`Hosts::plain_http`] and [`Hosts::skip_verify`], which a
//! command line sets, count wherever the host is talked to by its own name.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub mod credentials;
mod daemon;
pub mod helper;
pub mod hosts;
mod hosts_file;
pub(crate) mod keep;
pub mod proxies;
pub mod registries;
mod registries_file;
mod registries_v1;
pub mod roots;

pub use credentials::{Credential, CredentialFile, Keyring};
pub use helper::HelperEnvironment;
pub use hosts::Hosts;
pub use proxies::Proxies;
pub use registries::RegistriesFiles;
pub use roots::Roots;

/// How registries are talked to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What stands in `User-Agent`.
    pub user_agent: String,
    /// Who one is.
    pub keyring: Keyring,
    /// Mirrors, certificates, and who may be talked to without encryption.
    pub hosts: Hosts,
    /// Through whom one talks.
    pub proxies: Proxies,
    /// Whose certificates are believed.
    pub roots: Roots,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// How often something is tried.
    pub retry: Retry,
    /// When blobs come over several connections.
    pub ranges: Ranges,
}

impl Default for Settings {
    /// Anonymous, no mirror, no proxy, the system's certificates.
    fn default() -> Self {
        Self {
            user_agent: concat!("tare/", env!("CARGO_PKG_VERSION")).to_owned(),
            keyring: Keyring::default(),
            hosts: Hosts::default(),
            proxies: Proxies::default(),
            roots: Roots::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            ranges: Ranges::default(),
        }
    }
}

impl Settings {
    /// What the usual variables and files say, for a command line. `get` is asked for the values
    /// of environment variables.
    ///
    /// Credentials: `REGISTRY_AUTH_FILE` alone if it is set; else containers' auth.json below
    /// `XDG_RUNTIME_DIR` and `XDG_CONFIG_HOME`, then `DOCKER_CONFIG` or `~/.docker/config.json`.
    /// Hosts: `certs.d` in `/etc/containerd` and `/etc/docker`, and Podman's in `/etc/containers`
    /// and in `containers` below `XDG_CONFIG_HOME` or `~/.config`; `/etc/docker/daemon.json`; what
    /// else Podman is told as [`RegistriesFiles::from_variables`] says.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let keyring = Keyring {
            files: credential_files(&get),
            helpers: HelperEnvironment::from_variables(&get),
            ..Keyring::default()
        };
        let registries = RegistriesFiles::from_variables(&get);
        let mut directories = vec!["/etc/containerd".into(), "/etc/docker".into()];
        directories.extend(registries.user.clone());
        directories.extend(registries.system.clone());
        let certificates = directories
            .iter()
            .map(|path: &PathBuf| path.join("certs.d"));
        let hosts = Hosts {
            directories: certificates.collect(),
            registries,
            docker_daemon: Some("/etc/docker/daemon.json".into()),
            ..Hosts::default()
        };
        Self {
            keyring,
            hosts,
            proxies: Proxies::from_variables(&get),
            roots: Roots::from_variables(&get),
            ..Self::default()
        }
    }
}

fn credential_files(get: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| {
        get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(file) = path("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = path("HOME");
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let config = path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let docker = path("DOCKER_CONFIG").or_else(|| below_home(".docker"));
    [
        path("XDG_RUNTIME_DIR").map(|path| path.join("containers/auth.json")),
        config.map(|path| path.join("containers/auth.json")),
        docker.map(|path| path.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How long is waited, and for what. There is no wait without one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To look up a name, and again to connect, with TLS.
    pub connect: Duration,
    /// For the head of an answer. Registries that assemble a blob of many gigabytes take long.
    pub answer: Duration,
    /// Without a single byte of a body, in either direction.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(180),
            stall: Duration::from_secs(60),
        }
    }
}

/// How often something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often in all, of a request, or of a download that doesn't get further.
    pub attempts: u32,
    /// Before the second attempt. Doubled before each further one.
    pub first_pause: Duration,
    /// The longest pause, and the most that a registry's `Retry-After` may ask for.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// When one blob is fetched piece by piece over several connections: if much of it is missing,
/// the registry has pieces of blobs, and one connection is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// How many connections a client uses for pieces, for all blobs together; with less than two
    /// every blob comes over one.
    pub connections: usize,
    /// A blob of which no more bytes than these are missing comes over one.
    pub larger_than: u64,
    /// How many bytes a piece has; at least one. Twice as many pieces as connections are kept on
    /// disk until it is their turn.
    pub piece: u64,
    /// A connection that brings so many bytes in a second needs no others.
    pub fast: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            connections: 6,
            larger_than: 16 << 20,
            piece: 4 << 20,
            fast: 32 << 20,
        }
    }
}

impl Ranges {
    pub(crate) fn piece(self) -> u64 {
        self.piece.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_lead_to_the_usual_files() {
        let settings = Settings::from_variables(|name| match name {
            "HOME" => Some("/home/u".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1".into()),
            "DOCKER_CONFIG" => Some("relative".into()),
            _ => None,
        });
        let files: Vec<_> = settings
            .keyring
            .files
            .iter()
            .map(|path| path.to_str())
            .collect();
        let expected = [
            "/run/user/1/containers/auth.json",
            "/home/u/.config/containers/auth.json",
            "/home/u/.docker/config.json",
        ];
        assert_eq!(files, expected.map(Some));

        let certificates = [
            "/etc/containerd/certs.d",
            "/etc/docker/certs.d",
            "/home/u/.config/containers/certs.d",
            "/etc/containers/certs.d",
        ];
        assert_eq!(settings.hosts.directories, certificates.map(PathBuf::from));

        let alone = Settings::from_variables(|name| {
            (name == "REGISTRY_AUTH_FILE").then(|| "/a.json".into())
        });
        assert_eq!(alone.keyring.files, [PathBuf::from("/a.json")]);
    }
}

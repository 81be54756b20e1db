//! Where a registry's content is to be had: containerd's `hosts.toml`, Docker's `certs.d` and
//! `registry-mirrors`, containers' `registries.conf`, and who may be talked to without encryption.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::daemon::Daemon;
use super::hosts_file::HostsFile;
use super::registries::{RegistriesFiles, Renamed, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::DEFAULT_REGISTRY;
use crate::registry::url::{Origin, Url};

/// Mirrors, certificates, and exceptions from encryption.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Directories with one directory a registry (`host`, `host:port`, `host_port_`, `_default`),
    /// which has a `hosts.toml`, or Docker's `*.crt` (authorities), `*.cert` and `*.key`. Of
    /// several certificates that is shown which the server believes.
    pub directories: Vec<PathBuf>,
    /// Docker's `registry-mirrors`: URLs that are asked before `docker.io`.
    pub mirrors: Vec<String>,
    /// Registries (`host` or `host:port`) that are talked to without encryption.
    ///
    /// A loopback address needs no entry: it is asked what it speaks.
    pub plain_http: Vec<String>,
    /// Registries whose certificates are not looked at.
    pub skip_verify: Vec<String>,
    /// What Podman and its relatives are told.
    pub registries: RegistriesFiles,
    /// dockerd's `daemon.json`, for further `registry-mirrors`, and for `insecure-registries`.
    pub docker_daemon: Option<PathBuf>,
}

/// What a place may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Which digest a tag has.
    Resolve,
    /// Content by its digest.
    Pull,
    /// To take content.
    Push,
}

/// How a place is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
    /// The machine itself: it is asked.
    Ask,
    /// It is permitted to speak either: TLS is tried first.
    Either,
}

/// One place at which a registry's content may be.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// The path before the repository's name, `/v2` as a rule.
    pub(crate) path: String,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) tls: TlsFiles,
    /// If it calls the registry's repositories something else.
    pub(crate) renamed: Option<Renamed>,
}

/// The files of a place's encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsFiles {
    /// Certificates of authorities, besides the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Certificates to show, and their keys; both may be one file. The server chooses.
    pub(crate) clients: Vec<(PathBuf, PathBuf)>,
    pub(crate) skip_verify: bool,
}

const ALL: [Capability; 3] = [Capability::Resolve, Capability::Pull, Capability::Push];
const READING: [Capability; 2] = [Capability::Resolve, Capability::Pull];

impl Place {
    /// The same, for nothing else than this.
    fn only(mut self, capabilities: &[Capability]) -> Self {
        self.capabilities = capabilities.to_vec();
        self
    }
}

impl Hosts {
    /// Where to look for `registry`'s content, in this order. `table` is what registries.conf
    /// says of the image.
    pub(crate) fn places(&self, registry: &str, table: Option<&Table>) -> Result<Vec<Place>> {
        if let Some(places) = self.hosts_file(registry)? {
            return Ok(places);
        }
        if let Some(table) = table {
            return self.table(registry, table);
        }
        let daemon = Daemon::read(self.docker_daemon.as_deref())?;
        let mut places = Vec::new();
        if registry == DEFAULT_REGISTRY {
            for mirror in self.mirrors.iter().chain(&daemon.mirrors) {
                places.push(self.mirror(mirror)?);
            }
        }
        places.push(self.insecure(registry, daemon.permits_insecure(registry))?);
        Ok(places)
    }

    /// What the first hosts.toml says that is there.
    fn hosts_file(&self, registry: &str) -> Result<Option<Vec<Place>>> {
        for path in self.candidates(registry, true) {
            let file = path.join("hosts.toml");
            match std::fs::read_to_string(&file) {
                Ok(text) => {
                    let reader = HostsFile {
                        file: &file,
                        directory: &path,
                        hosts: self,
                    };
                    return reader.places(&text, registry).map(Some);
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => {
                    return Err(Error::system(format!("read {}", file.display()), error));
                }
            }
        }
        Ok(None)
    }

    /// Mirrors and another location are for reading; what is written goes to the registry itself.
    fn table(&self, registry: &str, table: &Table) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for mirror in &table.mirrors {
            let place = self.insecure(&mirror.location.registry, mirror.is_insecure)?;
            let place = table.renamed(place, &mirror.location, Some(mirror.when));
            places.push(place.only(&READING));
        }
        let itself = self.insecure(registry, table.is_insecure)?;
        match &table.location {
            None => places.push(itself),
            Some(location) => {
                let place = self.insecure(&location.registry, table.is_insecure)?;
                places.push(table.renamed(place, location, None).only(&READING));
                places.push(itself.only(&[Capability::Push]));
            }
        }
        Ok(places)
    }

    fn insecure(&self, registry: &str, is_insecure: bool) -> Result<Place> {
        let mut place = self.registry_itself(registry)?;
        if is_insecure && place.scheme != Scheme::Http {
            place.scheme = Scheme::Either;
            place.tls.skip_verify = true;
        }
        Ok(place)
    }

    /// What certs.d says of a host that a registry sends us to.
    pub(crate) fn tls(&self, authority: &str) -> Result<TlsFiles> {
        let mut files = TlsFiles {
            skip_verify: contains(&self.skip_verify, authority),
            ..TlsFiles::default()
        };
        for directory in self.candidates(authority, false) {
            read_certificates(&directory, &mut files)?;
        }
        Ok(files)
    }

    fn candidates(&self, authority: &str, with_default: bool) -> Vec<PathBuf> {
        let underscored = authority
            .rsplit_once(':')
            .map(|(host, port)| format!("{host}_{port}_"));
        let names = [Some(authority.to_owned()), underscored];
        let default = with_default.then(|| "_default".to_owned());
        self.directories
            .iter()
            .flat_map(|directory| {
                let names = names.iter().chain([&default]).flatten();
                names.map(|name| directory.join(name)).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(super) fn registry_itself(&self, registry: &str) -> Result<Place> {
        let authority = registry_host(registry);
        Ok(Place {
            scheme: self.scheme(authority)?,
            authority: authority.to_owned(),
            path: "/v2".to_owned(),
            capabilities: ALL.to_vec(),
            headers: Vec::new(),
            connect_timeout: None,
            tls: self.tls(registry)?,
            renamed: None,
        })
    }

    fn mirror(&self, url: &str) -> Result<Place> {
        Ok(self.place(url, false)?.only(&READING))
    }

    /// A place by its URL, which may have no scheme.
    pub(super) fn place(&self, text: &str, is_path_whole: bool) -> Result<Place> {
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let url = Url::parse(&with_scheme)?;
        let authority = url.origin().authority();
        let scheme = match text.split_once("://") {
            Some(_) if url.origin().is_secure() => Scheme::Https,
            Some(_) => Scheme::Http,
            None => self.scheme(&authority)?,
        };
        let path = url.target().split('?').next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        let path = match path {
            path if is_path_whole || path.ends_with("/v2") => path.to_owned(),
            path => format!("{path}/v2"),
        };
        Ok(Place {
            scheme,
            tls: self.tls(&authority)?,
            authority,
            path,
            capabilities: ALL.to_vec(),
            headers: Vec::new(),
            connect_timeout: None,
            renamed: None,
        })
    }

    fn scheme(&self, authority: &str) -> Result<Scheme> {
        if contains(&self.plain_http, authority) {
            return Ok(Scheme::Http);
        }
        let is_loopback = Origin::new(true, authority)?.is_loopback();
        Ok(if is_loopback {
            Scheme::Ask
        } else {
            Scheme::Https
        })
    }
}

/// Where a registry is, by its own name.
pub(crate) fn registry_host(registry: &str) -> &str {
    match registry {
        DEFAULT_REGISTRY => "registry-1.docker.io",
        other => other,
    }
}

/// Whether a list of hosts names this one; a host without a port means all of its ports.
pub(crate) fn contains(list: &[String], authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    list.iter()
        .any(|entry| entry.eq_ignore_ascii_case(authority) || entry.eq_ignore_ascii_case(host))
}

/// Docker's certs.d: `*.crt` are authorities, `NAME.cert` and `NAME.key` are the client's.
fn read_certificates(directory: &Path, files: &mut TlsFiles) -> Result<()> {
    let step = |error| Error::system(format!("read {}", directory.display()), error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(step(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(step)?.path());
    }
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => files.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    let message = format!("{}: there is no {}", path.display(), key.display());
                    return Err(Error::new(ErrorKind::InvalidInput, message));
                }
                files.clients.push((path, key));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;

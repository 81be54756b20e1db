//! containers-registries.conf(5): what Podman, Buildah and Skopeo are told of registries, with its
//! drop-ins.
//!
//! `[[registry]]` tables are honoured: `prefix`, `location`, `insecure`, `blocked`,
//! `mirror-by-digest-only`, and mirrors with `pull-from-mirror`. As there, mirrors and other
//! locations are for reading alone, and of several tables the one with the longest prefix counts.
//!
//! Not used are `unqualified-search-registries` and `[aliases]`: a name without a registry is
//! docker.io's, whatever a file says, and that is told. Keys that this version doesn't know are
//! refused: they may say that something is forbidden. Files of version 1 are read, too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::hosts::Place;
use super::registries_file::Reader;
use crate::error::{Error, ErrorKind, Result};

/// Where the files are. None of them need exist, but for the one that was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesFiles {
    /// This file in place of every `registries.conf`. It must exist; drop-ins still count.
    pub file: Option<PathBuf>,
    /// The system's directory, such as `/etc/containers`.
    pub system: Option<PathBuf>,
    /// The user's directory, such as `~/.config/containers`. If it has a `registries.conf`, that
    /// one and its drop-ins count, and nothing of the system's.
    pub user: Option<PathBuf>,
}

/// What they say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registries {
    tables: Vec<Table>,
    /// Which file has registries for names without one, if they are others than docker.io.
    pub(crate) searches: Option<PathBuf>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// For messages.
    pub(crate) file: PathBuf,
    /// `host[:port][/path]` or `*.host`.
    pub(crate) prefix: String,
    /// Where it really is; none if there.
    pub(crate) location: Option<Location>,
    pub(crate) is_insecure: bool,
    pub(crate) is_blocked: bool,
    pub(crate) mirrors: Vec<Mirror>,
}

/// `host[:port][/path]`, in place of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) registry: String,
    pub(crate) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) location: Location,
    pub(crate) is_insecure: bool,
    pub(crate) when: When,
}

/// Which images a mirror is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    #[default]
    Always,
    /// Those that are named by their digest.
    ByDigest,
    /// Those that are named by their tag alone.
    ByTag,
}

/// How a place that is not the registry's own calls things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    /// Under which name its credentials are kept.
    pub(crate) registry: String,
    /// The path of repositories that the prefix has; may be empty.
    pub(crate) from: String,
    /// What they have there in its place; may be empty.
    pub(crate) to: String,
    pub(crate) is_mirror: bool,
    pub(crate) when: When,
}

impl Renamed {
    /// What a repository is called there.
    pub(crate) fn repository(&self, name: &str) -> String {
        let rest = name.strip_prefix(self.from.as_str()).unwrap_or(name);
        let parts = [self.to.as_str(), rest.trim_start_matches('/')];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/")
    }
}

impl When {
    pub(crate) fn includes(self, is_by_digest: bool) -> bool {
        match self {
            Self::Always => true,
            Self::ByDigest => is_by_digest,
            Self::ByTag => !is_by_digest,
        }
    }
}

impl RegistriesFiles {
    /// `CONTAINERS_REGISTRIES_CONF` is a file; `/etc/containers`, and `containers` below
    /// `XDG_CONFIG_HOME` or `~/.config`, are the directories.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| get(name).map(PathBuf::from);
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")));
        Self {
            file: path("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.as_os_str().is_empty()),
            system: Some("/etc/containers".into()),
            user: config.map(|config| config.join("containers")),
        }
    }

    /// Reads them all; a later table takes the place of an earlier one with its prefix.
    pub(crate) fn read(&self) -> Result<Registries> {
        let main = |directory: &Option<PathBuf>| {
            let file = directory.as_ref()?.join("registries.conf");
            file.exists().then_some(file)
        };
        let users = main(&self.user).filter(|_| self.file.is_none());
        let systems = self.system.iter().filter(|_| users.is_none());
        let directories: Vec<&PathBuf> = systems.chain(&self.user).collect();
        let mut registries = Registries::default();
        let first = self.file.clone().or(users).or_else(|| main(&self.system));
        if let Some(file) = first {
            registries.add_file(&file, false)?;
        }
        for directory in directories {
            for file in drop_ins(&directory.join("registries.conf.d"))? {
                registries.add_file(&file, true)?;
            }
        }
        Ok(registries)
    }
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>> {
    let step = |error| Error::system(format!("read {}", directory.display()), error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(step(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(step)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
            && !path.is_dir()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Registries {
    /// The table for an image, `host[:port]/path`: that with the longest prefix.
    pub(crate) fn find(&self, image: &str) -> Option<&Table> {
        let fitting = self.tables.iter().filter(|table| table.fits(image));
        fitting.max_by_key(|table| table.prefix.len())
    }

    fn add_file(&mut self, path: &Path, is_drop_in: bool) -> Result<()> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::system(format!("read {}", path.display()), error))?;
        let (tables, search) = Reader { path, is_drop_in }.read(&text)?;
        for table in tables {
            self.tables.retain(|known| known.prefix != table.prefix);
            self.tables.push(table);
        }
        if let Some(search) = search {
            let is_other = search.iter().any(|name| name != "docker.io");
            self.searches = is_other.then(|| path.to_owned());
        }
        Ok(())
    }
}

impl Table {
    fn fits(&self, image: &str) -> bool {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let host = image.split(['/', ':']).next().unwrap_or_default();
            return host.ends_with(domain);
        }
        image
            .strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The part of the prefix that is a repository's path.
    pub(crate) fn path(&self) -> &str {
        self.prefix.split_once('/').map_or("", |(_, path)| path)
    }

    /// Fails if nothing may be had from there.
    pub(crate) fn permit(&self, image: &str) -> Result<()> {
        if !self.is_blocked {
            return Ok(());
        }
        let message = format!(
            "{image} is blocked: {} says so of {:?}",
            self.file.display(),
            self.prefix
        );
        Err(Error::new(ErrorKind::Denied, message))
    }

    /// `place`, found by the name `location`.
    pub(crate) fn renamed(
        &self,
        mut place: Place,
        location: &Location,
        when: Option<When>,
    ) -> Place {
        place.renamed = Some(Renamed {
            registry: location.registry.clone(),
            from: self.path().to_owned(),
            to: location.path.clone(),
            is_mirror: when.is_some(),
            when: when.unwrap_or_default(),
        });
        place
    }
}

impl Location {
    pub(super) fn text(&self) -> String {
        match self.path.as_str() {
            "" => self.registry.clone(),
            path => format!("{}/{path}", self.registry),
        }
    }
}

#[cfg(test)]
#[path = "registries_tests.rs"]
mod tests;

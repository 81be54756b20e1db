//! One file of containers-registries.conf(5): what it says, or which word of it is wrong.

use std::path::Path;

use toml::{Table as Toml, Value};

use super::registries::{Location, Mirror, Table, When};
use crate::error::{Error, ErrorKind, Result};

/// One file.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    /// Such a file may not be of version 1.
    pub(super) is_drop_in: bool,
}

/// Known to others, and without effect here.
const UNUSED: [&str; 4] = [
    "short-name-mode",
    "aliases",
    "credential-helpers",
    "additional-layer-store-auth-helper",
];

impl Reader<'_> {
    /// Its tables, and the registries that unqualified names are looked for in.
    pub(super) fn read(&self, text: &str) -> Result<(Vec<Table>, Option<Vec<String>>)> {
        let mut whole: Toml = text
            .parse()
            .map_err(|error: toml::de::Error| self.wrong("", error.message()))?;
        if let Some(old) = self.version_1(&mut whole)? {
            return Ok(old);
        }
        UNUSED.iter().for_each(|key| drop(whole.remove(*key)));
        let search = whole
            .remove("unqualified-search-registries")
            .map(|value| self.texts("unqualified-search-registries", value))
            .transpose()?;
        let mut tables: Vec<Table> = Vec::new();
        for table in self.tables(&mut whole, "registry")? {
            let table = self.table(table)?;
            if tables.iter().any(|known| known.prefix == table.prefix) {
                let why = format!("{:?} stands there twice", table.prefix);
                return Err(self.wrong("prefix", &why));
            }
            tables.push(table);
        }
        self.nothing_else(&whole)?;
        Ok((tables, search))
    }

    fn table(&self, mut table: Toml) -> Result<Table> {
        let location = self.location(&mut table)?;
        let prefix = match (self.text(&mut table, "prefix")?, &location) {
            (Some(prefix), _) if !prefix.is_empty() => prefix,
            (_, Some(location)) => location.text(),
            _ => return Err(self.wrong("registry", "has neither prefix nor location")),
        };
        let prefix = prefix.trim_end_matches('/').to_owned();
        self.check_prefix(&prefix)?;
        let by_digest = self.flag(&mut table, "mirror-by-digest-only")?;
        let is_insecure = self.flag(&mut table, "insecure")?;
        let is_blocked = self.flag(&mut table, "blocked")?;
        let mirrors = self.tables(&mut table, "mirror")?.into_iter();
        let mirrors = mirrors.map(|mirror| self.mirror(mirror, by_digest));
        let mirrors = mirrors.collect::<Result<Vec<_>>>()?;
        self.nothing_else(&table)?;
        Ok(Table {
            file: self.path.to_owned(),
            location: location.filter(|location| location.text() != prefix),
            prefix,
            is_insecure,
            is_blocked,
            mirrors,
        })
    }

    fn mirror(&self, mut table: Toml, by_digest: bool) -> Result<Mirror> {
        let location = self
            .location(&mut table)?
            .ok_or_else(|| self.wrong("mirror", "has no location"))?;
        let is_insecure = self.flag(&mut table, "insecure")?;
        let when = self.text(&mut table, "pull-from-mirror")?;
        if when.as_ref().is_some_and(|when| !when.is_empty()) && by_digest {
            let why = "stands beside mirror-by-digest-only: one of both has to go";
            return Err(self.wrong("pull-from-mirror", why));
        }
        let when = match when.as_deref() {
            None | Some("") if by_digest => When::ByDigest,
            None | Some("" | "all") => When::Always,
            Some("digest-only") => When::ByDigest,
            Some("tag-only") => When::ByTag,
            Some(_) => {
                let why = "must be all, digest-only or tag-only";
                return Err(self.wrong("pull-from-mirror", why));
            }
        };
        self.nothing_else(&table)?;
        Ok(Mirror {
            location,
            is_insecure,
            when,
        })
    }

    fn location(&self, table: &mut Toml) -> Result<Option<Location>> {
        let Some(text) = self
            .text(table, "location")?
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        self.place("location", &text).map(Some)
    }

    /// `host[:port][/path]`, the value of `key`.
    pub(super) fn place(&self, key: &str, text: &str) -> Result<Location> {
        let text = text.trim_end_matches('/');
        let (registry, path) = text.split_once('/').unwrap_or((text, ""));
        let is_name = !registry.is_empty() && !text.contains("://") && !path.contains([':', '@']);
        if !is_name || registry.contains(['*', '@']) {
            let why = format!("{text:?} must be host[:port][/path], without a scheme or a tag");
            return Err(self.wrong(key, &why));
        }
        Ok(Location {
            registry: registry.to_owned(),
            path: path.to_owned(),
        })
    }

    fn check_prefix(&self, prefix: &str) -> Result<()> {
        if let Some(domain) = prefix.strip_prefix('*') {
            let is_domain = domain.starts_with('.') && !domain.contains(['/', ':', '*']);
            return match is_domain {
                true => Ok(()),
                false => Err(self.wrong("prefix", "a wildcard must be like \"*.example.com\"")),
            };
        }
        let path = prefix.split_once('/').map_or("", |(_, path)| path);
        if prefix.contains("://") || prefix.contains('*') || path.contains([':', '@']) {
            let why = format!("{prefix:?} must be host[:port][/path], without a scheme or a tag");
            return Err(self.wrong("prefix", &why));
        }
        Ok(())
    }

    fn tables(&self, table: &mut Toml, key: &str) -> Result<Vec<Toml>> {
        let wrong = || self.wrong(key, "must be an array of tables");
        match table.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let one = |value| match value {
                    Value::Table(table) => Ok(table),
                    _ => Err(wrong()),
                };
                values.into_iter().map(one).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    pub(super) fn texts(&self, key: &str, value: Value) -> Result<Vec<String>> {
        let wrong = || self.wrong(key, "must be a list of texts");
        let one = |value: &Value| Ok(value.as_str().ok_or_else(wrong)?.to_owned());
        value
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(one)
            .collect()
    }

    fn text(&self, table: &mut Toml, key: &str) -> Result<Option<String>> {
        match table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    fn flag(&self, table: &mut Toml, key: &str) -> Result<bool> {
        match table.remove(key) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(value),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    pub(super) fn nothing_else(&self, table: &Toml) -> Result<()> {
        match table.keys().next() {
            Some(key) => Err(self.wrong(key, "not known to this version")),
            None => Ok(()),
        }
    }

    pub(super) fn wrong(&self, key: &str, why: &str) -> Error {
        let joint = if key.is_empty() { "" } else { ": " };
        let message = format!("{}: {key}{joint}{}", self.path.display(), why.trim());
        Error::new(ErrorKind::InvalidInput, message)
    }
}

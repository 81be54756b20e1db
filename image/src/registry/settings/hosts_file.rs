//! containerd's `hosts.toml`: a registry's places, in the order in which they stand there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::hosts::{Capability, Hosts, Place};
use crate::error::{Error, ErrorKind, Result};

/// containerd, docs/hosts.md.
pub(super) struct HostsFile<'a> {
    pub(super) file: &'a Path,
    pub(super) directory: &'a Path,
    pub(super) hosts: &'a Hosts,
}

impl HostsFile<'_> {
    pub(super) fn places(&self, text: &str, registry: &str) -> Result<Vec<Place>> {
        let mut table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| self.wrong("", error.message()))?;
        let hosts = match table.remove("host") {
            None => Table::new(),
            Some(Value::Table(hosts)) => hosts,
            Some(_) => return Err(self.wrong("host", "must be a table")),
        };
        let server = self.string(&mut table, "server")?;
        let mut places = Vec::new();
        for (url, value) in hosts {
            let Value::Table(table) = value else {
                return Err(self.wrong(&url, "must be a table"));
            };
            places.push(self.place(&url, table)?);
        }
        places.push(match server {
            Some(server) => self.place(&server, table)?,
            None => {
                let itself = self.hosts.registry_itself(registry)?;
                self.complete(itself, table)?
            }
        });
        Ok(places)
    }

    fn place(&self, url: &str, mut table: Table) -> Result<Place> {
        let is_path_whole = self.flag(&mut table, "override_path")?;
        let place = self
            .hosts
            .place(url, is_path_whole)
            .map_err(|error| error.within(self.file.display()))?;
        self.complete(place, table)
    }

    fn complete(&self, mut place: Place, mut table: Table) -> Result<Place> {
        if let Some(words) = table.remove("capabilities") {
            place.capabilities = self.capabilities(&words)?;
        }
        if let Some(value) = table.remove("ca") {
            place.tls.authorities.extend(self.paths("ca", &value)?);
        }
        if let Some(value) = table.remove("client") {
            place.tls.clients = self.clients(&value)?;
        }
        if self.flag(&mut table, "skip_verify")? {
            place.tls.skip_verify = true;
        }
        if let Some(value) = table.remove("header") {
            place.headers = self.headers(&value)?;
        }
        if let Some(text) = self.string(&mut table, "dial_timeout")? {
            let timeout = duration(&text)
                .ok_or_else(|| self.wrong("dial_timeout", "must be a time such as \"3s\""))?;
            place.connect_timeout = Some(timeout);
        }
        match table.keys().next() {
            Some(key) => Err(self.wrong(key, "not known to this version")),
            None => Ok(place),
        }
    }

    fn capabilities(&self, value: &Value) -> Result<Vec<Capability>> {
        let wrong = || self.wrong("capabilities", "must be a list of pull, resolve, push");
        let words = value.as_array().ok_or_else(wrong)?;
        let mut capabilities = Vec::new();
        for word in words {
            match word.as_str() {
                Some("pull") => capabilities.push(Capability::Pull),
                Some("resolve") => capabilities.push(Capability::Resolve),
                Some("push") => capabilities.push(Capability::Push),
                Some("referrers") => {}
                _ => return Err(wrong()),
            }
        }
        Ok(capabilities)
    }

    fn paths(&self, key: &str, value: &Value) -> Result<Vec<PathBuf>> {
        let one = |value: &Value| {
            let text = value
                .as_str()
                .ok_or_else(|| self.wrong(key, "must be a path, or a list of paths"))?;
            Ok(self.directory.join(text))
        };
        match value {
            Value::Array(values) => values.iter().map(one).collect(),
            value => Ok(vec![one(value)?]),
        }
    }

    /// `"both.pem"`, `["both.pem", …]`, or `[["a.cert", "a.key"], …]`.
    fn clients(&self, value: &Value) -> Result<Vec<(PathBuf, PathBuf)>> {
        match value {
            Value::Array(values) if values.is_empty() => {
                Err(self.wrong("client", "must not be empty"))
            }
            Value::Array(values) => values.iter().map(|value| self.client(value)).collect(),
            value => Ok(vec![self.client(value)?]),
        }
    }

    /// A certificate and its key. A key without a name is in the certificate's file.
    fn client(&self, value: &Value) -> Result<(PathBuf, PathBuf)> {
        let files = match value {
            Value::Array(pair) => pair
                .iter()
                .filter(|name| name.as_str() != Some(""))
                .collect(),
            value => vec![value],
        };
        let path = |value: &&Value| self.paths("client", value);
        let files: Vec<_> = files.iter().map(path).collect::<Result<_>>()?;
        match files.concat().as_slice() {
            [both] => Ok((both.clone(), both.clone())),
            [certificate, key] => Ok((certificate.clone(), key.clone())),
            _ => Err(self.wrong("client", "must be a certificate and its key")),
        }
    }

    fn headers(&self, value: &Value) -> Result<Vec<(String, String)>> {
        let wrong = || self.wrong("header", "must be a table of texts, or of lists of texts");
        let table = value.as_table().ok_or_else(wrong)?;
        let mut headers = Vec::new();
        for (name, value) in table {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                headers.push((name.clone(), value.as_str().ok_or_else(wrong)?.to_owned()));
            }
        }
        Ok(headers)
    }

    fn flag(&self, table: &mut Table, key: &str) -> Result<bool> {
        match table.remove(key) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(value),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    fn string(&self, table: &mut Table, key: &str) -> Result<Option<String>> {
        match table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    fn wrong(&self, key: &str, why: &str) -> Error {
        let joint = if key.is_empty() { "" } else { ": " };
        let message = format!("{}: {key}{joint}{}", self.file.display(), why.trim());
        Error::new(ErrorKind::InvalidInput, message)
    }
}

/// Go's durations, as far as anybody writes them here: `500ms`, `3s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

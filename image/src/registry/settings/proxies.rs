//! Through whom one talks: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, as values.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use crate::error::{Error, ErrorKind, Result};
use crate::registry::url::Origin;

/// Proxies. Its `Debug` shows no password.
///
/// A proxy is always asked for a tunnel (CONNECT), for `http` too: then the registry's headers
/// are nothing that a proxy could cache or change by mistake.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `https`: `[http|https|socks5…://][user:password@]host[:port]`.
    pub https: Option<String>,
    /// For `http`.
    pub http: Option<String>,
    /// For whom no proxy is used: hosts with their subdomains, `.subdomains`, addresses,
    /// networks, each with a port if it is to mean that one only; `*` is everybody.
    pub except: Vec<String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("https", &self.https.as_deref().map(without_password))
            .field("http", &self.http.as_deref().map(without_password))
            .field("except", &self.except)
            .finish()
    }
}

impl Proxies {
    /// What the usual variables say; the lower-case ones win, as curl has it.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| get(name)?.into_string().ok())
                .find(|value| !value.trim().is_empty())
        };
        let except = text(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self {
            https: text(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: text(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            except: except
                .split([',', ' '])
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The proxy on the way to `origin`, if there is one.
    pub(crate) fn on_the_way_to(&self, origin: &Origin) -> Result<Option<ureq::Proxy>> {
        let proxy = if origin.is_secure() {
            &self.https
        } else {
            &self.http
        };
        let Some(proxy) = proxy else {
            return Ok(None);
        };
        if origin.is_loopback() || self.except.iter().any(|entry| covers(entry, origin)) {
            return Ok(None);
        }
        ureq::Proxy::new(proxy.trim()).map(Some).map_err(|_| {
            let message = format!("proxy {:?}: no URL of a proxy", without_password(proxy));
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

fn without_password(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => proxy.to_owned(),
    }
}

/// Whether an entry of `NO_PROXY` means this host.
fn covers(entry: &str, origin: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some(network) = parse_network(entry) {
        return origin
            .host()
            .parse()
            .is_ok_and(|address| is_within(address, network));
    }
    let (name, port) = split_port(entry);
    if port.is_some_and(|port| port != origin.port()) {
        return false;
    }
    let name = name.trim_start_matches('*').to_ascii_lowercase();
    match name.strip_prefix('.') {
        Some(_) => origin.host().ends_with(&name),
        None => origin.host() == name || origin.host().ends_with(&format!(".{name}")),
    }
}

fn split_port(entry: &str) -> (&str, Option<u16>) {
    let split = match entry.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .map(|(host, port)| (host, port.trim_start_matches(':'))),
        None if entry.matches(':').count() == 1 => entry.split_once(':'),
        None => None,
    };
    match split {
        Some((host, port)) => (host, port.parse().ok()),
        None => (entry, None),
    }
}

pub(super) fn parse_network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = entry.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

pub(super) fn is_within(address: IpAddr, (network, length): (IpAddr, u32)) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_mean_hosts_subdomains_networks_and_ports() {
        for (entry, authority, expected) in [
            ("*", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "x.a.b", true),
            ("a.b", "xa.b", false),
            (".a.b", "a.b", false),
            (".a.b", "x.a.b", true),
            ("*.a.b", "x.a.b", true),
            ("a.b:5000", "a.b:5000", true),
            ("a.b:5000", "a.b", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/99", "10.1.2.3", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/8", "[fd12::1]:5000", true),
            ("[fd12::1]:5000", "[fd12::1]:5000", true),
            ("A.B", "a.b", true),
        ] {
            let origin = Origin::new(true, authority).expect(authority);
            assert_eq!(covers(entry, &origin), expected, "{entry} {authority}");
        }
    }

    #[test]
    fn variables_are_read_as_curl_reads_them_and_passwords_are_not_shown() {
        let proxies = Proxies::from_variables(|name| {
            let value = match name {
                "HTTPS_PROXY" => "http://u:secret@p.example:3128",
                "ALL_PROXY" => "socks5://s.example",
                "NO_PROXY" => "a.b, .c.d,,",
                _ => return None,
            };
            Some(value.into())
        });
        assert_eq!(proxies.http.as_deref(), Some("socks5://s.example"));
        assert_eq!(proxies.except, ["a.b", ".c.d"]);
        assert!(!format!("{proxies:?}").contains("secret"));

        let through = |is_secure, host| {
            let origin = Origin::new(is_secure, host).expect(host);
            proxies.on_the_way_to(&origin).expect("valid")
        };
        assert_eq!(through(true, "r.io").map(|proxy| proxy.port()), Some(3128));
        assert!(through(true, "x.c.d").is_none());
        assert!(through(false, "localhost:5000").is_none());
    }
}

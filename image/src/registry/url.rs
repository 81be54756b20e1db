//! URLs of registries: parsed once, joined with what servers send, compared by origin.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// An absolute `http` or `https` URL.
///
/// It never holds a user name or a password: credentials come from the configuration only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    /// Path and query; begins with a slash.
    target: String,
}

/// To whom one talks: what credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    is_secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `host`, `host:port`, `[v6]:port`, as a reference has it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is none of them.
    pub fn new(is_secure: bool, authority: &str) -> Result<Self> {
        let scheme = if is_secure { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{authority}")).map(|url| url.origin)
    }

    /// Whether what is sent is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host, without brackets around an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own if none is named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this host is the machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let is_address = |host: &str| {
            host.parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
        };
        self.host == "localhost" || self.host.ends_with(".localhost") || is_address(&self.host)
    }

    /// `host` or `host:port`, the scheme's own port left out.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.is_secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The URL of a path at this origin.
    #[must_use]
    pub(super) fn url(&self, target: &str) -> Url {
        Url {
            origin: self.clone(),
            target: target.to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Url {
    /// Reads an absolute URL. A fragment is left out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for other schemes, for user names and passwords, and for what
    /// is no URL.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| invalid(text, why);
        if text.len() > 16 << 10 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("it has blanks, or letters outside of ASCII"));
        }
        let text_without_fragment = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text_without_fragment
            .split_once("://")
            .ok_or_else(|| invalid("it has no scheme"))?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(invalid("only http and https are known")),
        };
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(invalid("it has a user name in it"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| invalid("it has no valid host"))?;
        let origin = Origin {
            is_secure,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(default_port(is_secure)),
        };
        let target = match target.chars().next() {
            None => "/".to_owned(),
            Some('/') => target.to_owned(),
            Some('?') => format!("/{target}"),
            Some(_) => return Err(invalid("it has a backslash behind the host")),
        };
        Ok(Self { origin, target })
    }

    /// To whom it leads.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What a `Location` or a `Link` means that came in an answer to this URL (RFC 3986, 5.2).
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn join(&self, location: &str) -> Result<Self> {
        let location = location.trim();
        if location.contains("://") && !location.starts_with(['/', '?', '.']) {
            return Self::parse(location);
        }
        let scheme = if self.origin.is_secure {
            "https"
        } else {
            "http"
        };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.chars().next() {
            None => return Ok(self.clone()),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                format!("{directory}/{location}")
            }
        };
        Self::parse(&format!("{}{target}", self.origin))
    }

    /// The same URL with one more parameter in its query.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let joint = match self.target.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        Self {
            origin: self.origin.clone(),
            target: format!(
                "{}{joint}{}={}",
                self.target,
                percent_encode(name),
                percent_encode(value)
            ),
        }
    }

    /// The same URL, one path further.
    #[must_use]
    pub(super) fn child(&self, path: &str) -> Self {
        Self {
            origin: self.origin.clone(),
            target: format!("{}/{path}", self.target.trim_end_matches('/')),
        }
    }

    /// Without the query, which may hold a signature that is as good as a password.
    #[must_use]
    pub fn public(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{}{path}", self.origin)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

/// Everything but RFC 3986's unreserved letters, `:` and `/`, as a query may hold it.
#[must_use]
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':')?),
        };
        (address, port)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_valid = host.contains(':') || host.bytes().all(is_host);
    if host.is_empty() || !is_valid {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn invalid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(120).collect();
    // A password in a URL must not reach a log.
    let shown = match shown.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => shown,
    };
    Error::new(
        ErrorKind::InvalidInput,
        format!("invalid URL {shown:?}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    #[test]
    fn origins_are_compared_with_their_ports_and_schemes() {
        let origin = |text: &str| url(text).origin().clone();
        assert_eq!(origin("https://A.b/x"), origin("https://a.b:443?y"));
        assert_ne!(origin("https://a.b"), origin("http://a.b"));
        assert_ne!(origin("https://a.b"), origin("https://a.b:444"));
        assert_ne!(origin("https://a.b"), origin("https://a.b.evil"));
        assert_eq!(origin("http://[::1]:5000/").authority(), "[::1]:5000");
        for loopback in [
            "127.0.0.1",
            "127.9.9.9",
            "localhost",
            "[::1]",
            "x.localhost",
        ] {
            assert!(Origin::new(false, loopback).expect(loopback).is_loopback());
        }
        for other in ["localhost.evil.com", "128.0.0.1", "127.0.0.1.evil.com"] {
            assert!(!Origin::new(false, other).expect(other).is_loopback());
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "a.b/x",
            "ftp://a",
            "https://",
            "https://user:secret@a.b/",
            "https://a.b\\@evil/",
            "https://a b/",
            "https://a\r\nX: y/",
            "https://a:99999/",
            "https://a:+80/",
            "https://[::1/",
            "https://[::1]x/",
            "https://a%2eb/",
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn locations_are_joined_in_every_form() {
        let base = url("https://r.io:5000/v2/a/blobs/uploads/?x=1");
        for (location, expected) in [
            ("/v2/u?s=a%2Fb", "https://r.io:5000/v2/u?s=a%2Fb"),
            ("u1?s=2", "https://r.io:5000/v2/a/blobs/uploads/u1?s=2"),
            ("?s=2", "https://r.io:5000/v2/a/blobs/uploads/?s=2"),
            ("//other/z", "https://other/z"),
            ("http://other/z#f", "http://other/z"),
            ("/a?u=http://b/c", "https://r.io:5000/a?u=http://b/c"),
        ] {
            assert_eq!(base.join(location).expect(location).to_string(), expected);
        }
        assert_eq!(
            url("https://a/u?_state=x")
                .with_query("digest", "sha256:ab+")
                .to_string(),
            "https://a/u?_state=x&digest=sha256:ab%2B"
        );
        assert_eq!(url("https://a/u").with_query("n", "1").target(), "/u?n=1");
        assert_eq!(url("https://a/b?sig=secret").public(), "https://a/b");
    }
}

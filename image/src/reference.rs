//! References: how people name images.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The registry that a reference without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag that a reference with neither tag nor digest means.
pub const DEFAULT_TAG: &str = "latest";

/// A checked and completed reference: `[host[:port]/]path[:tag][@digest]`.
///
/// Completed as Docker does it: `busybox` is `docker.io/library/busybox:latest`. With both a
/// tag and a digest the digest says what is meant; the tag is only a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `host` or `host:port`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, such as `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the distribution API has in its path: the digest if there is one, else the tag.
    #[must_use]
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.into(),
        }
    }

    /// The same repository, at this digest and no tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            tag: None,
            ..self.clone()
        }
    }

    /// Whether both are of one repository.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }

    /// The shortest text that means the same: `busybox` for `docker.io/library/busybox`, the
    /// tag always shown.
    #[must_use]
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let short = whole.strip_prefix("docker.io/");
        let shortest = short.and_then(|short| short.strip_prefix("library/"));
        // "library/a/b" and "localhost/a" would be read as something else.
        [shortest, short]
            .into_iter()
            .flatten()
            .find(|text| parse(text).as_ref() == Ok(self))
            .map_or(whole.clone(), str::to_owned)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| {
            let shown: String = text.chars().take(300).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid reference {shown:?}: {why}"),
            )
        })
    }
}

fn parse(text: &str) -> std::result::Result<Reference, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(
                digest
                    .parse::<Digest>()
                    .map_err(|error| error.to_string())?,
            ),
        ),
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    let (registry, path) = split_registry(name);
    let registry = match registry {
        None | Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY,
        Some(host) => host,
    };
    check_host(registry)?;
    check_path(path)?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > 255 {
        return Err("a name has at most 255 characters".into());
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag,
        digest,
    })
}

/// A colon after the last slash begins the tag; one before it belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The first component is a registry if it can't be a part of a path, or is `localhost`.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || has_upper(first) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_host(host: &str) -> std::result::Result<(), String> {
    let (name, port) = if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        let (address, port) = host.split_at(end + 2);
        let inner = &address[1..address.len() - 1];
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("{address} is no IPv6 address"));
        }
        (
            None,
            port.strip_prefix(':').or((!port.is_empty()).then_some("?")),
        )
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        }
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err(format!("{host} has no valid port"));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match name {
        Some(name) if !name.split('.').all(is_label) => {
            Err(format!("{host} is no name of a registry"))
        }
        _ => Ok(()),
    }
}

/// distribution-spec: lower-case words, joined by one of `.`, `_`, `__`, or dashes.
fn check_path(path: &str) -> std::result::Result<(), String> {
    if path.is_empty() {
        return Err("it has no name".into());
    }
    if has_upper(path) {
        return Err(format!("{path} must be in lower case"));
    }
    for component in path.split('/') {
        if !is_component(component) {
            return Err(format!(
                "{component:?} is no component of a repository's name"
            ));
        }
    }
    Ok(())
}

fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(first) || !is_word(last) {
        return false;
    }
    component
        .split(|letter: char| u8::try_from(letter).is_ok_and(is_word))
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> std::result::Result<(), String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(format!("{tag:?} is no tag"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_completed_as_docker_does_it() {
        let with_digest = format!("a/b:t@{DIGEST}");
        let whole = format!("docker.io/a/b:t@{DIGEST}");
        for (text, expected, familiar) in [
            (
                "busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            (
                "docker.io/busybox:1",
                "docker.io/library/busybox:1",
                "busybox:1",
            ),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            (
                "localhost:5000/x/y:z",
                "localhost:5000/x/y:z",
                "localhost:5000/x/y:z",
            ),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "a.b/c__d/e-f.g:V_1",
                "a.b/c__d/e-f.g:V_1",
                "a.b/c__d/e-f.g:V_1",
            ),
            (&with_digest, &whole, &with_digest),
        ] {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.to_string(), expected);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(expected.parse::<Reference>().expect(expected), reference);
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let reference: Reference = format!("x:1@{DIGEST}").parse().expect("it is one");
        assert_eq!(reference.version(), DIGEST);
        assert_eq!(reference.tag(), Some("1"));
        let without: Reference = format!("x@{DIGEST}").parse().expect("it is one");
        assert_eq!(without.tag(), None);
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        let long = "a".repeat(256);
        let tag = format!("x:{}", "t".repeat(129));
        for text in [
            "",
            ":",
            "x:",
            "/x",
            "x/",
            "x//y",
            "Busybox",
            "x/Y",
            "x..y",
            "x___y",
            "-x",
            "x-",
            "x y",
            "../x",
            "a/../b",
            "x:-t",
            "x@sha256:12",
            "h:port/x",
            "a.b:70000/x",
            "a_b.c/x",
            "x\0",
            "[::g]:1/x",
            "[::1]x/y",
            "[/x",
            "é",
            &long,
            &tag,
        ] {
            let error = text.parse::<Reference>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_as_itself(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().expect("printed by us");
                proptest::prop_assert_eq!(&again, &reference);
                let short: Reference = reference.familiar().parse().expect("printed by us");
                proptest::prop_assert_eq!(&short, &reference);
            }
        }
    }
}

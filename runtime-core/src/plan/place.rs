//! Where in the document something is, remembered at no cost until it is wrong.

use std::fmt;

use crate::violation::pointer_token;

/// A JSON pointer as a chain of borrowed tokens: it is made for every value that is looked
/// at and becomes text only for a violation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    token: Token<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Token<'a> {
    Key(&'a str),
    Index(usize),
}

impl Place<'_> {
    /// The whole document.
    pub(super) const ROOT: Place<'static> = Place {
        parent: None,
        token: Token::Key(""),
    };

    /// A property of the object here.
    pub(super) const fn key<'b>(&'b self, key: &'b str) -> Place<'b> {
        Place {
            parent: Some(self),
            token: Token::Key(key),
        }
    }

    /// An element of the array here.
    pub(super) const fn index(&self, index: usize) -> Place<'_> {
        Place {
            parent: Some(self),
            token: Token::Index(index),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        fmt::Display::fmt(parent, f)?;
        match self.token {
            Token::Key(key) => write!(f, "/{}", pointer_token(key)),
            Token::Index(index) => write!(f, "/{index}"),
        }
    }
}

impl From<Place<'_>> for String {
    fn from(place: Place<'_>) -> Self {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_prints_as_an_escaped_json_pointer() {
        let sysctl = Place::ROOT.key("linux");
        let sysctl = sysctl.key("sysctl");
        assert_eq!(
            sysctl.key("net/ipv4~x").to_string(),
            "/linux/sysctl/net~1ipv4~0x"
        );
        assert_eq!(Place::ROOT.key("mounts").index(3).to_string(), "/mounts/3");
        assert_eq!(Place::ROOT.to_string(), "");
    }
}

//! `WWW-Authenticate`: how a registry wants to be asked (RFC 9110, 11.6.1).

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and a password in each request.
    Basic,
    /// A token, to be had at `realm`.
    Bearer {
        /// The URL of the token service.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must permit, blanks between scopes.
        scope: Option<String>,
    },
}

/// The challenges of all `WWW-Authenticate` headers, those of unknown schemes left out.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers
        .filter(|header| header.len() <= 8 << 10)
        .flat_map(|header| Scanner(header).challenges())
        .filter_map(|(scheme, parameters)| understand(&scheme, &parameters))
        .collect()
}

type Parameters = Vec<(String, String)>;

fn understand(scheme: &str, parameters: &Parameters) -> Option<Challenge> {
    let get = |name: &str| {
        let found = parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(found.1.clone()).filter(|value| !value.is_empty())
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        });
    }
    None
}

/// What is not read yet.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    /// Schemes with their parameters. What breaks the grammar ends the reading.
    fn challenges(mut self) -> Vec<(String, Parameters)> {
        let mut found: Vec<(String, Parameters)> = Vec::new();
        while let Some(word) = self.word() {
            if self.take('=') {
                let (Some((_, parameters)), Some(value)) = (found.last_mut(), self.value()) else {
                    break;
                };
                parameters.push((word, value));
            } else {
                found.push((word, Vec::new()));
            }
        }
        found
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    fn take(&mut self, letter: char) -> bool {
        let rest = self.0.trim_start_matches([' ', '\t']);
        match rest.strip_prefix(letter) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip_blanks();
        let is_end = |letter: char| letter.is_whitespace() || matches!(letter, '=' | ',' | '"');
        let end = self.0.find(is_end).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            let rest = self.0.trim_start_matches([' ', '\t']);
            let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
            let (value, rest) = rest.split_at(end);
            self.0 = rest;
            return Some(value.to_owned());
        }
        let mut value = String::new();
        let mut letters = self.0.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(letters.next()?.1),
                letter => value.push(letter),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_as_registries_write_them() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push",error="invalid_token""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/busybox:pull,push"),
        );
        assert_eq!(parse([docker].into_iter()), [expected]);

        let both = r#"Basic realm="a, b", bearer Realm = https://t/x , Service="q\"r""#;
        assert_eq!(
            parse([both].into_iter()),
            [Challenge::Basic, bearer("https://t/x", Some("q\"r"), None)]
        );
        let two = ["Negotiate", "Basic realm=\"x\""];
        assert_eq!(parse(two.into_iter()), [Challenge::Basic]);
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        let long = format!("Basic realm=\"{}\"", "x".repeat(9 << 10));
        for text in [
            "",
            "=",
            "\"",
            "Bearer",
            "Bearer realm=\"\"",
            "Digest qop=1",
            ",,,",
            &long,
        ] {
            assert_eq!(parse([text].into_iter()), [], "{text}");
        }
        assert_eq!(parse(["Bearer realm=\"unterminated"].into_iter()), []);
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_to_an_end(text in "[ -~]{0,80}") {
            parse([text.as_str()].into_iter());
        }
    }
}

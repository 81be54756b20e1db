//! Platforms: for which machine an image is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// An operating system and an architecture, by Go's names.
///
/// image-spec, image-index.md, "platform".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Such as `amd64` or `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// Such as `v8` for arm64, or `v7` for arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows only.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Windows only.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl Platform {
    /// The one that this program was built for.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            ..Self::default()
        }
        .normalized()
    }

    /// The same platform by its usual names: `x86_64` is `amd64`, `aarch64` is `arm64`, and a
    /// variant that the architecture implies is left out.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut platform = self.clone();
        platform.os.make_ascii_lowercase();
        let lower = self.architecture.to_ascii_lowercase();
        let (architecture, implied) = match lower.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "i386" | "i686" => ("386", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            other => (other, None),
        };
        platform.architecture = architecture.into();
        let variant = self.variant.as_deref().filter(|text| !text.is_empty());
        let variant = variant.or(implied).map(|text| match text {
            "5" | "6" | "7" | "8" => format!("v{text}"),
            _ => text.to_ascii_lowercase(),
        });
        platform.variant = match (platform.architecture.as_str(), variant.as_deref()) {
            ("amd64", Some("v1")) | ("arm64", Some("v8" | "v8.0")) => None,
            ("arm", None) => Some("v7".into()),
            _ => variant,
        };
        platform
    }

    /// How well an image for `offered` runs on this machine: 0 is best; `None` not at all.
    ///
    /// A newer variant runs an older one's programs, never the other way round. An architecture
    /// never stands in for another (386 on amd64), since that would be a surprise.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        let wanted = wanted.variant_number()?;
        wanted.checked_sub(offered.variant_number()?)
    }

    fn variant_number(&self) -> Option<u32> {
        let default = match self.architecture.as_str() {
            "amd64" => 10,
            "arm64" => 80,
            _ => 0,
        };
        let Some(variant) = &self.variant else {
            return Some(default);
        };
        let (major, minor) = match variant.strip_prefix('v')?.split_once('.') {
            Some((major, minor)) => (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?),
            None => (variant[1..].parse::<u32>().ok()?, 0),
        };
        major.checked_mul(10)?.checked_add(minor.min(9))
    }

    /// Whether it is the mark of something that is no image, such as an attestation.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "invalid platform {text:?}: OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64"
                ),
            )
        };
        let words: Vec<&str> = text.split('/').collect();
        let is_word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        if !words.iter().all(is_word) {
            return Err(invalid());
        }
        let (os, architecture, variant) = match words[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(invalid()),
        };
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant,
            ..Self::default()
        }
        .normalized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect(text)
    }

    #[test]
    fn names_are_made_usual() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(platform(text).to_string(), expected);
        }
        for text in ["", "/", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn newer_variants_run_older_ones_and_the_nearest_is_best() {
        let rank = |wanted: &str, offered: &str| platform(wanted).rank(&platform(offered));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert!(rank("linux/arm/v7", "linux/arm/v6") < rank("linux/arm/v7", "linux/arm/v5"));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(20));
        assert_eq!(rank("linux/amd64", "linux/386"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8.1"), None);
        assert_eq!(rank("linux/amd64", "linux/amd64/vx"), None);
    }
}

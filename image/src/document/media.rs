//! Media types of OCI, and Docker's names for the same.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type, without parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum MediaType {
    /// OCI's index.
    OciIndex,
    /// OCI's manifest.
    OciManifest,
    /// OCI's configuration of an image.
    OciConfig,
    /// Docker's manifest list.
    DockerIndex,
    /// Docker's manifest, schema 2.
    DockerManifest,
    /// Docker's configuration of an image.
    DockerConfig,
    /// Docker's manifest, schema 1, signed or not.
    Schema1,
    /// `{}`: what an artifact has for a configuration.
    Empty,
    /// A tar archive of an image's layer, in any of its names.
    Layer {
        /// How it is compressed.
        compression: Compression,
        /// The name in which it came.
        name: String,
    },
    /// Anything else: kept and passed on, never looked into.
    Other(String),
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// RFC 1952, of one or several members.
    Gzip,
    /// RFC 8878, of one or several frames, skippable ones among them.
    Zstd,
}

const NAMES: [(&str, MediaType); 9] = [
    (
        "application/vnd.oci.image.index.v1+json",
        MediaType::OciIndex,
    ),
    (
        "application/vnd.oci.image.manifest.v1+json",
        MediaType::OciManifest,
    ),
    (
        "application/vnd.oci.image.config.v1+json",
        MediaType::OciConfig,
    ),
    (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        MediaType::DockerIndex,
    ),
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        MediaType::DockerManifest,
    ),
    (
        "application/vnd.docker.container.image.v1+json",
        MediaType::DockerConfig,
    ),
    (
        "application/vnd.docker.distribution.manifest.v1+json",
        MediaType::Schema1,
    ),
    (
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        MediaType::Schema1,
    ),
    ("application/vnd.oci.empty.v1+json", MediaType::Empty),
];

const LAYERS: [(&str, Compression); 11] = [
    ("application/vnd.oci.image.layer.v1.tar", Compression::None),
    (
        "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Gzip,
    ),
    (
        "application/vnd.oci.image.layer.v1.tar+zstd",
        Compression::Zstd,
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        Compression::None,
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        Compression::Gzip,
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        Compression::Zstd,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar",
        Compression::None,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        Compression::Gzip,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        Compression::Zstd,
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        Compression::None,
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        Compression::Gzip,
    ),
];

impl MediaType {
    /// OCI's layer with this compression.
    #[must_use]
    pub fn layer(compression: Compression) -> Self {
        let name = match compression {
            Compression::None => LAYERS[0].0,
            Compression::Gzip => LAYERS[1].0,
            Compression::Zstd => LAYERS[2].0,
        };
        Self::Layer {
            compression,
            name: name.into(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Layer { name, .. } | Self::Other(name) => name,
            known => NAMES
                .iter()
                .find(|(_, media_type)| media_type == known)
                .map_or("", |(name, _)| name),
        }
    }

    /// Whether it is one image's manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether it is a choice among images.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerIndex)
    }

    /// Whether it is an image's configuration.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }

    /// Whether the content may lie elsewhere than in the registry, and isn't pushed.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Layer { name, .. }
            if name.contains(".nondistributable.") || name.contains(".foreign."))
    }
}

impl From<String> for MediaType {
    /// Parameters (`; charset=utf-8`) are left out.
    fn from(text: String) -> Self {
        let name = text.split(';').next().unwrap_or_default().trim();
        if let Some((_, known)) = NAMES.iter().find(|(known, _)| *known == name) {
            return known.clone();
        }
        match LAYERS.iter().find(|(known, _)| *known == name) {
            Some((_, compression)) => Self::Layer {
                compression: *compression,
                name: name.into(),
            },
            None => Self::Other(name.into()),
        }
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.as_str().into()
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! A mount of a filesystem of its own: overlay, tmpfs, or what is on a device.

use runtime_core::errno::Words;
use runtime_core::mount::{DetachedMount, IdMappings, MountOptions, NewFilesystem};

use super::classic::Classic;
use super::overlay::{Lower, Overlay};
use super::place::Place;
use super::{attach, c_string, map_ids};
use crate::failure::Failure;

/// What fsconfig(2) knows of the flags of a whole filesystem.
const SUPERBLOCK: [(u64, &str); 4] = [
    (libc::MS_SYNCHRONOUS, "sync"),
    (libc::MS_DIRSYNC, "dirsync"),
    (libc::MS_MANDLOCK, "mand"),
    (1 << 25, "lazytime"),
];

/// What is to be mounted.
#[derive(Debug)]
pub(super) struct Filesystem<'a> {
    pub(super) kind: &'a str,
    pub(super) source: &'a str,
    /// MOUNT_ATTR_*.
    pub(super) attributes: runtime_core::mount::Attributes,
    /// MS_* of the filesystem.
    pub(super) superblock: u64,
    /// Its own options, in order, each `key=value` or `flag`.
    pub(super) data: Vec<&'a str>,
}

impl<'a> Filesystem<'a> {
    pub(super) fn new(
        kind: &'a str,
        source: &'a str,
        options: &MountOptions<'a>,
    ) -> Result<Self, Failure> {
        let words = options.data.iter().map(|(_, word)| *word);
        // As mount(2) reads them, unless a comma is escaped.
        let data = if options.data.iter().any(|(_, word)| word.contains('\\')) {
            words.collect()
        } else {
            words
                .flat_map(|word| word.split(','))
                .filter(|word| !word.is_empty())
                .collect()
        };
        Ok(Self {
            kind,
            source,
            attributes: options.new_filesystem_attributes(),
            superblock: options.superblock,
            data,
        })
    }

    /// Mounts it there.
    pub(super) fn mount(
        &self,
        place: &Place,
        mappings: Option<&IdMappings>,
    ) -> Result<(), Failure> {
        if self.kind == "overlay" {
            return Overlay::new(self)?.mount(place, mappings);
        }
        if mappings.is_none() && !self.is_for_fsconfig(&self.data) {
            return Classic::of(self).mount(place);
        }
        let mount = self.create(&self.data, &Lower::None)?;
        if let Some(mappings) = mappings {
            map_ids(&mount, mappings, false)?;
        }
        attach(&mount, place)
    }

    /// Whether fsconfig(2) can say all of it.
    pub(super) fn is_for_fsconfig(&self, data: &[&str]) -> bool {
        let known = SUPERBLOCK.iter().fold(0, |all, (flag, _)| all | flag);
        let value = |word: &str| word.split_once('=').map_or(0, |(_, value)| value.len());
        self.superblock & !known == 0
            && self.source.len() <= NewFilesystem::VALUE_MAX_BYTES
            && data
                .iter()
                .all(|word| value(word) <= NewFilesystem::VALUE_MAX_BYTES && !word.contains('\\'))
    }

    /// Makes it, mounted nowhere.
    pub(super) fn create(
        &self,
        data: &[&str],
        lower: &Lower<'_>,
    ) -> Result<DetachedMount, Failure> {
        let context = NewFilesystem::open(&c_string(self.kind)?).map_err(|errno| {
            let text = format!(
                "fsopen(2): {}: this kernel has no filesystem {:?}, or its module is not loaded",
                Words(errno),
                self.kind
            );
            Failure::unknown(text)
        })?;
        let set = |key: &str, value: Option<&str>| {
            let (name, text) = (c_string(key)?, value.map(c_string).transpose()?);
            context.set(&name, text.as_deref()).map_err(|errno| {
                let option = value.map_or_else(|| key.into(), |value| format!("{key}={value}"));
                refusal(
                    &format!("option {option}: fsconfig(2)"),
                    errno,
                    &context.words(),
                )
            })
        };
        if !self.source.is_empty() {
            set("source", Some(self.source))?;
        }
        if self.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 {
            set("ro", None)?;
        }
        for (_, name) in SUPERBLOCK
            .iter()
            .filter(|(flag, _)| self.superblock & flag != 0)
        {
            set(name, None)?;
        }
        for (key, layer) in lower.parameters() {
            set(key, Some(layer))?;
        }
        for word in data {
            match word.split_once('=') {
                Some((key, value)) => set(key, Some(value))?,
                None => set(word, None)?,
            }
        }
        context
            .mount(self.attributes.set)
            .map_err(|(errno, words)| refusal("fsconfig(2) FSCONFIG_CMD_CREATE", errno, &words))
    }
}

fn refusal(act: &str, errno: nix::errno::Errno, words: &str) -> Failure {
    let colon = if words.is_empty() { "" } else { ": " };
    Failure::unknown(format!("{act}: {}{colon}{words}", Words(errno)))
}

//! The words of `mounts[].options`: each is a mount attribute, a propagation, a flag of the
//! filesystem, or an instruction to the runtime. Every other word is the filesystem's own.

use runtime_init::Attributes;

pub(super) const RDONLY: u64 = 0x01;
pub(super) const NOSUID: u64 = 0x02;
pub(super) const NODEV: u64 = 0x04;
pub(super) const NOEXEC: u64 = 0x08;
/// The field of access times: one of the next three.
pub(super) const ATIME_FIELD: u64 = 0x70;
pub(super) const RELATIME: u64 = 0x00;
pub(super) const NOATIME: u64 = 0x10;
pub(super) const STRICTATIME: u64 = 0x20;
pub(super) const NODIRATIME: u64 = 0x80;
pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;

/// Missing from the libc crate: linux/mount.h.
pub(super) const MS_LAZYTIME: u64 = 1 << 25;
pub(super) const MS_NOSYMFOLLOW: u64 = 256;

/// What one word means.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// `defaults`
    Nothing,
    /// MOUNT_ATTR_* on the mount, or on it and all below.
    Set(Reach, u64),
    Clear(Reach, u64),
    AccessTime(Reach, AccessTime),
    /// MS_* of the whole filesystem.
    Superblock(u64),
    NoSuperblock(u64),
    Bind {
        recursive: bool,
    },
    Propagation(u64),
    Remount,
    Idmap {
        recursive: bool,
    },
    CopyUp,
}

#[derive(Clone, Copy, Debug)]
enum Reach {
    One,
    All,
}

#[derive(Clone, Copy, Debug)]
enum AccessTime {
    Yes,
    No,
    Relative,
    NotRelative,
    Strict,
    NotStrict,
}

use AccessTime as Time;
use Reach::{All, One};

/// Sorted by name.
const WORDS: [(&str, Word); 62] = [
    ("async", Word::NoSuperblock(libc::MS_SYNCHRONOUS)),
    ("atime", Word::AccessTime(One, Time::Yes)),
    ("bind", Word::Bind { recursive: false }),
    ("defaults", Word::Nothing),
    ("dev", Word::Clear(One, NODEV)),
    ("diratime", Word::Clear(One, NODIRATIME)),
    ("dirsync", Word::Superblock(libc::MS_DIRSYNC)),
    ("exec", Word::Clear(One, NOEXEC)),
    ("idmap", Word::Idmap { recursive: false }),
    ("iversion", Word::Superblock(libc::MS_I_VERSION)),
    ("lazytime", Word::Superblock(MS_LAZYTIME)),
    ("loud", Word::NoSuperblock(libc::MS_SILENT)),
    ("mand", Word::Superblock(libc::MS_MANDLOCK)),
    ("noatime", Word::AccessTime(One, Time::No)),
    ("nodev", Word::Set(One, NODEV)),
    ("nodiratime", Word::Set(One, NODIRATIME)),
    ("noexec", Word::Set(One, NOEXEC)),
    ("noiversion", Word::NoSuperblock(libc::MS_I_VERSION)),
    ("nolazytime", Word::NoSuperblock(MS_LAZYTIME)),
    ("nomand", Word::NoSuperblock(libc::MS_MANDLOCK)),
    ("norelatime", Word::AccessTime(One, Time::NotRelative)),
    ("nostrictatime", Word::AccessTime(One, Time::NotStrict)),
    ("nosuid", Word::Set(One, NOSUID)),
    ("nosymfollow", Word::Set(One, NOSYMFOLLOW)),
    ("private", Word::Propagation(libc::MS_PRIVATE)),
    ("ratime", Word::AccessTime(All, Time::Yes)),
    ("rbind", Word::Bind { recursive: true }),
    ("rdev", Word::Clear(All, NODEV)),
    ("rdiratime", Word::Clear(All, NODIRATIME)),
    ("relatime", Word::AccessTime(One, Time::Relative)),
    ("remount", Word::Remount),
    ("rexec", Word::Clear(All, NOEXEC)),
    ("ridmap", Word::Idmap { recursive: true }),
    ("rnoatime", Word::AccessTime(All, Time::No)),
    ("rnodev", Word::Set(All, NODEV)),
    ("rnodiratime", Word::Set(All, NODIRATIME)),
    ("rnoexec", Word::Set(All, NOEXEC)),
    ("rnorelatime", Word::AccessTime(All, Time::NotRelative)),
    ("rnostrictatime", Word::AccessTime(All, Time::NotStrict)),
    ("rnosuid", Word::Set(All, NOSUID)),
    ("rnosymfollow", Word::Set(All, NOSYMFOLLOW)),
    ("ro", Word::Set(One, RDONLY)),
    (
        "rprivate",
        Word::Propagation(libc::MS_PRIVATE | libc::MS_REC),
    ),
    ("rrelatime", Word::AccessTime(All, Time::Relative)),
    ("rro", Word::Set(All, RDONLY)),
    ("rrw", Word::Clear(All, RDONLY)),
    ("rshared", Word::Propagation(libc::MS_SHARED | libc::MS_REC)),
    ("rslave", Word::Propagation(libc::MS_SLAVE | libc::MS_REC)),
    ("rstrictatime", Word::AccessTime(All, Time::Strict)),
    ("rsuid", Word::Clear(All, NOSUID)),
    ("rsymfollow", Word::Clear(All, NOSYMFOLLOW)),
    (
        "runbindable",
        Word::Propagation(libc::MS_UNBINDABLE | libc::MS_REC),
    ),
    ("rw", Word::Clear(One, RDONLY)),
    ("shared", Word::Propagation(libc::MS_SHARED)),
    ("silent", Word::Superblock(libc::MS_SILENT)),
    ("slave", Word::Propagation(libc::MS_SLAVE)),
    ("strictatime", Word::AccessTime(One, Time::Strict)),
    ("suid", Word::Clear(One, NOSUID)),
    ("symfollow", Word::Clear(One, NOSYMFOLLOW)),
    ("sync", Word::Superblock(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Word::CopyUp),
    ("unbindable", Word::Propagation(libc::MS_UNBINDABLE)),
];

/// Every mount option word that is not the filesystem's own, sorted.
pub fn mount_option_names() -> impl Iterator<Item = &'static str> + Clone {
    WORDS.iter().map(|(name, _)| *name)
}

/// All options of one mount, folded in order: of contradicting words the last counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MountOptions<'a> {
    /// Of the mount itself.
    pub attributes: Attributes,
    /// Of the mount and all below it.
    pub recursive: Attributes,
    /// MS_* of the filesystem.
    pub superblock: u64,
    /// Whether it is a bind mount, and if so with the mounts below.
    pub bind: Option<bool>,
    /// MS_* of the propagation, each with or without MS_REC, in order.
    pub propagation: Vec<u64>,
    /// `remount`: the attributes of what is mounted there already.
    pub remount: bool,
    /// Whether it is idmapped, and if so with the mounts below.
    pub idmap: Option<bool>,
    /// `tmpcopyup`: the filesystem gets a copy of what it covers.
    pub copy_up: bool,
    /// The filesystem's own words, with their index.
    pub data: Vec<(usize, &'a str)>,
}

impl<'a> MountOptions<'a> {
    /// The options that these words are.
    pub fn new(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for (index, word) in words.into_iter().enumerate() {
            match WORDS.binary_search_by_key(&word, |(name, _)| name) {
                Ok(found) => options.fold(WORDS[found].1),
                Err(_) if word.is_empty() => {}
                Err(_) => options.data.push((index, word)),
            }
        }
        options
    }

    fn fold(&mut self, word: Word) {
        match word {
            Word::Nothing => {}
            Word::Set(reach, bits) => set(self.reach(reach), bits),
            Word::Clear(reach, bits) => clear(self.reach(reach), bits),
            Word::AccessTime(reach, time) => access_time(self.reach(reach), time),
            Word::Superblock(flags) => self.superblock |= flags,
            Word::NoSuperblock(flags) => self.superblock &= !flags,
            Word::Bind { recursive } => {
                self.bind = Some(recursive || self.bind.unwrap_or(false));
            }
            Word::Propagation(flags) => self.propagation.push(flags),
            Word::Remount => self.remount = true,
            Word::Idmap { recursive } => {
                self.idmap = Some(recursive || self.idmap.unwrap_or(false));
            }
            Word::CopyUp => self.copy_up = true,
        }
    }

    /// A new filesystem has no mounts below it, so that recursive words are as good as plain
    /// ones, and nothing to clear but access times.
    #[must_use]
    pub fn new_filesystem_attributes(&self) -> Attributes {
        let (one, all) = (self.attributes, self.recursive);
        Attributes {
            set: one.set & !all.clear | all.set,
            clear: (one.clear & !all.set | all.clear) & ATIME_FIELD,
        }
    }

    fn reach(&mut self, reach: Reach) -> &mut Attributes {
        match reach {
            One => &mut self.attributes,
            All => &mut self.recursive,
        }
    }
}

fn set(attributes: &mut Attributes, bits: u64) {
    attributes.set |= bits;
    attributes.clear &= !bits;
}

fn clear(attributes: &mut Attributes, bits: u64) {
    attributes.clear |= bits;
    attributes.set &= !bits;
}

/// Access times are one field of three values, and the kernel wants it cleared whole before
/// it is set. Relative is what the kernel does unless told otherwise, so the negative words
/// lead back there; `norelatime` alone changes nothing, as ever.
fn access_time(attributes: &mut Attributes, word: AccessTime) {
    let chosen =
        (attributes.clear & ATIME_FIELD == ATIME_FIELD).then_some(attributes.set & ATIME_FIELD);
    let field = match (word, chosen) {
        (Time::No, _) => Some(NOATIME),
        (Time::Relative, _) => Some(RELATIME),
        (Time::Strict, _) => Some(STRICTATIME),
        (Time::Yes, None | Some(NOATIME)) => Some(RELATIME),
        (Time::NotStrict, None | Some(STRICTATIME)) => Some(RELATIME),
        (Time::NotRelative, Some(RELATIME)) => None,
        (Time::Yes | Time::NotStrict | Time::NotRelative, chosen) => chosen,
    };
    attributes.set = attributes.set & !ATIME_FIELD | field.unwrap_or(0);
    attributes.clear = match field {
        Some(_) => attributes.clear | ATIME_FIELD,
        None => attributes.clear & !ATIME_FIELD,
    };
}

/// Attributes as the flags of mount(2), which takes all of them at once.
#[must_use]
pub fn classic_flags(attributes: Attributes) -> u64 {
    const PAIRS: [(u64, u64); 8] = [
        (RDONLY, libc::MS_RDONLY),
        (NOSUID, libc::MS_NOSUID),
        (NODEV, libc::MS_NODEV),
        (NOEXEC, libc::MS_NOEXEC),
        (NOATIME, libc::MS_NOATIME),
        (STRICTATIME, libc::MS_STRICTATIME),
        (NODIRATIME, libc::MS_NODIRATIME),
        (NOSYMFOLLOW, MS_NOSYMFOLLOW),
    ];
    let mut flags = 0;
    for (attribute, flag) in PAIRS {
        if attributes.set & attribute != 0 {
            flags |= flag;
        }
    }
    let relative =
        attributes.clear & ATIME_FIELD == ATIME_FIELD && attributes.set & ATIME_FIELD == RELATIME;
    if relative {
        flags | libc::MS_RELATIME
    } else {
        flags
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::words::{attribute_words, classic_words};

    fn folded(words: &[&str]) -> MountOptions<'static> {
        let options = MountOptions::new(words.iter().copied());
        MountOptions {
            data: Vec::new(),
            ..MountOptions {
                attributes: options.attributes,
                recursive: options.recursive,
                superblock: options.superblock,
                bind: options.bind,
                propagation: options.propagation.clone(),
                remount: options.remount,
                idmap: options.idmap,
                copy_up: options.copy_up,
                data: Vec::new(),
            }
        }
    }

    #[test]
    fn the_words_are_sorted_and_unique() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_word_but_defaults_means_something() {
        for word in mount_option_names() {
            let alone = folded(&[word]);
            // These undo what another word has done before them.
            let undoes = [
                "async",
                "loud",
                "noiversion",
                "nolazytime",
                "nomand",
                "norelatime",
                "rnorelatime",
            ];
            let nothing = word == "defaults" || undoes.contains(&word);
            assert_eq!(alone == MountOptions::default(), nothing, "{word}");
        }
    }

    #[test]
    fn access_times_are_one_field() {
        let field = |words: &[&str]| {
            let Attributes { set, clear } = folded(words).attributes;
            (set & ATIME_FIELD, clear & ATIME_FIELD)
        };
        assert_eq!(field(&["noatime"]), (NOATIME, ATIME_FIELD));
        assert_eq!(
            field(&["noatime", "strictatime"]),
            (STRICTATIME, ATIME_FIELD)
        );
        assert_eq!(
            field(&["strictatime", "nostrictatime"]),
            (RELATIME, ATIME_FIELD)
        );
        assert_eq!(field(&["strictatime", "atime"]), (STRICTATIME, ATIME_FIELD));
        assert_eq!(field(&["noatime", "atime"]), (RELATIME, ATIME_FIELD));
        assert_eq!(field(&["relatime", "norelatime"]), (0, 0));
        assert_eq!(field(&["ro"]), (0, 0));
    }

    #[test]
    fn of_contradicting_words_the_last_counts() {
        assert_eq!(
            folded(&["ro", "rw"]).attributes,
            Attributes {
                set: 0,
                clear: RDONLY
            }
        );
        assert_eq!(
            folded(&["rw", "ro"]).attributes,
            Attributes {
                set: RDONLY,
                clear: 0
            }
        );
        assert_eq!(folded(&["sync", "async"]).superblock, 0);
        assert_eq!(folded(&["rbind", "bind"]).bind, Some(true));
    }

    proptest! {
        /// What a plan says about attributes is what leads to them.
        #[test]
        fn option_words_round_trip(picks in prop::collection::vec(0..WORDS.len(), 0..12)) {
            let words: Vec<&str> = picks.iter().map(|pick| WORDS[*pick].0).collect();
            let options = folded(&words);
            let said: Vec<&str> = attribute_words(options.attributes).collect();
            prop_assert_eq!(folded(&said).attributes, options.attributes);
            let said: Vec<String> =
                attribute_words(options.recursive).map(|word| format!("r{word}")).collect();
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            prop_assert_eq!(folded(&said).recursive, options.recursive);
        }

        /// mount(2) gets exactly the flags that were asked for.
        #[test]
        fn classic_flags_say_what_was_set(picks in prop::collection::vec(0..WORDS.len(), 0..12)) {
            let words: Vec<&str> = picks.iter().map(|pick| WORDS[*pick].0).collect();
            let options = folded(&words);
            let flags = classic_flags(options.attributes) | options.superblock;
            let said: Vec<&str> = classic_words(flags).collect();
            let again = folded(&said);
            prop_assert_eq!(classic_flags(again.attributes) | again.superblock, flags);
            prop_assert_eq!(again.attributes.set, options.attributes.set);
        }
    }
}

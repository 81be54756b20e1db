//! The parts of a plan in the words of people who use containers, for `tare plan` and for
//! error messages.

use std::borrow::Cow;
use std::ffi::CStr;

use runtime_init::Attributes;

use super::mount_options::{
    ATIME_FIELD, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME,
    STRICTATIME,
};
use super::rootfs::PROPAGATIONS;
use super::{
    Content, ContentAct, DevicePlan, HookPlan, IdMapping, MountPlan, MountSource, NAMESPACE_KINDS,
    Origin,
};

/// Attribute bits with the words that set and clear them.
const ATTRIBUTE_WORDS: [(u64, &str, &str); 6] = [
    (RDONLY, "ro", "rw"),
    (NOSUID, "nosuid", "suid"),
    (NODEV, "nodev", "dev"),
    (NOEXEC, "noexec", "exec"),
    (NODIRATIME, "nodiratime", "diratime"),
    (NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

const ACCESS_TIME_WORDS: [(u64, &str); 3] = [
    (RELATIME, "relatime"),
    (NOATIME, "noatime"),
    (STRICTATIME, "strictatime"),
];

impl Origin {
    /// The place in config.json, such as `mounts[3]`.
    #[must_use]
    pub fn pointer(self) -> String {
        match self {
            Self::Mount(index) => format!("mounts[{index}]"),
            Self::Device(index) => format!("linux.devices[{index}]"),
            Self::DefaultDevice => "default devices".to_owned(),
            Self::ReadonlyPath(index) => format!("linux.readonlyPaths[{index}]"),
            Self::MaskedPath(index) => format!("linux.maskedPaths[{index}]"),
        }
    }
}

impl Content {
    /// The act in a few words, such as `mount proc on /proc`.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.act {
            ContentAct::Mount(mount) => mount_words(mount),
            ContentAct::Directory { path, .. } => format!("make the directory {}", shown(path)),
            ContentAct::Device(device) if device.bind => {
                format!("bind the host's {0} on {0}", shown(&device.path))
            }
            ContentAct::Device(device) => format!("make the device {}", shown(&device.path)),
            ContentAct::Symlink { text, path, .. } => {
                format!("link {} to {}", shown(path), shown(text))
            }
            ContentAct::Readonly(path) => format!("make {} read-only", shown(path)),
            ContentAct::Masked(path) => format!("hide {}", shown(path)),
        }
    }

    /// The act with everything that is decided about it.
    #[must_use]
    pub fn full_words(&self) -> String {
        let details = match &self.act {
            ContentAct::Mount(mount) => mount_details(mount),
            ContentAct::Directory { mode, .. } => vec![format!("{mode:04o}")],
            ContentAct::Device(device) => device_details(device),
            _ => Vec::new(),
        };
        if details.is_empty() {
            return self.words();
        }
        format!("{} ({})", self.words(), details.join(", "))
    }
}

fn mount_words(mount: &MountPlan) -> String {
    let target = shown(&mount.target);
    match &mount.source {
        MountSource::Filesystem { kind, .. } => format!("mount {} on {target}", shown(kind)),
        MountSource::Bind { path, .. } => format!("bind {} on {target}", shown(path)),
        MountSource::Classic { flags, .. } if flags & libc::MS_REMOUNT != 0 => {
            format!("remount {target}")
        }
        MountSource::Classic { kind, .. } => format!("mount {} on {target}", shown(kind)),
        MountSource::Existing => format!("change the mount on {target}"),
    }
}

fn mount_details(mount: &MountPlan) -> Vec<String> {
    let mut details = Vec::new();
    if let MountSource::Bind {
        recursive: true, ..
    } = mount.source
    {
        details.push("with the mounts below".to_owned());
    }
    details.extend(attribute_words(mount.attributes).map(str::to_owned));
    details.extend(attribute_words(mount.recursive).map(|word| format!("r{word}")));
    details.extend(
        mount
            .propagation
            .iter()
            .map(|flags| propagation_word(*flags).to_owned()),
    );
    match &mount.source {
        MountSource::Filesystem { options, .. } => {
            // `ro` is among the attributes already.
            let options = options.iter().filter(|(key, _)| key.as_c_str() != c"ro");
            details.extend(options.map(|(key, value)| match value {
                Some(value) => format!("{}={}", shown(key), shown(value)),
                None => shown(key).into_owned(),
            }));
        }
        MountSource::Classic { flags, data, .. } => {
            details.extend(classic_words(*flags).map(str::to_owned));
            if !data.is_empty() {
                details.push(shown(data).into_owned());
            }
        }
        MountSource::Bind {
            idmap: Some(idmap), ..
        } => {
            let reach = if idmap.recursive {
                "ids mapped, also below"
            } else {
                "ids mapped"
            };
            let whose = if idmap.uid_mappings.is_empty() {
                " as the container's"
            } else {
                ""
            };
            details.push(format!("{reach}{whose}"));
        }
        _ => {}
    }
    if mount.copy_up {
        details.push("with a copy of what is there".to_owned());
    }
    details
}

/// The option words that lead to these attributes.
pub(super) fn attribute_words(attributes: Attributes) -> impl Iterator<Item = &'static str> {
    let Attributes { set, clear } = attributes;
    let flags = ATTRIBUTE_WORDS
        .into_iter()
        .filter_map(
            move |(bit, on, off)| match (set & bit != 0, clear & bit != 0) {
                (true, _) => Some(on),
                (false, true) => Some(off),
                (false, false) => None,
            },
        );
    let chosen = (clear & ATIME_FIELD == ATIME_FIELD).then_some(set & ATIME_FIELD);
    let access_time = ACCESS_TIME_WORDS
        .into_iter()
        .find(|(field, _)| chosen == Some(*field))
        .map(|(_, word)| word);
    flags.chain(access_time)
}

/// The option words of mount(2) flags.
pub(super) fn classic_words(flags: u64) -> impl Iterator<Item = &'static str> {
    const WORDS: [(u64, &str); 15] = [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_NOSUID, "nosuid"),
        (libc::MS_NODEV, "nodev"),
        (libc::MS_NOEXEC, "noexec"),
        (libc::MS_NODIRATIME, "nodiratime"),
        (super::mount_options::MS_NOSYMFOLLOW, "nosymfollow"),
        (libc::MS_RELATIME, "relatime"),
        (libc::MS_NOATIME, "noatime"),
        (libc::MS_STRICTATIME, "strictatime"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_MANDLOCK, "mand"),
        (super::mount_options::MS_LAZYTIME, "lazytime"),
        (libc::MS_I_VERSION, "iversion"),
        (libc::MS_SILENT, "silent"),
    ];
    WORDS
        .into_iter()
        .filter(move |(flag, _)| flags & flag != 0)
        .map(|(_, word)| word)
}

/// The word for MS_* propagation flags.
pub(super) fn propagation_word(flags: u64) -> &'static str {
    PROPAGATIONS
        .iter()
        .find(|(_, known)| *known == flags)
        .map_or("another propagation", |(word, _)| word)
}

/// The specification's names of CLONE_NEW* flags.
pub(super) fn namespace_words(flags: u64) -> impl Iterator<Item = &'static str> {
    NAMESPACE_KINDS
        .into_iter()
        .filter(move |(_, flag)| flags & flag != 0)
        .map(|(word, _)| word)
}

fn device_details(device: &DevicePlan) -> Vec<String> {
    let permissions = device.mode & !libc::S_IFMT;
    let mut details = match device.mode & libc::S_IFMT {
        libc::S_IFIFO => vec!["named pipe".to_owned()],
        libc::S_IFBLK => vec![format!("block {}:{}", device.major, device.minor)],
        _ => vec![format!("character {}:{}", device.major, device.minor)],
    };
    if !device.bind {
        details.push(format!("mode {permissions:04o}"));
        if (device.uid, device.gid) != (0, 0) {
            details.push(format!("owner {}:{}", device.uid, device.gid));
        }
    }
    details
}

/// `users 0-65535 are 100000-165535 outside`
pub(super) fn mapping_words(what: &str, mapping: &IdMapping) -> String {
    let last = mapping.size.saturating_sub(1);
    match last {
        0 => format!(
            "{what} {} is {} outside",
            mapping.container_id, mapping.host_id
        ),
        _ => format!(
            "{what}s {}-{} are {}-{} outside",
            mapping.container_id,
            u64::from(mapping.container_id) + u64::from(last),
            mapping.host_id,
            u64::from(mapping.host_id) + u64::from(last),
        ),
    }
}

pub(super) fn hook_words(hook: &HookPlan) -> String {
    let mut words = format!("run {}", shown(&hook.path));
    let args: Vec<Cow<'_, str>> = hook.args.iter().skip(1).map(|arg| shown(arg)).collect();
    if !args.is_empty() {
        words.push(' ');
        words.push_str(&args.join(" "));
    }
    if let Some(timeout) = hook.timeout_secs {
        words.push_str(&format!(" (at most {timeout} s)"));
    }
    words
}

/// Text for a terminal: what could move the cursor or hide itself is escaped.
pub(super) fn shown(text: &CStr) -> Cow<'_, str> {
    shown_text(text.to_string_lossy())
}

pub(super) fn shown_text(text: Cow<'_, str>) -> Cow<'_, str> {
    // Below 0x2100 are letters; of what is above, only the directional marks deceive.
    let deceives = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    if text.is_empty() || text.contains(deceives) {
        return Cow::Owned(format!("{text:?}"));
    }
    text
}

//! `mounts`: each becomes typed steps on descriptors, or the reason why not.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

use runtime_init::Attributes;

use super::idmap::{self, Ids};
use super::mount_options::{self, MountOptions, RDONLY};
use super::namespaces::{MOUNT, USER};
use super::place::Place;
use super::text::{c_string, clean, host_path, quoted};
use super::{
    CgroupPlan, Content, ContentAct, IdmapPlan, MountPlan, MountSource, NamespacesPlan, Origin,
    cgroup_mounts,
};
use crate::host::Host;
use crate::spec::{self, Linux, Spec};
use crate::violation::Violations;

/// The files of a procfs that may be mounted over: lxcfs gives containers their own.
const MOUNTABLE_IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Superblock flags that fsconfig(2) knows, by name.
const SUPERBLOCK_WORDS: [(u64, &std::ffi::CStr); 4] = [
    (libc::MS_SYNCHRONOUS, c"sync"),
    (libc::MS_DIRSYNC, c"dirsync"),
    (libc::MS_MANDLOCK, c"mand"),
    (mount_options::MS_LAZYTIME, c"lazytime"),
];

/// What mounts are resolved against.
#[derive(Clone, Copy, Debug)]
pub(super) struct MountFacts<'a> {
    pub(super) bundle: &'a Path,
    pub(super) host: &'a Host,
    pub(super) namespaces: &'a NamespacesPlan,
    pub(super) ids: Ids<'a>,
    pub(super) linux: &'a Linux<'a>,
    pub(super) cgroup: &'a CgroupPlan,
    /// See [`super::RootfsPlan::propagation`].
    pub(super) propagation: u64,
}

impl MountFacts<'_> {
    /// What a bind mount's propagation becomes first.
    ///
    /// In a user namespace, and to map ids, the runtime opens the tree before the container's
    /// mounts are told apart from the host's: such a tree has to be told apart by itself.
    pub(super) fn first_propagation(self, idmapped: bool) -> Option<u64> {
        (idmapped || self.namespaces.has(USER)).then_some(self.propagation)
    }
}

/// All mounts, resolved.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// In config.json's order.
    pub(super) contents: Vec<Content>,
    /// What becomes read-only only when devices and links are there.
    pub(super) late: Vec<Content>,
    /// Whether `/dev` is the host's or a volume, and so not for the runtime to fill.
    pub(super) foreign_dev: bool,
    /// See [`super::Plan::warnings`].
    pub(super) warnings: Vec<String>,
}

/// Resolves `mounts`.
pub(super) fn plan(spec: &Spec<'_>, facts: MountFacts<'_>, violations: &mut Violations) -> Mounts {
    let mut mounts = Mounts::default();
    let Some(list) = spec.mounts.as_ref().filter(|list| !list.is_empty()) else {
        return mounts;
    };
    let place = Place::ROOT.key("mounts");
    if !facts.namespaces.has(MOUNT) {
        violations.add(place, "need a namespace of type mount in linux.namespaces");
        return mounts;
    }
    mounts.contents.reserve(list.len() + 16);
    for (index, mount) in list.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        let Ok(origin) = u16::try_from(index) else {
            violations.add(place, "are more than 65536");
            break;
        };
        let place = place.index(index);
        let options = MountOptions::new(mount.options.iter().flatten().map(|word| &**word));
        let entry = Entry {
            mount,
            options: &options,
            place,
            facts,
        };
        entry.plan(Origin::Mount(origin), &mut mounts, violations);
    }
    only_the_last_of_a_target_is_late(&mut mounts);
    mounts
}

/// A late change of a path applies to whatever is mounted there by then: if that is not the
/// mount it was meant for, the change is made at once after all.
fn only_the_last_of_a_target_is_late(mounts: &mut Mounts) {
    if mounts.late.is_empty() {
        return;
    }
    let mut last = HashMap::new();
    for content in &mounts.contents {
        if let ContentAct::Mount(mount) = &content.act {
            last.insert(mount.target.clone(), content.origin);
        }
    }
    // Both lists have the order of config.json, so one walk over them is enough.
    let mut late = std::mem::take(&mut mounts.late).into_iter().peekable();
    for content in std::mem::take(&mut mounts.contents) {
        let origin = content.origin;
        mounts.contents.push(content);
        if let Some(change) = late.next_if(|change| change.origin == origin) {
            match &change.act {
                ContentAct::Mount(mount) if last.get(&mount.target) == Some(&origin) => {
                    mounts.late.push(change);
                }
                _ => mounts.contents.push(change),
            }
        }
    }
}

/// One entry of `mounts` on its way.
pub(super) struct Entry<'a> {
    pub(super) mount: &'a spec::Mount<'a>,
    pub(super) options: &'a MountOptions<'a>,
    pub(super) place: Place<'a>,
    pub(super) facts: MountFacts<'a>,
}

impl Entry<'_> {
    fn plan(&self, origin: Origin, mounts: &mut Mounts, violations: &mut Violations) {
        let destination = self.mount.destination.as_deref().unwrap_or_default();
        if destination.is_empty() {
            violations.add(self.place.key("destination"), "is missing or empty");
            return;
        }
        let target = clean(destination);
        self.check_target(&target, violations);
        self.check_words(violations);
        if target == "/dev" && self.options.bind.is_some() && !self.options.remount {
            mounts.foreign_dev = true;
        }
        if self.kind() == "cgroup" && self.options.bind.is_none() && !self.options.remount {
            cgroup_mounts::plan(self, &target, origin, mounts, violations);
            return;
        }
        let Some(source) = self.source(mounts, violations) else {
            return;
        };
        let mut plan = self.mount_plan(source, &target, violations);
        let late = self.make_read_only_later(&target, &mut plan);
        mounts.contents.push(Content {
            act: ContentAct::Mount(plan),
            origin,
        });
        mounts.late.extend(late.map(|plan| Content {
            act: ContentAct::Mount(plan),
            origin,
        }));
    }

    pub(super) fn kind(&self) -> &str {
        self.mount.kind.as_deref().unwrap_or_default()
    }

    fn is_new_filesystem(&self) -> bool {
        self.options.bind.is_none() && !self.options.remount
    }

    /// The runtime itself writes below /proc and /sys: nothing else may stand in for them.
    fn check_target(&self, target: &str, violations: &mut Violations) {
        let place = self.place.key("destination");
        if target == "/" && !self.options.remount {
            violations.add(place, "is the container's root, which only `root` sets");
        }
        if target == "/proc" && self.is_new_filesystem() && self.kind() != "proc" {
            violations.add(
                place,
                "\"/proc\" cannot be mounted because it is not of type proc",
            );
        }
        if target.starts_with("/proc/") && !MOUNTABLE_IN_PROC.contains(&target) {
            violations.add(
                place,
                format!(
                    "{} cannot be mounted because it is inside /proc",
                    quoted(target)
                ),
            );
        }
    }

    fn check_words(&self, violations: &mut Violations) {
        let place = self.place.key("options");
        if self.options.copy_up && (self.kind() != "tmpfs" || !self.is_new_filesystem()) {
            violations.add(place, "tmpcopyup is for mounts of type tmpfs");
        }
        let (uids, gids) = self.mappings();
        let mapped = self.options.idmap.is_some() || !uids.is_empty() || !gids.is_empty();
        if mapped && (self.options.bind.is_none() || self.options.remount) {
            violations.add(place, "id mappings (idmap, ridmap) are for bind mounts");
        }
        if mapped && self.facts.host.euid != 0 {
            violations.add(place, "id mappings (idmap, ridmap) need root");
        }
        if self.is_new_filesystem() {
            return;
        }
        // A remount of the filesystem itself takes its options, a bind mount has none.
        if self.options.bind.is_some() {
            for &(index, word) in &self.options.data {
                if violations.is_full() {
                    return;
                }
                violations.add(
                    place.index(index),
                    format!(
                        "bind mounts cannot have any filesystem-specific options applied: {}{}",
                        quoted(word),
                        meant(word)
                    ),
                );
            }
        }
    }

    fn source(&self, mounts: &mut Mounts, violations: &mut Violations) -> Option<MountSource> {
        match (self.options.bind, self.options.remount) {
            (Some(_), true) => Some(MountSource::Existing),
            (None, true) => Some(self.classic(libc::MS_REMOUNT, violations)),
            (Some(recursive), false) => {
                self.warn_of_filesystem_words(mounts);
                self.bind(recursive, violations)
            }
            (None, false) => self.filesystem(violations),
        }
    }

    /// `sync` and its like belong to a whole filesystem, which a bind mount only shares.
    fn warn_of_filesystem_words(&self, mounts: &mut Mounts) {
        if self.options.superblock & !libc::MS_SILENT != 0 {
            mounts.warnings.push(format!(
                "{}: sync, dirsync, mand, lazytime and iversion change a filesystem, not a bind \
                 mount of it: it stays as it is",
                self.place
            ));
        }
    }

    fn bind(&self, recursive: bool, violations: &mut Violations) -> Option<MountSource> {
        let place = self.place.key("source");
        let source = self.mount.source.as_deref().unwrap_or_default();
        if source.is_empty() {
            violations.add(place, "is missing or empty; a bind mount needs one");
            return None;
        }
        Some(MountSource::Bind {
            path: host_path(source, self.facts.bundle, place, violations),
            recursive,
            idmap: self.idmap(violations),
        })
    }

    /// The mount's own id mappings; empty when it has none.
    fn mappings(&self) -> (&[spec::IdMapping<'_>], &[spec::IdMapping<'_>]) {
        (
            self.mount.uid_mappings.as_deref().unwrap_or_default(),
            self.mount.gid_mappings.as_deref().unwrap_or_default(),
        )
    }

    fn idmap(&self, violations: &mut Violations) -> Option<IdmapPlan> {
        let (uids, gids) = self.mappings();
        if self.options.idmap.is_none() && uids.is_empty() && gids.is_empty() {
            return None;
        }
        if uids.is_empty() != gids.is_empty() {
            violations.add(
                self.place,
                "needs both uidMappings and gidMappings, or neither",
            );
        }
        if uids.is_empty() && gids.is_empty() && !self.facts.namespaces.has(USER) {
            violations.add(
                self.place,
                "idmap needs uidMappings and gidMappings here, or a namespace of type user in \
                 linux.namespaces",
            );
        }
        Some(IdmapPlan {
            recursive: self.options.idmap.unwrap_or(false),
            uid_mappings: idmap::mappings(uids, self.place.key("uidMappings"), violations),
            gid_mappings: idmap::mappings(gids, self.place.key("gidMappings"), violations),
        })
    }

    fn filesystem(&self, violations: &mut Violations) -> Option<MountSource> {
        let place = self.place.key("type");
        match self.kind() {
            "" | "none" => {
                violations.add(
                    place,
                    "is missing; only bind mounts (options bind, rbind) have none",
                );
                return None;
            }
            "bind" => {
                violations.add(place, "\"bind\" needs the option bind or rbind");
                return None;
            }
            _ => {}
        }
        self.check_owners(violations);
        let fsconfig: u64 = SUPERBLOCK_WORDS.iter().map(|(flag, _)| flag).sum();
        if self.options.superblock & !fsconfig != 0 {
            return Some(self.classic(0, violations));
        }
        let (kind, subtype) = match self.kind().split_once('.') {
            Some((kind, subtype)) => (kind, Some(subtype)),
            None => (self.kind(), None),
        };
        Some(MountSource::Filesystem {
            kind: c_string(kind, place, violations),
            device: self.device(violations),
            options: self.parameters(subtype, violations),
        })
    }

    fn device(&self, violations: &mut Violations) -> Option<CString> {
        let source = self
            .mount
            .source
            .as_deref()
            .filter(|source| !source.is_empty())?;
        Some(c_string(source, self.place.key("source"), violations))
    }

    /// Everything for fsconfig(2), in order.
    fn parameters(
        &self,
        subtype: Option<&str>,
        violations: &mut Violations,
    ) -> Vec<(CString, Option<CString>)> {
        let mut parameters = Vec::with_capacity(self.options.data.len() + 2);
        if let Some(subtype) = subtype {
            let subtype = c_string(subtype, self.place.key("type"), violations);
            parameters.push((c"subtype".to_owned(), Some(subtype)));
        }
        for (flag, name) in SUPERBLOCK_WORDS {
            if self.options.superblock & flag != 0 {
                parameters.push((name.to_owned(), None));
            }
        }
        // A filesystem on a device that can't be written must not try to.
        let on_device = self
            .mount
            .source
            .as_deref()
            .is_some_and(|path| path.starts_with('/'));
        if on_device && self.options.attributes.set & RDONLY != 0 {
            parameters.push((c"ro".to_owned(), None));
        }
        let place = self.place.key("options");
        for &(index, words) in &self.options.data {
            for word in split_at_commas(words) {
                parameters.push(parameter(word, place.index(index), violations));
            }
        }
        if let Some(label) = self.label() {
            let linux = Place::ROOT.key("linux");
            let label = c_string(label, linux.key("mountLabel"), violations);
            parameters.push((c"context".to_owned(), Some(label)));
        }
        parameters
    }

    /// `linux.mountLabel`, for the filesystems that take one.
    fn label(&self) -> Option<&str> {
        let label = self
            .facts
            .linux
            .mount_label
            .as_deref()
            .filter(|label| !label.is_empty())?;
        (!["proc", "sysfs", "mqueue"].contains(&self.kind())).then_some(label)
    }

    fn classic(&self, flags: u64, violations: &mut Violations) -> MountSource {
        let mut data = String::new();
        let words = self.options.data.iter().map(|&(_, word)| word);
        for word in words {
            if !data.is_empty() {
                data.push(',');
            }
            data.push_str(word);
        }
        if let Some(label) = self.label() {
            let separator = if data.is_empty() { "" } else { "," };
            data.push_str(&format!("{separator}context=\"{label}\""));
        }
        let attributes = mount_options::classic_flags(self.options.attributes);
        MountSource::Classic {
            kind: c_string(self.kind(), self.place.key("type"), violations),
            device: self.device(violations).unwrap_or_default(),
            flags: flags | attributes | self.options.superblock,
            data: c_string(&data, self.place.key("options"), violations),
        }
    }

    /// The kernel refuses owners that the user namespace does not map, with a bare EINVAL.
    fn check_owners(&self, violations: &mut Violations) {
        let place = self.place.key("options");
        for &(index, word) in &self.options.data {
            let (key, id, mapped) = match word.split_once('=') {
                Some(("uid", id)) => ("uid", id, id.parse().map(|id| self.facts.ids.has_user(id))),
                Some(("gid", id)) => ("gid", id, id.parse().map(|id| self.facts.ids.has_group(id))),
                _ => continue,
            };
            let list = if key == "uid" {
                "uidMappings"
            } else {
                "gidMappings"
            };
            match mapped {
                Ok(true) => {}
                Ok(false) => violations.add(
                    place.index(index),
                    format!("{key} {id} is not mapped in linux.{list}"),
                ),
                Err(_) => violations.add(place.index(index), format!("{} is no id", quoted(id))),
            }
        }
    }

    fn mount_plan(
        &self,
        source: MountSource,
        target: &str,
        violations: &mut Violations,
    ) -> MountPlan {
        let bind = matches!(source, MountSource::Bind { .. });
        let kernel_tree = self.is_new_filesystem() && ["proc", "sysfs"].contains(&self.kind());
        let (attributes, recursive) = self.attributes(&source);
        let mut propagation = self.options.propagation.clone();
        if let MountSource::Bind { idmap, .. } = &source
            && let Some(first) = self.facts.first_propagation(idmap.is_some())
            && propagation.first() != Some(&first)
        {
            propagation.insert(0, first);
        }
        MountPlan {
            target: c_string(target, self.place.key("destination"), violations),
            refuse_links: kernel_tree || target == "/proc",
            inside_proc: target.starts_with("/proc/"),
            source_is_procfs: bind && target == "/proc",
            attributes,
            recursive,
            propagation,
            copy_up: self.options.copy_up,
            source,
        }
    }

    fn attributes(&self, source: &MountSource) -> (Attributes, Attributes) {
        let nothing = Attributes::default();
        match source {
            MountSource::Classic { .. } => (nothing, self.options.recursive),
            MountSource::Filesystem { .. } => (self.options.new_filesystem_attributes(), nothing),
            _ => (self.options.attributes, self.options.recursive),
        }
    }

    /// Devices go into `/dev`, and other mounts into a tmpfs, after it is mounted: where it is
    /// to be read-only, that comes last.
    fn make_read_only_later(&self, target: &str, plan: &mut MountPlan) -> Option<MountPlan> {
        let filled_later = target == "/dev" || self.kind() == "tmpfs";
        let mountable = matches!(plan.source, MountSource::Filesystem { .. });
        if !filled_later || !mountable || plan.attributes.set & RDONLY == 0 {
            return None;
        }
        plan.attributes.set &= !RDONLY;
        Some(read_only(plan.target.clone()))
    }
}

/// The mount that is at a path becomes read-only.
pub(super) fn read_only(target: CString) -> MountPlan {
    MountPlan {
        source: MountSource::Existing,
        target,
        refuse_links: false,
        inside_proc: false,
        source_is_procfs: false,
        attributes: Attributes {
            set: RDONLY,
            clear: 0,
        },
        recursive: Attributes::default(),
        propagation: Vec::new(),
        copy_up: false,
    }
}

/// What a misspelt option word was likely meant to be.
fn meant(word: &str) -> String {
    match super::text::nearest(word, mount_options::mount_option_names()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    }
}

/// mount(2) splits its data at commas, so one word may hold several options.
fn split_at_commas(words: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    words
        .split(move |letter| {
            let splits = letter == ',' && !quoted && !escaped;
            quoted ^= letter == '"';
            escaped = letter == '\\' && !escaped;
            splits
        })
        .filter(|word| !word.is_empty())
}

fn parameter(
    word: &str,
    place: Place<'_>,
    violations: &mut Violations,
) -> (CString, Option<CString>) {
    let Some((key, value)) = word.split_once('=') else {
        return (c_string(word, place, violations), None);
    };
    if key.is_empty() {
        violations.add(place, format!("{} has no name", quoted(word)));
    }
    let bare = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    (
        c_string(key, place, violations),
        Some(c_string(bare.unwrap_or(value), place, violations)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_split_as_mount_2_splits_it() {
        let split = |words| split_at_commas(words).collect::<Vec<_>>();
        assert_eq!(split("size=1m,mode=755"), ["size=1m", "mode=755"]);
        assert_eq!(
            split("context=\"a:b:c1,c2\",uid=0"),
            ["context=\"a:b:c1,c2\"", "uid=0"]
        );
        assert_eq!(split("lowerdir=/a\\,b,,"), ["lowerdir=/a\\,b"]);
    }
}

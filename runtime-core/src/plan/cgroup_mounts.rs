//! A mount of type `cgroup`: the container's view of the cgroup filesystem, never the host's.

use std::ffi::{CStr, CString};

use runtime_init::Attributes;

use super::cgroup::CgroupPath;
use super::mount_options::RDONLY;
use super::mounts::{Entry, Mounts, read_only};
use super::namespaces::CGROUP;
use super::text::{c_string, quoted};
use super::{Content, ContentAct, MountPlan, MountSource, Origin};
use crate::host::{CgroupLayout, CgroupMount};
use crate::violation::Violations;

/// Where the runtime makes the tmpfs of a v1 view; its mount points are root's.
const TMPFS_MODE: (&CStr, &CStr) = (c"mode", c"755");

/// Resolves one mount of type `cgroup`.
pub(super) fn plan(
    entry: &Entry<'_>,
    target: &str,
    origin: Origin,
    mounts: &mut Mounts,
    violations: &mut Violations,
) {
    refuse_data(entry, violations);
    let view = View {
        entry,
        target,
        origin,
    };
    match &entry.facts.host.cgroups {
        CgroupLayout::None => {
            violations.add(
                entry.place.key("type"),
                "this host has no cgroup filesystem mounted",
            );
        }
        CgroupLayout::V2(hierarchy) => {
            let source = view.unified(hierarchy, violations);
            let mut plan = view.mount(source, "", violations);
            plan.propagation.extend(&entry.options.propagation);
            mounts.contents.push(view.content(plan));
        }
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => {
            view.v1(hierarchies, unified.as_ref(), mounts, violations);
        }
    }
}

fn refuse_data(entry: &Entry<'_>, violations: &mut Violations) {
    let place = entry.place.key("options");
    for &(index, word) in &entry.options.data {
        if violations.is_full() {
            return;
        }
        violations.add(
            place.index(index),
            format!(
                "a mount of type cgroup takes no options of its own: {}",
                quoted(word)
            ),
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

struct View<'a> {
    entry: &'a Entry<'a>,
    target: &'a str,
    origin: Origin,
}

impl View<'_> {
    /// A tmpfs with a directory for each hierarchy, and links for controllers that share one.
    fn v1(
        &self,
        hierarchies: &[CgroupMount],
        unified: Option<&CgroupMount>,
        mounts: &mut Mounts,
        violations: &mut Violations,
    ) {
        let mut top = self.mount(tmpfs(), "", violations);
        top.attributes.set &= !RDONLY;
        top.propagation.extend(&self.entry.options.propagation);
        mounts.contents.push(self.content(top));
        for hierarchy in hierarchies {
            let name = base_name(&hierarchy.mount_point);
            let source = self.hierarchy(hierarchy, violations);
            let plan = self.mount(source, name, violations);
            mounts.contents.push(self.content(plan));
            self.links(hierarchy, name, mounts, violations);
        }
        if let Some(hierarchy) = unified {
            let source = self.unified(hierarchy, violations);
            let plan = self.mount(source, base_name(&hierarchy.mount_point), violations);
            mounts.contents.push(self.content(plan));
        }
        if self.entry.options.new_filesystem_attributes().set & RDONLY != 0 {
            let target = self.path("", violations);
            mounts.contents.push(self.content(read_only(target)));
        }
    }

    fn links(
        &self,
        hierarchy: &CgroupMount,
        name: &str,
        mounts: &mut Mounts,
        violations: &mut Violations,
    ) {
        for controller in &hierarchy.controllers {
            if controller == name || controller.starts_with("name=") {
                continue;
            }
            let link = ContentAct::Symlink {
                text: c_string(name, self.entry.place, violations),
                path: self.path(controller, violations),
                replace: false,
            };
            mounts.contents.push(Content {
                act: link,
                origin: self.origin,
            });
        }
    }

    fn has_namespace(&self) -> bool {
        self.entry.facts.namespaces.has(CGROUP)
    }

    fn unified(&self, hierarchy: &CgroupMount, violations: &mut Violations) -> MountSource {
        if !self.has_namespace() {
            return self.own_directory(hierarchy, Version::Two, violations);
        }
        MountSource::Filesystem {
            kind: c"cgroup2".to_owned(),
            device: Some(c"cgroup".to_owned()),
            options: Vec::new(),
        }
    }

    fn hierarchy(&self, hierarchy: &CgroupMount, violations: &mut Violations) -> MountSource {
        if !self.has_namespace() {
            return self.own_directory(hierarchy, Version::One, violations);
        }
        let option = |controller: &String| match controller.split_once('=') {
            Some((key, value)) => (
                c_string(key, self.entry.place, violations),
                Some(c_string(value, self.entry.place, violations)),
            ),
            None => (c_string(controller, self.entry.place, violations), None),
        };
        MountSource::Filesystem {
            kind: c"cgroup".to_owned(),
            device: Some(c"cgroup".to_owned()),
            options: hierarchy.controllers.iter().map(option).collect(),
        }
    }

    /// Without a cgroup namespace the filesystem would show all of the host's cgroups: bind
    /// the container's own directory instead.
    fn own_directory(
        &self,
        hierarchy: &CgroupMount,
        version: Version,
        violations: &mut Violations,
    ) -> MountSource {
        let facts = &self.entry.facts;
        let mut path = hierarchy.mount_point.clone();
        let mut descend = |name: &str| {
            path.push('/');
            path.push_str(name);
        };
        // An unprivileged runtime has no cgroup but the one it is in.
        if facts.host.shares_its_cgroup() {
            own_names(hierarchy, 0).for_each(descend);
        } else {
            if matches!(facts.cgroup.path, CgroupPath::BelowOwn(_)) {
                // A cgroup2 directory with processes has no children with controllers.
                let above = usize::from(version == Version::Two);
                own_names(hierarchy, above).for_each(&mut descend);
            }
            facts.cgroup.path.components().for_each(descend);
        }
        MountSource::Bind {
            path: c_string(&path, self.entry.place, violations),
            recursive: false,
            idmap: None,
        }
    }

    fn mount(&self, source: MountSource, below: &str, violations: &mut Violations) -> MountPlan {
        let options = self.entry.options;
        let mut propagation = Vec::new();
        let (attributes, recursive) = match source {
            MountSource::Bind { .. } => {
                propagation.extend(self.entry.facts.first_propagation(false));
                let mut attributes = options.attributes;
                if self.entry.facts.host.shares_its_cgroup() {
                    // It is the runtime's own cgroup, and may be the user's to change
                    // (CVE-2023-25809).
                    attributes.set |= RDONLY;
                    attributes.clear &= !RDONLY;
                }
                (attributes, options.recursive)
            }
            _ => (options.new_filesystem_attributes(), Attributes::default()),
        };
        MountPlan {
            target: self.path(below, violations),
            attributes,
            recursive,
            source,
            refuse_links: false,
            inside_proc: false,
            source_is_procfs: false,
            propagation,
            copy_up: false,
        }
    }

    fn path(&self, below: &str, violations: &mut Violations) -> CString {
        let place = self.entry.place.key("destination");
        match below {
            "" => c_string(self.target, place, violations),
            below => c_string(&format!("{}/{below}", self.target), place, violations),
        }
    }

    fn content(&self, plan: MountPlan) -> Content {
        Content {
            act: ContentAct::Mount(plan),
            origin: self.origin,
        }
    }
}

/// The names of the runtime's own cgroup but for the last so many; none if it lies outside of
/// what this mount shows.
fn own_names(hierarchy: &CgroupMount, above: usize) -> impl Iterator<Item = &str> {
    let names = || {
        hierarchy
            .own_path
            .split('/')
            .filter(|name| !name.is_empty())
    };
    let outside = names().any(|name| name == "..");
    let kept = if outside {
        0
    } else {
        names().count().saturating_sub(above)
    };
    names().take(kept)
}

fn tmpfs() -> MountSource {
    let (mode, value) = TMPFS_MODE;
    MountSource::Filesystem {
        kind: c"tmpfs".to_owned(),
        device: Some(c"tmpfs".to_owned()),
        options: vec![(mode.to_owned(), Some(value.to_owned()))],
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

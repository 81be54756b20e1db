//! Making the container's directories.

use nix::errno::Errno;

use super::directory::Directory;
use super::error::{CgroupError, Hint};
use super::systemd::StartedUnit;
use super::{Cgroup, Member, Version};
use crate::host::{CgroupLayout, CgroupMount};
use crate::plan::CgroupPlan;
use crate::plan::cgroup::CgroupPath;

/// Controllers that every container gets in cgroup v2 if they are there, so that its use of
/// them is counted; further ones only when a limit needs them.
const COUNTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How often the walk starts again when another process removes a parent under it.
const ATTEMPTS: u32 = 3;

impl Cgroup {
    /// Makes the container's directory in every hierarchy, and parents that are missing.
    ///
    /// In cgroup v2 the parents pass on the controllers that the container needs; in v1's
    /// cpuset hierarchy new directories have their parent's CPUs and memory nodes. A directory
    /// that exists and is empty is used as it is. Until [`keep`](Cgroup::keep), dropping the
    /// value removes exactly the directories that were made.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotEmpty`], [`CgroupError::Frozen`] and [`CgroupError::Threaded`] for an
    /// existing directory that can't be a container's. [`CgroupError::is_no_permission`] tells
    /// whether the runtime may make no cgroup here. Nothing is left behind.
    pub fn create(layout: &CgroupLayout, plan: &CgroupPlan) -> Result<Self, CgroupError> {
        Self::create_with(layout, plan, None)
    }

    /// The same in the cgroup of a unit that systemd has started: its directories are there,
    /// with the process that holds the place, and in cgroup v1 the hierarchies that systemd
    /// leaves alone get theirs.
    ///
    /// Until [`keep`](Cgroup::keep), dropping the value stops the unit.
    pub(crate) fn create_in_unit(
        layout: &CgroupLayout,
        plan: &CgroupPlan,
        unit: StartedUnit,
    ) -> Result<Self, CgroupError> {
        Self::create_with(layout, plan, Some(unit))
    }

    fn create_with(
        layout: &CgroupLayout,
        plan: &CgroupPlan,
        unit: Option<StartedUnit>,
    ) -> Result<Self, CgroupError> {
        if plan.path.components().next().is_none() {
            return Err(CgroupError::NoPath);
        }
        let (hierarchies, unified) = match layout {
            CgroupLayout::None => (&[][..], None),
            CgroupLayout::V2(mount) => (&[][..], Some(mount)),
            CgroupLayout::V1 {
                hierarchies,
                unified,
            } => (hierarchies.as_slice(), unified.as_ref()),
        };
        let mut cgroup = Self::empty();
        cgroup.undo = true;
        cgroup.unit = unit;
        for mount in hierarchies {
            cgroup.make_member(&Hierarchy::new(mount, Version::V1, layout), plan)?;
        }
        if let Some(mount) = unified {
            cgroup.make_member(&Hierarchy::new(mount, Version::V2, layout), plan)?;
        }
        cgroup.open_task_files()?;
        cgroup.refuse_taken(&plan.path)?;
        cgroup.is_ours = true;
        Ok(cgroup)
    }

    fn make_member(
        &mut self,
        hierarchy: &Hierarchy<'_>,
        plan: &CgroupPlan,
    ) -> Result<(), CgroupError> {
        let mut attempt = 1;
        let member = loop {
            match self.walk_to_member(hierarchy, plan) {
                Err(error)
                    if attempt < ATTEMPTS
                        && matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) =>
                {
                    attempt += 1;
                }
                other => break other?,
            }
        };
        self.members.push(member);
        Ok(())
    }

    /// From the hierarchy's root down to the container's directory, making what is missing.
    fn walk_to_member(
        &mut self,
        hierarchy: &Hierarchy<'_>,
        plan: &CgroupPlan,
    ) -> Result<Member, CgroupError> {
        let wanted = hierarchy.wanted_controllers(plan);
        let mut parent = hierarchy.start(&plan.path, &wanted)?;
        let mut components = plan.path.components().peekable();
        while let Some(name) = components.next() {
            wanted.enable_in(&parent)?;
            let made = parent.make(name)?;
            let last = components.peek().is_none();
            if made && !last {
                self.made_parents
                    .push((parent.try_clone()?, name.to_owned()));
            }
            let directory = match parent.child(name) {
                Ok(directory) => directory,
                Err(error) if made && last => {
                    // Nobody else remembers it yet.
                    let removed = parent.unlink(name);
                    return Err(removed.err().map_or(error, |source| CgroupError::Call {
                        call: "rmdir",
                        path: parent.path().join(name),
                        source,
                    }));
                }
                Err(error) => return Err(error),
            };
            if last {
                let member = Member {
                    version: hierarchy.version,
                    controllers: hierarchy.mount.controllers.clone(),
                    parent,
                    name: name.to_owned(),
                    directory,
                    made,
                };
                return hierarchy.inherit_cpuset_of(member, plan);
            }
            if hierarchy.is_cpuset() {
                inherit_cpuset(&parent, &directory, made, [true, true])?;
            }
            parent = directory;
        }
        Err(CgroupError::NoPath)
    }

    /// Refuses directories that a container can't have for itself.
    /// Refuses directories that others made, if there are processes in them or below.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotEmpty`].
    pub(crate) fn refuse_processes(&self) -> Result<(), CgroupError> {
        for member in self.members.iter().filter(|member| !member.made) {
            let mut found = super::processes::below(&member.directory);
            if let Some(resident) = self.unit.as_ref().and_then(StartedUnit::pid) {
                found.remove(&resident);
            }
            let processes = found.len();
            if processes != 0 {
                return Err(CgroupError::NotEmpty {
                    path: member.directory.path().to_owned(),
                    processes,
                });
            }
        }
        Ok(())
    }

    fn refuse_taken(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        self.refuse_processes()?;
        // A new directory right below the root can't be either: the root is never frozen.
        let nested = path.components().nth(1).is_some() || matches!(path, CgroupPath::BelowOwn(_));
        if !nested && self.members.iter().all(|member| member.made) {
            return Ok(());
        }
        if self.is_frozen()? {
            let frozen = self.freezer().or_else(|| self.unified());
            let path = frozen.map(|member| member.directory.path().to_owned());
            return Err(CgroupError::Frozen {
                path: path.unwrap_or_default(),
            });
        }
        self.refuse_threaded()
    }

    fn refuse_threaded(&self) -> Result<(), CgroupError> {
        let Some(member) = self.unified() else {
            return Ok(());
        };
        let kind = member.directory.read("cgroup.type")?;
        match kind.trim_end() {
            "domain" | "domain threaded" => Ok(()),
            kind => Err(CgroupError::Threaded {
                path: member.directory.path().to_owned(),
                kind: kind.to_owned(),
            }),
        }
    }
}

/// A hierarchy in which a directory is to be made.
struct Hierarchy<'a> {
    mount: &'a CgroupMount,
    version: Version,
    layout: &'a CgroupLayout,
}

impl<'a> Hierarchy<'a> {
    fn new(mount: &'a CgroupMount, version: Version, layout: &'a CgroupLayout) -> Self {
        Self {
            mount,
            version,
            layout,
        }
    }

    fn is_cpuset(&self) -> bool {
        self.version == Version::V1 && self.mount.controllers.iter().any(|c| c == "cpuset")
    }

    /// The directory that the plan's path starts at.
    fn start(&self, path: &CgroupPath, wanted: &Wanted) -> Result<Directory, CgroupError> {
        let root = Directory::open(self.mount.mount_point.as_ref())?;
        if matches!(path, CgroupPath::BelowMount(_)) {
            return Ok(root);
        }
        let own: Vec<&str> = self
            .mount
            .own_path
            .split('/')
            .filter(|c| !c.is_empty())
            .collect();
        // A cgroup2 directory with processes (such as this one) can't have children with
        // controllers, so the container's is a sibling.
        let kept = match self.version {
            Version::V1 => own.len(),
            Version::V2 => own.len().saturating_sub(1),
        };
        let mut directory = root.try_clone()?;
        for name in &own[..kept] {
            // The mount may show a part of the hierarchy only (inside of a container without
            // a cgroup namespace); then what it shows is the runtime's own.
            if *name == ".." {
                return Ok(root);
            }
            wanted.enable_in(&directory)?;
            directory = match directory.child(name) {
                Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(root),
                other => other?,
            };
        }
        Ok(directory)
    }

    /// The controllers that parents have to pass on.
    fn wanted_controllers(&self, plan: &CgroupPlan) -> Wanted {
        if self.version == Version::V1 {
            return Wanted::default();
        }
        let has = |name: &&str| self.mount.controllers.iter().any(|c| c == name);
        let counted = match self.layout {
            CgroupLayout::V2(_) => &COUNTED[..],
            // The others are v1 controllers.
            CgroupLayout::V1 { .. } | CgroupLayout::None => &[],
        };
        let needed = plan.resources.controllers();
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let counted = counted
            .iter()
            .copied()
            .filter(|name| !needed.contains(name));
        Wanted {
            counted: owned(counted.filter(has).collect()),
            needed: owned(needed.iter().copied().filter(has).collect()),
        }
    }

    /// Gives the container's own directory its parent's CPUs and nodes, but for what the plan
    /// sets anyway.
    fn inherit_cpuset_of(&self, member: Member, plan: &CgroupPlan) -> Result<Member, CgroupError> {
        if self.is_cpuset() {
            let cpu = &plan.resources.cpu;
            let missing = [cpu.cpus.is_none(), cpu.mems.is_none()];
            let done = inherit_cpuset(&member.parent, &member.directory, member.made, missing);
            if let Err(error) = done {
                if member.made {
                    remove_quietly(&member.parent, &member.name);
                }
                return Err(error);
            }
        }
        Ok(member)
    }
}

/// The undo of a step whose own error is the one to report.
fn remove_quietly(parent: &Directory, name: &str) {
    if parent.unlink(name).is_err() {
        // The error that led here says which directory it is about.
    }
}

/// Copies `cpuset.cpus` and `cpuset.mems`, as `which` says, from the parent into a directory
/// that has none; without them no process can enter it.
fn inherit_cpuset(
    parent: &Directory,
    directory: &Directory,
    made: bool,
    which: [bool; 2],
) -> Result<(), CgroupError> {
    for (file, wanted) in ["cpuset.cpus", "cpuset.mems"].into_iter().zip(which) {
        if wanted && (made || directory.read(file)?.trim().is_empty()) {
            let inherited = parent.read(file)?;
            let inherited = inherited.trim_end();
            if !inherited.is_empty() {
                directory.write(file, inherited)?;
            }
        }
    }
    Ok(())
}

/// Controllers that the parents of a cgroup2 directory pass on.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Good to have.
    counted: Vec<String>,
    /// A limit needs them.
    needed: Vec<String>,
}

impl Wanted {
    /// Those that limits need.
    pub(super) fn needed(needed: Vec<String>) -> Self {
        Self {
            counted: Vec::new(),
            needed,
        }
    }

    /// Lets the directory's children have the controllers.
    ///
    /// It is read first: a write that changes something stops every fork of the host for a
    /// moment, and nearly always nothing has to change.
    pub(super) fn enable_in(&self, directory: &Directory) -> Result<(), CgroupError> {
        const FILE: &str = "cgroup.subtree_control";
        if self.counted.is_empty() && self.needed.is_empty() {
            return Ok(());
        }
        let enabled = directory.read(FILE)?;
        let missing = |name: &&String| !enabled.split_whitespace().any(|e| e == *name);
        let all = self.needed.iter().chain(&self.counted).filter(missing);
        let all: Vec<String> = all.map(|name| format!("+{name}")).collect();
        if !all.is_empty() && has_own_processes(directory) {
            return match self.needed.iter().find(missing) {
                Some(name) => Err(not_enabled(directory, name, Errno::EBUSY)),
                None => Ok(()),
            };
        }
        if all.is_empty() || directory.try_write(FILE, &all.join(" ")).is_ok() {
            return Ok(());
        }
        // One that can't be enabled stops all of them, so one after the other.
        for name in self.needed.iter().filter(missing) {
            directory
                .try_write(FILE, &format!("+{name}"))
                .map_err(|source| not_enabled(directory, name, source))?;
        }
        for name in self.counted.iter().filter(missing) {
            if directory.try_write(FILE, &format!("+{name}")).is_err() {
                // Not counted, then.
            }
        }
        Ok(())
    }
}

/// Whether processes are in the directory itself, which is not the hierarchy's root.
///
/// The kernel then refuses memory and io, but would enable cpu, cpuset and pids all the same and
/// make the directory the root of a threaded subtree, whose children can't be a container's
/// (cgroups(7), "Thread mode").
fn has_own_processes(directory: &Directory) -> bool {
    directory.has("cgroup.type")
        && directory
            .try_read("cgroup.procs")
            .is_ok_and(|processes| !processes.trim().is_empty())
}

/// The error for a controller that a directory does not pass on.
pub(super) fn not_enabled(directory: &Directory, controller: &str, source: Errno) -> CgroupError {
    let hint = match source {
        Errno::EBUSY => {
            Hint::cause("this cgroup has processes of its own; move them into a child of it")
        }
        Errno::ENOENT => Hint::cause("its own parent does not pass it on"),
        Errno::EOPNOTSUPP => Hint::cause("this cgroup is in a threaded subtree"),
        Errno::EACCES | Errno::EPERM => Hint::cause("it is not delegated to this user"),
        _ => Hint::None,
    };
    CgroupError::ControllerNotEnabled {
        controller: controller.to_owned(),
        path: directory.path().join("cgroup.subtree_control"),
        hint,
        source,
    }
}

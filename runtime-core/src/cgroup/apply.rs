//! Writing the limits.

use std::borrow::Cow;

use super::error::CgroupError;
use super::journal::Journal;
use super::limits::Writer;
use super::{Cgroup, Version, v1, v2};
use crate::host::CgroupLayout;
use crate::plan::CgroupPlan;
use crate::plan::cgroup::{Cpu, Resources, Setting};

/// A value for a file of the container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// Whether a kernel without the file does what the value says anyway.
    pub(super) optional: bool,
}

impl Entry {
    pub(super) fn new(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            file: file.into(),
            value: value.to_string(),
            optional: false,
        }
    }

    pub(super) fn optional(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            optional: true,
            ..Self::new(file, value)
        }
    }
}

impl Cgroup {
    /// Sets all limits of the plan and the device rules; what the plan leaves out stays.
    ///
    /// Before the first process enters: a v1 cpuset without CPUs takes none.
    ///
    /// # Errors
    ///
    /// The first limit that could not be set; those before it are.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        self.apply_resources(&plan.resources)?;
        match &plan.devices {
            Some(rules) => self.apply_devices(rules),
            None => Ok(()),
        }
    }

    /// Sets limits and leaves device rules alone.
    ///
    /// # Errors
    ///
    /// The first limit that could not be set; those before it are.
    pub fn apply_resources(&self, resources: &Resources) -> Result<(), CgroupError> {
        self.set(resources, &mut Journal::none())
    }

    /// Changes the limits of a running container: all of them, or none. Device rules and what
    /// `resources` leaves out stay; nothing is frozen.
    ///
    /// What a limit depends on and is not given (the quota of a period, the memory of a sum with
    /// swap) is read from the kernel: it holds, whoever has set it.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Update`]: the first limit that could not be set. Those before it are put
    /// back, and the error lists those where that failed.
    pub fn update_resources(
        &self,
        layout: &CgroupLayout,
        resources: &Resources,
    ) -> Result<(), CgroupError> {
        self.update_resources_and(layout, resources, |_| Ok(()))
    }

    /// The same with something more at the end, whose failure puts the limits back, too.
    pub(crate) fn update_resources_and(
        &self,
        layout: &CgroupLayout,
        resources: &Resources,
        finish: impl FnOnce(&Self) -> Result<(), CgroupError>,
    ) -> Result<(), CgroupError> {
        let mut journal = Journal::new();
        self.pass_on(layout, resources)
            .and_then(|()| self.set(resources, &mut journal))
            .and_then(|()| finish(self))
            .map_err(|cause| CgroupError::Update {
                cause: Box::new(cause),
                nothing_changed: journal.is_empty(),
                not_put_back: journal.undo(),
            })
    }

    pub(super) fn set<'a>(
        &'a self,
        resources: &Resources,
        journal: &mut Journal<'a>,
    ) -> Result<(), CgroupError> {
        for controller in resources.controllers() {
            let member = self.of_needed_controller(controller)?;
            let mut writer = Writer::new(member, controller, journal);
            match controller {
                "memory" => writer.memory(&resources.memory)?,
                "cpu" => writer.cpu(&resources.cpu)?,
                "io" => writer.block_io(&resources.block_io)?,
                _ => {}
            }
            writer.write_all(&plain_entries(controller, member.version, resources))?;
        }
        self.set_unified(&resources.unified, journal)
    }

    fn set_unified<'a>(
        &'a self,
        settings: &[Setting],
        journal: &mut Journal<'a>,
    ) -> Result<(), CgroupError> {
        for setting in settings {
            let controller = setting.controller();
            let member = self
                .unified()
                .ok_or_else(|| CgroupError::ControllerMissing {
                    controller: controller.to_owned(),
                })?;
            let mut writer = Writer::new(member, controller, journal);
            // Files with a line for each device take one line in a write.
            let mut lines = setting.value.lines().peekable();
            let empty = lines.peek().is_none().then_some("");
            for line in lines.chain(empty) {
                writer.write(&Entry::new(setting.file.clone(), line))?;
            }
        }
        Ok(())
    }
}

/// The entries of controllers where nothing depends on an order or on what is there.
fn plain_entries(controller: &str, version: Version, resources: &Resources) -> Vec<Entry> {
    let legacy = version == Version::V1;
    match controller {
        "cpuset" => {
            let Cpu { cpus, mems, .. } = &resources.cpu;
            let cpus = cpus.iter().map(|cpus| Entry::new("cpuset.cpus", cpus));
            let mems = mems.iter().map(|mems| Entry::new("cpuset.mems", mems));
            cpus.chain(mems).collect()
        }
        "pids" => {
            let limit = resources.pids_limit.iter();
            limit.map(|limit| Entry::new("pids.max", limit)).collect()
        }
        "hugetlb" if legacy => v1::hugepages(&resources.hugepages),
        "hugetlb" => v2::hugepages(&resources.hugepages),
        "net_cls" | "net_prio" => v1::network(controller, &resources.network),
        "rdma" => v2::rdma(&resources.rdma),
        _ => Vec::new(),
    }
}

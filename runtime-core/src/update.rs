//! Update: other limits for a container that exists.

use crate::container::Container;
use crate::error::Error;
use crate::host::Host;
use crate::plan::cgroup::plan_update;
use crate::runtime::procfs;
use crate::spec;
use crate::state::Operation;
use crate::unit;

impl Container {
    /// Changes limits of a created, running or paused container: all that `resources` says, or
    /// nothing of it. What it leaves out stays as it is; 0 and an empty text are "left out" where
    /// config.json has them so (memory, CPU time, shares, CPU lists, block I/O weights).
    ///
    /// `resources` is config.json's `linux.resources` (config-linux.md#control-groups), parsed by
    /// [`bundle::parse`](crate::bundle::parse) say. Its `devices` are never looked at: the
    /// container has its device rules from create, and nothing else may widen them. Nothing is
    /// frozen meanwhile, and processes don't notice but for what the limits do.
    ///
    /// A container whose cgroup is a unit of systemd has its unit changed as well.
    ///
    /// A program that is killed in the midst leaves the limits that it has set by then, and no lock.
    ///
    /// Nothing is remembered: a limit holds in the kernel, where others (a resource manager) may
    /// set it as well. So what a new limit depends on is asked there: a period keeps the quota
    /// that is set now, not the one of config.json.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRunning`](crate::ErrorKind::NotRunning) for a stopped container;
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) with all rules that
    /// `resources` breaks; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a
    /// container without a cgroup of its own; [`ErrorKind::Cgroup`](crate::ErrorKind::Cgroup) when
    /// the kernel refuses a limit: what was set before it is put back then, and what could not be
    /// is listed with what holds now.
    pub fn update(&mut self, resources: &spec::Resources<'_>) -> Result<(), Error> {
        let directory = self.lock()?;
        self.require(&directory, Operation::Update)?;
        self.require_cgroup("update")?;
        let host = Host::probe(&procfs()?)?;
        let resources = plan_update(resources, &host).map_err(Error::resources)?;
        unit::update(self, &host, &resources)
    }
}

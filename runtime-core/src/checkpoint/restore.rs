//! Restore: images become a container again, under the config.json of a bundle.

use std::time::Instant;

use super::RestoreOptions;
use super::criu::DEADLINE;
use super::dump::{JoinedKind, refuse_rootless};
use super::external;
use super::materials::Images;
use super::restoration::Restoration;
use crate::bundle::Bundle;
use crate::container::Container;
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::id::ContainerId;
use crate::plan::{Plan, RootEntry};
use crate::procfs::Procfs;
use crate::runtime::{Runtime, intent, procfs};
use crate::unit;

/// How often a restore is tried whose criu loses a race: see `is_race`.
const ATTEMPTS: u32 = 5;

const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

impl Runtime {
    /// Makes a container again from the images of [`Container::checkpoint`], under the
    /// config.json of `bundle`. It runs when this returns, its init is a child of this program,
    /// and createRuntime and poststart hooks have run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] when the images hold more than config.json gives (a
    /// capability, a namespace, a mount, …), or a link; [`ErrorKind::Unsupported`] for what criu
    /// can't do, by name; [`ErrorKind::Criu`] with the last errors of criu's log; any other kind
    /// as for [`Runtime::create`]. Nothing of the container is left then.
    pub fn restore(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &RestoreOptions<'_>,
    ) -> Result<Container, Error> {
        options.check()?;
        let procfs = procfs()?;
        let host = Host::probe(&procfs)?;
        refuse_rootless(&host, "restore")?;
        let plan_options = self.plan_options(&options.plan);
        let plan = Plan::new(&bundle.spec()?, bundle.path(), id, &host, &plan_options)?;
        refuse_unrestorable(&plan, options)?;
        let images = Images::open(&plan, options)?;
        let setting = Everything {
            runtime: self,
            procfs: &procfs,
            host: &host,
            plan: &plan,
            options,
            images: &images,
            id,
            bundle,
        };
        let mut attempt = 1;
        loop {
            match setting.restore() {
                Err(error) if attempt < ATTEMPTS && setting.is_race(&error) => attempt += 1,
                restored => return restored,
            }
        }
    }
}

/// What does not change between one attempt and the next.
struct Everything<'a> {
    runtime: &'a Runtime,
    procfs: &'a Procfs,
    host: &'a Host,
    plan: &'a Plan,
    options: &'a RestoreOptions<'a>,
    images: &'a Images,
    id: &'a ContainerId,
    bundle: &'a Bundle,
}

impl Everything<'_> {
    /// Restores once; after an error nothing is left.
    fn restore(&self) -> Result<Container, Error> {
        let systemd = unit::connect(self.runtime, self.plan)?;
        let directory = self.runtime.root().reserve(self.id)?;
        let options = self.options;
        let mut restoration = Restoration {
            runtime: self.runtime,
            procfs: self.procfs,
            host: self.host,
            plan: self.plan,
            options,
            images: self.images,
            config: self.bundle.config(),
            record: intent(self.id, self.bundle, self.plan, self.host),
            deadline: Instant::now() + options.deadline.unwrap_or(DEADLINE),
        };
        match restoration.make(&directory, systemd) {
            Ok(restored) => Ok(Container::new(
                self.runtime.clone(),
                restoration.record,
                self.bundle.config(),
                restored,
                self.plan.warnings.clone(),
            )),
            Err(error) => {
                restoration.hooks().undo();
                directory.remove()?;
                Err(error)
            }
        }
    }

    /// Whether criu has lost a race against itself: in a user namespace it opens this image
    /// before or after it has written the mappings, and only afterwards it is the user who may
    /// (`Directory::for_user_namespace`). No hook has run by then.
    fn is_race(&self, error: &Error) -> bool {
        let has_user_namespace = self.plan.namespaces.new & NEWUSER != 0;
        let said = || error.to_string();
        has_user_namespace
            && error.kind() == ErrorKind::Criu
            && said().contains("Unable to open timens-0.img: Permission denied")
    }
}

/// What criu can't give a container.
fn refuse_unrestorable(plan: &Plan, options: &RestoreOptions<'_>) -> Result<(), Error> {
    let unsupported = |text: String| {
        Err(Error::text(
            ErrorKind::Unsupported,
            format!("restore: {text}"),
        ))
    };
    if plan.rootfs.entry != RootEntry::Pivot {
        return unsupported("linux.namespaces needs one of type mount".into());
    }
    for (hooks, name) in [
        (&plan.hooks.create_container, "createContainer"),
        (&plan.hooks.start_container, "startContainer"),
    ] {
        if !hooks.is_empty() {
            return unsupported(format!(
                "hooks.{name}: there is no such moment in a restore, and leaving the hooks out could leave the container without what they do"
            ));
        }
    }
    for joined in &plan.namespaces.joined {
        if JoinedKind::of(joined.kind).is_none() {
            return unsupported(format!(
                "linux.namespaces[{}]: criu can't join a namespace of this type ({})",
                joined.index,
                joined.path.display()
            ));
        }
    }
    external::of_plan(plan)?;
    match (
        plan.process.terminal,
        options.console_socket,
        options.shell_job,
    ) {
        (Some(_), None, false) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot allocate tty if the caller will detach without setting console socket: process.terminal is true, so give one",
        )),
        (None, Some(_), _) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot use console socket if the caller will not detach or allocate tty: process.terminal is false",
        )),
        _ => Ok(()),
    }
}

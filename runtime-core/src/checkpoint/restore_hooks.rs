//! The hooks of a restore: those of the runtime's namespaces, for the others have no moment.

use super::restoration::Restoration;
use crate::container::State;
use crate::error::Error;
use crate::hooks::{self, HookKind, HookSetting};
use crate::process::Process;
use crate::state::Status;

impl Restoration<'_> {
    pub(super) fn run_hooks(&self, kind: HookKind, pid: i32, status: Status) -> Result<(), Error> {
        let list = match kind {
            HookKind::Prestart => &self.plan.hooks.prestart,
            HookKind::CreateRuntime => &self.plan.hooks.create_runtime,
            _ => &self.plan.hooks.poststart,
        };
        let state = self.state_json(pid, status);
        Ok(hooks::run_all(kind, list, &self.hook_setting(&state))?)
    }

    pub(super) fn poststart(&self, process: &Process) -> Result<(), Error> {
        if self.plan.hooks.poststart.is_empty() {
            return Ok(());
        }
        self.run_hooks(HookKind::Poststart, process.pid(), Status::Running)
    }

    /// poststop hooks of a container that failed to come back: what earlier hooks made is theirs
    /// to undo.
    pub(super) fn poststop(&self) {
        let hooks = &self.plan.hooks;
        let others = [&hooks.prestart, &hooks.create_runtime, &hooks.poststart];
        if !hooks.poststop.is_empty() && others.iter().any(|list| !list.is_empty()) {
            let state = self.state_json(0, Status::Stopped);
            // Their failures don't hide the one that is reported.
            drop(hooks::run_each(
                HookKind::Poststop,
                &hooks.poststop,
                &self.hook_setting(&state),
            ));
        }
    }

    fn hook_setting<'s>(&'s self, state: &'s [u8]) -> HookSetting<'s> {
        HookSetting {
            state,
            environment: self.runtime.environment(),
            directory: &self.plan.bundle,
        }
    }

    fn state_json(&self, pid: i32, status: Status) -> Vec<u8> {
        let state = State {
            oci_version: self.plan.oci_version.clone(),
            id: self.record.id.clone(),
            pid,
            status,
            bundle: self.record.bundle.clone(),
            rootfs: self.record.rootfs.clone(),
            created: self.record.created.clone(),
            annotations: self.plan.annotations.clone(),
            owner: self.record.owner,
        };
        state.to_hook_json()
    }
}

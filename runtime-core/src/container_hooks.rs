//! The hooks of one container, and what they are told of it: at its creation, and at a restore.

use std::ffi::CString;

use crate::container::State;
use crate::hooks::{self, HookError, HookKind, HookSetting};
use crate::launch;
use crate::plan::Plan;
use crate::state::{Record, Status};

/// A container whose hooks may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerHooks<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) record: &'a Record,
    /// Of hooks that have none of their own.
    pub(crate) environment: &'a [CString],
}

impl ContainerHooks<'_> {
    /// Runs prestart, createRuntime or poststart hooks until one fails.
    pub(crate) fn run(&self, kind: HookKind, pid: i32, status: Status) -> Result<(), HookError> {
        let hooks = &self.plan.hooks;
        let list = match kind {
            HookKind::Prestart => &hooks.prestart,
            HookKind::CreateRuntime => &hooks.create_runtime,
            _ => &hooks.poststart,
        };
        if list.is_empty() {
            return Ok(());
        }
        let state = self.state_json(pid, status);
        hooks::run_all(kind, list, &self.setting(&state))
    }

    /// poststop hooks of a container that failed to come into being, or back: what earlier hooks
    /// made is theirs to undo.
    pub(crate) fn undo(&self) {
        let hooks = &self.plan.hooks;
        let others = launch::waits_for_hooks(self.plan) || !hooks.poststart.is_empty();
        if !hooks.poststop.is_empty() && others {
            let state = self.state_json(0, Status::Stopped);
            let setting = self.setting(&state);
            // Their failures don't hide the one that is reported.
            drop(hooks::run_each(
                HookKind::Poststop,
                &hooks.poststop,
                &setting,
            ));
        }
    }

    /// What a hook is told of the container (runtime.md "State").
    pub(crate) fn state_json(&self, pid: i32, status: Status) -> Vec<u8> {
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

    fn setting<'s>(&'s self, state: &'s [u8]) -> HookSetting<'s> {
        HookSetting {
            state,
            environment: self.environment,
            directory: &self.plan.bundle,
        }
    }
}

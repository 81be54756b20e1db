//! Delete: what create made is unmade, whoever was interrupted at whatever moment.

use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::error::{Error, ErrorKind};
use crate::hooks::{self, HookKind, HookSetting};
use crate::id::ContainerId;
use crate::runtime::{REMOVAL_DEADLINE, Runtime};
use crate::state::{Operation, StateDirectory, StateError, Status};
use crate::unit::LastUnit;

/// How long processes that are known to be ending may take before it is looked for others.
const FIRST_REMOVAL: Duration = Duration::from_millis(300);

/// Deletes a container; gives what its poststop hooks did wrong, which is no failure of delete
/// (runtime.md "Lifecycle", step 13).
pub(crate) fn delete(
    runtime: &Runtime,
    id: &ContainerId,
    force: bool,
) -> Result<Vec<String>, Error> {
    if force {
        end_before_the_lock(runtime, id);
    }
    let directory = match runtime.root().lock(id) {
        Err(StateError::NotFound(_)) if force => return Ok(Vec::new()),
        directory => directory?,
    };
    let container = match Container::open(runtime.clone(), id) {
        Ok(container) => container,
        Err(error) => return remove_unreadable(runtime, directory, force, error),
    };
    delete_locked(container, directory, force)
}

/// Kills init before the lock is free: a `start` that waits for a slow hook lets it go then.
/// What can't be known or done here is found out with the lock held.
fn end_before_the_lock(runtime: &Runtime, id: &ContainerId) {
    let container = Container::open(runtime.clone(), id);
    if let Ok(Some(init)) = container.and_then(|container| container.init_process()) {
        init.kill().ok();
    }
}

/// Deletes a container whose lock is held.
pub(crate) fn delete_locked(
    mut container: Container,
    directory: StateDirectory,
    force: bool,
) -> Result<Vec<String>, Error> {
    let status = container.observe(&directory)?;
    if !force && !status.permits(Operation::Delete) {
        let refusal = status.refusal(Operation::Delete, container.id().as_str());
        return Err(Error::text(ErrorKind::WrongStatus, refusal));
    }
    let mut unit = LastUnit::find(&mut container)?;
    kill_everything(&container, status)?;
    unit.stop()?;
    remove_cgroups(&mut container)?;
    let failures = poststop(&container);
    directory.remove()?;
    Ok(failures
        .into_iter()
        .map(|failure| failure.to_string())
        .collect())
}

/// A directory without a usable record. Without one at all its create was interrupted before it
/// did anything; an unusable one goes only by force, with what can still be made out of it.
fn remove_unreadable(
    runtime: &Runtime,
    directory: StateDirectory,
    force: bool,
    error: Error,
) -> Result<Vec<String>, Error> {
    match error.kind() {
        ErrorKind::NotFound => {}
        ErrorKind::BrokenState if force => {
            if let Some(stored) = directory.salvage() {
                let container = Container::stored(runtime.clone(), directory.id(), stored);
                return delete_locked(container, directory, true);
            }
        }
        _ => return Err(error),
    }
    directory.remove()?;
    if force { Ok(Vec::new()) } else { Err(error) }
}

/// Ends init, and every other process of the cgroup.
fn kill_everything(container: &Container, status: Status) -> Result<(), Error> {
    let init = container.init_process()?;
    if let Some(init) = &init {
        init.kill()
            .map_err(|errno| Error::call("kill container init: pidfd_send_signal(2)", errno))?;
    }
    let record = container.record();
    // A create that was interrupted has not noted its child, which may be busy with a hook.
    let is_known = record.init_process_pid != 0;
    let ended_with_init = status == Status::Stopped && record.own_pid_namespace && is_known;
    if record.cgroups_owned == 1 && !ended_with_init {
        container
            .cgroup()?
            .kill_all(Instant::now() + REMOVAL_DEADLINE)?;
    }
    let Some(init) = init else { return Ok(()) };
    match init.ended_within(REMOVAL_DEADLINE) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::text(
            ErrorKind::TimedOut,
            format!(
                "container init (pid {}) has not ended within {} s of SIGKILL: it waits for the kernel (a hung mount or device?)",
                init.pid(),
                REMOVAL_DEADLINE.as_secs()
            ),
        )),
        Err(errno) => Err(Error::call("poll(2) on container init", errno)),
    }
}

fn remove_cgroups(container: &mut Container) -> Result<(), Error> {
    if container.record().cgroup_paths.is_empty() {
        return Ok(());
    }
    let is_owned = container.record().cgroups_owned == 1;
    let cgroup = container.take_cgroup()?;
    if is_owned {
        return remove_owned(&cgroup);
    }
    // Planned and perhaps made, but not known to be the container's: an empty directory is,
    // and one with processes is somebody else's.
    match cgroup.remove(Instant::now()) {
        Err(error) if error.is_in_use() || error.is_timeout() => Ok(()),
        removed => Ok(removed?),
    }
}

/// Removes the container's own cgroups. An `exec` may have entered them after everything was
/// killed: then that is done once more.
fn remove_owned(cgroup: &Cgroup) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL_DEADLINE;
    if cgroup.remove(Instant::now() + FIRST_REMOVAL).is_ok() {
        return Ok(());
    }
    cgroup.kill_all(deadline)?;
    Ok(cgroup.remove(deadline)?)
}

/// poststop hooks; all of them run.
fn poststop(container: &Container) -> Vec<hooks::HookError> {
    let Ok(spec) = container.spec() else {
        return Vec::new();
    };
    let Ok(all) = crate::plan::hooks_of(&spec) else {
        return Vec::new();
    };
    if all.poststop.is_empty() {
        return Vec::new();
    }
    let Ok(state) = container.describe(Status::Stopped) else {
        return Vec::new();
    };
    let json = state.to_hook_json();
    let setting = HookSetting {
        state: &json,
        environment: container.runtime().environment(),
        directory: &container.record().bundle,
    };
    hooks::run_each(HookKind::Poststop, &all.poststop, &setting)
}

//! `tare restore`.

use std::os::fd::OwnedFd;

use runtime_core::{Container, RestoreOptions};

use super::container_id;
use super::create::{log_creation, open_bundle, wants_terminal};
use crate::command_line::{Command, Count, Parsed};
use crate::criu::{self, *};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{BUNDLE, CONSOLE_SOCKET, DETACH, NO_PIVOT, NO_SUBREAPER, PID_FILE};
use crate::foreground::{Signals, adopt_orphans};
use crate::globals::Globals;
use crate::launch::{self, Surroundings};

pub(super) const COMMAND: Command = Command {
    name: "restore",
    summary: "bring a container back from the images of a checkpoint, by criu",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "The container gets what the bundle's config.json gives: an image that holds more (a capability,\n\
                  a namespace, another seccomp filter) is refused. Waits for the container's process as `tare run`\n\
                  does, unless it is detached.",
    enters_containers: true,
    flags: &[
        &BUNDLE,
        &CONSOLE_SOCKET,
        &PID_FILE,
        &DETACH,
        &NO_SUBREAPER,
        &NO_PIVOT,
        &IMAGE_PATH,
        &WORK_PATH,
        &TCP_ESTABLISHED,
        &TCP_CLOSE,
        &EXT_UNIX_SK,
        &SHELL_JOB,
        &FILE_LOCKS,
        &LAZY_PAGES,
        &AUTO_DEDUP,
        &CGROUPS_MODE,
        &EMPTY_NS,
        &NETWORK_LOCK,
        &LSM_PROFILE,
        &LSM_MOUNT_CONTEXT,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let detach = parsed.is_on(&DETACH);
    if detach {
        let (container, surroundings) = restore(globals, parsed)?;
        return settle(globals, container, surroundings).map(|_| Exit::Success);
    }
    let signals = Signals::block()?;
    if !parsed.is_on(&NO_SUBREAPER) {
        adopt_orphans()?;
    }
    let (container, surroundings) = restore(globals, parsed)?;
    let (container, master) = settle(globals, container, surroundings)?;
    let attended = match container.init() {
        Some(process) => launch::attend(&signals, process, master, None),
        None => Err(Failure::new(
            "the restored process is not this program's child",
        )),
    };
    let deleted = container.delete(true);
    let exit = attended?;
    // The status is the process's, whatever becomes of this.
    match deleted {
        Ok(failures) => failures
            .iter()
            .for_each(|failure| globals.log.warning(failure)),
        Err(error) => globals.log.error(&error.into()),
    }
    Ok(exit)
}

fn restore(globals: &Globals, parsed: &Parsed<'_>) -> Result<(Container, Surroundings), Failure> {
    let id = container_id(parsed)?;
    let cgroups_mode = cgroups_mode(parsed)?;
    let network_lock = network_lock(parsed)?;
    let empty_network = empty_network(parsed)?;
    let image_path = criu::image_path(parsed)?;
    let work_path = criu::work_path(parsed)?;
    let bundle = open_bundle(parsed)?;
    let terminal = wants_terminal(&bundle)?;
    let surroundings = Surroundings::open(parsed, terminal, parsed.is_on(&DETACH))?;
    let criu = criu::find()?;
    let runtime = globals.runtime_with_environment()?;
    let mut options = RestoreOptions {
        work_path: work_path.as_deref(),
        tcp_established: parsed.is_on(&TCP_ESTABLISHED),
        tcp_close: parsed.is_on(&TCP_CLOSE),
        ext_unix_sk: parsed.is_on(&EXT_UNIX_SK),
        shell_job: parsed.is_on(&SHELL_JOB),
        file_locks: parsed.is_on(&FILE_LOCKS),
        lazy_pages: parsed.is_on(&LAZY_PAGES),
        auto_dedup: parsed.is_on(&AUTO_DEDUP),
        empty_network,
        cgroups_mode,
        network_lock,
        lsm_profile: parsed.path(&LSM_PROFILE),
        lsm_mount_context: parsed.path(&LSM_MOUNT_CONTEXT),
        console_socket: surroundings.console_socket(),
        ..RestoreOptions::new(&criu, &image_path)
    };
    options.plan.no_pivot = parsed.is_on(&NO_PIVOT);
    let container = runtime.restore(&id, &bundle, &options)?;
    Ok((container, surroundings))
}

/// Writes the pid file and takes the terminal; what fails here deletes the container.
fn settle(
    globals: &Globals,
    container: Container,
    surroundings: Surroundings,
) -> Result<(Container, Option<OwnedFd>), Failure> {
    log_creation(globals, &container);
    let settled = match container.init() {
        Some(process) => surroundings.settle(process),
        None => Ok(None),
    };
    match settled {
        Ok(master) => Ok((container, master)),
        Err(failure) => {
            // The first failure is the one to report.
            container.delete(true).ok();
            Err(failure)
        }
    }
}

//! `tare checkpoint`.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;

use runtime_core::CheckpointOptions;

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::criu::{self, *};
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "checkpoint",
    summary: "save a running container as images, by criu",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "Afterwards the container is gone, unless it is left running; `tare restore` brings it back.",
    enters_containers: false,
    flags: &[
        &IMAGE_PATH,
        &WORK_PATH,
        &PARENT_PATH,
        &LEAVE_RUNNING,
        &PRE_DUMP,
        &TCP_ESTABLISHED,
        &TCP_SKIP_IN_FLIGHT,
        &EXT_UNIX_SK,
        &SHELL_JOB,
        &FILE_LOCKS,
        &LINK_REMAP,
        &LAZY_PAGES,
        &STATUS_FD,
        &PAGE_SERVER,
        &AUTO_DEDUP,
        &CGROUPS_MODE,
        &EMPTY_NS,
        &NETWORK_LOCK,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let cgroups_mode = cgroups_mode(parsed)?;
    let network_lock = network_lock(parsed)?;
    let empty_network = empty_network(parsed)?;
    let page_server = parsed.path(&PAGE_SERVER).map(page_server).transpose()?;
    let status = parsed.text(&STATUS_FD).map(open_status).transpose()?;
    let image_path = criu::image_path(parsed)?;
    let work_path = criu::work_path(parsed)?;
    let mut container = globals.runtime_with_environment()?.open(&id)?;
    let criu = criu::find()?;
    let options = CheckpointOptions {
        work_path: work_path.as_deref(),
        parent_path: parsed.path(&PARENT_PATH).map(Path::new),
        leave_running: parsed.is_on(&LEAVE_RUNNING),
        pre_dump: parsed.is_on(&PRE_DUMP),
        tcp_established: parsed.is_on(&TCP_ESTABLISHED),
        tcp_skip_in_flight: parsed.is_on(&TCP_SKIP_IN_FLIGHT),
        ext_unix_sk: parsed.is_on(&EXT_UNIX_SK),
        shell_job: parsed.is_on(&SHELL_JOB),
        file_locks: parsed.is_on(&FILE_LOCKS),
        link_remap: parsed.is_on(&LINK_REMAP),
        lazy_pages: parsed.is_on(&LAZY_PAGES),
        auto_dedup: parsed.is_on(&AUTO_DEDUP),
        empty_network,
        cgroups_mode,
        network_lock,
        page_server,
        status_fd: status.as_ref().map(AsFd::as_fd),
        ..CheckpointOptions::new(&criu, &image_path)
    };
    container.checkpoint(&options)?;
    if !options.leave_running && !options.pre_dump {
        for failure in container.delete(false)? {
            globals.log.warning(&failure);
        }
    }
    Ok(Exit::Success)
}

fn page_server(text: &str) -> Result<(&str, u16), Failure> {
    let parts = text.rsplit_once(':');
    let server = parts.and_then(|(address, port)| Some((address, port.parse().ok()?)));
    server
        .filter(|(address, port)| !address.is_empty() && *port != 0)
        .ok_or_else(|| {
            Failure::invalid(format_args!(
                "--page-server {text:?}: give it as ADDRESS:PORT"
            ))
        })
}

/// The descriptor of this number, which the caller has left open for writing.
fn open_status(number: &str) -> Result<File, Failure> {
    let path = format!("/proc/self/fd/{number}");
    let opened = OpenOptions::new().write(true).open(path);
    opened.doing(format_args!("invalid --status-fd argument {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:27").unwrap(), ("10.0.0.1", 27));
        assert_eq!(page_server("[::1]:27").unwrap(), ("[::1]", 27));
        for bad in ["", "10.0.0.1", ":27", "x:", "x:0", "x:70000", "x:-1"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_descriptor_is_open_for_writing() {
        use std::os::fd::AsRawFd;
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("x")).unwrap();
        assert!(open_status(&file.as_raw_fd().to_string()).is_ok());
        let failure = open_status("987").unwrap_err();
        assert!(failure.message.contains("invalid --status-fd argument 987"));
    }
}

//! `tare spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use runtime_core::plan::default_spec;

use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::flags::{BUNDLE, ROOTLESS_SPEC};
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "spec",
    summary: "write a config.json to start from",
    operands: "",
    count: Count::Exactly(0),
    stops_at_first_operand: false,
    description: "The file describes a shell in the root filesystem `rootfs` beside it, isolated and with few\n\
                  privileges. A config.json that is there is not replaced.",
    enters_containers: false,
    flags: &[&BUNDLE, &ROOTLESS_SPEC],
    run,
};

fn run(_: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let bundle = parsed.path(&BUNDLE).unwrap_or(".");
    let path = Path::new(bundle).join("config.json");
    let cgroup_v2 = has_only_cgroup_v2();
    let text = if parsed.is_on(&ROOTLESS_SPEC) {
        default_spec::rootless_config(
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
            cgroup_v2,
        )
    } else {
        default_spec::default_config(cgroup_v2)
    };
    write_new(&path, &text)?;
    Ok(Exit::Success)
}

/// Whether the host's cgroups are version 2 and nothing else.
fn has_only_cgroup_v2() -> bool {
    let mounted = statfs("/sys/fs/cgroup").map(|filesystem| filesystem.filesystem_type());
    mounted == Ok(CGROUP2_SUPER_MAGIC)
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(path);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::new(format_args!(
                "File {} exists. Remove it first",
                path.display()
            )));
        }
        opened => opened.doing(format_args!("create {}", path.display()))?,
    };
    file.write_all(text.as_bytes())
        .doing(format_args!("write {}", path.display()))
}

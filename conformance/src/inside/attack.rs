//! What a hostile program in a container tries, until there is a file /stop.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Does what the words say and writes what came of it to /out: an object whose member `escapes`
/// lists what should not have been possible.
pub(super) fn attack(words: &[&str]) -> ExitCode {
    let Ok(own) = File::open("/proc/self/exe").and_then(|file| identity(&file)) else {
        return ExitCode::from(96);
    };
    let told = match words {
        ["exe"] => {
            let programs = keep_programs(own);
            json!({ "met": programs.len(), "escapes": write_to_programs(&programs) })
        }
        ["pry", path] => pry(own, path, Pry::Look),
        ["pry", path, "seize"] => pry(own, path, Pry::Seize),
        ["undumpable"] => pry(own, "", Pry::Touch),
        ["undumpable-of", name] => pry(own, name, Pry::Touch),
        ["write", path] => write_for_ever(path),
        _ => json!({ "escapes": [format!("unknown words {words:?}")] }),
    };
    ExitCode::from(if std::fs::write("/out", told.to_string()).is_ok() {
        0
    } else {
        97
    })
}

fn is_stopped() -> bool {
    Path::new("/stop").exists()
}

/// Device and inode.
type Identity = (u64, u64);

fn identity(file: &File) -> std::io::Result<Identity> {
    file.metadata().map(|status| (status.dev(), status.ino()))
}

/// The processes that are seen, but for this one.
fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(|pid| *pid != own)
        .collect()
}

/// Programs of other processes, by identity, with a descriptor of each.
type Programs = Vec<(Identity, File)>;

/// Keeps a descriptor of every program that is not this one, whoever executes it.
fn keep_programs(own: Identity) -> Programs {
    let mut kept = Programs::new();
    while !is_stopped() {
        for pid in processes() {
            let path = format!("/proc/{pid}/exe");
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(path);
            let Ok(file) = opened else { continue };
            let Ok(identity) = identity(&file) else {
                continue;
            };
            let is_new = identity != own && kept.iter().all(|(known, _)| *known != identity);
            if is_new && kept.len() < 32 {
                kept.push((identity, file));
            }
        }
    }
    kept
}

/// Writes each program's first byte over itself, in every way of opening it.
fn write_to_programs(programs: &[(Identity, File)]) -> Vec<String> {
    let mut escapes = Vec::new();
    for (_, file) in programs {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        for (way, options) in [
            ("write", OpenOptions::new().write(true).clone()),
            (
                "read and write",
                OpenOptions::new().read(true).write(true).clone(),
            ),
        ] {
            let written =
                first_byte(&path).and_then(|byte| options.open(&path)?.write_at(&[byte], 0));
            if written.is_ok() {
                let name = std::fs::read_link(&path).unwrap_or_default();
                escapes.push(format!("{way}: {}", name.display()));
            }
        }
    }
    escapes
}

fn first_byte(path: &Path) -> std::io::Result<u8> {
    let mut byte = [0];
    File::open(path)?.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// How other processes are looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pry {
    /// By their links in /proc.
    Look,
    /// While they are stopped by ptrace(2).
    Seize,
    /// Whether there is anything that can be opened at all of those that execute another program.
    Touch,
}

/// Looks for a file of the host, `path`, through every process that comes by.
fn pry(own: Identity, path: &str, how: Pry) -> Value {
    let mut escapes = BTreeSet::new();
    let mut met = BTreeSet::new();
    while !is_stopped() {
        for pid in processes() {
            met.insert(pid);
            match how {
                Pry::Look => look(pid, path, &mut escapes),
                Pry::Seize => seize(pid, path, &mut escapes),
                Pry::Touch => touch(pid, own, path, &mut escapes),
            }
        }
    }
    json!({ "met": met.len(), "escapes": escapes })
}

fn look(pid: i32, path: &str, escapes: &mut BTreeSet<String>) {
    let name = Path::new(path).file_name().unwrap_or_default();
    let mut places = vec![
        (String::from("root"), format!("/proc/{pid}/root{path}")),
        (
            String::from("cwd"),
            format!("/proc/{pid}/cwd/{}", name.display()),
        ),
    ];
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    for entry in descriptors {
        let place = format!("{}/{}", entry.path().display(), name.display());
        places.push((String::from("a descriptor"), place));
    }
    for (what, place) in places {
        if File::open(&place).is_ok() {
            escapes.insert(format!("{what} of another process leads to {path}"));
        }
    }
}

fn seize(pid: i32, path: &str, escapes: &mut BTreeSet<String>) {
    let process = Pid::from_raw(pid);
    if ptrace::seize(process, ptrace::Options::empty()).is_err() {
        return;
    }
    let stopped = ptrace::interrupt(process)
        .and_then(|()| waitpid(process, Some(WaitPidFlag::__WALL)))
        .is_ok();
    look(pid, path, escapes);
    if stopped {
        // It may have been killed meanwhile.
        ptrace::detach(process, None).ok();
    }
}

fn touch(pid: i32, own: Identity, path: &str, escapes: &mut BTreeSet<String>) {
    let Ok(program) = std::fs::metadata(format!("/proc/{pid}/exe")) else {
        return;
    };
    if (program.dev(), program.ino()) == own {
        return;
    }
    let name = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    // Every process of the host is seen where there is no pid namespace.
    if !path.is_empty() && !name.ends_with(path) {
        return;
    }
    escapes.insert(format!(
        "the program of another process can be opened: {}",
        name.display()
    ));
}

/// Tries to write to a file as fast as it can.
fn write_for_ever(path: &str) -> Value {
    let (mut tries, mut escapes) = (0_u64, BTreeSet::new());
    while !is_stopped() {
        tries += 1;
        let written = OpenOptions::new().append(true).open(path);
        if written.and_then(|mut file| file.write(b"x")).is_ok() {
            escapes.insert(format!("{path} was written to"));
        }
    }
    json!({ "met": tries, "escapes": escapes })
}

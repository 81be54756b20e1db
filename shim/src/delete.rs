//! `delete`: what a server that is gone has left of a container is removed.
//!
//! containerd runs it after every task, and waits for it, when there is nothing left as a rule;
//! and when it finds a server dead. Then this is the only one who can say how the container has
//! ended:
//!
//! | the container's init | exit status |
//! |---|---|
//! | has ended, and the server knew it (`exit.json`) | its own |
//! | has ended, and nobody has waited for it yet | its own |
//! | lives: it is killed here | 137 |
//! | has ended some time, somehow | 255, containerd's "unknown" |
//!
//! In the bundle it reads `options.json` ([`Options`]), `init.pid`, `exit.json`
//! ([`ExitRecord`]), and where the server's socket is: `address`, or containerd's
//! `bootstrap.json`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::api::DeleteResponse;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField};
use runtime_core::bundle::read_document;
use runtime_core::errno::of_io;
use runtime_core::{ContainerId, ErrorKind, Runtime, Status};

use crate::exit_record::ExitRecord;
use crate::failure::Failure;
use crate::foreign::Foreign;
use crate::options::Options;
use crate::socket;
use crate::start::Caller;

/// 128 and SIGKILL.
const KILLED: u32 = 137;

/// What containerd says when nobody knows.
const UNKNOWN: u32 = 255;

/// Mounts on one directory, one over the other.
const MOST_MOUNTS: usize = 1024;

/// What is left to say.
#[derive(Debug)]
pub struct Deleted {
    /// A DeleteResponse.
    pub answer: Vec<u8>,
    /// What did not go as it should, and keeps nobody from going on.
    pub troubles: Vec<String>,
}

/// How a container was found.
#[derive(Debug, PartialEq, Eq)]
struct End {
    pid: u32,
    /// None: nobody knows.
    status: Option<u32>,
}

/// Kills what lives, deletes the container, unmounts its rootfs, removes a dead socket.
///
/// # Errors
///
/// The container is still there, or something of it. Everything else has been tried.
pub fn delete(caller: &Caller) -> Result<Deleted, Failure> {
    let arguments = &caller.arguments;
    let id: ContainerId = arguments
        .id
        .parse()
        .map_err(|error| Failure::invalid(format!("{error}")))?;
    let bundle = caller.bundle();
    let mut troubles = Vec::new();
    let options = Options::read(&bundle).unwrap_or_else(|failure| {
        troubles.push(format!("{failure}: the default options are assumed"));
        Options::default()
    });
    let root = options.runtime_root(&arguments.namespace)?;
    let removed = match options.is_foreign() {
        false => remove(&root, &id, caller, &mut troubles),
        true => remove_foreign(&options, &root, &id, &bundle),
    };
    let unmounted = unmount_below(&bundle.join("rootfs"));
    if let Err(failure) = remove_dead_socket(&bundle) {
        troubles.push(failure.message);
    }
    let end = removed?;
    unmounted?;
    Ok(Deleted {
        answer: answer(end, &bundle)?,
        troubles,
    })
}

/// Removes a container of tare's; says how it was found.
fn remove(
    root: &Path,
    id: &ContainerId,
    caller: &Caller,
    troubles: &mut Vec<String>,
) -> Result<Option<End>, Failure> {
    let runtime = Runtime::new(root).with_environment(caller.environment.all.clone());
    let end = match runtime.open(id) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            troubles.push(error.to_string());
            None
        }
        Ok(container) => {
            let has_ended = container
                .status()
                .is_ok_and(|status| status == Status::Stopped);
            let status = match has_ended {
                true => container.unreaped_exit().map(shell_code),
                false => Some(KILLED),
            };
            let pid = container.init_pid().unsigned_abs();
            Some(End { pid, status })
        }
    };
    // Also without a record: a create may have been interrupted before it had one.
    let failures = runtime
        .delete(id, true)
        .map_err(|error| Failure::of_runtime("delete the container", &error))?;
    troubles.extend(failures);
    Ok(end)
}

fn shell_code(exit: runtime_core::Exit) -> u32 {
    exit.shell_code().unsigned_abs()
}

/// Removes a container of another runtime.
fn remove_foreign(
    options: &Options,
    root: &Path,
    id: &ContainerId,
    bundle: &Path,
) -> Result<Option<End>, Failure> {
    let found = Foreign::new(options, root, bundle).remove(id.as_str())?;
    Ok(found.map(|found| End {
        pid: found.pid,
        status: (!found.had_ended).then_some(KILLED),
    }))
}

/// What containerd is told.
fn answer(found: Option<End>, bundle: &Path) -> Result<Vec<u8>, Failure> {
    let noted_pid = || {
        let text = std::fs::read_to_string(bundle.join("init.pid")).ok()?;
        text.trim().parse().ok()
    };
    let pid = found
        .as_ref()
        .map(|end| end.pid)
        .filter(|pid| *pid != 0)
        .or_else(noted_pid);
    // One of another process is that of an earlier container in this bundle.
    let record = ExitRecord::read(bundle).filter(|record| pid.is_none_or(|pid| pid == record.pid));
    let (status, exited_at) = match record {
        Some(record) => (record.status, record.exited_at()),
        None => {
            let status = found.and_then(|end| end.status);
            (status.unwrap_or(UNKNOWN), SystemTime::now())
        }
    };
    let response = DeleteResponse {
        pid: pid.or(record.map(|record| record.pid)).unwrap_or(0),
        exit_status: status,
        exited_at: MessageField::some(timestamp(exited_at)),
        ..DeleteResponse::default()
    };
    let encoded = response.write_to_bytes();
    encoded.map_err(|error| Failure::unknown(format!("encode the answer: {error}")))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Timestamp::default()
    }
}

/// Detaches what is mounted on the rootfs and below it, and nothing else. A link in its place
/// leads nowhere.
fn unmount_below(rootfs: &Path) -> Result<(), Failure> {
    // With a mount goes everything that is mounted in it.
    if unmount(rootfs)? {
        return Ok(());
    }
    // Nothing can be mounted below a directory without entries; only else is it worth to look
    // through all of the host's mounts.
    let has_entries = std::fs::read_dir(rootfs).is_ok_and(|mut entries| entries.next().is_some());
    if !has_entries {
        return Ok(());
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Failure::call("read /proc/self/mountinfo", of_io(&error)))?;
    let points = table.lines().filter_map(mount_point);
    for point in points.filter(|point| point.starts_with(rootfs)) {
        unmount(&point)?;
    }
    Ok(())
}

/// Detaches every mount on this path; tells whether there was one.
fn unmount(path: &Path) -> Result<bool, Failure> {
    for count in 0..MOST_MOUNTS {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // No mount (any more), or nothing at all.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(count > 0),
            Err(errno) => {
                let act = format_args!("unmount {}", path.display()).to_string();
                return Err(Failure::call(act, errno));
            }
        }
    }
    Err(Failure::unknown(format!(
        "unmount {}: {MOST_MOUNTS} mounts were there, and still there are more",
        path.display()
    )))
}

/// The mount point in a line of proc_pid_mountinfo(5), where blanks and the like are octal.
fn mount_point(line: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut rest = line.split(' ').nth(4)?.as_bytes();
    let mut path = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let code = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (rest, path) = match (first, code) {
            (b'\\', Some(byte)) => (after.get(3..).unwrap_or_default(), with(path, byte)),
            _ => (after, with(path, *first)),
        };
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

fn with(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

/// Removes the socket of the bundle's server, if that is gone.
fn remove_dead_socket(bundle: &Path) -> Result<(), Failure> {
    let read = |name: &str| read_document(&bundle.join(name)).ok();
    let address = match read("address") {
        Some(plain) => String::from_utf8(plain).ok(),
        None => read("bootstrap.json").and_then(|json| address_in(&json)),
    };
    match address.as_deref().and_then(socket::path_of) {
        Some(path) => socket::remove_if_dead(&path),
        None => Ok(()),
    }
}

fn address_in(bootstrap: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Bootstrap {
        address: String,
    }
    serde_json::from_slice::<Bootstrap>(bootstrap)
        .ok()
        .map(|bootstrap| bootstrap.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: Option<End>, bundle: &Path) -> (u32, u32, i64) {
        let response = DeleteResponse::parse_from_bytes(&answer(found, bundle).unwrap()).unwrap();
        (
            response.pid,
            response.exit_status,
            response.exited_at.seconds,
        )
    }

    #[test]
    fn the_servers_word_counts_before_what_is_found_unless_it_is_about_another_process() {
        let bundle = tempfile::tempdir().unwrap();
        let end = |pid, status| Some(End { pid, status });
        let recent = |(pid, status, seconds): (u32, u32, i64)| {
            assert!(seconds > 1_700_000_000, "{seconds}");
            (pid, status)
        };
        assert_eq!(recent(told(None, bundle.path())), (0, 255));
        std::fs::write(bundle.path().join("init.pid"), "7").unwrap();
        assert_eq!(recent(told(None, bundle.path())), (7, 255));
        assert_eq!(recent(told(end(7, Some(137)), bundle.path())), (7, 137));
        assert_eq!(recent(told(end(7, None), bundle.path())), (7, 255));
        assert_eq!(recent(told(end(0, Some(137)), bundle.path())), (7, 137));
        let record = ExitRecord::new(7, 3, UNIX_EPOCH + std::time::Duration::from_secs(5));
        record.write(bundle.path()).unwrap();
        assert_eq!(told(end(7, None), bundle.path()), (7, 3, 5));
        assert_eq!(told(None, bundle.path()), (7, 3, 5));
        assert_eq!(recent(told(end(8, Some(137)), bundle.path())), (8, 137));
        std::fs::remove_file(bundle.path().join("init.pid")).unwrap();
        assert_eq!(told(None, bundle.path()), (7, 3, 5));
    }

    #[test]
    fn a_mount_point_is_decoded() {
        let line = r"36 35 98:0 / /a\040b\134c/d\0 rw - tmpfs x rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/a b\c/d\0")));
        assert_eq!(mount_point("1 2 3"), None);
    }

    #[test]
    fn the_address_is_read_from_containerds_file_when_the_shims_is_missing() {
        let json = br#"{"version":3,"address":"unix:///run/s/x","protocol":"ttrpc"}"#;
        assert_eq!(address_in(json).as_deref(), Some("unix:///run/s/x"));
        assert_eq!(address_in(b"{"), None);
    }
}

//! An ordinary user works in a user namespace where the subordinate ids of /etc/subuid and
//! /etc/subgid are mapped: the program starts itself again in there.
//!
//! ```text
//! outer                                  inner (the same command line)
//! starts inner, with two pipes     -->   unshare(CLONE_NEWUSER)
//!                                  <--   one byte: "there"
//! newuidmap, newgidmap on inner
//! one byte: "mapped"               -->   becomes root of the namespace, does the work
//! waits, passes signals on
//! ```

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use image::error::{Error, ErrorKind, Result};
use nix::unistd::{Gid, Uid, User};

use super::child;

/// Descriptors of the inner end, `read,write`.
pub(super) const VARIABLE: &str = "TARE_IMAGE_USER_NAMESPACE";

/// Whether this process still has to get into a user namespace.
pub(crate) fn is_needed() -> bool {
    !Uid::effective().is_root()
}

/// Whether this is the inner process.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// In the inner process: gets into the namespace. In any other: nothing.
pub(crate) fn enter_if_asked() -> Result<()> {
    let Ok(value) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    let step = |error: std::io::Error| Error::system("enter a user namespace", error);
    let numbers: Vec<i32> = value
        .split(',')
        .filter_map(|text| text.parse().ok())
        .collect();
    let [read, write] = numbers[..] else {
        let message = format!("{VARIABLE} is {value:?}: it is for this program's own use");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    };
    let (mut read, mut write) = (take::<PipeReader>(read)?, take::<PipeWriter>(write)?);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        step(errno.into()).advise("user namespaces may be switched off: see user_namespaces(7)")
    })?;
    write.write_all(b"t").map_err(step)?;
    drop(write);
    let mut answer = [0];
    read.read_exact(&mut answer)
        .map_err(|_| Error::new(ErrorKind::System, "the user namespace got no id mappings"))?;
    nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))
        .and_then(|()| nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)))
        .map_err(|errno| step(errno.into()))
}

/// A descriptor that was passed on by number, if it is one that this program may take.
fn take<T: From<OwnedFd>>(number: i32) -> Result<T> {
    super::sys::take_inherited(number)
        .map(T::from)
        .ok_or_else(|| {
            let message = format!("{VARIABLE} names no pipe: it is for this program's own use");
            Error::new(ErrorKind::InvalidInput, message)
        })
}

/// Starts this program again, in a user namespace, and ends as it does.
pub(crate) fn start_again() -> Result<ExitCode> {
    let step = |error: std::io::Error| Error::system("start in a user namespace", error);
    let maps = [Map::of_user("uid")?, Map::of_user("gid")?];
    let (mut there, there_inner) = std::io::pipe().map_err(step)?;
    let (mapped_inner, mut mapped) = std::io::pipe().map_err(step)?;
    let signals = child::Signals::block()?;
    let executable = std::env::current_exe().map_err(step)?;
    let mut command = Command::new(executable);
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(name) = arguments.first() {
        command.arg0(name);
    }
    command.args(arguments.iter().skip(1)).env(
        VARIABLE,
        format!("{},{}", mapped_inner.as_raw_fd(), there_inner.as_raw_fd()),
    );
    for pipe in [mapped_inner.as_raw_fd(), there_inner.as_raw_fd()] {
        super::sys::pass_on(pipe).map_err(step)?;
    }
    let inner = command.spawn().map_err(step)?;
    drop((mapped_inner, there_inner));
    let mut byte = [0];
    if there.read_exact(&mut byte).is_ok() {
        for map in &maps {
            map.apply(inner.id())?;
        }
        mapped.write_all(b"m").map_err(step)?;
    }
    drop(mapped);
    signals.attend(inner)
}

/// The id mappings of a user: their own id is root's, the subordinate ones follow.
struct Map {
    kind: &'static str,
    own: u32,
    ranges: Vec<(u32, u32)>,
}

impl Map {
    fn of_user(kind: &'static str) -> Result<Self> {
        let uid = Uid::effective();
        let own = if kind == "uid" {
            uid.as_raw()
        } else {
            Gid::effective().as_raw()
        };
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        let path = format!("/etc/sub{kind}");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let ranges = text
            .lines()
            .filter_map(|line| range_of(line, name.as_deref(), uid.as_raw()))
            .collect::<Vec<_>>();
        if ranges.is_empty() {
            let message = format!(
                "{path} has no ids for {}",
                name.unwrap_or_else(|| uid.to_string())
            );
            let advice =
                "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` gives some";
            return Err(Error::new(ErrorKind::Unsupported, message).advise(advice));
        }
        Ok(Self { kind, own, ranges })
    }

    /// newuidmap(1): the kernel lets only root map other ids than the own one.
    fn apply(&self, pid: u32) -> Result<()> {
        let program = format!("new{}map", self.kind);
        let mut command = Command::new(&program);
        command.args([
            pid.to_string(),
            "0".into(),
            self.own.to_string(),
            "1".into(),
        ]);
        let mut inside: u32 = 1;
        for (first, count) in &self.ranges {
            command.args([inside.to_string(), first.to_string(), count.to_string()]);
            inside = inside.saturating_add(*count);
        }
        let output = command.output().map_err(|error| {
            Error::system(format!("run {program}"), error).advise("Debian's package uidmap has it")
        })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        Err(Error::new(ErrorKind::System, format!("{program}: {words}")))
    }
}

/// subuid(5): `user:first:count`, the user by name or number.
fn range_of(line: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let mut fields = line.trim().split(':');
    let user = fields.next()?;
    if Some(user) != name && user != uid.to_string() {
        return None;
    }
    let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (range.1 > 0).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::range_of;

    #[test]
    fn subordinate_ids_are_found_by_name_and_number() {
        assert_eq!(
            range_of("me:100000:65536", Some("me"), 1000),
            Some((100_000, 65_536))
        );
        assert_eq!(range_of("1000:5:6", Some("me"), 1000), Some((5, 6)));
        for line in ["you:1:2", "me:1", "me:x:2", "", "me:1:0", "# me:1:2"] {
            assert_eq!(range_of(line, Some("me"), 1000), None, "{line}");
        }
    }
}

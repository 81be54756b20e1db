//! The standard streams: what they were when the images were made, and what they become.
//!
//! A pipe, a socket, or a file of the host's is not in an image. descriptors.json, beside the
//! images, has for each of the three streams the name under which criu asks for it; a list of
//! three strings, as runc writes it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::external::View;
use super::images::Directory;
use crate::error::{Error, ErrorKind};
use crate::procfs::Procfs;
use crate::sys;

const FILE: &str = "descriptors.json";

/// Three short strings.
const LONGEST: u64 = 4096;

/// The longest name that criu gives a descriptor.
const LONGEST_NAME: usize = 64;

/// How often a redirected stream is looked at again: a builtin's redirection is over sooner.
const LOOKS_AT_A_REDIRECTION: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// What the three streams of a process are, and those of them that criu has to be told of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    names: Vec<String>,
    /// `file[…]` of files of the host's.
    pub(crate) external: Vec<String>,
}

impl Streams {
    /// Those of a running container's init.
    pub(crate) fn of(procfs: &Procfs, pid: i32, view: &View<'_>) -> Result<Self, Error> {
        let mut found = Vec::new();
        for number in 0..3 {
            found.push(settled(procfs, pid, number, view)?);
        }
        let mut streams = Self::default();
        for stream in &found {
            let name = match stream.is_redirected {
                false => stream.name.clone(),
                true => saved(procfs, pid, view, &found)?.unwrap_or_else(|| stream.name.clone()),
            };
            if name.starts_with("file[") && !streams.external.contains(&name) {
                streams.external.push(name.clone());
            }
            streams.names.push(name);
        }
        Ok(streams)
    }

    /// Writes them beside the images.
    pub(crate) fn save(&self, images: &Directory) -> Result<(), Error> {
        let text = serde_json::to_vec(&self.names).unwrap_or_default();
        images.write(FILE, &text)
    }
}

/// What a descriptor of the container's init is.
struct Descriptor {
    /// criu's name for what is outside of the container, else the kernel's.
    name: String,
    /// Whether it is a file of the container's own, as a shell redirects a stream to.
    is_redirected: bool,
    /// Whether exec closes it.
    is_cloexec: bool,
}

/// A stream, when it is what it is for longer than a shell's builtin redirects it
/// (`echo >file`).
fn settled(procfs: &Procfs, pid: i32, number: i32, view: &View<'_>) -> Result<Descriptor, Error> {
    let mut stream = look(procfs, pid, number, view)?;
    for _ in 0..LOOKS_AT_A_REDIRECTION {
        if !stream.is_redirected {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        stream = look(procfs, pid, number, view)?;
    }
    Ok(stream)
}

/// The file of the host's that a shell has put aside while it redirects a stream for longer
/// (`while …; done >file`): as a shell does, at 10 or above, and closed by exec. Only one that
/// no stream is, and that is the only one, is sure to be it.
fn saved(
    procfs: &Procfs,
    pid: i32,
    view: &View<'_>,
    streams: &[Descriptor],
) -> Result<Option<String>, Error> {
    let numbers = procfs
        .numbers(&format!("{pid}/fd"))
        .map_err(|errno| Error::call("list the descriptors of container init", errno))?;
    let mut names = Vec::new();
    for number in numbers.into_iter().filter(|number| *number >= 10) {
        let descriptor = look(procfs, pid, number, view)?;
        let is_candidate = descriptor.is_cloexec
            && descriptor.name.starts_with("file[")
            && !streams.iter().any(|stream| stream.name == descriptor.name);
        if is_candidate && !names.contains(&descriptor.name) {
            names.push(descriptor.name);
        }
    }
    Ok(names.pop().filter(|_| names.is_empty()))
}

/// Looks at a descriptor; one that is closed has no name.
fn look(procfs: &Procfs, pid: i32, number: i32, view: &View<'_>) -> Result<Descriptor, Error> {
    let failed = |errno| {
        Error::call(
            format!("look at descriptor {number} of container init"),
            errno,
        )
    };
    let path = format!("{pid}/fd/{number}");
    let name = match procfs.link(&path) {
        Err(Errno::ENOENT) => String::new(),
        name => name.map_err(failed)?,
    };
    let status = match procfs.status(&path) {
        Err(Errno::ENOENT) => None,
        status => Some(status.map_err(failed)?),
    };
    let info = procfs
        .read(format!("{pid}/fdinfo/{number}"))
        .unwrap_or_default();
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
    let mount: Option<u64> = field("mnt_id:").and_then(|id| id.trim().parse().ok());
    let flags = field("flags:").and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    let mut descriptor = Descriptor {
        name,
        is_redirected: false,
        is_cloexec: flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0),
    };
    if let (Some(status), Some(mount)) = (status, mount) {
        if is_file_outside(&descriptor.name, &status, mount, view) {
            descriptor.name = format!("file[{mount:x}:{:x}]", status.st_ino);
        } else {
            descriptor.is_redirected = is_regular(&status) && descriptor.name.starts_with('/');
        }
    }
    Ok(descriptor)
}

fn is_regular(status: &nix::sys::stat::FileStat) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
}

/// Whether it is a file of a mount that the container has not. Terminals are criu's own concern.
fn is_file_outside(
    name: &str,
    status: &nix::sys::stat::FileStat,
    mount: u64,
    view: &View<'_>,
) -> bool {
    let is_path = name.starts_with('/');
    let kind = status.st_mode & SFlag::S_IFMT.bits();
    let is_terminal =
        kind == SFlag::S_IFCHR.bits() && matches!(libc::major(status.st_rdev), 4 | 5 | 136..=143);
    is_path && !is_terminal && !view.mounts.iter().any(|entry| entry.id == mount)
}

/// The streams of a container that is to be restored.
#[derive(Debug)]
pub(crate) struct Replacements {
    copies: Vec<OwnedFd>,
    /// criu's name for what was there, and what takes its place.
    pub(crate) inherited: Vec<(String, RawFd)>,
}

impl Replacements {
    /// What `streams` (the caller's own 0, 1 and 2 without) stand in for.
    pub(crate) fn new(images: &Directory, streams: Option<[RawFd; 3]>) -> Result<Self, Error> {
        let names = match images.read(FILE, LONGEST)? {
            Some(bytes) => parse(&bytes).ok_or_else(|| {
                Error::text(
                    ErrorKind::InvalidConfig,
                    format!(
                        "{} is no list of three names",
                        images.path().join(FILE).display()
                    ),
                )
            })?,
            None => Vec::new(),
        };
        let mut replacements = Self {
            copies: Vec::new(),
            inherited: Vec::new(),
        };
        let mut known = Vec::new();
        for (name, stream) in names.into_iter().zip(streams.unwrap_or([0, 1, 2])) {
            if known.contains(&name) || !is_inheritable(&name) {
                continue;
            }
            known.push(name.clone());
            // Above the streams, since criu has others of its own there.
            let copy = sys::duplicate_above_streams(stream)
                .map_err(|errno| Error::call("duplicate a standard stream", errno))?;
            // criu looks for a file by its path without the slash, and cuts the first letter of
            // this name as well: so it takes the descriptor as it is. By the whole name it would
            // open it anew, and want the size and the kind of the file that was there.
            let name = match name.strip_prefix('f') {
                Some(cut) => cut.to_owned(),
                None => name,
            };
            replacements.inherited.push((name, copy.as_raw_fd()));
            replacements.copies.push(copy);
        }
        Ok(replacements)
    }

    pub(crate) fn raw(&self) -> impl Iterator<Item = RawFd> {
        self.copies.iter().map(AsRawFd::as_raw_fd)
    }
}

fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let names: Vec<String> = serde_json::from_slice(bytes).ok()?;
    (names.len() <= 3).then_some(names)
}

/// Whether it is one of criu's names for what is outside of the container.
fn is_inheritable(name: &str) -> bool {
    let kinds = ["pipe:[", "socket:[", "file["];
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    let inside = kinds
        .iter()
        .find_map(|kind| name.strip_prefix(kind)?.strip_suffix(']'));
    name.len() <= LONGEST_NAME && inside.is_some_and(|inside| inside.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crius_own_names_are_taken_from_an_image() {
        for name in ["pipe:[123]", "socket:[9]", "file[1f:a33]"] {
            assert!(is_inheritable(name), "{name}");
        }
        let long = format!("pipe:[{}]", "1".repeat(100));
        for name in [
            "",
            "/dev/null",
            "pipe:[1]:x]",
            "extRootNetNS",
            "pipe:[1",
            "file[../x]",
            &long,
        ] {
            assert!(!is_inheritable(name), "{name}");
        }
    }

    #[test]
    fn each_stream_stands_in_for_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let images = Directory::open(&place.path().join("cp"), "image directory", true).unwrap();
        let none = Replacements::new(&images, None).unwrap();
        assert!(none.inherited.is_empty());

        images
            .write(FILE, br#"["/dev/null","pipe:[7]","pipe:[7]"]"#)
            .unwrap();
        let some = Replacements::new(&images, None).unwrap();
        let [(name, fd)] = &some.inherited[..] else {
            panic!("{some:?}");
        };
        assert_eq!(name, "pipe:[7]");
        assert!(*fd > 2 && std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists());

        for bad in [
            &b"{}"[..],
            b"[1,2,3]",
            br#"["a","b","c","d"]"#,
            b"",
            &[b'['; 5000],
        ] {
            images.write(FILE, bad).unwrap();
            assert!(Replacements::new(&images, None).is_err());
        }
    }
}

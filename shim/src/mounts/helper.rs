//! Filesystems that a program of the host serves: mount.fuse3(8) mounts them and goes, and leaves
//! a process that lives until they are unmounted.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::pipe2;
use runtime_core::errno::{Words, of_io};
use runtime_core::{Exit, Process};

use super::c_string;
use super::place::Place;
use crate::failure::{Code, Failure};

/// How long a helper may take until the filesystem is mounted.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of what it says is repeated.
const LONGEST_WORDS: usize = 1024;

/// The helpers, and what the types of theirs start with.
const HELPERS: [(&str, &CStr); 2] = [("fuse3.", c"mount.fuse3"), ("fuse.", c"mount.fuse")];

/// A mount that is a helper's to make: `HELPER SOURCE TARGET [-o OPTION]... -t PROGRAM`.
#[derive(Debug)]
pub(super) struct Helper<'a> {
    name: &'static CStr,
    program: &'a str,
}

impl<'a> Helper<'a> {
    /// The helper for a type such as `fuse3.fuse-overlayfs`.
    pub(super) fn of(kind: &'a str) -> Option<Self> {
        HELPERS.iter().find_map(|(start, name)| {
            let program = kind.strip_prefix(start)?;
            Some(Self { name, program })
        })
    }

    /// Has it mounted there; it is there when this returns.
    pub(super) fn mount(
        &self,
        place: &Place,
        source: &str,
        options: &[String],
    ) -> Result<(), Failure> {
        let target = fs::read_link(place.path())
            .map_err(|error| Failure::call("read the target's name", of_io(&error)))?;
        let target = target.display().to_string();
        let mut words = vec![source, &target];
        words.extend(options.iter().flat_map(|option| ["-o", option]));
        words.extend(["-t", self.program]);
        self.run(&words)?;
        self.require_mounted(place, &target)
    }

    fn run(&self, words: &[&str]) -> Result<(), Failure> {
        let streams = Streams::new().map_err(|errno| self.failed("start", errno))?;
        let process = self.spawn(words, &streams)?;
        let words = streams.close_theirs();
        let in_time = ended_within(&process, LIMIT);
        if in_time != Ok(true) {
            process.signal(libc::SIGKILL).ok();
        }
        let exit = process
            .wait()
            .map_err(|errno| self.failed("wait for", errno))?;
        match in_time {
            Ok(true) if exit == Exit::Code(0) => Ok(()),
            Ok(true) => Err(Failure::unknown(format!(
                "{} -t {}: {exit}: {}",
                self.name.to_string_lossy(),
                self.program,
                one_line(words)
            ))),
            Ok(false) => Err(Failure::new(
                Code::DEADLINE_EXCEEDED,
                format!(
                    "{} -t {} has not ended within {} s and was killed",
                    self.name.to_string_lossy(),
                    self.program,
                    LIMIT.as_secs()
                ),
            )),
            Err(errno) => Err(self.failed("wait for", errno)),
        }
    }

    /// Starts it with no signal blocked, since the shim reads its own from a descriptor.
    fn spawn(&self, words: &[&str], streams: &Streams) -> Result<Process, Failure> {
        let failed = |errno| self.failed("start", errno);
        let mut attributes = PosixSpawnAttr::init().map_err(failed)?;
        attributes
            .set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)
            .and_then(|()| attributes.set_sigmask(&SigSet::empty()))
            .map_err(failed)?;
        let actions = streams.actions().map_err(failed)?;
        let mut arguments = vec![self.name.to_owned()];
        for word in words {
            arguments.push(c_string(word)?);
        }
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let environment: [CString; 1] = [c_string(&format!("PATH={path}"))?];
        let pid = posix_spawnp(self.name, &actions, &attributes, &arguments, &environment)
            .map_err(|errno| match errno {
                Errno::ENOENT => Failure::unknown(format!(
                    "{}: {}: it is a program of the host's package fuse3, which is not installed",
                    self.name.to_string_lossy(),
                    Words(errno)
                )),
                errno => failed(errno),
            })?;
        // The number of a child that nobody else reaps is its own.
        Process::open(pid.as_raw()).map_err(failed)
    }

    /// A helper may say that all is well and have mounted nothing.
    fn require_mounted(&self, place: &Place, target: &str) -> Result<(), Failure> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let before = fstat(place).map(|status| status.st_dev);
        let after = nix::fcntl::open(target, flags, Mode::empty())
            .and_then(fstat)
            .map(|status| status.st_dev);
        match (before, after) {
            (Ok(before), Ok(after)) if before != after => Ok(()),
            (_, Err(errno)) => Err(Failure::call(
                format_args!("look at what {} serves", self.program),
                errno,
            )),
            _ => Err(Failure::unknown(format!(
                "{} -t {} has ended well, and nothing is mounted",
                self.name.to_string_lossy(),
                self.program
            ))),
        }
    }

    fn failed(&self, act: &str, errno: Errno) -> Failure {
        Failure::call(format_args!("{act} {}", self.name.to_string_lossy()), errno)
    }
}

/// What a helper has as its standard streams: nothing to read, and somebody who listens.
#[derive(Debug)]
struct Streams {
    input: File,
    said: File,
    says: File,
}

impl Streams {
    fn new() -> Result<Self, Errno> {
        let (said, says) = pipe2(OFlag::O_CLOEXEC)?;
        // What it leaves behind may keep its end open.
        fcntl(&said, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            input: File::open("/dev/null").map_err(|error| of_io(&error))?,
            said: said.into(),
            says: says.into(),
        })
    }

    fn actions(&self) -> Result<PosixSpawnFileActions, Errno> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(self.input.as_raw_fd(), 0)?;
        actions.add_dup2(self.says.as_raw_fd(), 1)?;
        actions.add_dup2(self.says.as_raw_fd(), 2)?;
        Ok(actions)
    }

    fn close_theirs(self) -> File {
        self.said
    }
}

/// The beginning of what it has said.
fn one_line(mut said: File) -> String {
    let mut bytes = [0; LONGEST_WORDS];
    // What can't be read can't be repeated.
    let length = said.read(&mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ended_within(process: &Process, limit: Duration) -> Result<bool, Errno> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => {}
            ready => return ready.map(|count| count > 0),
        }
    }
}

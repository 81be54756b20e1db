//! A logger: a program of the host that reads a container's output from descriptors 3 and 4, and
//! says at 5 that it is ready.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2, read};
use runtime_core::errno::Words;
use runtime_core::process::{Exit, send_signal};

use super::destination::LoggerCommand;
use super::open::{self, reopen};
use super::sys;
use super::watch::{Desk, Watch, earlier};
use crate::failure::{Code, Failure};
use crate::poller::Interest;

/// The first number that no descriptor of a logger has to get.
const BEYOND: i32 = 10;

/// How often it is looked whether a logger has read everything, while somebody asks.
const LOOK: Duration = Duration::from_millis(100);

/// How long a logger that was killed may take to be gone.
const GONE: Duration = Duration::from_secs(1);

/// Whose output it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
}

/// A running logger. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Logger {
    name: String,
    pidfd: Watch,
    reaped: bool,
    /// The pipes that it reads, without having them open.
    outputs: [OwnedFd; 2],
    /// When it is killed; set once it has been asked to end.
    kill_at: Option<Instant>,
    look: Option<Instant>,
}

impl Logger {
    /// Starts a logger and waits until it is ready. `outputs` are its ends of the pipes.
    ///
    /// # Errors
    ///
    /// It could not be started, or was not ready in time; then it is gone again.
    pub(super) fn start(
        command: &LoggerCommand,
        container: Container<'_>,
        outputs: [OwnedFd; 2],
        ready_within: Duration,
        part: u8,
    ) -> Result<Self, Failure> {
        let name = command.program.to_string_lossy().into_owned();
        let act = |act: &str| format!("{act} the logger {name}");
        let failed = |errno| Failure::call(act("make the descriptors of"), errno);
        let [out, err] = &outputs;
        let nodes = [
            reopen(out.as_fd(), OFlag::O_PATH).map_err(failed)?,
            reopen(err.as_fd(), OFlag::O_PATH).map_err(failed)?,
        ];
        let (ready, says_ready) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let descriptors = Descriptors::new(&outputs, &says_ready)?;
        let pid = descriptors.spawn(command, container).map_err(|errno| {
            let hint = match errno {
                Errno::ENOENT => ": it has to be a program of the host",
                Errno::EACCES => ": it is not executable",
                _ => "",
            };
            Failure::unknown(format!("{}: {}{hint}", act("start"), Words(errno)))
        })?;
        let logger = Self {
            pidfd: Watch::new(hold(pid).map_err(failed)?, part),
            reaped: false,
            outputs: nodes,
            kill_at: None,
            look: None,
            name: name.clone(),
        };
        // With all copies of its ends closed here, its end is an end of file, and a container
        // whose logger is gone meets EPIPE.
        drop((descriptors, outputs, says_ready));
        logger.await_ready(&ready, command.says_ready, ready_within)?;
        Ok(logger)
    }

    fn await_ready(
        &self,
        ready: &OwnedFd,
        has_to_say: bool,
        within: Duration,
    ) -> Result<(), Failure> {
        let name = &self.name;
        let is_readable = poll_until(ready, Instant::now() + within)
            .map_err(|errno| Failure::call(format!("wait for the logger {name}"), errno))?;
        if !is_readable {
            let seconds = within.as_secs_f32();
            return Err(Failure::new(
                Code::DEADLINE_EXCEEDED,
                format!(
                    "the logger {name} was not ready within {seconds} s and was killed: it has to write a byte to descriptor 5, or to close it"
                ),
            ));
        }
        match read(ready, &mut [0]) {
            Ok(0) if has_to_say => Err(Failure::unknown(format!(
                "the logger {name} closed descriptor 5 without a byte: it was not ready, or has crashed (binary-v2 asks for the byte)"
            ))),
            Ok(_) => Ok(()),
            Err(errno) => Err(Failure::call(
                format!("hear whether the logger {name} is ready"),
                errno,
            )),
        }
    }

    /// Has the loop say when it ends.
    pub(super) fn register(&mut self, desk: &Desk<'_>) {
        self.pidfd.set(desk, Some(Interest::READ));
    }

    /// Asks it to end, and has it killed if it does not.
    pub(super) fn end(&mut self, desk: &Desk<'_>) {
        if self.kill_at.is_none() {
            // One that has ended meanwhile needs no signal.
            send_signal(self.pidfd.as_fd(), libc::SIGTERM).ok();
            self.kill_at = Some(desk.now + desk.limits.logger_end);
            self.look = None;
            self.register(desk);
        }
    }

    /// Reaps it if it has ended, and says how.
    pub(super) fn reap(&mut self, desk: &Desk<'_>) -> Option<String> {
        let exit = try_reap(&self.pidfd)?;
        self.reaped = true;
        self.pidfd.set(desk, None);
        Some(format!(
            "the logger {} has ended ({exit}) before its container was deleted: nobody reads its output any more",
            self.name
        ))
    }

    /// Whether it was asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }

    /// Whether it has read everything; with `to_the_end`, also that nobody can write any more.
    pub(super) fn has_read_all(&mut self, to_the_end: bool) -> bool {
        let all = self.outputs.iter().all(|node| is_empty(node, to_the_end));
        self.look = (!all).then(|| Instant::now() + LOOK);
        all
    }

    pub(super) fn tick(&mut self, desk: &Desk<'_>) {
        self.pidfd.tick(desk);
        self.look = self.look.filter(|look| *look > desk.now);
        if self.kill_at.is_some_and(|at| at <= desk.now) {
            send_signal(self.pidfd.as_fd(), libc::SIGKILL).ok();
            self.kill_at = Some(desk.now + desk.limits.logger_end);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.look, self.pidfd.next_deadline()]
            .into_iter()
            .fold(self.kill_at, earlier)
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Nothing more can be done about one that can't be killed.
        send_signal(self.pidfd.as_fd(), libc::SIGKILL).ok();
        poll_until(&self.pidfd, Instant::now() + GONE).ok();
        try_reap(&self.pidfd);
    }
}

/// The descriptors of a logger, away from the numbers that they get in it.
struct Descriptors {
    null: OwnedFd,
    outputs: [OwnedFd; 2],
    ready: OwnedFd,
}

impl Descriptors {
    fn new(outputs: &[OwnedFd; 2], ready: &OwnedFd) -> Result<Self, Failure> {
        let away = |fd: &OwnedFd| {
            sys::dup_above(fd.as_fd(), BEYOND)
                .map_err(|errno| Failure::call("make the descriptors of a logger", errno))
        };
        let [out, err] = outputs;
        Ok(Self {
            null: away(&open::null()?)?,
            outputs: [away(out)?, away(err)?],
            ready: away(ready)?,
        })
    }

    /// Starts the program: /dev/null as its standard streams, no environment but the
    /// container's id and namespace, default signals.
    fn spawn(&self, command: &LoggerCommand, container: Container<'_>) -> Result<Pid, Errno> {
        let [out, err] = &self.outputs;
        let null = &self.null;
        let mut actions = PosixSpawnFileActions::init()?;
        for (fd, number) in [null, null, null, out, err, &self.ready]
            .into_iter()
            .zip(0..)
        {
            actions.add_dup2(fd.as_raw_fd(), number)?;
        }
        let mut attributes = PosixSpawnAttr::init()?;
        let flags =
            PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
        attributes.set_flags(flags)?;
        attributes.set_sigdefault(&SigSet::from_iter([Signal::SIGPIPE]))?;
        attributes.set_sigmask(&SigSet::empty())?;
        let variable = |name: &str, value: &str| {
            CString::new(format!("{name}={value}")).map_err(|_| Errno::EINVAL)
        };
        let environment = [
            variable("CONTAINER_ID", container.id)?,
            variable("CONTAINER_NAMESPACE", container.namespace)?,
        ];
        let words = std::iter::once(&command.program).chain(&command.arguments);
        let words: Vec<&CStr> = words.map(CString::as_c_str).collect();
        posix_spawn(
            command.program.as_c_str(),
            &actions,
            &attributes,
            &words,
            &environment,
        )
    }
}

/// A pidfd of a child that was just started; without one it is killed.
fn hold(pid: Pid) -> Result<OwnedFd, Errno> {
    sys::pidfd_open(pid.as_raw()).inspect_err(|_| {
        // Nobody has reaped it, so the number is its own.
        nix::sys::signal::kill(pid, Signal::SIGKILL).ok();
        nix::sys::wait::waitpid(pid, None).ok();
    })
}

fn try_reap(pidfd: &Watch) -> Option<Exit> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    match waitid(Id::PIDFd(pidfd.as_fd()), flags) {
        Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
        _ => None,
    }
}

/// Whether there is nothing to read in the pipe of a node. It is open here for the moment of the
/// question only: a reader that stays would keep a container writing after its logger's end.
fn is_empty(node: &OwnedFd, to_the_end: bool) -> bool {
    let Ok(pipe) = reopen(node.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK) else {
        return false;
    };
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).is_err() {
        return false;
    }
    let seen = fds
        .iter()
        .filter_map(PollFd::revents)
        .collect::<PollFlags>();
    !seen.contains(PollFlags::POLLIN) && (seen.contains(PollFlags::POLLHUP) || !to_the_end)
}

/// Whether it can be read before the deadline.
fn poll_until(fd: impl AsFd, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if left.as_millis() == 0 => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

//! criu as a program: started, spoken to, and ended, whatever it does.
//!
//! It is started as a container's init is: by the interpreter of `runtime-init`, so that no lock
//! of this program's other threads is met on the way. It gets a socket, and nothing else that
//! this program has open. Every wait for it ends at one deadline; whoever gives it up kills it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::stat::Mode;
use runtime_init::{Exec, Phase, Program, Step};

use super::log;
use super::rpc::{Kind, LONGEST_MESSAGE, Notice, Response};
use super::unified::Unified;
use crate::errno::Words;
use crate::error::{Error, ErrorKind};
use crate::launch::{self, FailureAt, LaunchError};
use crate::process::{Exit, Process};
use crate::procfs::Procfs;
use crate::sys;

/// How long a dump or a restore may take when the caller does not say.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);

/// How long criu may take to end by itself once it has said how it went.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// How long a killed criu may take to end.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// More notifications than any criu sends.
const MOST_NOTICES: usize = 256;

/// Where it looks for the programs that it starts itself, when the caller has no PATH.
const DEFAULT_PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What criu is started with.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) binary: &'a Path,
    /// As in [`crate::Runtime::with_environment`].
    pub(crate) environment: &'a [CString],
    pub(crate) procfs: &'a Procfs,
    /// The v2 directory to be born in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// CLONE_NEW*.
    pub(crate) namespaces: u64,
    /// Between the descriptors and the program: cgroups, namespaces, mounts, in order, and what
    /// each is in words.
    pub(crate) steps: Vec<(Step<'a>, &'static str)>,
    /// Where the binary is after these steps; its own path without.
    pub(crate) program: Option<&'a CStr>,
    /// Descriptors that the steps need, and that end at execve(2).
    pub(crate) needed: Vec<RawFd>,
    /// Descriptors that criu is told about by number.
    pub(crate) passed: Vec<RawFd>,
    /// Its standard streams; without, it has /dev/null, and what it prints is kept for errors.
    pub(crate) stdio: Option<[RawFd; 3]>,
    pub(crate) deadline: Instant,
}

/// A criu that runs.
#[derive(Debug)]
pub(crate) struct Criu<'a> {
    process: Option<Process>,
    procfs: &'a Procfs,
    /// The host's cgroup v2, before it runs.
    unified: Unified,
    socket: OwnedFd,
    /// What it prints.
    printed: OwnedFd,
    deadline: Instant,
    limit: Duration,
}

/// What is done at the moments that criu tells of. Its error ends the whole operation.
pub(crate) type OnNotice<'a> = dyn FnMut(&Notice, Option<OwnedFd>) -> Result<(), Error> + 'a;

impl<'a> Criu<'a> {
    /// Starts `criu swrk`, which speaks with who started it and nobody else.
    ///
    /// # Errors
    ///
    /// When a step of the way fails, or the program can't be executed; nothing is left then.
    pub(crate) fn start(setting: &Setting<'a>) -> Result<Self, Error> {
        let call = |act: &str, errno| Error::call(format!("start criu: {act}"), errno);
        let (socket, theirs) = pair().map_err(|errno| call("socketpair(2)", errno))?;
        let (sync, child_sync) = pair().map_err(|errno| call("socketpair(2)", errno))?;
        let printed = memfd_create(c"criu", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| call("memfd_create(2)", errno))?;
        let null = nix::fcntl::open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| call("open /dev/null", errno))?;

        let streams =
            setting
                .stdio
                .unwrap_or([null.as_raw_fd(), printed.as_raw_fd(), printed.as_raw_fd()]);
        let mut passed = setting.passed.clone();
        passed.push(theirs.as_raw_fd());
        let mut keep = vec![0, 1, 2, child_sync.as_raw_fd(), setting.procfs.raw()];
        keep.extend(streams);
        keep.extend(&passed);
        keep.extend(&setting.needed);
        keep.sort_unstable();
        keep.dedup();

        let words = Command::new(setting, theirs.as_raw_fd())?;
        let argv = sys::pointers(&words.arguments);
        let envp = sys::pointers(&words.environment);
        let candidates = [setting.program.unwrap_or(&words.binary)];
        let mut steps = vec![
            (Step::KeepOnly(&keep), "close other descriptors"),
            (Step::DefaultSignals, "reset the signals"),
            (Step::Stdio(streams), "set the standard streams"),
        ];
        steps.extend(setting.steps.iter().copied());
        steps.extend([
            (Step::PassOn(&passed), "pass descriptors on"),
            (Step::FindProgram(&candidates), "find the program"),
            (Step::Tell(Phase::Executing), "tell the runtime"),
            (
                Step::Exec(Exec {
                    argv: &argv,
                    envp: &envp,
                }),
                "execute the program",
            ),
        ]);
        let (steps, acts): (Vec<Step<'_>>, Vec<&str>) = steps.into_iter().unzip();
        let program = Program {
            steps: &steps,
            sync: child_sync.as_raw_fd(),
            proc: setting.procfs.raw(),
        };
        let unified = Unified::now(setting.procfs)
            .map_err(|errno| call("read /proc/self/mountinfo", errno))?;
        let (pid, pidfd) = sys::clone_init(setting.namespaces, setting.cgroup, &program)
            .map_err(|errno| call("clone3(2)", errno))?;
        let criu = Self {
            process: Some(Process::new(pid, pidfd)),
            procfs: setting.procfs,
            unified,
            socket,
            printed,
            deadline: setting.deadline,
            limit: setting.deadline.saturating_duration_since(Instant::now()),
        };
        drop((theirs, child_sync));
        let explain = |at: FailureAt, _: &str| not_started(setting.binary, &acts, at);
        match launch::executed(sync.as_fd(), setting.deadline, &explain) {
            Ok(()) => Ok(criu),
            Err(launch::StartError::Failed(error)) => Err(error.into()),
            Err(launch::StartError::Silence) => Err(Error::text(
                ErrorKind::Criu,
                "criu was killed before it was executed (for want of memory?)",
            )),
        }
    }

    /// Its number in this pid namespace, as long as it has not ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Asks for something and answers every notification on the way; gives criu's last word,
    /// whatever it is.
    ///
    /// # Errors
    ///
    /// When criu says nothing in time, ends without an answer, or says what is no answer; and
    /// whatever `on_notice` fails with, after criu has been told so.
    pub(crate) fn ask(
        &self,
        kind: Kind,
        request: &[u8],
        on_notice: &mut OnNotice<'_>,
    ) -> Result<Response, Error> {
        self.say(request)?;
        for _ in 0..MOST_NOTICES {
            let (response, descriptor) = self.hear(kind)?;
            match (response.kind, &response.notice) {
                (Some(Kind::Notify), Some(notice)) => {
                    let done = on_notice(notice, descriptor);
                    let said = self.say(&super::rpc::notified(done.is_ok()));
                    // Its own failure is the one to report, not that criu did not listen any more.
                    done.and(said)?;
                }
                (Some(answered), _) if answered == kind => return Ok(response),
                // Before it knows what is asked for, it fails without a kind.
                _ if !response.success => return Ok(response),
                _ => {
                    return Err(self.lie(kind, "what it says is the answer to no question"));
                }
            }
        }
        Err(self.lie(kind, "it notifies without an end"))
    }

    /// Waits for it to end, now that it has answered; the options of the host's cgroup v2 are as
    /// before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] when it does not; it is killed then. And when the options can't be
    /// put back.
    pub(crate) fn finish(mut self) -> Result<Exit, Error> {
        let exit = self.wait_for_its_end()?;
        self.unified
            .put_back(self.procfs)
            .map_err(|errno| Error::call("put back the options of cgroup v2 (nsdelegate, ...), which criu has dropped: fsconfig(2)", errno))?;
        Ok(exit)
    }

    fn wait_for_its_end(&mut self) -> Result<Exit, Error> {
        // A criu that waits for more to do sees that there is none.
        let both = nix::sys::socket::Shutdown::Both;
        nix::sys::socket::shutdown(self.socket.as_raw_fd(), both).ok();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let Some(process) = self.process.take() else {
            return Ok(Exit::Code(0));
        };
        if process.ended_within(left.min(END_DEADLINE)) != Ok(true) {
            end(&process);
            return Err(Error::text(
                ErrorKind::TimedOut,
                format!(
                    "criu has answered and not ended within {} s; it was killed",
                    END_DEADLINE.as_secs()
                ),
            ));
        }
        process
            .wait()
            .map_err(|errno| Error::call("wait for criu: waitid(2)", errno))
    }

    fn say(&self, message: &[u8]) -> Result<(), Error> {
        loop {
            if !self.wait_for(PollFlags::POLLOUT, "takes")? {
                return Ok(());
            }
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), message, flags) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // It has ended: what it said before that is still to be read.
                Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
                Err(Errno::EMSGSIZE) => {
                    return Err(Error::text(
                        ErrorKind::Unsupported,
                        "the request to criu is longer than a packet may be: config.json has too many mounts",
                    ));
                }
                Err(errno) => return Err(Error::call("speak to criu: send(2)", errno)),
            }
        }
    }

    fn hear(&self, kind: Kind) -> Result<(Response, Option<OwnedFd>), Error> {
        let mut buffer = vec![0; LONGEST_MESSAGE];
        let (length, descriptor) = loop {
            if !self.wait_for(PollFlags::POLLIN, "says")? {
                break (0, None);
            }
            match sys::receive(self.socket.as_fd(), &mut buffer) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => break (0, None),
                Err(Errno::EMSGSIZE) => {
                    return Err(self.lie(kind, "what it says is longer than any answer"));
                }
                Err(errno) => return Err(Error::call("listen to criu: recvmsg(2)", errno)),
                Ok(received) => break received,
            }
        };
        if length == 0 {
            return Err(self.ended(kind));
        }
        match Response::parse(&buffer[..length]) {
            Ok(response) => Ok((response, descriptor)),
            Err(malformed) => {
                Err(self.lie(kind, &format!("what it says is no answer: {malformed}")))
            }
        }
    }

    /// Waits until the socket is ready; false when criu has ended and there is nothing left to
    /// read of it, though others may hold its end of the socket.
    fn wait_for(&self, events: PollFlags, act: &str) -> Result<bool, Error> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = vec![PollFd::new(self.socket.as_fd(), events)];
            let process = self.process.as_ref().map(AsFd::as_fd);
            polled.extend(process.map(|process| PollFd::new(process, PollFlags::POLLIN)));
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::call("wait for criu: poll(2)", errno)),
                Ok(0) => return Err(self.silence(act)),
                Ok(_) => return Ok(polled.first().is_some_and(|fd| fd.any() != Some(false))),
            }
        }
    }

    fn silence(&self, act: &str) -> Error {
        Error::text(
            ErrorKind::TimedOut,
            format!(
                "criu {act} nothing any more: it had {} s in all, and was killed",
                self.limit.as_secs_f64().round()
            ),
        )
    }

    /// It has closed the socket instead of answering.
    fn ended(&self, kind: Kind) -> Error {
        let how = self.process.as_ref().and_then(|process| {
            (process.ended_within(END_DEADLINE) == Ok(true)).then(|| process.wait().ok())?
        });
        let how = how.map_or_else(String::new, |exit| format!(": {exit}"));
        Error::text(
            ErrorKind::Criu,
            format!(
                "criu has ended without an answer to {}{how}{}",
                kind.name(),
                self.printed_hint()
            ),
        )
    }

    fn lie(&self, kind: Kind, what: &str) -> Error {
        Error::text(
            ErrorKind::Criu,
            format!(
                "criu was asked for {}, and {what}: is this program a criu?",
                kind.name()
            ),
        )
    }

    /// What it has printed, which is where the failures go that come before its log.
    pub(crate) fn printed_hint(&self) -> String {
        let mut text = Vec::new();
        let reopened = self
            .printed
            .try_clone()
            .map(File::from)
            .and_then(|mut file| {
                std::io::Seek::rewind(&mut file)?;
                file.take(log::TAIL).read_to_end(&mut text)
            });
        match reopened.ok().and_then(|_| log::quote(&text)) {
            Some(lines) => format!(": it printed: {lines}"),
            None => String::new(),
        }
    }
}

impl Drop for Criu<'_> {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            end(process);
        }
        // Whoever needs to know has asked for its end.
        self.unified.put_back(self.procfs).ok();
    }
}

/// Kills and reaps; one that has ended, or is reaped already, is no error.
pub(crate) fn end(process: &Process) {
    if process.kill().is_ok() && process.ended_within(DEATH_DEADLINE) == Ok(true) {
        // ECHILD means that it is reaped already.
        let _reaped = process.wait();
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// The strings of the program.
struct Command {
    binary: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    fn new(setting: &Setting<'_>, socket: RawFd) -> Result<Self, Error> {
        let binary = CString::new(setting.binary.as_os_str().as_bytes()).map_err(|_| {
            Error::text(
                ErrorKind::InvalidConfig,
                "the path of criu has a NUL byte in it",
            )
        })?;
        let number = CString::new(socket.to_string()).unwrap_or_default();
        let mut environment = setting.environment.to_vec();
        let is_path = |variable: &CString| variable.as_bytes().starts_with(b"PATH=");
        if !environment.iter().any(is_path) {
            environment.push(DEFAULT_PATH.to_owned());
        }
        Ok(Self {
            arguments: vec![binary.clone(), c"swrk".to_owned(), number],
            binary,
            environment,
        })
    }
}

/// Why criu does not run.
fn not_started(binary: &Path, acts: &[&str], at: FailureAt) -> LaunchError {
    let errno = Errno::from_raw(at.failure.code);
    let act = acts.get(at.step).copied().unwrap_or("prepare");
    let is_program = act == "find the program" || act == "execute the program";
    let hint = match errno {
        Errno::ENOENT if is_program => {
            ": checkpoint and restore need criu: install it, or say where it is"
        }
        Errno::EACCES if is_program => ": it is not executable",
        _ => "",
    };
    LaunchError::Step {
        act: format!("start criu ({}): {act}", binary.display()),
        call: at.failure.call.text(),
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}

//! Waiting for a process in the foreground: signals go to it, its terminal comes to us, its
//! orphans are reaped. One loop, no threads.

use std::os::fd::{AsFd, OwnedFd};
use std::process;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use runtime_core::Process;

use self::relay::Relay;
use crate::failure::{Failure, While};
use crate::log::Log;
use crate::notify::Readiness;

mod relay;

/// Faults of this very program: blocked, they would kill it all the same.
const FAULTS: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Signals that arrive as data from now on. Made before the process is, so that none is lost.
#[derive(Debug)]
pub(crate) struct Signals {
    queue: SignalFd,
}

impl Signals {
    /// Blocks all signals and opens a queue of them (signalfd(2)).
    pub(crate) fn block() -> Result<Self, Failure> {
        let mut mask = SigSet::all();
        for fault in FAULTS {
            mask.remove(fault);
        }
        mask.thread_block().doing("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let queue = SignalFd::with_flags(&mask, flags).doing("open a queue of signals")?;
        Ok(Self { queue })
    }
}

/// Makes this process the parent of all orphans among its descendants (prctl(2)).
pub(crate) fn adopt_orphans() -> Result<(), Failure> {
    prctl::set_child_subreaper(true).doing("become a subreaper")
}

/// A process that may say that it is ready, and where the failure to tell the host goes.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) readiness: Readiness,
    pub(crate) log: &'a Log,
}

impl Told<'_> {
    /// What there is to hear: whether there will be more. The process runs on, whoever hears.
    fn hear(&self, process: &Process) -> bool {
        match self.readiness.hear(process) {
            Ok(was_ready) => !was_ready,
            Err(failure) => {
                self.log.warning(&failure.message);
                false
            }
        }
    }
}

/// Returns when the process has ended and all it wrote to its terminal is passed on. It is
/// not reaped.
pub(crate) fn attend(
    signals: &Signals,
    process: &Process,
    master: Option<OwnedFd>,
    mut told: Option<Told<'_>>,
) -> Result<(), Failure> {
    let mut relay = master.map(Relay::new).transpose()?;
    while !wait_for_events(signals, process, relay.as_mut(), told.as_ref())? {
        told = told.filter(|told| told.hear(process));
    }
    match relay {
        Some(relay) => relay.drain(),
        None => Ok(()),
    }
}

/// Waits for something to happen and deals with it; true when the process has ended.
fn wait_for_events(
    signals: &Signals,
    process: &Process,
    relay: Option<&mut Relay>,
    told: Option<&Told<'_>>,
) -> Result<bool, Failure> {
    let mut fds = Vec::with_capacity(6);
    fds.push(PollFd::new(signals.queue.as_fd(), PollFlags::POLLIN));
    fds.push(PollFd::new(process.as_fd(), PollFlags::POLLIN));
    let said = told.map(|told| PollFd::new(told.readiness.as_fd(), PollFlags::POLLIN));
    fds.extend(said);
    let timeout = match &relay {
        Some(relay) => relay.wishes(&mut fds),
        None => PollTimeout::NONE,
    };
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).doing("wait for the process"),
    }
    let happened = |index: usize| fds[index].any().unwrap_or(true);
    let (signalled, ended) = (happened(0), happened(1));
    drop(fds);
    let mut relay = relay;
    if signalled {
        forward_signals(signals, process, relay.as_deref_mut())?;
    }
    if let Some(relay) = relay {
        relay.step()?;
    }
    Ok(ended)
}

/// Takes every signal out of the queue.
fn forward_signals(
    signals: &Signals,
    process: &Process,
    mut relay: Option<&mut Relay>,
) -> Result<(), Failure> {
    loop {
        let info = match signals.queue.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) => return Ok(()),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).doing("read a signal"),
        };
        let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
        match signal {
            libc::SIGCHLD => reap_orphans(process.pid()),
            libc::SIGWINCH => {
                if let Some(relay) = relay.as_deref_mut() {
                    relay.resize();
                }
            }
            libc::SIGURG => {}
            libc::SIGPIPE if is_from_ourselves(&info) => {}
            // A process that has ended, or changed its user, can't be signalled: the loop
            // sees the first by itself, and the second is the process's own choice.
            _ => {
                process.signal(signal).ok();
            }
        }
    }
}

/// Whether this process caused the signal: the kernel's SIGPIPE for a closed stdout.
fn is_from_ourselves(info: &siginfo) -> bool {
    info.ssi_pid == process::id()
}

/// Reaps every child that has ended but `spared`, whose status is for its own waiter.
fn reap_orphans(spared: i32) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) =
        waitid(Id::All, peek)
    {
        if pid.as_raw() == spared || !reap(pid) {
            return;
        }
    }
}

fn reap(pid: Pid) -> bool {
    waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::raise;

    use super::*;

    /// A shell that has come to the point where it waits for its standard input to end.
    fn shell(script: &str) -> (Child, Process) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        let process = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, process)
    }

    /// One test, since every child of the test program that ends is reaped here.
    #[test]
    fn a_signal_goes_to_the_process_and_its_status_is_left_for_the_waiter() {
        // Before signals are blocked, or the shells would inherit that.
        let (mut first, first_fd) = shell("trap 'exit 7' TERM; echo ready; read line; exit 1");
        let (mut second, second_fd) =
            shell("trap 'exit 7' WINCH URG CHLD; echo ready; read line; exit 1");
        let (orphan, _) = shell("echo ready; exec true");
        let (mut third, third_fd) = shell("echo ready; read line; exit 3");
        let orphan = Pid::from_raw(i32::try_from(orphan.id()).unwrap());
        waitid(Id::Pid(orphan), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let signals = Signals::block().unwrap();

        raise(Signal::SIGTERM).unwrap();
        attend(&signals, &first_fd, None, None).unwrap();
        assert_eq!(first.wait().unwrap().code(), Some(7));

        for signal in [
            Signal::SIGWINCH,
            Signal::SIGURG,
            Signal::SIGCHLD,
            Signal::SIGUSR1,
        ] {
            raise(signal).unwrap();
        }
        attend(&signals, &second_fd, None, None).unwrap();
        assert_eq!(second.wait().unwrap().signal(), Some(libc::SIGUSR1));

        // The orphan is the oldest child now, and so the first to be reaped.
        raise(Signal::SIGCHLD).unwrap();
        drop(third.stdin.take());
        attend(&signals, &third_fd, None, None).unwrap();
        assert_eq!(third.wait().unwrap().code(), Some(3));
        assert_eq!(
            waitpid(orphan, Some(WaitPidFlag::WNOHANG)),
            Err(Errno::ECHILD)
        );
    }
}

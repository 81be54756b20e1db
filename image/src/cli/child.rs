//! A child process that is this program's purpose: signals go on to it, and its end is ours.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};

use image::error::{Error, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// Signals that ask a program for something. Blocked from the time before the child is there, so
/// that none can end this process while there is something to clean up. (What std starts has
/// none of them blocked.)
pub(crate) struct Signals(SignalFd);

const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

impl Signals {
    pub(crate) fn block() -> Result<Self> {
        let step = |errno: nix::Error| Error::system("block signals", std::io::Error::from(errno));
        let mut set = SigSet::empty();
        for signal in PASSED_ON.into_iter().chain([Signal::SIGCHLD]) {
            set.add(signal);
        }
        set.thread_block().map_err(step)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)
            .map(Self)
            .map_err(step)
    }

    /// Waits for the child's end, and passes on what is sent to this process meanwhile. What the
    /// terminal sends, it has sent to the child as well.
    pub(crate) fn attend(self, mut child: Child) -> Result<ExitCode> {
        let step = |error: std::io::Error| Error::system("wait for the child process", error);
        loop {
            if let Some(status) = child.try_wait().map_err(step)? {
                return Ok(exit_code(status));
            }
            let Some(info) = self.0.read_signal().map_err(|errno| step(errno.into()))? else {
                continue;
            };
            let signal = i32::try_from(info.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            let is_from_terminal = info.ssi_code > 0;
            if let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD)
                && !is_from_terminal
                && let Ok(pid) = i32::try_from(child.id())
            {
                // It may have just ended.
                kill(Pid::from_raw(pid), signal).ok();
            }
        }
    }
}

/// As a shell says it: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let number = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}

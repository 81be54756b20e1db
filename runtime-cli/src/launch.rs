//! What `create`, `run` and `exec` have in common: the files and sockets that their flags
//! name, and what is done with a process once it is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use runtime_core::{PlanOptions, Process};

use crate::command_line::Parsed;
use crate::console::{self, Console};
use crate::environment;
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::flags;
use crate::foreground::{self, Signals, Told};
use crate::pid_file::PidFile;
use crate::terminal;

/// Everything outside of the container that a new process is given.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where its terminal goes.
    console: Console,
    pidfd_socket: Option<UnixStream>,
    pid_file: Option<PidFile>,
    /// Descriptors from 3 on that it keeps, those of socket activation first.
    preserved_fds: u32,
    /// What is added to its environment.
    extra_env: Vec<String>,
}

impl Surroundings {
    /// Opens what the flags name. Nothing is written yet.
    pub(crate) fn open(parsed: &Parsed<'_>, terminal: bool, detach: bool) -> Result<Self, Failure> {
        // First, while no descriptor of ours can be taken for one of the caller's.
        let listening = environment::listen_fds();
        let extra = parsed.number(&flags::PRESERVE_FDS);
        let preserved_fds = environment::preserved_fds(listening, extra)?;
        let pidfd_socket = parsed.path(&flags::PIDFD_SOCKET);
        Ok(Self {
            preserved_fds,
            extra_env: environment::listen_variables(listening),
            pid_file: parsed
                .path(&flags::PID_FILE)
                .map(PidFile::new)
                .transpose()?,
            pidfd_socket: pidfd_socket
                .map(|path| console::connect("--pidfd-socket", path))
                .transpose()?,
            console: Console::new(terminal, detach, parsed.path(&flags::CONSOLE_SOCKET))?,
        })
    }

    /// What it means for the plan of the process.
    pub(crate) fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            preserve_fds: self.preserved_fds,
            extra_env: self.extra_env.clone(),
            ..PlanOptions::default()
        }
    }

    /// What the master of its terminal is sent to.
    pub(crate) fn console_socket(&self) -> Option<BorrowedFd<'_>> {
        self.console.socket()
    }

    /// What a pidfd of the process is sent to.
    pub(crate) fn pidfd_socket(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd_socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether its terminal's master comes to ourselves.
    pub(crate) fn terminal_is_ours(&self) -> bool {
        matches!(self.console, Console::Ours { .. })
    }

    /// Writes the pid file and takes the terminal, when the process is there. The terminal gets
    /// the size of the caller's window.
    pub(crate) fn settle(self, process: &Process) -> Result<Option<OwnedFd>, Failure> {
        let master = self.console.receive()?;
        if let Some(master) = &master {
            terminal::resize(master.as_fd());
        }
        if let Some(file) = &self.pid_file {
            file.write(process.pid())?;
        }
        Ok(master)
    }
}

/// Attends a process in the foreground until it has ended, and reaps it; meanwhile the host is
/// told when it is ready.
pub(crate) fn attend(
    signals: &Signals,
    process: &Process,
    master: Option<OwnedFd>,
    told: Option<Told<'_>>,
) -> Result<Exit, Failure> {
    foreground::attend(signals, process, master, told)?;
    let end = process.wait().doing("wait for the process")?;
    Ok(match end {
        runtime_core::Exit::Code(status) => Exit::of_status(status),
        runtime_core::Exit::Signal(signal) => Exit::of_signal(signal),
    })
}

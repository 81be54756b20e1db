//! What is done while criu restores: hooks, the terminal, and the last look before anything runs.

use std::cell::RefCell;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::restoration::Restoration;
use super::rpc::Notice;
use super::verify::{self, Target};
use crate::error::{Error, ErrorKind};
use crate::hooks::HookKind;
use crate::process::Process;
use crate::state::{Record, StateDirectory, Status};

/// What happens while criu restores.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Init, once it has a number.
    pub(super) init: Option<Process>,
    /// Whether it is as config.json says, and on record.
    pub(super) is_committed: bool,
}

/// What criu's answer and what was seen on the way make of init.
pub(super) fn finished(pid: Option<i32>, progress: Progress) -> Result<Process, Error> {
    let lie = |text: &str| {
        Err(Error::text(
            ErrorKind::Criu,
            format!("criu says that the container is restored, and {text}"),
        ))
    };
    match progress.init {
        Some(init) if progress.is_committed && pid == Some(init.pid()) => Ok(init),
        Some(_) if !progress.is_committed => {
            lie("never let it be checked before it ran (it has no pre-resume): it was killed")
        }
        Some(_) => lie("names another process than it had made"),
        None => lie("has not made one"),
    }
}

/// One moment that criu tells of.
pub(super) struct Moment<'a> {
    pub(super) restoration: &'a Restoration<'a>,
    pub(super) directory: &'a StateDirectory,
    pub(super) target: &'a Target<'a>,
    pub(super) progress: &'a RefCell<Progress>,
    pub(super) record: &'a RefCell<Record>,
}

impl Moment<'_> {
    pub(super) fn handle(&self, notice: &Notice, descriptor: Option<OwnedFd>) -> Result<(), Error> {
        match notice.moment.as_str() {
            "setup-namespaces" => {
                self.take_init(notice.pid)?;
                let hooks = self.restoration.hooks();
                hooks.run(HookKind::Prestart, notice.pid, Status::Creating)?;
                Ok(hooks.run(HookKind::CreateRuntime, notice.pid, Status::Creating)?)
            }
            "post-restore" => self.take_init(notice.pid),
            "orphan-pts-master" => self.send_terminal(descriptor),
            "pre-resume" => self
                .check_and_commit(notice.pid)
                .inspect_err(|_| self.kill()),
            _ => Ok(()),
        }
    }

    /// Takes hold of init, which has to be a child of this program.
    fn take_init(&self, pid: i32) -> Result<(), Error> {
        let mut progress = self.progress.borrow_mut();
        match &progress.init {
            Some(init) if init.pid() == pid || pid == 0 => return Ok(()),
            Some(_) => return Err(stranger(pid)),
            None => {}
        }
        let init = Process::open(pid).map_err(|_| stranger(pid))?;
        if !init.is_child() {
            return Err(stranger(pid));
        }
        progress.init = Some(init);
        Ok(())
    }

    fn send_terminal(&self, master: Option<OwnedFd>) -> Result<(), Error> {
        let Some(master) = master else {
            return Err(Error::text(
                ErrorKind::Criu,
                "criu tells of a terminal and does not give it",
            ));
        };
        // Without a socket nobody wants it, and it goes.
        let Some(socket) = self.restoration.options.console_socket else {
            return Ok(());
        };
        let numbers = [master.as_raw_fd()];
        let sent = sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(b"/dev/console")],
            &[ControlMessage::ScmRights(&numbers)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        sent.map(drop)
            .map_err(|errno| Error::call("send the terminal: sendmsg(2)", errno))
    }

    /// Everything is restored, and stands still: the last moment to look at it.
    fn check_and_commit(&self, pid: i32) -> Result<(), Error> {
        self.take_init(pid)?;
        let mut progress = self.progress.borrow_mut();
        let Some(init) = &progress.init else {
            return Err(stranger(pid));
        };
        verify::check(self.target, init.pid())?;
        let (start_time, _) = self
            .restoration
            .procfs
            .start_time(init.pid())
            .map_err(|errno| Error::call(format!("read /proc/{}/stat", init.pid()), errno))?;
        let mut record = self.record.borrow_mut();
        record.init_process_pid = init.pid();
        record.init_process_start = start_time;
        if let Some(socket) = self.restoration.options.pidfd_socket {
            init.send_to(socket, b"standard")
                .map_err(|errno| Error::call("send the pidfd: sendmsg(2)", errno))?;
        }
        self.directory
            .write_record(&record, self.restoration.config)?;
        progress.is_committed = true;
        Ok(())
    }

    /// Before criu hears of it, since it would let them run all the same.
    fn kill(&self) {
        if let Some(init) = &self.progress.borrow().init {
            for pid in verify::tree(self.restoration.procfs, init.pid()).unwrap_or_default() {
                if let Ok(process) = Process::open(pid) {
                    process.kill().ok();
                }
            }
            init.kill().ok();
        }
    }
}

fn stranger(pid: i32) -> Error {
    Error::text(
        ErrorKind::Criu,
        format!(
            "criu says that pid {pid} is the restored init, and it is no child of this program"
        ),
    )
}

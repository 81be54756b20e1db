//! Hooks that run in the container's namespaces.

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::program::{Call, Failure, Hook};
use crate::sys::{self, Errno, Fd, Forked};

impl Init<'_> {
    /// Runs a hook in a session of its own and waits for it, but no longer than its limit.
    pub(crate) fn run_hook(&mut self, hook: &Hook<'_>) -> Result<(), Failure> {
        // execve(2) closes the end for writing, so only a failure of it is ever read.
        let (errors, reports) = sys::pipe().at(Call::Clone)?;
        match sys::fork(0, libc::SIGCHLD).at(Call::Clone)? {
            Forked::Child => self.become_hook(hook, &reports),
            Forked::Parent { pid, pidfd } => {
                drop(reports);
                let ended = wait_until_ended(&pidfd, hook.timeout_ms)?;
                if !ended {
                    kill(pid, &pidfd);
                }
                let status = sys::uninterrupted(|| sys::wait(pid)).at(Call::Wait)?;
                if !ended {
                    return refuse(Call::HookStatus, Failure::TIMED_OUT);
                }
                match status {
                    0 => Ok(()),
                    status => Err(read_failure(&errors).unwrap_or(Failure {
                        call: Call::HookStatus,
                        code: status,
                    })),
                }
            }
        }
    }

    fn become_hook(&self, hook: &Hook<'_>, reports: &Fd) -> ! {
        let failure = self.start_hook(hook);
        let number = (failure.call as u16).to_ne_bytes();
        let code = failure.code.to_ne_bytes();
        let record = [number[0], number[1], code[0], code[1], code[2], code[3]];
        // The exit status says it as well.
        sys::ignore(sys::write(reports.raw(), &record));
        sys::exit(127)
    }

    /// Returns only with a failure.
    fn start_hook(&self, hook: &Hook<'_>) -> Failure {
        match self.prepare_hook(hook) {
            Ok(()) => {
                let errno = sys::execute(hook.path, hook.argv, hook.envp);
                Failure {
                    call: Call::Execve,
                    code: errno.0,
                }
            }
            Err(failure) => failure,
        }
    }

    fn prepare_hook(&self, hook: &Hook<'_>) -> Result<(), Failure> {
        sys::setsid().at(Call::Setsid)?;
        sys::umask(self.umask);
        sys::rewind(hook.state).at(Call::Read)?;
        take_streams(hook)?;
        self.close_on_exec_from(3)?;
        sys::unblock_signals().at(Call::Sigaction)?;
        sys::set_disposition(libc::SIGPIPE, libc::SIG_DFL).at(Call::Sigaction)
    }
}

/// Standard input is the state, output and errors go where the caller wants them.
fn take_streams(hook: &Hook<'_>) -> Result<(), Failure> {
    let streams = [(hook.state, 0), (hook.output, 1), (hook.output, 2)];
    streams
        .iter()
        .try_for_each(|(fd, stream)| sys::dup_to(*fd, *stream).at(Call::Dup))
}

/// Whether the process has ended within so many milliseconds.
fn wait_until_ended(pidfd: &Fd, timeout_ms: u32) -> Result<bool, Failure> {
    let end = sys::now_ms().saturating_add(u64::from(timeout_ms));
    loop {
        let left = end.saturating_sub(sys::now_ms());
        match sys::readable_within(pidfd.raw(), left) {
            Err(Errno(libc::EINTR)) => {}
            done => return done.at(Call::Wait),
        }
    }
}

/// Kills the hook and what it has started, unless that has left its process group.
fn kill(pid: i32, pidfd: &Fd) {
    // Not there before the hook's setsid(2), hence the process itself as well.
    sys::ignore(sys::kill_group(pid, libc::SIGKILL));
    sys::ignore(sys::pidfd_kill(pidfd.raw()));
}

/// What kept the hook from starting, if anything did.
fn read_failure(errors: &Fd) -> Option<Failure> {
    let mut record = [0; 6];
    let read = sys::uninterrupted(|| sys::read(errors.raw(), &mut record));
    if read != Ok(record.len()) {
        return None;
    }
    let call = Call::from_number(u16::from_ne_bytes([record[0], record[1]]))?;
    let code = i32::from_ne_bytes([record[2], record[3], record[4], record[5]]);
    Some(Failure { call, code })
}

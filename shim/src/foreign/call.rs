//! One run of a runtime's binary, with an end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use runtime_core::errno::of_io;
use runtime_core::{Exit, Process};

use super::words::Operation;
use super::{adoption, log, sys};
use crate::failure::{Code, Failure};

/// How much of what is printed is kept, in bytes: the numbers of very many processes.
const KEPT: usize = 1 << 20;

/// How long a runtime may be silent before it is seen to whether it waits for the end of a
/// container in which there is somebody whom this program has to reap.
const PAUSE: Duration = Duration::from_millis(100);

/// A command line that is being put together.
#[derive(Debug)]
pub(super) struct Call {
    command: Command,
    binary: PathBuf,
    log: PathBuf,
    operation: Operation,
    limit: Duration,
    /// After the container's id.
    last: Option<OsString>,
}

/// What a runtime has as its standard input, output and error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// Nothing to read; what it prints is caught.
    Nothing,
    /// These bytes; what it prints is caught.
    Bytes(&'a [u8]),
    /// These, which the container inherits.
    Inherited([BorrowedFd<'a>; 3]),
}

/// What a runtime has printed.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Call {
    pub(super) fn new(binary: &Path, log: &Path, operation: Operation, limit: Duration) -> Self {
        let mut command = Command::new(binary);
        // It would have the runtime tell systemd of the container in the shim's name.
        command.env_remove("NOTIFY_SOCKET");
        sys::prepare(&mut command);
        Self {
            command,
            binary: binary.to_owned(),
            log: log.to_owned(),
            operation,
            limit,
            last: None,
        }
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    pub(super) fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.command.arg(name).arg(value);
    }

    pub(super) fn switch(&mut self, name: &str, is_on: bool) {
        if is_on {
            self.command.arg(name);
        }
    }

    /// A word after the container's id.
    pub(super) fn after(&mut self, word: String) {
        self.last = Some(word.into());
    }

    /// Runs it for a container, and forgets what it prints.
    pub(super) fn of(self, id: &str) -> Result<(), Failure> {
        self.run(id, Input::Nothing).map(|_| ())
    }

    /// Runs it for a container. At the deadline it is killed.
    pub(super) fn run(mut self, id: &str, input: Input<'_>) -> Result<Said, Failure> {
        self.command.arg(id).args(self.last.take());
        self.run_alone(input)
    }

    /// Runs it as it is. At the deadline it is killed.
    pub(super) fn run_alone(mut self, input: Input<'_>) -> Result<Said, Failure> {
        let log_start = log::length(&self.log);
        let mut printed = self.connect(input)?;
        let process = adoption::spawn(&mut self.command);
        // The parent's copies of the pipes' other ends go with the command.
        self.command = Command::new(&self.binary);
        let process = process.map_err(|errno| self.not_started(errno))?;
        let deadline = Instant::now() + self.limit;
        let in_time = printed.drain_until_ended(&process, deadline);
        if !matches!(in_time, Ok(true)) {
            process.signal(libc::SIGKILL).ok();
        }
        let exit = process
            .wait()
            .map_err(|errno| Failure::call("wait for the runtime: waitid(2)", errno))?;
        match in_time {
            Err(errno) => Err(Failure::call("poll(2) of the runtime", errno)),
            Ok(false) => Err(self.too_late()),
            Ok(true) if exit == Exit::Code(0) => Ok(printed.said),
            Ok(true) => Err(self.failed(exit, log_start, &printed.said)),
        }
    }

    /// Gives the command its standard streams.
    fn connect(&mut self, input: Input<'_>) -> Result<Printed, Failure> {
        let connected = match input {
            Input::Inherited(descriptors) => self.inherit(descriptors).map(|()| Printed::default()),
            Input::Nothing => {
                self.command.stdin(Stdio::null());
                self.catch()
            }
            Input::Bytes(bytes) => input_file(bytes).and_then(|file| {
                self.command.stdin(file);
                self.catch()
            }),
        };
        connected.map_err(|errno| Failure::call("make the runtime's standard streams", errno))
    }

    fn inherit(&mut self, descriptors: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
        let [stdin, stdout, stderr] = descriptors.map(|fd| fd.try_clone_to_owned());
        let io = |fd: std::io::Result<OwnedFd>| fd.map_err(|error| of_io(&error));
        self.command
            .stdin(io(stdin)?)
            .stdout(io(stdout)?)
            .stderr(io(stderr)?);
        Ok(())
    }

    fn catch(&mut self) -> Result<Printed, Errno> {
        let (stdout, theirs) = pipe()?;
        self.command.stdout(theirs);
        let (stderr, theirs) = pipe()?;
        self.command.stderr(theirs);
        Ok(Printed {
            pipes: [Some(stdout), Some(stderr)],
            said: Said::default(),
        })
    }

    fn not_started(&self, errno: Errno) -> Failure {
        let hint = match errno {
            Errno::ENOENT => ": BinaryName in the runtime's options names no program",
            _ => "",
        };
        let failure = Failure::call(
            format_args!("{}: run {}", self.operation.prefix(), self.binary.display()),
            errno,
        );
        Failure {
            message: failure.message + hint,
            ..failure
        }
    }

    fn too_late(&self) -> Failure {
        let text = format!(
            "{}: {} has not ended within {} s and was killed",
            self.operation.prefix(),
            self.binary.display(),
            self.limit.as_secs()
        );
        Failure::new(Code::DEADLINE_EXCEEDED, text)
    }

    /// What the runtime has logged; else what it has printed; else how it has ended.
    fn failed(&self, exit: Exit, log_start: u64, said: &Said) -> Failure {
        let words = log::last_error(&self.log, log_start).or_else(|| {
            let text = String::from_utf8_lossy(&said.stderr);
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            (!line.is_empty()).then_some(line)
        });
        match words {
            Some(words) => self.operation.failure(&words),
            None => Failure::unknown(format!(
                "{}: {}: {exit}, and it has not said why",
                self.operation.prefix(),
                self.binary.display(),
            )),
        }
    }
}

/// What the runtime prints, read as it comes.
#[derive(Debug, Default)]
struct Printed {
    /// Standard output and error, until their end.
    pipes: [Option<File>; 2],
    said: Said,
}

impl Printed {
    /// Reads until the process has ended; false at the deadline. What somebody prints whom the
    /// runtime has left behind is not waited for.
    fn drain_until_ended(&mut self, process: &Process, deadline: Instant) -> Result<bool, Errno> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.min(PAUSE)).unwrap_or(PollTimeout::MAX);
            let mut polled = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            let open = self.pipes.iter().flatten();
            polled.extend(open.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            let ended = match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
                Ok(0) => {
                    adoption::reap_if_quiet();
                    false
                }
                Ok(_) => polled.first().and_then(PollFd::any) == Some(true),
            };
            self.read_what_is_there()?;
            if ended {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    fn read_what_is_there(&mut self) -> Result<(), Errno> {
        let [stdout, stderr] = &mut self.pipes;
        let kept = [
            (stdout, &mut self.said.stdout),
            (stderr, &mut self.said.stderr),
        ];
        for (place, kept) in kept {
            let mut bytes = [0; 4096];
            // As much as a pipe holds; who prints on has another turn.
            for _ in 0..16 {
                let Some(pipe) = place.as_mut() else { break };
                match pipe.read(&mut bytes).map_err(|error| of_io(&error)) {
                    Ok(0) => *place = None,
                    Ok(count) => {
                        let room = KEPT.saturating_sub(kept.len()).min(count);
                        kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
                    }
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }
}

/// A pipe whose reading end never blocks.
fn pipe() -> Result<(File, OwnedFd), Errno> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader.into(), writer))
}

/// A file with these bytes, at its start.
fn input_file(bytes: &[u8]) -> Result<File, Errno> {
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .map_err(|error| of_io(&error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Call {
        let log = Path::new("/nonexistent/log.json");
        let mut call = Call::new(Path::new("/bin/sh"), log, Operation::Pause, limit);
        call.option("-c", script);
        call
    }

    #[test]
    fn who_does_not_end_is_killed_at_the_deadline_whatever_it_prints() {
        for script in ["sleep 100", "exec yes", "trap '' TERM; yes >&2"] {
            let started = Instant::now();
            let failure = shell(script, Duration::from_secs(1)).of("x").unwrap_err();
            assert_eq!(failure.code, Code::DEADLINE_EXCEEDED, "{script}");
            assert!(
                failure.message.contains("has not ended within 1 s"),
                "{failure}"
            );
            assert!(started.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn who_is_left_behind_is_not_waited_for() {
        let started = Instant::now();
        let script = "echo done; sleep 20 & exit 0";
        let said = shell(script, Duration::from_secs(10))
            .run("x", Input::Nothing)
            .unwrap();
        assert_eq!(said.stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn input_arrives_and_output_is_kept_up_to_a_limit() {
        let call = shell("cat; head -c 2000000 /dev/zero", Duration::from_secs(60));
        let said = call.run("x", Input::Bytes(b"in")).unwrap();
        assert_eq!((&said.stdout[..3], said.stdout.len()), (&b"in\0"[..], KEPT));
    }

    #[test]
    fn a_runtime_starts_with_no_signal_blocked() {
        let blocked = nix::sys::signal::SigSet::all();
        std::thread::spawn(move || {
            blocked.thread_set_mask().unwrap();
            let call = shell("grep SigBlk /proc/self/status", Duration::from_secs(60));
            let said = call.run("x", Input::Nothing).unwrap();
            assert_eq!(said.stdout, b"SigBlk:\t0000000000000000\n");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_runtime_ends_with_the_thread_that_runs_it() {
        let mut call = shell("sleep 100", Duration::from_secs(60));
        let child = std::thread::spawn(move || call.command.spawn().unwrap());
        let mut child = child.join().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }
}

//! Hooks of the runtime's namespaces: config.md "POSIX-platform Hooks".
//!
//! The hooks of the container's namespaces (createContainer, startContainer) are steps of the
//! child; see `launch`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::errno::{Words, of_io};
use crate::plan::HookPlan;
use crate::process::{Exit, Process};
use crate::sys;

/// How long a hook may run that has no `timeout` of its own: no wait is without an end.
pub(crate) const LONGEST_HOOK: Duration = Duration::from_secs(600);

/// How much of a hook's output an error keeps, in bytes.
const OUTPUT_KEPT: usize = 2048;

/// Which list of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's names")]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookKind {
    /// Its property in config.json.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// A hook that did not end well.
#[derive(Debug, thiserror::Error)]
#[error("error running {} hook #{index} {path}: {outcome}{}", .kind.name(), hint(*.kind, .outcome))]
pub struct HookError {
    /// Which list.
    pub kind: HookKind,
    /// Position in the list.
    pub index: usize,
    /// The hook's executable.
    pub path: String,
    /// What happened.
    pub outcome: HookOutcome,
}

/// What to do about it.
fn hint(kind: HookKind, outcome: &HookOutcome) -> &'static str {
    match (kind, outcome) {
        (HookKind::StartContainer, HookOutcome::NotStarted(Errno::ENOENT)) => {
            ": startContainer hooks are programs of the container, and it has no such file"
        }
        (_, HookOutcome::NotStarted(Errno::ENOENT)) => {
            ": hooks are programs of the host, and it has no such file"
        }
        (_, HookOutcome::NotStarted(Errno::EACCES)) => ": it is not executable",
        _ => "",
    }
}

/// How a hook failed.
#[derive(Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It did not start.
    NotStarted(Errno),
    /// It ended with a status other than 0; the second field is what it printed.
    Ended(Exit, String),
    /// It was killed at its deadline.
    TimedOut(Duration),
    /// It could not be waited for.
    Lost(Errno),
}

impl std::fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotStarted(errno) => write!(f, "{}", Words(*errno)),
            Self::Ended(exit, output) if output.is_empty() => write!(f, "{exit}"),
            Self::Ended(exit, output) => write!(f, "{exit}, output: {output}"),
            Self::TimedOut(limit) => {
                let whose = if *limit == LONGEST_HOOK {
                    "the longest that a hook may take"
                } else {
                    "its timeout in config.json"
                };
                let seconds = limit.as_secs();
                write!(f, "timed out after {seconds} s ({whose}) and was killed")
            }
            Self::Lost(errno @ Errno::ENOSYS) => write!(
                f,
                "waiting for it: pidfd_open(2): {}: this needs Linux 5.3, or a seccomp filter hides the call",
                Words(*errno)
            ),
            Self::Lost(errno) => write!(f, "waiting for it: {}", Words(*errno)),
        }
    }
}

/// What every hook of one operation gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookSetting<'a> {
    /// The container's state as JSON, for standard input.
    pub(crate) state: &'a [u8],
    /// The environment of hooks that have none of their own.
    pub(crate) environment: &'a [CString],
    /// Where they run.
    pub(crate) directory: &'a Path,
}

/// Runs the hooks in order and stops at the first that fails.
pub(crate) fn run_all(
    kind: HookKind,
    hooks: &[HookPlan],
    setting: &HookSetting<'_>,
) -> Result<(), HookError> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, setting).map_err(|outcome| HookError {
            kind,
            index,
            path: hook.path.to_string_lossy().into_owned(),
            outcome,
        })?;
    }
    Ok(())
}

/// Runs the hooks in order and goes on after one that fails (poststop); gives all failures.
pub(crate) fn run_each(
    kind: HookKind,
    hooks: &[HookPlan],
    setting: &HookSetting<'_>,
) -> Vec<HookError> {
    let mut failures = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        if let Err(outcome) = run_one(hook, setting) {
            let path = hook.path.to_string_lossy().into_owned();
            failures.push(HookError {
                kind,
                index,
                path,
                outcome,
            });
        }
    }
    failures
}

fn run_one(hook: &HookPlan, setting: &HookSetting<'_>) -> Result<(), HookOutcome> {
    let limit = hook
        .timeout_secs
        .map_or(LONGEST_HOOK, |s| Duration::from_secs(u64::from(s)));
    let (reader, writer) = std::io::pipe().map_err(|e| HookOutcome::NotStarted(of_io(&e)))?;
    let mut child = command(hook, setting, writer)?
        .spawn()
        .map_err(|error| HookOutcome::NotStarted(of_io(&error)))?;
    let pid = i32::try_from(child.id()).map_err(|_| HookOutcome::Lost(Errno::EOVERFLOW))?;
    // The child is not reaped before this function's own wait, so its number is its own.
    let process = Process::open(pid).map_err(|errno| {
        kill_group(pid);
        // It has been killed; that it can't be waited for is no further news.
        child.wait().ok();
        HookOutcome::Lost(errno)
    })?;
    let mut output = Output {
        pipe: OwnedFd::from(reader).into(),
        kept: Vec::new(),
    };
    if !output
        .drain_until_ended(&process, Instant::now() + limit)
        .map_err(HookOutcome::Lost)?
    {
        kill_group(pid);
        process.wait().map_err(HookOutcome::Lost)?;
        return Err(HookOutcome::TimedOut(limit));
    }
    match process.wait().map_err(HookOutcome::Lost)? {
        Exit::Code(0) => Ok(()),
        exit => Err(HookOutcome::Ended(exit, output.text())),
    }
}

fn command(
    hook: &HookPlan,
    setting: &HookSetting<'_>,
    writer: std::io::PipeWriter,
) -> Result<Command, HookOutcome> {
    let not_started = |error: std::io::Error| HookOutcome::NotStarted(of_io(&error));
    let text = |string: &CString| OsStr::from_bytes(string.as_bytes()).to_owned();
    let mut command = Command::new(text(&hook.path));
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(text(name)).args(arguments.iter().map(text));
    }
    command.env_clear();
    for variable in hook.env.as_deref().unwrap_or(setting.environment) {
        let bytes = variable.as_bytes();
        let split = bytes
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(bytes.len());
        let value = bytes.get(split + 1..).unwrap_or_default();
        command.env(OsStr::from_bytes(&bytes[..split]), OsStr::from_bytes(value));
    }
    command.current_dir(setting.directory).process_group(0);
    sys::start_as_part_of_this_thread(&mut command);
    command.stdin(Stdio::from(
        state_file(setting.state).map_err(HookOutcome::NotStarted)?,
    ));
    command
        .stdout(writer.try_clone().map_err(not_started)?)
        .stderr(writer);
    Ok(command)
}

/// A file with the state in it, at its start: unlike a pipe it never blocks who writes it.
pub(crate) fn state_file(state: &[u8]) -> Result<OwnedFd, Errno> {
    let mut file = File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(state)
        .and_then(|()| file.rewind())
        .map_err(|error| of_io(&error))?;
    Ok(file.into())
}

fn kill_group(pid: i32) {
    // The leader is a child that nobody has reaped yet, so its group can't be another's.
    let group = nix::unistd::Pid::from_raw(pid);
    if let Err(errno) = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL) {
        debug_assert_eq!(errno, Errno::ESRCH, "the group is ours to kill");
    }
}

/// What a hook prints: read as it comes, so that a talkative hook never blocks; the first part
/// is kept.
struct Output {
    pipe: File,
    kept: Vec<u8>,
}

impl Output {
    /// Reads until the process has ended; false at the deadline.
    fn drain_until_ended(&mut self, process: &Process, deadline: Instant) -> Result<bool, Errno> {
        let mut open = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let pipe_events = if open {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            };
            let (readable, ended) = {
                let mut polled = [
                    PollFd::new(process.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.pipe.as_fd(), pipe_events),
                ];
                let count = if open { 2 } else { 1 };
                match poll(&mut polled[..count], timeout) {
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(errno),
                    Ok(0) => return Ok(false),
                    Ok(_) => (
                        open && polled[1].any() == Some(true),
                        polled[0].any() == Some(true),
                    ),
                }
            };
            if readable {
                open = self.read_some()?;
            }
            // What a process that the hook has left behind prints is not waited for, and who
            // prints without a pause has no more time than others.
            if ended && (!readable || self.kept.len() == OUTPUT_KEPT) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(ended);
            }
        }
    }

    /// Whether there may be more.
    fn read_some(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; 4096];
        let count = self.pipe.read(&mut buffer).map_err(|error| of_io(&error))?;
        let room = OUTPUT_KEPT.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&buffer[..count.min(room)]);
        Ok(count > 0)
    }

    /// On one line, since errors are.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout_secs: Option<u32>) -> HookPlan {
        let words = ["sh", "-c", script];
        HookPlan {
            path: c"/bin/sh".into(),
            args: words.map(|word| CString::new(word).unwrap()).to_vec(),
            env: Some(vec![c"GREETING=hello there".into()]),
            timeout_secs,
        }
    }

    fn run(hooks: &[HookPlan]) -> Result<(), HookError> {
        let setting = HookSetting {
            state: br#"{"id":"x"}"#,
            environment: &[],
            directory: Path::new("/"),
        };
        run_all(HookKind::Poststart, hooks, &setting)
    }

    #[test]
    fn a_hook_gets_the_state_its_environment_and_its_directory() {
        let script = r#"read -r state; test "$state" = '{"id":"x"}' && test "$GREETING" = "hello there" && test "$(pwd)" = /"#;
        run(&[hook(script, None)]).unwrap();
    }

    #[test]
    fn a_hook_that_fails_is_named_with_its_output() {
        let error = run(&[
            hook("exit 0", None),
            hook("echo a; echo b >&2; exit 7", None),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "error running poststart hook #1 /bin/sh: exit status 7, output: a b"
        );
    }

    #[test]
    fn a_hook_that_does_not_end_is_killed_with_its_children() {
        let started = Instant::now();
        let error = run(&[hook("sleep 100 & sleep 100", Some(1))]).unwrap_err();
        assert_eq!(error.outcome, HookOutcome::TimedOut(Duration::from_secs(1)));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_hook_that_prints_without_end_does_not_block() {
        run(&[hook("head -c 3000000 /dev/zero", None)]).unwrap();
    }

    #[test]
    fn what_a_hook_leaves_behind_may_print_for_ever() {
        // They end by SIGPIPE when nobody reads any more.
        run(&[hook("yes & yes & yes & exit 0", Some(60))]).unwrap();
        let error = run(&[hook("yes & yes & yes", Some(1))]).unwrap_err();
        assert_eq!(error.outcome, HookOutcome::TimedOut(Duration::from_secs(1)));
    }

    #[test]
    fn a_missing_hook_says_so() {
        let mut missing = hook("", None);
        missing.path = c"/nonexistent/hook".into();
        let error = run(&[missing]).unwrap_err();
        assert_eq!(error.outcome, HookOutcome::NotStarted(Errno::ENOENT));
    }
}

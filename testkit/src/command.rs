//! Running a command to its end, or to a deadline.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A command that has ended.
///
/// Its output went to unnamed files and not to pipes: `create` ends while the container that
/// inherited its output lives on, and a pipe would never be at its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128+n if signal n ended it.
    pub code: i32,
    /// What it had written to standard output by then.
    pub stdout: String,
    /// What it had written to standard error by then.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    command: String,
    stdout_file: File,
}

impl Finished {
    /// Standard output as it is now: with what a container wrote after the command ended.
    ///
    /// # Panics
    ///
    /// If the file can't be read.
    #[must_use]
    pub fn stdout_now(&self) -> String {
        read_all(&self.stdout_file)
    }

    /// The same, if the exit code is 0.
    ///
    /// # Panics
    ///
    /// With the command and all of its output, if the exit code is not 0.
    #[must_use = "chain `.stdout`, or call `succeeded()`"]
    pub fn success(self) -> Self {
        self.succeeded();
        self
    }

    /// Checks that the exit code is 0.
    ///
    /// # Panics
    ///
    /// With the command and all of its output, if the exit code is not 0.
    pub fn succeeded(&self) {
        assert!(self.code == 0, "{self:#}");
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            command,
            ..
        } = self;
        write!(
            f,
            "{command}\n-- exit code {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
        )
    }
}

/// Runs a command with an empty standard input to its end.
///
/// # Panics
///
/// If it can't be started, or lives longer than `limit`; then its process group is killed.
pub fn finish(command: &mut Command, limit: Duration) -> Finished {
    finish_with_input(command, b"", limit)
}

/// Runs a command to its end and gives it `input`.
///
/// # Panics
///
/// If it can't be started, or lives longer than `limit`; then its process group is killed.
pub fn finish_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    attempt(command, input, limit).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The same, with a text instead of a panic.
pub(crate) fn attempt(
    command: &mut Command,
    input: &[u8],
    limit: Duration,
) -> Result<Finished, String> {
    let described = describe(command);
    let stdout = unnamed_file();
    let stderr = unnamed_file();
    let started = Instant::now();
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(clone_of(&stdout))
        .stderr(clone_of(&stderr))
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{described}: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that ends without reading its input is judged by its exit code.
        drop(pipe.write_all(input));
    }
    let status = wait(&mut child, started, limit);
    let (out, err) = (read_all(&stdout), read_all(&stderr));
    let Some(status) = status else {
        return Err(format!(
            "{described}\n-- still running after {limit:?}\n-- stdout\n{out}\n-- stderr\n{err}"
        ));
    };
    Ok(Finished {
        code: code_of(status),
        stdout: out,
        stderr: err,
        took: started.elapsed(),
        command: described,
        stdout_file: stdout,
    })
}

/// The command under a new terminal of 30 rows and 100 columns, by script(1): its standard
/// input is what is typed, its output and its exit code are the command's.
#[must_use]
pub fn under_terminal(command: &Command) -> Command {
    let mut script = Command::new("script");
    let line = format!("stty rows 30 cols 100; exec {}", describe(command));
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("SHELL", "/bin/sh").env("TERM", "xterm");
    if let Some(directory) = command.get_current_dir() {
        script.current_dir(directory);
    }
    script
}

/// A word that the shell takes as it is.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn describe(command: &Command) -> String {
    let mut line = quote(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        write!(line, " {}", quote(&argument.to_string_lossy())).expect("a String takes any text");
    }
    line
}

/// The status at the end; none if the deadline came first, and then nothing of it runs on.
fn wait(child: &mut Child, started: Instant, limit: Duration) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours to wait for") {
            return Some(status);
        }
        if started.elapsed() > limit {
            let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits into an i32"));
            killpg(group, Signal::SIGKILL).expect("the child's group can be killed");
            child.wait().expect("the child is ours to wait for");
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .expect("it has ended")
}

fn unnamed_file() -> File {
    tempfile::tempfile().expect("a temporary file can be made")
}

fn clone_of(file: &File) -> File {
    file.try_clone().expect("a descriptor can be duplicated")
}

/// All of the file, without moving the offset that the command still writes at.
fn read_all(file: &File) -> String {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut own = File::open(path).expect("an open file can be opened again");
    let mut bytes = Vec::new();
    own.seek(SeekFrom::Start(0))
        .expect("a file can be read from its start");
    own.read_to_end(&mut bytes).expect("a file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn output_and_exit_code_are_those_of_the_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo err >&2; exit 3"]);
        let finished = finish_with_input(&mut command, b"in", SECOND);
        assert_eq!(
            (
                finished.code,
                finished.stdout.as_str(),
                finished.stderr.as_str()
            ),
            (3, "in", "err\n")
        );
    }

    #[test]
    fn a_signal_counts_from_128() {
        assert_eq!(
            finish(Command::new("sh").args(["-c", "kill -9 $$"]), SECOND).code,
            137
        );
    }

    #[test]
    fn output_of_a_child_that_lives_on_is_read_later() {
        let script = "(sleep 0.2; echo late) & echo early";
        let finished = finish(Command::new("sh").args(["-c", script]), SECOND);
        assert_eq!(finished.stdout, "early\n");
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(finished.stdout_now(), "early\nlate\n");
    }

    #[test]
    #[should_panic(expected = "still running after")]
    fn a_command_past_its_deadline_fails_the_test() {
        finish(Command::new("sleep").arg("20"), Duration::from_millis(50));
    }

    #[test]
    fn a_quoted_word_is_the_same_word_for_the_shell() {
        for word in ["plain", "", "it's", "a b", "$HOME", "a\nb", "\\", "*"] {
            let script = format!("printf %s {}", quote(word));
            assert_eq!(
                finish(Command::new("sh").args(["-c", &script]), SECOND).stdout,
                word
            );
        }
    }

    #[test]
    fn a_terminal_has_the_promised_size() {
        let finished = finish(
            &mut under_terminal(Command::new("stty").arg("size")),
            SECOND * 5,
        );
        assert_eq!((finished.code, finished.stdout.trim()), (0, "30 100"));
    }
}

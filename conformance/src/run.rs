//! Programs that are run to their end, and never for ever.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How a command has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status; 128 and the signal's number for a signal.
    pub code: i32,
    /// What it has written.
    pub stdout: String,
    /// What it has complained of.
    pub stderr: String,
    /// Whether it had to be killed, since its time was over.
    pub is_late: bool,
}

impl Finished {
    /// Its end and its complaint, on one line.
    #[must_use]
    pub fn brief(&self) -> String {
        let late = if self.is_late {
            " (killed: it did not end)"
        } else {
            ""
        };
        let line = |text: &str| text.trim().replace('\n', " | ");
        format!(
            "exit {}{late}; {} {}",
            self.code,
            line(&self.stdout),
            line(&self.stderr)
        )
    }
}

/// Runs a command with this on its standard input, and kills it and its group when its time is
/// over.
#[must_use]
pub fn finish(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return not_started(command, &error),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input has its reasons.
        stdin.write_all(input).ok();
    }
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let is_late = !ends_within(&mut child, limit);
    if is_late {
        kill_group(&child);
    }
    let code = child.wait().map_or(-1, |status| {
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    });
    Finished {
        code,
        stdout: stdout.collect(),
        stderr: stderr.collect(),
        is_late,
    }
}

fn not_started(command: &Command, error: &std::io::Error) -> Finished {
    Finished {
        code: -1,
        stdout: String::new(),
        stderr: format!("{}: {error}", command.get_program().display()),
        is_late: false,
    }
}

fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let started = Instant::now();
    let mut pause = Duration::from_micros(200);
    while matches!(child.try_wait(), Ok(None)) {
        if started.elapsed() > limit {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    true
}

fn kill_group(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let group = nix::unistd::Pid::from_raw(pid);
        // It may have ended in this moment.
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// Collects a stream in a thread. A process that outlives the command may hold the other end: what
/// has come within a second after the command's end is what there is.
struct Reader(std::sync::mpsc::Receiver<Vec<u8>>);

fn reader(stream: Option<impl Read + Send + 'static>) -> Reader {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    Reader(receiver)
}

impl Reader {
    fn collect(self) -> String {
        let mut all = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(bytes) => all.extend(bytes),
                Err(_) => return String::from_utf8_lossy(&all).into_owned(),
            }
        }
    }
}

/// Runs a command whose streams are set, and gives its exit status; none when it had to be
/// killed or did not start.
#[must_use]
pub fn status_within(command: &mut Command, limit: Duration) -> Option<i32> {
    command.process_group(0);
    let mut child = command.spawn().ok()?;
    if !ends_within(&mut child, limit) {
        kill_group(&child);
        drop(child.wait());
        return None;
    }
    let status = child.wait().ok()?;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
}

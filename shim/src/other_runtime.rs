//! A runtime that the options name instead of tare, run for one short command.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use runtime_core::errno::of_io;

use crate::bootstrap::is_readable;
use crate::failure::Failure;

/// The most that it may say.
const LARGEST_OUTPUT: usize = 1 << 20;

/// How much of its complaints is repeated.
const LONGEST_COMPLAINT: u64 = 1024;

/// Runs it with these arguments, and gives what it has written to standard output.
///
/// # Errors
///
/// It can't be run, fails, says too much, or has not ended in time: then it is killed.
pub(crate) fn call(binary: &str, arguments: &[&str], time: Duration) -> Result<Vec<u8>, Failure> {
    let failed = |error: &std::io::Error| Failure::call(format!("run {binary}"), of_io(error));
    let mut child = Command::new(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let deadline = Instant::now() + time;
    let output = child
        .stdout
        .take()
        .map_or_else(|| Ok(Some(Vec::new())), |output| read(output, deadline));
    let ended = output.and_then(|output| Ok((output, wait(&mut child, deadline)?)));
    match ended.map_err(|error| failed(&error))? {
        (Some(output), Some(status)) if status.success() => Ok(output),
        (Some(_), Some(status)) => Err(Failure::unknown(format!(
            "{binary} {}: {status}: {}",
            arguments.join(" "),
            complaint(&mut child)
        ))),
        _ => {
            // It may have ended just now; it is ours to reap in any case.
            child.kill().ok();
            child.wait().ok();
            Err(Failure::unknown(format!(
                "{binary} {} has not ended properly within {} s: it is killed",
                arguments.join(" "),
                time.as_secs()
            )))
        }
    }
}

/// All of its output; none if there is too much or the end is not there in time.
fn read(mut output: impl Read + AsFd, deadline: Instant) -> std::io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while is_readable(&output, deadline)? && all.len() < LARGEST_OUTPUT {
        match output.read(&mut piece)? {
            0 => return Ok(Some(all)),
            count => all.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    Ok(None)
}

fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(200);
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// What one that has ended has said about it, on one line.
fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(errors) = child.stderr.take()
        && is_readable(&errors, Instant::now()).is_ok_and(|ready| ready)
    {
        // What can't be read can't be repeated.
        errors.take(LONGEST_COMPLAINT).read_to_end(&mut text).ok();
    }
    String::from_utf8_lossy(&text).trim().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, time: Duration) -> Result<Vec<u8>, Failure> {
        call("sh", &["-c", script], time)
    }

    #[test]
    fn its_output_is_given_or_its_complaint() {
        let time = Duration::from_secs(10);
        assert_eq!(sh("echo yes; echo no >&2", time).unwrap(), b"yes\n");
        let failure = sh("echo a >&2; echo b >&2; exit 3", time).unwrap_err();
        assert!(
            failure.message.ends_with(": exit status: 3: a; b"),
            "{failure}"
        );
    }

    #[test]
    fn one_that_hangs_or_never_stops_talking_is_killed() {
        for script in ["exec sleep 60", "exec >&-; exec sleep 60", "exec yes"] {
            let started = Instant::now();
            let failure = sh(script, Duration::from_millis(200)).unwrap_err();
            assert!(failure.message.ends_with("it is killed"), "{failure}");
            assert!(started.elapsed() < Duration::from_secs(30));
        }
    }
}

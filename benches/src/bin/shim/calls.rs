//! What people wait for: `ctr run`, `ctr task exec`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{Engine, Marker};

use crate::figures::{Figure, median_ms};
use crate::rival::{BOTH, Rival};
use crate::{Error, ratio};

/// `ctr run --rm` and `ctr task exec` of `true`.
pub(crate) fn of_containerd(rounds: usize) -> Result<Vec<Figure>, Error> {
    let marker = Marker::new("benchctr");
    let engine = Engine::containerd(&marker);
    let image = crate::memory::import(&engine)?;
    let fifos = engine.path("fifos").display().to_string();
    let mut runs = [Vec::new(), Vec::new()];
    let mut execs = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (place, rival) in BOTH.iter().enumerate() {
            let id = format!("run-{place}-{round}");
            let words = [
                "run",
                "--rm",
                "--fifo-dir",
                &fifos,
                "--runtime",
                rival.runtime,
            ];
            let words = [&words[..], &[&image, &id, "/bin/true"]].concat();
            runs[place].push(timed(engine.ctr_command(&words))?);
        }
    }
    for rival in &BOTH {
        crate::memory::sleep_in(&engine, rival, &image, &sleeper(rival))?;
    }
    for round in 0..rounds {
        for (place, rival) in BOTH.iter().enumerate() {
            let exec = format!("exec-{round}");
            let id = sleeper(rival);
            let words = [
                "task",
                "exec",
                "--fifo-dir",
                &fifos,
                "--exec-id",
                &exec,
                &id,
                "/bin/true",
            ];
            execs[place].push(timed(engine.ctr_command(&words))?);
        }
    }
    for rival in &BOTH {
        crate::memory::remove(&engine, &sleeper(rival));
    }
    let figure = |name, durations: &[Vec<Duration>; 2], most| {
        ratio(
            name,
            "ms",
            median_ms(&durations[0]),
            median_ms(&durations[1]),
            most,
        )
    };
    Ok(vec![
        figure("`ctr run --rm` of true", &runs, 0.6),
        figure("`ctr task exec` of true", &execs, 0.7),
    ])
}

fn sleeper(rival: &Rival) -> String {
    format!("sleeper-{}", rival.binary)
}

/// How long a command takes that must succeed: waited for without any pause between two looks,
/// which would round short times up more than long ones.
pub(crate) fn timed(mut command: Command) -> Result<Duration, Error> {
    command.stdin(Stdio::null());
    let started = Instant::now();
    let output = command.output()?;
    let took = started.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok(took)
}

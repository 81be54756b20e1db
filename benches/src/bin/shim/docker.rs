//! `docker run`, by two dockerds side by side: one whose containerd finds its own shim, and one
//! whose containerd finds tare's in its place.
//!
//! dockerd before 23 always asks for `io.containerd.runc.v2`, whatever its runtimes are; so
//! tare's shim stands there under that name. Each dockerd is a child process's, since what an
//! engine finds is its environment's.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::{Engine, Marker};

use crate::calls::timed;
use crate::figures::{Figure, median_ms};
use crate::rival::{STOCK, TARE};
use crate::{Error, ratio};

/// `docker run --rm` of `true`.
pub(crate) fn measure(rounds: usize, tare: &Path) -> Result<Vec<Figure>, Error> {
    let marker = Marker::new("benchdocker");
    let directory = marker.directory();
    let drop_in = directory.path().join(STOCK.binary);
    std::os::unix::fs::symlink(tare.join(TARE.binary), drop_in)?;
    let mut sides = [
        Side::start(Some(directory.path()), &tare.join("tare"))?,
        Side::start(None, Path::new("runc"))?,
    ];
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (place, side) in sides.iter_mut().enumerate() {
            runs[place].push(side.run()?);
        }
    }
    let (tare, stock) = (median_ms(&runs[0]), median_ms(&runs[1]));
    Ok(vec![ratio(
        "`docker run --rm` of true",
        "ms",
        tare,
        stock,
        0.75,
    )])
}

/// A child process with an engine; it runs a container for every line that it reads.
struct Side {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Side {
    fn start(path: Option<&Path>, runtime: &Path) -> Result<Self, Error> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("--docker-side").arg(runtime);
        if let Some(path) = path {
            command.arg("--tare").arg(path);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().ok_or("no pipe")?;
        Ok(Self {
            child,
            answers: BufReader::new(answers),
        })
    }

    fn run(&mut self) -> Result<Duration, Error> {
        let stdin = self.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(stdin, "run")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let micros = line.trim().parse();
        let micros = micros.map_err(|_| format!("a docker side says {line:?}"))?;
        Ok(Duration::from_micros(micros))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The end of its input ends it, and its engine.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// What a side does.
pub(crate) fn side(runtime: &str) -> Result<(), Error> {
    let marker = Marker::new("benchside");
    let name = Path::new(runtime);
    let runtimes = [("tare", name)];
    let (runtimes, chosen) = match name.is_absolute() {
        true => (&runtimes[..], "tare"),
        false => (&[][..], runtime),
    };
    let engine = Engine::docker_with(&marker, runtimes);
    for line in std::io::stdin().lines() {
        line?;
        let words = ["run", "--rm", "--network", "none", "--runtime", chosen];
        let words = [&words[..], &[engine.image(), "/bin/true"]].concat();
        let took = timed(engine.docker_command(&words))?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", took.as_micros())?;
        stdout.flush()?;
    }
    Ok(())
}

//! Measures `tare-image` against skopeo with umoci and against Docker, from one registry on
//! loopback, and against what decompressing and hashing cost alone.
//!
//! `image --tare DIR --content FILE [--rounds N] [--json FILE] [--check] [--without-docker]`, where
//! DIR has `tare`, `tare-image` and `peak`, and FILE is a root filesystem as a tar archive. `cargo
//! xtask bench --image` builds and makes everything and calls it.
//!
//! Everything is below the directory for temporary files, which should be a freshly made file
//! system with a journal: an ext4 without one looks for an inode that wasn't in use in the last
//! minutes, so whoever makes files after others were removed pays for them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

mod content;
mod floor;
mod pull;
mod registry;
mod table;
mod warm;

/// Anything that ends the measurement: there is nothing to do about it but to say it.
type Error = Box<dyn std::error::Error>;

/// What is asked for.
struct Options {
    tare: PathBuf,
    content: PathBuf,
    rounds: usize,
    json: Option<PathBuf>,
    check: bool,
    docker: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nobody to tell if standard error is closed.
            writeln!(std::io::stderr(), "image: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Error> {
    let mut options = Options {
        tare: PathBuf::new(),
        content: PathBuf::new(),
        rounds: 5,
        json: None,
        check: false,
        docker: true,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--tare" => options.tare = value()?.into(),
            "--content" => options.content = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--json" => options.json = Some(value()?.into()),
            "--check" => options.check = true,
            "--without-docker" => options.docker = false,
            _ => return Err(format!("unknown argument {word}").into()),
        }
    }
    Ok(options)
}

/// True unless promises were to be kept and were not.
fn run(options: &Options) -> Result<bool, Error> {
    let marker = testkit::Marker::new("benchimage");
    let directory = marker.directory();
    let images = content::Images::make(&options.content, directory.path())?;
    let registry = registry::Registry::start(directory.path())?;
    registry.push(&images.layered)?;
    registry.push(&images.whole)?;
    let mut rows = pull::measure(options, &marker, directory.path(), &images, &registry)?;
    rows.extend(warm::measure(options, directory.path(), &registry)?);
    let mut stdout = std::io::stdout();
    write!(stdout, "{}", table::markdown(&images, &rows)?)?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    let mut is_kept = true;
    for row in rows.iter().filter(|row| !row.is_kept()) {
        is_kept = false;
        writeln!(stdout, "NOT KEPT: {}", row.name)?;
    }
    Ok(is_kept || !options.check)
}

/// Runs a command to its end, which has to be a good one; what it says is shown if it isn't.
fn must(command: &mut std::process::Command) -> Result<Vec<u8>, Error> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {words}", output.status).into())
}

/// The same, timed.
fn timed(command: &mut std::process::Command) -> Result<std::time::Duration, Error> {
    let begin = std::time::Instant::now();
    must(command)?;
    Ok(begin.elapsed())
}

//! Measures tare's shim against containerd's own with runc, under Debian's containerd and
//! dockerd, in one run: interleaved, and as ratios.
//!
//! `shim --tare DIR [--rounds N] [--json FILE] [--check]`, where DIR has `containerd-shim-tare-v1`
//! and `tare`. `cargo xtask bench --shim` builds everything and calls it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use figures::Figure;

mod calls;
mod direct;
mod docker;
mod figures;
mod memory;
mod rival;

/// Anything that ends the measurement: there is nothing to do about it but to say it.
type Error = Box<dyn std::error::Error>;

/// What is asked for.
struct Options {
    tare: PathBuf,
    rounds: usize,
    json: Option<PathBuf>,
    check: bool,
    /// The runtime of a child process that has a dockerd.
    docker_side: Option<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nobody to tell if standard error is closed.
            writeln!(std::io::stderr(), "shim: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Error> {
    let mut options = Options {
        tare: PathBuf::new(),
        rounds: 25,
        json: None,
        check: false,
        docker_side: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--tare" => options.tare = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--json" => options.json = Some(value()?.into()),
            "--docker-side" => options.docker_side = Some(value()?),
            "--check" => options.check = true,
            _ => return Err(format!("unknown argument {word}").into()),
        }
    }
    Ok(options)
}

/// True unless promises were to be kept and were not.
fn run(options: &Options) -> Result<bool, Error> {
    rival::put_on_path(&options.tare);
    if let Some(runtime) = &options.docker_side {
        return docker::side(runtime).map(|()| true);
    }
    let mut figures = direct::measure(options.rounds)?;
    figures.extend(calls::of_containerd(options.rounds)?);
    figures.extend(docker::measure(options.rounds.div_ceil(2), &options.tare)?);
    figures.extend(memory::measure()?);
    let mut stdout = std::io::stdout();
    write!(stdout, "{}", figures::table(&figures))?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    let mut is_kept = true;
    for figure in figures.iter().filter(|figure| !figure.is_kept()) {
        is_kept = false;
        writeln!(stdout, "NOT KEPT: {}", figure.name)?;
    }
    Ok(is_kept || !options.check)
}

/// The promise of a ratio: tare's value at most so many times the rival's.
fn ratio(name: &str, unit: &'static str, tare: f64, rival: f64, most: f64) -> Figure {
    Figure {
        name: name.to_owned(),
        unit,
        tare,
        rival,
        most_ratio: Some(most),
        most: None,
    }
}

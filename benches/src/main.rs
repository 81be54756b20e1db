//! Measures runtimes against each other and against the kernel's floor.
//!
//! `benches --runtime NAME=PATH… --floor PATH --nothing PATH --peak PATH [--rounds N] [--json
//! FILE] [--check]`. `cargo xtask bench` builds everything and calls it.
//!
//! The runs of all runtimes are interleaved, and the order rotates from round to round, so
//! that what else the machine does meets all of them alike.

use std::io::Write;
use std::process::ExitCode;

use measure::measure;
use options::Options;
use report::Report;
use subject::Workshop;

mod measure;
mod options;
mod report;
mod sample;
mod subject;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // There is nobody to tell if standard error is closed.
            writeln!(std::io::stderr(), "benches: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Error> {
    let options = Options::parse(std::env::args().skip(1))?;
    let workshop = Workshop::set_up(&options)?;
    let report = Report::new(measure(&workshop, options.rounds)?);
    let mut stdout = std::io::stdout();
    write!(stdout, "{report}")?;
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()?)?;
        writeln!(stdout, "\nThe same as JSON: {}", path.display())?;
    }
    let broken = report.broken_limits();
    for limit in &broken {
        writeln!(stdout, "NOT KEPT: {limit}")?;
    }
    Ok(if options.check && !broken.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Anything that ends the measurement: there is nothing to do about it but to say it.
type Error = Box<dyn std::error::Error>;

//! `cargo xtask conformance`: any runtime, measured by the same cases; without one, tare beside
//! its peers.

use conformance::arguments::{Format, format};
use conformance::outcome::Result as Told;
use conformance::report;

use crate::{Error, nothing_more, take_flag, take_value};

pub(crate) mod guest;
pub(crate) mod program;
mod readme;

use guest::Guests;
use program::{Built, Measured, Run};

/// The runs that stand side by side: name, runtime, and what it needs on the project's machines.
/// crun 1.8 does not take hybrid cgroups.
const COLUMNS: [Run; 3] = [
    Run::new("tare", "tare", &[]),
    Run::new("runc", "runc", &[]),
    Run::new("crun", "crun", &["--view", "v1"]),
];

/// Further runs of tare, for which its list is true as well: other cgroups, other kernels. Without
/// all of the new calls it refuses every container, by one error for them all.
const FURTHER: [Run; 3] = [
    Run::new(
        "tare, cgroup v2",
        "tare",
        &["--view", "v2", "--suite", "spec"],
    ),
    Run::new(
        "tare, calls of Linux 5.10",
        "tare",
        &[
            "--old-kernel",
            "--suite",
            "spec",
            "--suite",
            "cli",
            "--suite",
            "security",
        ],
    ),
    Run::new(
        "tare, without new calls",
        "tare",
        &[
            "--without",
            "openat2,mount_setattr,open_tree,clone3,close_range,pidfd_open,pidfd_send_signal",
            "--suite",
            "spec",
            "--suite",
            "security",
        ],
    ),
];

/// Runs what is asked for; true when no case fails, or in comparisons none that is not known to.
pub(crate) fn conformance(arguments: &[String]) -> Result<bool, Error> {
    let mut arguments = arguments.to_vec();
    let is_guest = take_flag(&mut arguments, "--guest");
    match take_value(&mut arguments, "--runtime")? {
        Some(runtime) if is_guest => return in_guests(&runtime, &mut arguments),
        Some(runtime) => return Built::make()?.show(&runtime, &arguments),
        None => {}
    }
    if take_flag(&mut arguments, "--update") {
        nothing_more(&arguments)?;
        return update(&Built::make()?);
    }
    if take_flag(&mut arguments, "--table") {
        nothing_more(&arguments)?;
        readme::update(&all(&Built::make()?, &COLUMNS, &[])?)?;
        return Ok(true);
    }
    let format = take_format(&mut arguments)?;
    let built = Built::make()?;
    let guests = match is_guest {
        true => Some(Guests::take(&mut arguments)?),
        false => None,
    };
    let mut measured = all(&built, &COLUMNS, &arguments)?;
    if let Some(guests) = guests {
        for run in &COLUMNS {
            measured.extend(guests.columns(&built, run.runtime(), &arguments)?);
        }
    }
    print(&measured, format)?;
    Ok(measured.iter().all(|measured| measured.is_as_known))
}

/// One runtime, in each guest.
fn in_guests(runtime: &str, arguments: &mut Vec<String>) -> Result<bool, Error> {
    let format = take_format(arguments)?;
    let guests = Guests::take(arguments)?;
    let measured = guests.columns(&Built::make()?, runtime, arguments)?;
    print(&measured, format)?;
    Ok(measured.iter().all(|measured| measured.is_as_known))
}

fn take_format(arguments: &mut Vec<String>) -> Result<Format, Error> {
    let asked = take_value(arguments, "--format")?;
    Ok(format(asked.as_deref().unwrap_or("text"))?)
}

/// The suite of `cargo xtask test`: every case on tare, runc and crun, and whole suites on tare in
/// further settings, each compared with its runtime's list; and the README's table.
pub(crate) fn suite() -> Result<bool, Error> {
    let built = Built::make()?;
    let columns = all(&built, &COLUMNS, &[])?;
    let further = all(&built, &FURTHER, &[])?;
    for measured in columns.iter().chain(&further) {
        println!(
            "{}",
            report::text::summary(&measured.name, &measured.results)
        );
    }
    // The lists judge; that a table lags behind them is said.
    if columns.iter().all(|measured| measured.is_judged) {
        readme::say_whether_current(&columns)?;
    }
    let is_as_known = |measured: &Measured| measured.is_as_known;
    Ok(columns.iter().chain(&further).all(is_as_known))
}

fn all(built: &Built, runs: &[Run], options: &[String]) -> Result<Vec<Measured>, Error> {
    runs.iter().map(|run| built.measure(run, options)).collect()
}

/// Writes the lists of known failures anew, of which tare's only gets shorter, and the README's
/// table.
fn update(built: &Built) -> Result<bool, Error> {
    let measured: Result<Vec<_>, _> = COLUMNS.iter().map(|run| built.update(run)).collect();
    readme::update(&measured?)?;
    Ok(true)
}

fn print(measured: &[Measured], format: Format) -> Result<(), Error> {
    let columns: Vec<(String, Vec<Told>)> = measured
        .iter()
        .map(|measured| (measured.name.clone(), measured.results.clone()))
        .collect();
    match format {
        Format::Text => {
            print!("{}", report::text::side_by_side(&columns));
            println!(
                "\nwhat fails, and why: cargo xtask conformance --runtime tare (runc, crun --view v1)"
            );
        }
        Format::Markdown => print!("{}", report::markdown::render(&columns)),
        Format::Json => println!("{}", report::json::render_all(&columns)?),
    }
    Ok(())
}

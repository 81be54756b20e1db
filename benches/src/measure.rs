//! The measurements, interleaved.

use std::io::Write;
use std::time::Duration;

use crate::Error;
use crate::sample::Sample;
use crate::subject::{Subject, Workshop, reap_orphans};

/// The pause of the measurements that are not back to back.
const PAUSE: Duration = Duration::from_millis(30);

/// Rounds whose figures are thrown away.
const WARM_UP: usize = 3;

/// Runs of the measurement of memory.
const MEMORY_RUNS: usize = 5;

/// All that was measured of one subject.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) is_runtime: bool,
    /// The binary's size.
    pub(crate) size_bytes: u64,
    /// What was timed, and the durations.
    pub(crate) samples: Vec<(&'static str, Sample)>,
    /// The highest peak of `create`; 0 for the floor.
    pub(crate) create_peak_kib: u64,
}

/// Measures all subjects.
pub(crate) fn measure(workshop: &Workshop, rounds: usize) -> Result<Vec<Measured>, Error> {
    let subjects = &workshop.subjects;
    let mut all = Vec::new();
    for subject in subjects {
        all.push(Measured {
            name: subject.name.clone(),
            is_runtime: subject.is_runtime(),
            size_bytes: std::fs::metadata(&subject.binary)?.len(),
            ..Measured::default()
        });
    }
    say("run, back to back");
    let series = interleaved(subjects, rounds, Duration::ZERO, |subject, id| {
        Ok(vec![("run", subject.run(id)?)])
    })?;
    add(&mut all, series);
    say("run, after pauses of 30 ms");
    let series = interleaved(subjects, rounds / 3, PAUSE, |subject, id| {
        Ok(vec![("run after a pause", subject.run(id)?)])
    })?;
    add(&mut all, series);
    say("create, start, delete");
    let series = interleaved(subjects, rounds / 3, Duration::ZERO, split)?;
    add(&mut all, series);
    say("exec");
    add(&mut all, measure_exec(subjects, rounds / 3)?);
    say("memory");
    for (subject, measured) in subjects
        .iter()
        .zip(&mut all)
        .filter(|(s, _)| s.is_runtime())
    {
        for run in 0..MEMORY_RUNS {
            let peak_kib = subject.peak_of_create(&workshop.peak, &format!("bench-peak-{run}"))?;
            measured.create_peak_kib = measured.create_peak_kib.max(peak_kib);
        }
    }
    Ok(all)
}

/// Durations with what they are of.
type Timings = Vec<(&'static str, Duration)>;

/// The samples of each subject, in the subjects' order.
type Series = Vec<Vec<(&'static str, Sample)>>;

fn split(subject: &Subject, id: &str) -> Result<Timings, Error> {
    if !subject.is_runtime() {
        return Ok(Vec::new());
    }
    let [create, start, delete] = subject.create_start_delete(id)?;
    Ok(vec![
        ("create", create),
        ("start", start),
        ("delete", delete),
    ])
}

fn measure_exec(subjects: &[Subject], rounds: usize) -> Result<Series, Error> {
    for subject in subjects {
        subject.start_sleeper(&sleeper(subject))?;
    }
    let series = interleaved(subjects, rounds, Duration::ZERO, |subject, _| {
        if !subject.is_runtime() {
            return Ok(Vec::new());
        }
        Ok(vec![("exec", subject.exec(&sleeper(subject))?)])
    });
    for subject in subjects.iter().filter(|subject| subject.is_runtime()) {
        subject.remove(&sleeper(subject))?;
    }
    reap_orphans()?;
    series
}

/// The id of the subject's container that runs meanwhile. Peers name cgroups after ids, so two
/// of them may not have the same.
fn sleeper(subject: &Subject) -> String {
    format!("bench-{}-sleeper", subject.name)
}

/// Calls `once` for every subject in every round, each round beginning with another subject.
fn interleaved(
    subjects: &[Subject],
    rounds: usize,
    pause: Duration,
    once: impl Fn(&Subject, &str) -> Result<Timings, Error>,
) -> Result<Series, Error> {
    let mut series: Series = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds + WARM_UP {
        for turn in 0..subjects.len() {
            let index = (round + turn) % subjects.len();
            std::thread::sleep(pause);
            let id = format!("bench-{}-{round}", subjects[index].name);
            let timings = once(&subjects[index], &id)?;
            if round >= WARM_UP {
                timings
                    .into_iter()
                    .for_each(|(name, took)| record(&mut series[index], name, took));
            }
        }
    }
    Ok(series)
}

fn record(samples: &mut Vec<(&'static str, Sample)>, name: &'static str, took: Duration) {
    let position = samples
        .iter()
        .position(|(other, _)| *other == name)
        .unwrap_or_else(|| {
            samples.push((name, Sample::default()));
            samples.len() - 1
        });
    samples[position].1.add(took);
}

fn add(all: &mut [Measured], series: Series) {
    for (measured, samples) in all.iter_mut().zip(series) {
        measured.samples.extend(samples);
    }
}

/// Progress, for a person who waits.
fn say(what: &str) {
    writeln!(std::io::stderr(), "measuring {what}").ok();
}

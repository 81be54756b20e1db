//! The run of all cases: some side by side, each in a scene of its own on a host of its own.
#![expect(clippy::print_stderr, reason = "progress is talk")]

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::arguments::{Arguments, Format};
use crate::case::{Case, Trouble};
use crate::keeper::Keeper;
use crate::lanes::{Ended, LIMIT, LONG_LIMIT, Lanes};
use crate::missing::Missing;
use crate::outcome::{Outcome, Result as Told};
use crate::runtime::Manner;
use crate::scene::{Scene, Stage};
use crate::{residue, shelter, suites, view};

/// A case with its place among all that there are.
type Numbered = (usize, Case);

/// Runs the cases that are asked for so many times, and gives their results in order, round by
/// round, with how long each took.
///
/// # Errors
///
/// When nothing can be told: no such runtime, no such suite or case, no root.
pub fn play(arguments: &Arguments, rounds: usize) -> Result<Vec<Vec<(Told, Duration)>>, String> {
    let cases: Vec<Numbered> = wanted(arguments);
    if cases.is_empty() {
        return Err("no case has such a name: see `conformance list`".to_owned());
    }
    view::show(arguments.view)?;
    let directory = tempfile::Builder::new()
        .prefix("conformance-")
        .tempdir()
        .map_err(|error| format!("make a directory: {error}"))?;
    let stage = stage(arguments, directory.path())?;
    (0..rounds)
        .map(|_| round(&stage, &cases, arguments))
        .collect()
}

/// Those that may be beside others first, several at a time, then the others one after the other.
fn round(
    stage: &Stage,
    cases: &[Numbered],
    arguments: &Arguments,
) -> Result<Vec<(Told, Duration)>, String> {
    let mut results = vec![None; cases.len()];
    let mut done = 0;
    let keeper = Keeper::new(&stage.marker);
    let mut lanes = Lanes::new(if stage.is_long { LONG_LIMIT } else { LIMIT });
    for (is_alone, count) in [(false, arguments.jobs()), (true, 1)] {
        let indices = (0..cases.len()).filter(|index| cases[*index].1.is_alone == is_alone);
        let mut waiting: VecDeque<usize> = indices.collect();
        loop {
            while lanes.count() < count
                && let Some(index) = waiting.pop_front()
            {
                begin(&mut lanes, stage, index, &cases[index], arguments)?;
            }
            let ended = lanes.wait();
            if ended.is_empty() {
                break;
            }
            for ended in ended {
                let index = ended.index;
                let took = ended.took;
                let told = settled(stage, &keeper, &cases[index], ended);
                done += 1;
                if shows_progress(arguments) {
                    progress(done, cases.len(), &told, took);
                }
                results[index] = Some((told, took));
            }
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// A case begins, in a process and on a host of its own.
fn begin(
    lanes: &mut Lanes,
    stage: &Stage,
    index: usize,
    (number, case): &Numbered,
    arguments: &Arguments,
) -> Result<(), String> {
    let act = || {
        if let Err(why) = shelter::enter(&stage.shelter) {
            let verdict = crate::case::failed("a host of the case's own", why);
            return told(case, verdict, None);
        }
        perform(stage, *number, case, arguments.missing.as_ref())
    };
    lanes
        .begin(index, act)
        .map_err(|errno| format!("a process for {case:?}: {errno:?}"))
}

/// The result of a case that is over, with what it has done to the real host.
fn settled(stage: &Stage, keeper: &Keeper, (number, case): &Numbered, ended: Ended) -> Told {
    let result = ended.told.unwrap_or_else(|how| {
        // What it made is still there.
        Scene::new(stage, *number).clear();
        residue::remove_cgroups_of(&stage.marker_of(*number));
        told(case, crate::case::failed("an end of the case", how), None)
    });
    let changes = keeper.put_back();
    if changes.is_empty() {
        return result;
    }
    let first = match result.outcome {
        Outcome::Fail => result.detail,
        _ => "expected: a host as it was before".to_owned(),
    };
    Told {
        outcome: Outcome::Fail,
        detail: format!("{first}\nseen: {}", changes.join("; ")),
        ..result
    }
}

fn shows_progress(arguments: &Arguments) -> bool {
    arguments.shows_progress || arguments.format == Format::Text
}

/// The cases that are asked for. A name is a case's own, or else the beginning of several.
fn wanted(arguments: &Arguments) -> Vec<Numbered> {
    let asked = suites::all().into_iter().enumerate().collect::<Vec<_>>();
    let is_exact = |name: &String| {
        let is_it = |case: &Case| is_in_suite(case, arguments) && case.name == *name;
        asked.iter().any(|(_, case)| is_it(case))
    };
    let exact: Vec<bool> = arguments.cases.iter().map(is_exact).collect();
    let is_named = |case: &Case| {
        let mut names = arguments.cases.iter().zip(&exact);
        arguments.cases.is_empty()
            || names.any(|(name, is_exact)| match is_exact {
                true => case.name == *name,
                false => case.name.starts_with(name.as_str()),
            })
    };
    let is_wanted = |case: &Case| is_in_suite(case, arguments) && is_named(case);
    asked
        .into_iter()
        .filter(|(_, case)| is_wanted(case))
        .collect()
}

fn is_in_suite(case: &Case, arguments: &Arguments) -> bool {
    let suite =
        arguments.suites.is_empty() || arguments.suites.iter().any(|suite| suite == case.suite);
    let area = arguments.areas.is_empty() || arguments.areas.iter().any(|area| area == case.area);
    suite && area
}

fn stage(arguments: &Arguments, directory: &Path) -> Result<Stage, String> {
    let runtime = find(&arguments.runtime)?;
    let peer = arguments.peer.as_deref().map(find).transpose()?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).map_err(|error| format!("chmod: {error}"))?;
    let probe = directory.join("probe");
    std::fs::copy("/proc/self/exe", &probe)
        .map_err(|error| format!("copy this program: {error}"))?;
    let shelter = directory.join("host");
    std::fs::create_dir(&shelter).map_err(|error| format!("make a directory: {error}"))?;
    let marker = directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    Ok(Stage {
        runtime,
        peer,
        manner: Manner {
            is_systemd: arguments.is_systemd,
            filter: arguments.missing.as_ref().map(Missing::filter),
        },
        is_long: arguments.is_long,
        seed: arguments.seed.unwrap_or(1),
        count: arguments.count,
        probe,
        shelter,
        directory: directory.to_owned(),
        marker: marker.replace('.', "-"),
    })
}

/// The first line of what a runtime says of its version.
///
/// # Errors
///
/// When there is no such program.
pub fn version(runtime: &Path) -> Result<String, String> {
    let mut command = std::process::Command::new(find(runtime)?);
    let finished = crate::run::finish(command.arg("--version"), b"", crate::run::LIMIT);
    let line = finished.stdout.lines().next().unwrap_or_default();
    Ok(line.to_owned())
}

/// The absolute path of a program, which may be a name on PATH.
pub(crate) fn find(program: &Path) -> Result<std::path::PathBuf, String> {
    let candidates = match program.components().count() {
        1 => std::env::var_os("PATH")
            .map(|path| {
                std::env::split_paths(&path)
                    .map(|dir| dir.join(program))
                    .collect()
            })
            .unwrap_or_default(),
        _ => vec![program.to_owned()],
    };
    candidates
        .into_iter()
        .find_map(|candidate| {
            std::path::absolute(candidate)
                .ok()
                .filter(|path| path.is_file())
        })
        .ok_or(format!("{}: there is no such program", program.display()))
}

fn perform(stage: &Stage, number: usize, case: &Case, missing: Option<&Missing>) -> Told {
    let scene = Scene::new(stage, number);
    let verdict = (case.check)(&scene);
    let refusal = missing.and_then(|missing| scene.refusal(missing));
    scene.clear();
    told(case, verdict, refusal)
}

/// What is reported of a verdict; a failure of a runtime that refuses where system calls are
/// missing is none.
fn told(case: &Case, verdict: crate::case::Verdict, refusal: Option<String>) -> Told {
    let (outcome, detail) = match verdict {
        Ok(()) => (Outcome::Pass, String::new()),
        Err(Trouble::Skipped(why)) => (Outcome::Skip, why),
        Err(Trouble::Failed { expected, seen }) => match refusal {
            Some(words) => (Outcome::Pass, format!("refused: {words}")),
            None => (Outcome::Fail, format!("expected: {expected}\nseen: {seen}")),
        },
    };
    Told {
        suite: case.suite.to_owned(),
        area: case.area.to_owned(),
        case: case.name.clone(),
        outcome,
        sentence: case.sentence.clone(),
        detail,
    }
}

fn progress(done: usize, total: usize, result: &Told, took: Duration) {
    let mark = match result.outcome {
        Outcome::Pass => "ok",
        Outcome::Fail => "FAILED",
        Outcome::Skip => "skipped",
    };
    let name = result.name();
    let line = format!("{done}/{total} {name} {mark} {:.1} s", took.as_secs_f32());
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        if done == total {
            eprintln!();
        }
    } else if result.outcome != Outcome::Pass || done == total || done.is_multiple_of(50) {
        eprintln!("{line}");
    }
}

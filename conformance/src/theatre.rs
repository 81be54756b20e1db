//! The run of all cases: some side by side, each in a scene of its own on a host of its own.
#![expect(clippy::print_stderr, reason = "progress is talk")]

use std::collections::{BTreeSet, VecDeque};
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
use crate::{residue, shelter, suites, sys, view};

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
    sys::heed_all_signals();
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
    let keeper = Keeper::new(&stage.marker);
    let mut results = Results::new(cases.len(), arguments);
    let (alone, others): (Vec<usize>, Vec<usize>) =
        (0..cases.len()).partition(|index| cases[*index].1.is_alone);
    let mut lanes = Lanes::new(if stage.is_long { LONG_LIMIT } else { LIMIT });
    let mut waiting = VecDeque::from(others);
    let mut suspects = BTreeSet::from_iter(alone);
    loop {
        while lanes.count() < arguments.jobs()
            && let Some(index) = waiting.pop_front()
        {
            begin(&mut lanes, stage, index, &cases[index], arguments)?;
        }
        let ended = lanes.wait();
        if ended.is_empty() {
            break;
        }
        // Whoever has changed the host was one of these.
        let there = ended.iter().map(|ended| ended.index).chain(lanes.indices());
        let there: Vec<usize> = there.collect();
        for ended in ended {
            results.settle(stage, &cases[ended.index], ended, &[]);
        }
        if !keeper.put_back().is_empty() {
            suspects.extend(there);
        }
    }
    for index in suspects {
        begin(&mut lanes, stage, index, &cases[index], arguments)?;
        for ended in lanes.wait() {
            results.settle(stage, &cases[index], ended, &keeper.put_back());
        }
    }
    Ok(results.told.into_iter().flatten().collect())
}

/// What has come of the cases until now.
#[derive(Debug)]
struct Results {
    shows_progress: bool,
    told: Vec<Option<(Told, Duration)>>,
}

impl Results {
    fn new(count: usize, arguments: &Arguments) -> Self {
        Self {
            shows_progress: arguments.shows_progress || arguments.format == Format::Text,
            told: vec![None; count],
        }
    }

    /// Notes the result of a case that is over, with what it has done to the real host. A second
    /// one takes the place of the first.
    fn settle(&mut self, stage: &Stage, case: &Numbered, ended: Ended, changes: &[String]) {
        let (index, took) = (ended.index, ended.took);
        let told = settled(stage, case, ended, changes);
        self.told[index] = Some((told, took));
        let done = self.told.iter().flatten().count();
        if let (true, Some((told, took))) = (self.shows_progress, &self.told[index]) {
            progress(done, self.told.len(), told, *took);
        }
    }
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
fn settled(stage: &Stage, (number, case): &Numbered, ended: Ended, changes: &[String]) -> Told {
    let result = ended.told.unwrap_or_else(|how| {
        // What it made is still there.
        Scene::new(stage, *number).clear();
        residue::remove_cgroups_of(&stage.marker_of(*number));
        told(case, crate::case::failed("an end of the case", how), None)
    });
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

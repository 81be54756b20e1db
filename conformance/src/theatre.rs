//! The run of all cases: one after the other, each in a scene of its own.
#![expect(clippy::print_stderr, reason = "progress is talk")]

use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::arguments::{Arguments, Format};
use crate::case::{Case, Trouble};
use crate::missing::Missing;
use crate::outcome::{Outcome, Result as Told};
use crate::runtime::Manner;
use crate::scene::{Scene, Stage};
use crate::{suites, view};

/// Runs the cases that are asked for so many times, and gives their results in order, round by
/// round.
///
/// # Errors
///
/// When nothing can be told: no such runtime, no such suite or case, no root.
pub fn play(arguments: &Arguments, rounds: usize) -> Result<Vec<Vec<Told>>, String> {
    let cases: Vec<(usize, Case)> = suites::all()
        .into_iter()
        .enumerate()
        .filter(|(_, case)| is_wanted(case, arguments))
        .collect();
    if cases.is_empty() {
        return Err("no case has such a name: see `conformance list`".to_owned());
    }
    view::show(arguments.view)?;
    let directory = tempfile::Builder::new()
        .prefix("conformance-")
        .tempdir()
        .map_err(|error| format!("make a directory: {error}"))?;
    let stage = stage(arguments, directory.path())?;
    Ok((0..rounds)
        .map(|_| round(&stage, &cases, arguments))
        .collect())
}

fn round(stage: &Stage, cases: &[(usize, Case)], arguments: &Arguments) -> Vec<Told> {
    let shows_progress = arguments.shows_progress || arguments.format == Format::Text;
    let total = cases.len();
    let mut results = Vec::with_capacity(total);
    for (done, (number, case)) in cases.iter().enumerate() {
        let result = perform(stage, *number, case, arguments.missing.as_ref());
        if shows_progress {
            progress(done + 1, total, &result);
        }
        results.push(result);
    }
    results
}

fn is_wanted(case: &Case, arguments: &Arguments) -> bool {
    let suite =
        arguments.suites.is_empty() || arguments.suites.iter().any(|suite| suite == case.suite);
    let name = arguments.cases.is_empty()
        || arguments
            .cases
            .iter()
            .any(|start| case.name.starts_with(start.as_str()));
    let area = arguments.areas.is_empty() || arguments.areas.iter().any(|area| area == case.area);
    suite && area && name
}

fn stage(arguments: &Arguments, directory: &Path) -> Result<Stage, String> {
    let runtime = find(&arguments.runtime)?;
    let peer = arguments.peer.as_deref().map(find).transpose()?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).map_err(|error| format!("chmod: {error}"))?;
    let probe = directory.join("probe");
    std::fs::copy("/proc/self/exe", &probe)
        .map_err(|error| format!("copy this program: {error}"))?;
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
        directory: directory.to_owned(),
        marker: marker.replace('.', "-"),
    })
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

fn progress(done: usize, total: usize, result: &Told) {
    let mark = match result.outcome {
        Outcome::Pass => "ok",
        Outcome::Fail => "FAILED",
        Outcome::Skip => "skipped",
    };
    let line = format!("{done}/{total} {}/{} {mark}", result.suite, result.case);
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        if done == total {
            eprintln!();
        }
    } else if result.outcome != Outcome::Pass || done == total || done.is_multiple_of(50) {
        eprintln!("{line}");
    }
}

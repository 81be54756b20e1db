//! `conformance --runtime PATH` runs every case and says what came of it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to the person who runs it"
)]

use std::process::ExitCode;
use std::time::Duration;

use conformance::arguments::{self, Arguments, Format, View};
use conformance::known::{Known, Surprise};
use conformance::outcome::{Outcome, Result as Told};
use conformance::report::again::Again;
use conformance::{inside, report, setting, suites, theatre};

/// How often everything is run for a new list: what races does not do the same each time.
const ROUNDS: usize = 3;

/// How often in a row a surprise has to be the same to count: a race that is won three times of
/// four stays so eight times in one measurement of ten, and twelve times in one of thirty.
const LASTING_ROUNDS: usize = 12;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("inside") => return inside::inside(&words[1..]),
        Some("list") => return list(),
        _ => {}
    }
    match Arguments::parse(&words) {
        Ok(arguments) => measure(&arguments),
        Err(why) => {
            eprintln!("conformance: {why}\n\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
    }
}

fn list() -> ExitCode {
    for case in suites::all() {
        println!(
            "{}/{}\t{}\t{}",
            case.suite, case.name, case.area, case.sentence
        );
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> ExitCode {
    match tell(arguments) {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        Err(why) => {
            eprintln!("conformance: {why}");
            ExitCode::from(2)
        }
    }
}

/// Those surprises that are the same each time: the cases are run again, one by one, since a peer
/// may win a race once and lose it the next time. A strict list has no such luck.
fn lasting(
    mut surprises: Vec<Surprise>,
    known: &Known,
    arguments: &Arguments,
    setting: &[String],
) -> Result<Vec<Surprise>, String> {
    for _ in 1..LASTING_ROUNDS {
        let names: Vec<&str> = surprises.iter().filter_map(Surprise::name).collect();
        if names.is_empty() {
            break;
        }
        let case = |name: &&str| name.split_once('/').map(|(_, case)| case.to_owned());
        let once_more = Arguments {
            cases: names.iter().filter_map(case).collect(),
            // It is shown already.
            view: View::Host,
            jobs: Some(1),
            ..arguments.clone()
        };
        let rounds = theatre::play(&once_more, 1)?;
        let results: Vec<Told> = rounds.into_iter().flatten().map(|(told, _)| told).collect();
        let again = known.compare(&results, setting, &suites::names());
        surprises.retain(|surprise| again.iter().any(|other| other.name() == surprise.name()));
    }
    Ok(surprises)
}

/// Runs the cases and writes what came of them; true when no case failed that is not known to.
fn tell(arguments: &Arguments) -> Result<bool, String> {
    let known = arguments.known.as_deref().map(Known::read).transpose()?;
    let rounds = theatre::play(arguments, if arguments.is_update { ROUNDS } else { 1 })?;
    if let (true, Some(last)) = (arguments.shows_times, rounds.last()) {
        eprint!("{}", report::times::render(last));
    }
    let untimed = |round: Vec<(Told, Duration)>| round.into_iter().map(|(told, _)| told).collect();
    let rounds: Vec<Vec<Told>> = rounds.into_iter().map(untimed).collect();
    let results = rounds.last().cloned().unwrap_or_default();
    let again = Again::new(arguments);
    let name = arguments.runtime.display().to_string();
    match arguments.format {
        Format::Text => print!("{}", report::text::render(&name, &results, &again)),
        Format::Markdown => {
            print!(
                "{}",
                report::markdown::render(&[(name.clone(), results.clone())])
            );
        }
        Format::Json => {
            println!(
                "{}",
                report::json::render(&results).map_err(|error| error.to_string())?
            );
        }
    }
    let Some(mut known) = known else {
        return Ok(results.iter().all(|result| result.outcome != Outcome::Fail));
    };
    let setting = setting::words(arguments);
    let version = theatre::version(&arguments.runtime)?;
    if let (true, Some(path)) = (arguments.is_update, &arguments.known) {
        known.version = known.version.map(|_| version);
        known.updated(&rounds, &setting).write(path)?;
        return Ok(true);
    }
    let surprises = known.compare(&results, &setting, &suites::names());
    let surprises = match known.at_most {
        Some(_) => surprises,
        None => lasting(surprises, &known, arguments, &setting)?,
    };
    if let (false, Some(list)) = (surprises.is_empty(), &arguments.known) {
        let runtime = arguments.runtime.display();
        eprintln!(
            "{runtime} ({}) is not as {} says:",
            setting.join(", "),
            list.display()
        );
    }
    for surprise in &surprises {
        eprintln!("{surprise}");
        if let Surprise::Failed { told, .. } = surprise {
            eprint!("{}", report::text::failure(told, &again));
        }
    }
    if known.is_about(&version) {
        return Ok(surprises.is_empty());
    }
    eprintln!("{name} is not judged: it is {version:?}, and the list is of another version");
    Ok(true)
}

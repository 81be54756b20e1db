//! `conformance --runtime PATH` runs every case and says what came of it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to the person who runs it"
)]

use std::process::ExitCode;

use conformance::arguments::{self, Arguments, Format};
use conformance::outcome::Outcome;
use conformance::{inside, report, suites, theatre};

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
    let results = match theatre::play(arguments) {
        Ok(results) => results,
        Err(why) => {
            eprintln!("conformance: {why}");
            return ExitCode::from(2);
        }
    };
    let name = arguments.runtime.display().to_string();
    match arguments.format {
        Format::Text => print!("{}", report::text::render(&name, &results)),
        Format::Markdown => print!("{}", report::markdown::render(&[(name, results.clone())])),
        Format::Json => match report::json::render(&results) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("conformance: {error}");
                return ExitCode::from(2);
            }
        },
    }
    let has_failed = results.iter().any(|result| result.outcome == Outcome::Fail);
    ExitCode::from(u8::from(has_failed))
}

//! From words to [`Arguments`].
//!
//! To describe all commands with all their flags to the parser costs more than to understand one:
//! a tenth of a warm `run`. So the words are first read as if there were nothing but the command
//! that they name. What can't be read so, and every question for help, goes to the whole parser,
//! whose words these are: nobody sees a difference.

use std::ffi::OsString;

use clap::{Args, FromArgMatches, Parser};

use super::arguments::{
    Arguments, Copy, Diff, Export, Globals, History, Import, Inspect, List, Load, Login, Logout,
    Mount, Prune, Pull, Push, Remove, Run, Save, Tag, Unmount, Unpack,
};

type Describe = fn(clap::Command) -> clap::Command;

/// What belongs to each command. Its other names are known to the whole parser alone.
const COMMANDS: [(&str, Describe); 20] = [
    ("pull", Pull::augment_args),
    ("push", Push::augment_args),
    ("list", List::augment_args),
    ("inspect", Inspect::augment_args),
    ("history", History::augment_args),
    ("tag", Tag::augment_args),
    ("remove", Remove::augment_args),
    ("save", Save::augment_args),
    ("load", Load::augment_args),
    ("import", Import::augment_args),
    ("export", Export::augment_args),
    ("unpack", Unpack::augment_args),
    ("mount", Mount::augment_args),
    ("unmount", Unmount::augment_args),
    ("run", Run::augment_args),
    ("prune", Prune::augment_args),
    ("login", Login::augment_args),
    ("logout", Logout::augment_args),
    ("copy", Copy::augment_args),
    ("diff", Diff::augment_args),
];

/// Reads a command line, whose first word is the program's name.
///
/// # Errors
/// What is wrong with it, or the help that it asks for.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let words: Vec<OsString> = words.collect();
    match parse_alone(&words) {
        Some(arguments) => Ok(arguments),
        None => Arguments::try_parse_from(words),
    }
}

/// Reads it by the description of the first command that is named, if that is enough.
///
/// The word may be another one's value. But what is understood with it as the only command, is
/// understood in the same way where there are others.
fn parse_alone(words: &[OsString]) -> Option<Arguments> {
    let named = |word: &OsString| COMMANDS.iter().find(|(name, _)| word == name);
    let (name, describe) = words.iter().skip(1).find_map(named)?;
    let command = Globals::augment_args(clap::Command::new("tare-image"))
        .disable_help_subcommand(true)
        .subcommand(describe(clap::Command::new(*name)));
    let mut matches = command.try_get_matches_from(words).ok()?;
    Arguments::from_arg_matches_mut(&mut matches).ok()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A command line after the program's name.
    fn words(text: &str) -> Vec<OsString> {
        let words = text.split_whitespace().map(OsString::from);
        std::iter::once("tare-image".into()).chain(words).collect()
    }

    /// Words that the command wants at least.
    fn smallest(command: &clap::Command) -> String {
        let wanted = command
            .get_positionals()
            .filter(|one| one.is_required_set());
        let values = wanted.map(|_| "busybox:1").collect::<Vec<_>>();
        format!("{} {}", command.get_name(), values.join(" "))
    }

    #[test]
    fn every_command_is_understood_alone_as_it_is_among_all() {
        let whole = Arguments::command();
        for command in whole.get_subcommands() {
            let least = smallest(command);
            for line in [
                least.clone(),
                format!("--root /r -q {least}"),
                format!("--root=list --progress json {least} --quiet"),
                format!("{least} --progress=none"),
            ] {
                let words = words(&line);
                let alone = parse_alone(&words).unwrap_or_else(|| panic!("{line}"));
                let among_all = Arguments::try_parse_from(&words).expect("it is one");
                assert_eq!(format!("{alone:?}"), format!("{among_all:?}"), "{line}");
            }
        }
    }

    #[test]
    fn a_run_is_understood_with_all_its_flags() {
        for line in [
            "run -it --rm -e A=b -u 1:2 busybox:1 sh -c true --quiet",
            "run --name a --net host --memory 64m busybox:1 -- -q",
            "-q run --env-file=f busybox:1 run run --root x",
            "run --detach --volume /a:/b:ro --cap-drop ALL busybox:1 pull --help",
        ] {
            let words = words(line);
            let alone = parse_alone(&words).unwrap_or_else(|| panic!("{line}"));
            let among_all = Arguments::try_parse_from(&words).expect("it is one");
            assert_eq!(format!("{alone:?}"), format!("{among_all:?}"), "{line}");
        }
    }

    #[test]
    fn a_value_that_is_called_like_a_command_is_none() {
        for line in ["--root run list", "--root run images", "--root run ls -q"] {
            let arguments = parse(words(line).into_iter()).expect("it is one");
            assert_eq!(arguments.globals.root.as_deref(), Some("run".as_ref()));
            let command = format!("{:?}", arguments.command);
            assert!(command.starts_with("List"), "{command}");
        }
    }

    /// The words of errors and of help are those of the whole parser.
    #[test]
    fn whatever_is_wrong_is_said_by_the_whole_parser() {
        let mut lines: Vec<String> = ["", "--help", "--version", "-V", "help", "rnu", "--root"]
            .map(str::to_owned)
            .into();
        for (name, _) in COMMANDS {
            for rest in [
                "--help",
                "-h",
                "--version",
                "--no-such-flag",
                "--root x",
                "--platfrom x y",
                "--progress many a b c d",
                "",
                "--platform",
                "a b c d --creds",
            ] {
                lines.push(format!("{name} {rest}"));
                lines.push(format!("--quiet {name} {rest}"));
            }
        }
        let mut errors = 0;
        for line in lines {
            let words = words(&line);
            let expected = Arguments::try_parse_from(&words);
            match (parse(words.into_iter()), expected) {
                (Err(error), Err(expected)) => {
                    errors += 1;
                    assert_eq!(error.to_string(), expected.to_string(), "{line}");
                    assert_eq!(error.kind(), expected.kind(), "{line}");
                }
                (Ok(arguments), Ok(expected)) => {
                    assert_eq!(format!("{arguments:?}"), format!("{expected:?}"), "{line}");
                }
                (one, other) => panic!("{line}: {one:?}, {other:?}"),
            }
        }
        assert!(errors > 300, "{errors}");
    }
}

//! The command line.

use std::path::PathBuf;

use crate::Error;

/// What is measured, with what, and how often.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Names and paths of the runtimes; the first is the one that the others are compared to.
    pub(crate) runtimes: Vec<(String, PathBuf)>,
    /// The program that does the kernel's work alone.
    pub(crate) floor: PathBuf,
    /// The workload.
    pub(crate) nothing: PathBuf,
    /// The launcher that reads a program's peak memory.
    pub(crate) peak: PathBuf,
    /// Runs of each runtime, back to back; a third of it with pauses.
    pub(crate) rounds: usize,
    /// Where the figures go as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Whether a limit that is not kept is a failure.
    pub(crate) check: bool,
}

impl Options {
    /// Reads the arguments; all paths but `--json` are required.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self {
            rounds: 150,
            ..Self::default()
        };
        while let Some(flag) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{flag} wants a value"))
            };
            match flag.as_str() {
                "--check" => options.check = true,
                "--floor" => options.floor = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--nothing" => options.nothing = value()?.into(),
                "--peak" => options.peak = value()?.into(),
                "--rounds" => options.rounds = value()?.parse()?,
                "--runtime" => {
                    let pair = value()?;
                    let (name, path) = pair.split_once('=').ok_or("--runtime wants NAME=PATH")?;
                    options.runtimes.push((name.to_owned(), path.into()));
                }
                _ => return Err(format!("unknown argument {flag}").into()),
            }
        }
        if options.runtimes.is_empty() {
            return Err("at least one --runtime NAME=PATH is needed".into());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn runtimes_keep_their_order() {
        let options = parse("--runtime b=/b --runtime a=/a --rounds 7 --check").unwrap();
        assert_eq!(
            options.runtimes,
            [("b".into(), "/b".into()), ("a".into(), "/a".into())]
        );
        assert_eq!((options.rounds, options.check), (7, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse("--rounds").unwrap_err(), "--rounds wants a value");
        assert_eq!(parse("--fast").unwrap_err(), "unknown argument --fast");
        assert_eq!(
            parse("--runtime a").unwrap_err(),
            "--runtime wants NAME=PATH"
        );
        assert_eq!(
            parse("--check").unwrap_err(),
            "at least one --runtime NAME=PATH is needed"
        );
    }
}

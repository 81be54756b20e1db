//! The command line as data: what a flag and a command are, and the parser that reads them.
//!
//! Flags are written as Go programs take them, since the callers of runc do: `--flag value`,
//! `--flag=value`, `-flag value`, `-f value`; a switch takes a value only after `=`; `--` ends
//! them. A comma separates nothing.

use std::fmt;

use crate::duration;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

/// One flag of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Without dashes; unique within a command.
    pub(crate) name: &'static str,
    /// One letter, if there is a short form.
    pub(crate) short: Option<&'static str>,
    /// What follows it.
    pub(crate) takes: Takes,
    /// One clause for the help text; a flag without one is not shown there.
    pub(crate) help: &'static str,
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing; `=true` or `=false` is allowed.
    Nothing,
    /// Text; the last one counts. The word stands for it in the help text.
    Text(&'static str),
    /// Text; each one counts.
    Texts(&'static str),
    /// A whole number from 0 to 2^32-1; the last one counts.
    Number(&'static str),
    /// Such numbers; each one counts.
    Numbers(&'static str),
    /// A time with its unit, as Go has it; the last one counts.
    Duration(&'static str),
}

impl Takes {
    /// The word for the value in the help text.
    pub(crate) fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Text(word)
            | Self::Texts(word)
            | Self::Number(word)
            | Self::Numbers(word)
            | Self::Duration(word) => Some(word),
        }
    }

    /// Whether a flag with this value may be given more than once, each time adding to it.
    pub(crate) fn repeats(self) -> bool {
        matches!(self, Self::Texts(_) | Self::Numbers(_))
    }
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// One imperative clause.
    pub(crate) summary: &'static str,
    /// What follows the options in the usage line.
    pub(crate) operands: &'static str,
    /// How many operands it takes.
    pub(crate) count: Count,
    /// Whether everything after the first operand is an operand, whatever it looks like.
    pub(crate) stops_at_first_operand: bool,
    /// Paragraphs for the help text; may be empty.
    pub(crate) description: &'static str,
    /// Whether it makes processes inside of containers, from where this program's file must be
    /// out of reach.
    pub(crate) enters_containers: bool,
    /// In the order of the help text.
    pub(crate) flags: &'static [&'static Flag],
    /// What it does.
    pub(crate) run: fn(&Globals, &Parsed<'_>) -> Result<Exit, Failure>,
}

/// How many operands a command takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// No more and no less.
    Exactly(usize),
    /// Or more.
    AtLeast(usize),
    /// Both ends included.
    Between(usize, usize),
}

impl Count {
    /// Checks a number of operands, with runc's words for a wrong one.
    pub(crate) fn check(self, command: &str, found: usize) -> Result<(), String> {
        let (bound, wanted) = match self {
            Self::Exactly(n) if found != n => ("exactly", n),
            Self::AtLeast(n) | Self::Between(n, _) if found < n => ("a minimum of", n),
            Self::Between(_, n) if found > n => ("a maximum of", n),
            _ => return Ok(()),
        };
        Err(format!(
            "tare: {command:?} requires {bound} {wanted} argument(s)"
        ))
    }
}

/// The help flag, which every command has.
pub(crate) const HELP: Flag = Flag {
    name: "help",
    short: Some("h"),
    takes: Takes::Nothing,
    help: "show this help",
};

/// Flags and operands as they were given.
#[derive(Debug, Default)]
pub(crate) struct Parsed<'a> {
    flags: Vec<(&'static str, &'a str)>,
    /// What is no flag, in order.
    pub(crate) operands: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Whether a switch is on.
    pub(crate) fn is_on(&self, flag: &Flag) -> bool {
        self.text(flag) == Some("true")
    }

    /// Whether any flag was given.
    pub(crate) fn has_flags(&self) -> bool {
        !self.flags.is_empty()
    }

    /// The last text given for a flag.
    pub(crate) fn text(&self, flag: &Flag) -> Option<&'a str> {
        let given = |(name, _): &&(&str, &str)| *name == flag.name;
        self.flags.iter().rev().find(given).map(|&(_, text)| text)
    }

    /// The last text given for a flag; as runc has it, an empty one is none.
    pub(crate) fn path(&self, flag: &Flag) -> Option<&'a str> {
        self.text(flag).filter(|text| !text.is_empty())
    }

    /// Every text given for a flag, in order.
    pub(crate) fn texts(&self, flag: &Flag) -> impl Iterator<Item = &'a str> {
        let name = flag.name;
        let given = move |entry: &&(&str, &str)| entry.0 == name;
        self.flags.iter().filter(given).map(|&(_, text)| text)
    }

    /// The number given for a flag, 0 without one.
    pub(crate) fn number(&self, flag: &Flag) -> u32 {
        self.text(flag).and_then(parse_number).unwrap_or(0)
    }

    /// The time given for a flag, in nanoseconds, if one is.
    pub(crate) fn duration_ns(&self, flag: &Flag) -> Option<i64> {
        self.text(flag).and_then(duration::parse)
    }

    /// Every number given for a flag, in order.
    pub(crate) fn numbers(&self, flag: &Flag) -> impl Iterator<Item = u32> {
        self.texts(flag).filter_map(parse_number)
    }
}

/// Why the arguments can't be read; the words are those of Go's flag package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseError<'a> {
    /// Dashes or `=` where a name should be.
    BadSyntax(&'a str),
    /// No such flag.
    Undefined(&'a str),
    /// Nothing follows a flag that takes something.
    NeedsArgument(&'a str),
    /// A switch with a value that is neither true nor false.
    NotBoolean(&'a str, &'a str),
    /// A number, or a time, was wanted.
    NotNumber(&'a str, &'a str),
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSyntax(argument) => write!(f, "bad flag syntax: {argument}"),
            Self::Undefined(flag) => write!(f, "flag provided but not defined: {flag}"),
            Self::NeedsArgument(flag) => write!(f, "flag needs an argument: {flag}"),
            Self::NotBoolean(flag, text) => {
                write!(f, "invalid boolean value {text:?} for {flag}: parse error")
            }
            Self::NotNumber(flag, text) => {
                write!(f, "invalid value {text:?} for flag {flag}: parse error")
            }
        }
    }
}

/// Reads arguments by a table of flags. [`HELP`] is always among them.
pub(crate) fn parse<'a>(
    table: &[&'static Flag],
    stops_at_first_operand: bool,
    arguments: &'a [String],
) -> Result<Parsed<'a>, ParseError<'a>> {
    let mut parsed = Parsed::default();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "--" {
            parsed.operands.extend(rest);
            break;
        }
        if argument == "-" || !argument.starts_with('-') {
            parsed.operands.push(argument);
            if stops_at_first_operand {
                parsed.operands.extend(rest);
                break;
            }
            continue;
        }
        let entry = parse_flag(table, argument, &mut rest)?;
        parsed.flags.push(entry);
    }
    Ok(parsed)
}

/// Reads one flag, and its value from `rest` when it isn't joined to it.
fn parse_flag<'a>(
    table: &[&'static Flag],
    argument: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<(&'static str, &'a str), ParseError<'a>> {
    let (spelled, joined) = match argument.split_once('=') {
        Some((spelled, value)) => (spelled, Some(value)),
        None => (argument, None),
    };
    let name = spelled.strip_prefix("--").unwrap_or(&spelled[1..]);
    if name.is_empty() || name.starts_with('-') {
        return Err(ParseError::BadSyntax(argument));
    }
    let flag = find_flag(table, name).ok_or(ParseError::Undefined(spelled))?;
    let value = match (flag.takes, joined) {
        (Takes::Nothing, None) => "true",
        (Takes::Nothing, Some(text)) => {
            parse_boolean(text).ok_or(ParseError::NotBoolean(spelled, text))?
        }
        (_, Some(text)) => text,
        (_, None) => rest.next().ok_or(ParseError::NeedsArgument(spelled))?,
    };
    let is_legal = match flag.takes {
        Takes::Number(_) | Takes::Numbers(_) => parse_number(value).is_some(),
        Takes::Duration(_) => duration::parse(value).is_some(),
        Takes::Nothing | Takes::Text(_) | Takes::Texts(_) => true,
    };
    if !is_legal {
        return Err(ParseError::NotNumber(spelled, value));
    }
    Ok((flag.name, value))
}

fn find_flag(table: &[&'static Flag], name: &str) -> Option<&'static Flag> {
    let named = |flag: &&&'static Flag| flag.name == name || flag.short == Some(name);
    [&HELP].iter().chain(table).find(named).copied()
}

/// The words that Go's strconv.ParseBool knows.
fn parse_boolean(text: &str) -> Option<&'static str> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some("true"),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some("false"),
        _ => None,
    }
}

/// Decimal digits only: no sign, no space, no exponent.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: Flag = Flag {
        name: "bundle",
        short: Some("b"),
        takes: Takes::Text("DIR"),
        help: "",
    };
    const DETACH: Flag = Flag {
        name: "detach",
        short: Some("d"),
        takes: Takes::Nothing,
        help: "",
    };
    const ENV: Flag = Flag {
        name: "env",
        short: Some("e"),
        takes: Takes::Texts("TEXT"),
        help: "",
    };
    const FDS: Flag = Flag {
        name: "preserve-fds",
        short: None,
        takes: Takes::Number("N"),
        help: "",
    };
    const TABLE: &[&Flag] = &[&BUNDLE, &DETACH, &ENV, &FDS];

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn error(line: &str) -> String {
        parse(TABLE, false, &words(line)).unwrap_err().to_string()
    }

    #[test]
    fn a_flag_may_be_spelled_in_every_way_go_allows() {
        for line in [
            "--bundle /x id",
            "--bundle=/x id",
            "-bundle /x id",
            "-bundle=/x id",
            "-b /x id",
            "-b=/x id",
            "--b /x id",
            "id --bundle /x",
            "--bundle /y --bundle /x id",
            "--bundle=/x -- id",
        ] {
            let arguments = words(line);
            let parsed = parse(TABLE, false, &arguments).unwrap();
            assert_eq!(parsed.text(&BUNDLE), Some("/x"), "{line}");
            assert_eq!(parsed.operands, ["id"], "{line}");
        }
    }

    #[test]
    fn a_switch_takes_a_value_only_after_an_equals_sign() {
        for (line, on, operands) in [
            ("--detach id", true, &["id"] as &[_]),
            ("--detach=true id", true, &["id"]),
            ("-detach=false id", false, &["id"]),
            ("-d -d=0 id", false, &["id"]),
            ("--detach false", true, &["false"]),
            ("id", false, &["id"]),
        ] {
            let arguments = words(line);
            let parsed = parse(TABLE, false, &arguments).unwrap();
            assert_eq!(parsed.is_on(&DETACH), on, "{line}");
            assert_eq!(parsed.operands, operands, "{line}");
        }
    }

    #[test]
    fn parsing_stops_at_the_first_operand_where_a_command_line_follows() {
        let arguments = words("-e A=1 id sh -c x --detach -- -e B=2");
        let parsed = parse(TABLE, true, &arguments).unwrap();
        assert_eq!(parsed.texts(&ENV).collect::<Vec<_>>(), ["A=1"]);
        assert_eq!(
            parsed.operands,
            ["id", "sh", "-c", "x", "--detach", "--", "-e", "B=2"]
        );
        assert!(!parsed.is_on(&DETACH));
    }

    #[test]
    fn a_repeated_flag_adds_up_and_a_comma_separates_nothing() {
        let arguments = words("--env A=1,B=2 -e C=3 --env= id");
        let parsed = parse(TABLE, false, &arguments).unwrap();
        assert_eq!(
            parsed.texts(&ENV).collect::<Vec<_>>(),
            ["A=1,B=2", "C=3", ""]
        );
    }

    #[test]
    fn errors_name_the_flag_as_it_was_spelled() {
        assert_eq!(error("--bundle"), "flag needs an argument: --bundle");
        assert_eq!(error("id -b"), "flag needs an argument: -b");
        assert_eq!(error("--nosuch"), "flag provided but not defined: --nosuch");
        assert_eq!(error("-x=1"), "flag provided but not defined: -x");
        assert_eq!(error("---x"), "bad flag syntax: ---x");
        assert_eq!(error("--=x"), "bad flag syntax: --=x");
        assert_eq!(
            error("-d=maybe"),
            "invalid boolean value \"maybe\" for -d: parse error"
        );
        assert_eq!(
            error("--preserve-fds x"),
            "invalid value \"x\" for flag --preserve-fds: parse error"
        );
    }

    #[test]
    fn numbers_have_only_digits() {
        for bad in ["", "+1", "-1", "0x0", "1e1", " 1", "1 ", "4294967296"] {
            assert_eq!(parse_number(bad), None, "{bad:?}");
        }
        assert_eq!(parse_number("4294967295"), Some(u32::MAX));
        assert_eq!(parse_number("007"), Some(7));
    }

    #[test]
    fn a_wrong_number_of_operands_is_said_in_runcs_words() {
        let said = |count: Count, found| count.check("kill", found).unwrap_err();
        assert_eq!(
            said(Count::Exactly(1), 2),
            "tare: \"kill\" requires exactly 1 argument(s)"
        );
        assert_eq!(
            said(Count::AtLeast(1), 0),
            "tare: \"kill\" requires a minimum of 1 argument(s)"
        );
        assert_eq!(
            said(Count::Between(1, 2), 3),
            "tare: \"kill\" requires a maximum of 2 argument(s)"
        );
        assert!(Count::Between(1, 2).check("kill", 2).is_ok());
    }

    #[test]
    fn help_is_known_to_every_table() {
        for line in ["--help", "-help", "-h", "id -h"] {
            let arguments = words(line);
            assert!(parse(TABLE, false, &arguments).unwrap().is_on(&HELP));
        }
    }
}

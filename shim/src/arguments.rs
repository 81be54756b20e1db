//! What containerd says when it runs the shim: flags as Go's package `flag` takes them, one
//! action, and the environment. It is read here once and handed on as values.

use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What the shim is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `start`: make a server, or find the one of the group, and say where it is.
    Start,
    /// `delete`: remove what a server that is gone has left of a container.
    Delete,
    /// No action: be the server.
    Serve,
}

/// The arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `-namespace`: containerd's.
    pub namespace: String,
    /// `-id`: the container's.
    pub id: String,
    /// `-address`: containerd's gRPC socket.
    pub address: String,
    /// `-publish-binary`: accepted, and not used, for events go to `TTRPC_ADDRESS`.
    pub publish_binary: String,
    /// `-bundle`: instead of the working directory.
    pub bundle: String,
    /// `-socket`: where the server listens.
    pub socket: String,
    /// `-debug-socket`: accepted, and not used, for there is no profiler to connect to.
    pub debug_socket: String,
    /// `-debug`: log what is done.
    pub debug: bool,
    /// `-v`, `-version`: show the version and end.
    pub version: bool,
    /// `-info`: show what this runtime can do and end.
    pub info: bool,
    /// What follows the flags.
    pub operands: Vec<String>,
}

/// Why the arguments can't be used, or that they ask for the list of flags: what Go's programs
/// write to standard error and how they end then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whole lines.
    pub text: String,
    /// 2; 0 when the flags were asked for.
    pub status: u8,
}

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `TTRPC_ADDRESS`: containerd's event service.
    pub ttrpc_address: Option<OsString>,
    /// Whether `SCHED_CORE` asks for a core scheduling cookie.
    pub sched_core: bool,
    /// All of it, as execve(2) takes it.
    pub all: Vec<CString>,
}

/// Where a flag's value goes.
enum Slot {
    Text(fn(&mut Arguments) -> &mut String),
    Flag(fn(&mut Arguments) -> &mut bool),
}

struct Flag {
    name: &'static str,
    meaning: &'static str,
    slot: Slot,
}

/// By name, as Go lists them.
const FLAGS: [Flag; 11] = [
    Flag {
        name: "address",
        meaning: "grpc address back to main containerd",
        slot: Slot::Text(|all| &mut all.address),
    },
    Flag {
        name: "bundle",
        meaning: "path to the bundle if not workdir",
        slot: Slot::Text(|all| &mut all.bundle),
    },
    Flag {
        name: "debug",
        meaning: "enable debug output in logs",
        slot: Slot::Flag(|all| &mut all.debug),
    },
    Flag {
        name: "debug-socket",
        meaning: "accepted and not used",
        slot: Slot::Text(|all| &mut all.debug_socket),
    },
    Flag {
        name: "id",
        meaning: "id of the task",
        slot: Slot::Text(|all| &mut all.id),
    },
    Flag {
        name: "info",
        meaning: "read the runtime's options from stdin, show what it can do, and exit",
        slot: Slot::Flag(|all| &mut all.info),
    },
    Flag {
        name: "namespace",
        meaning: "namespace that owns the shim",
        slot: Slot::Text(|all| &mut all.namespace),
    },
    Flag {
        name: "publish-binary",
        meaning: "accepted and not used: events go to TTRPC_ADDRESS",
        slot: Slot::Text(|all| &mut all.publish_binary),
    },
    Flag {
        name: "socket",
        meaning: "socket path to serve",
        slot: Slot::Text(|all| &mut all.socket),
    },
    Flag {
        name: "v",
        meaning: "show the shim version and exit",
        slot: Slot::Flag(|all| &mut all.version),
    },
    Flag {
        name: "version",
        meaning: "show the shim version and exit",
        slot: Slot::Flag(|all| &mut all.version),
    },
];

impl Arguments {
    /// Parses what follows the program's name.
    ///
    /// # Errors
    ///
    /// A flag that is not known, lacks its value or has one that is none.
    pub fn parse(program: &str, arguments: &[String]) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.as_slice().first().and_then(|word| dashed(word)) {
            let word = rest.next().map(String::as_str).unwrap_or_default();
            if argument.is_empty() && word == "--" {
                break;
            }
            let taken = parsed.take(word, argument, &mut rest);
            taken.map_err(|fault| Refusal::of(program, fault))?;
        }
        parsed.operands = rest.cloned().collect();
        Ok(parsed)
    }

    /// Takes one flag, and its value if that is the next argument.
    fn take<'a>(
        &mut self,
        word: &str,
        flag: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Fault> {
        if flag.is_empty() || flag.starts_with(['-', '=']) {
            return Err(Fault::Text(format!("bad flag syntax: {word}")));
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some(known) = FLAGS.iter().find(|flag| flag.name == name) else {
            return Err(match name {
                "h" | "help" => Fault::Help,
                _ => Fault::Text(format!("flag provided but not defined: -{name}")),
            });
        };
        match known.slot {
            Slot::Flag(slot) => *slot(self) = switch(name, value.unwrap_or("true"))?,
            Slot::Text(slot) => {
                let value = value.or_else(|| rest.next().map(String::as_str));
                let lacking = || Fault::Text(format!("flag needs an argument: -{name}"));
                slot(self).replace_range(.., value.ok_or_else(lacking)?);
            }
        }
        Ok(())
    }

    /// What to do.
    ///
    /// # Errors
    ///
    /// The first operand is no action.
    pub fn action(&self) -> Result<Action, String> {
        match self.operands.first().map(String::as_str) {
            None | Some("") => Ok(Action::Serve),
            Some("start") => Ok(Action::Start),
            Some("delete") => Ok(Action::Delete),
            Some(other) => Err(format!(
                "unknown action {other:?}: start and delete are known, and none serves"
            )),
        }
    }

    /// The bundle: `-bundle`, else the working directory, which has to be given.
    #[must_use]
    pub fn bundle_or(&self, working_directory: PathBuf) -> PathBuf {
        match self.bundle.as_str() {
            "" => working_directory,
            bundle => working_directory.join(bundle),
        }
    }
}

/// What follows the one or two dashes of a flag; none for an operand. A lone dash is one.
fn dashed(word: &str) -> Option<&str> {
    let flag = word.strip_prefix('-').filter(|flag| !flag.is_empty())?;
    Some(flag.strip_prefix('-').unwrap_or(flag))
}

/// Go's strconv.ParseBool.
fn switch(name: &str, value: &str) -> Result<bool, Fault> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::Text(format!(
            "invalid boolean value {value:?} for -{name}: parse error"
        ))),
    }
}

enum Fault {
    Help,
    Text(String),
}

impl Refusal {
    fn of(program: &str, fault: Fault) -> Self {
        let (mut text, status) = match fault {
            Fault::Help => (String::new(), 0),
            Fault::Text(text) => (text + "\n", 2),
        };
        // A String takes any text.
        writeln!(text, "Usage of {program}:").ok();
        for flag in &FLAGS {
            let kind = match flag.slot {
                Slot::Text(_) => " string",
                Slot::Flag(_) => "",
            };
            writeln!(text, "  -{}{kind}\n    \t{}", flag.name, flag.meaning).ok();
        }
        Self { text, status }
    }
}

impl Environment {
    /// What these variables say.
    #[must_use]
    pub fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match name.as_bytes() {
                b"TTRPC_ADDRESS" if !value.is_empty() => {
                    environment.ttrpc_address = Some(value.clone());
                }
                b"SCHED_CORE" => environment.sched_core = !value.is_empty(),
                _ => {}
            }
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            // An entry of a process's own environment has no NUL inside.
            environment.all.extend(CString::new(entry.into_vec()));
        }
        environment
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let prefix = format!("{name}=");
        self.all
            .retain(|entry| !entry.as_bytes().starts_with(prefix.as_bytes()));
        self.all.extend(CString::new(prefix + value));
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, Refusal> {
        let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        Arguments::parse("shim", &words)
    }

    fn fault(line: &[&str]) -> (String, u8) {
        let refusal = parse(line).unwrap_err();
        let first = refusal.text.lines().next().unwrap_or_default().to_owned();
        (first, refusal.status)
    }

    #[test]
    fn a_flag_has_one_dash_or_two_and_its_value_after_a_blank_or_an_equals_sign() {
        let line = [
            "-namespace",
            "k8s.io",
            "--id=a=b",
            "-debug",
            "--address",
            "-dash",
            "-publish-binary=",
            "start",
            "-debug=false",
        ];
        let parsed = parse(&line).unwrap();
        assert_eq!(
            (parsed.namespace.as_str(), parsed.id.as_str()),
            ("k8s.io", "a=b")
        );
        assert_eq!(parsed.address, "-dash");
        assert!(parsed.debug && !parsed.info && parsed.publish_binary.is_empty());
        assert_eq!(parsed.action(), Ok(Action::Start));
        assert_eq!(parsed.operands, ["start", "-debug=false"]);
    }

    #[test]
    fn two_dashes_alone_end_the_flags_and_one_is_an_operand() {
        assert_eq!(parse(&["--", "-debug"]).unwrap().operands, ["-debug"]);
        assert_eq!(parse(&["-", "-debug"]).unwrap().operands, ["-", "-debug"]);
        assert_eq!(parse(&[]).unwrap().action(), Ok(Action::Serve));
        assert!(parse(&["stop"]).unwrap().action().is_err());
    }

    #[test]
    fn a_switch_takes_a_value_only_after_an_equals_sign() {
        let parsed = parse(&["-info=0", "-v=T", "delete"]).unwrap();
        assert!(!parsed.info && parsed.version);
        assert_eq!(parsed.action(), Ok(Action::Delete));
        assert!(parse(&["-version"]).unwrap().version);
    }

    #[test]
    fn refusals_are_gos() {
        let said = |line: &[&str]| fault(line);
        assert_eq!(
            said(&["-nope=1"]),
            ("flag provided but not defined: -nope".into(), 2)
        );
        assert_eq!(said(&["-id"]), ("flag needs an argument: -id".into(), 2));
        assert_eq!(said(&["---id"]), ("bad flag syntax: ---id".into(), 2));
        assert_eq!(said(&["-=x"]), ("bad flag syntax: -=x".into(), 2));
        assert_eq!(
            said(&["-debug=maybe"]),
            (
                "invalid boolean value \"maybe\" for -debug: parse error".into(),
                2
            )
        );
        assert_eq!(said(&["-h"]), ("Usage of shim:".into(), 0));
    }

    #[test]
    fn a_relative_bundle_is_below_the_working_directory() {
        let bundle = |line: &[&str]| parse(line).unwrap().bundle_or(PathBuf::from("/work"));
        assert_eq!(bundle(&[]), PathBuf::from("/work"));
        assert_eq!(bundle(&["-bundle", "x"]), PathBuf::from("/work/x"));
        assert_eq!(bundle(&["-bundle=/x"]), PathBuf::from("/x"));
    }

    #[test]
    fn the_environment_is_kept_whole_and_a_variable_of_it_can_be_replaced() {
        let variables = [("TTRPC_ADDRESS", "/a"), ("SCHED_CORE", "1"), ("X", "y=z")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let environment = Environment::of(variables.into_iter());
        assert_eq!(environment.ttrpc_address, Some("/a".into()));
        assert!(environment.sched_core);
        let expected = [c"SCHED_CORE=1", c"X=y=z", c"TTRPC_ADDRESS=/b"];
        assert_eq!(environment.with("TTRPC_ADDRESS", "/b").all, expected);
    }

    proptest! {
        #[test]
        fn any_words_are_parsed_or_refused(words in prop::collection::vec("[-=a-z]{0,9}|.*", 0..8)) {
            match Arguments::parse("shim", &words) {
                Ok(parsed) => prop_assert!(words.ends_with(&parsed.operands)),
                Err(refusal) => prop_assert!(refusal.text.contains("Usage of shim:\n")),
            }
        }
    }
}

//! The command line.

use std::path::PathBuf;

use crate::missing::Missing;

/// What the program says of itself.
pub const USAGE: &str = "\
usage: conformance --runtime PATH [--suite NAME]... [--case NAME]... [--format text|json|md]
                   [--area NAME]... [--against PATH] [--seed N] [--count N]
                   [--view host|v1|v2] [--systemd-cgroup] [--long]
                   [--old-kernel] [--without CALL,...] [--known FILE [--update]] [--progress]
                   [--jobs N] [--times] [--called WORDS]
       conformance list

--runtime  the OCI runtime to measure: any binary with runc's command line
--suite    only this suite; --area: only this area; --case: only the case of
           this name, or if there is none those whose names begin so
--format   text for a person (with progress on standard error), json: one array on standard
           output alone, md: a table
--against  the runtime to compare with in the suite differential (runc if it is there); --peer is
           the same
--seed     where bundles by chance begin (1); --count: how many there are of each kind
--view     the cgroups to show: the host's, pure v1, or v2 at /sys/fs/cgroup
--systemd-cgroup
           cgroups are made by systemd: the runtime is told so
--long     races and loops for minutes
--old-kernel
           the system calls that are newer than Linux 5.10 are answered ENOSYS; --without: these
           ones. A case passes, too, where the runtime refuses and names what is missing
--known    a list of cases that are known to fail: only what differs from it is a failure;
           --update runs everything three times and writes the list anew, a strict one only shorter
--progress a line for each case on standard error, whatever the format
--jobs     so many cases side by side (two for each processor)
--called   how this program is called where commands are shown (by its path)
--times    also where the time went, by suite and the slowest cases, on standard error

Exit status: 0 when every case passed or was skipped, 1 when one failed (with --known: when one
differs from the list), 2 when nothing was told.";

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
    /// A table.
    Markdown,
}

/// Which cgroups the runtime is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The host's.
    #[default]
    Host,
    /// cgroup v1 alone.
    V1,
    /// cgroup v2 at /sys/fs/cgroup.
    V2,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The runtime.
    pub runtime: PathBuf,
    /// These suites; all without any.
    pub suites: Vec<String>,
    /// These areas; all without any.
    pub areas: Vec<String>,
    /// Cases whose names begin so; all without any.
    pub cases: Vec<String>,
    /// How results are written.
    pub format: Format,
    /// The runtime to compare with.
    pub peer: Option<PathBuf>,
    /// The first seed of bundles by chance; 1 without any.
    pub seed: Option<u64>,
    /// How many bundles by chance there are of each kind.
    pub count: Option<u64>,
    /// The cgroups to show.
    pub view: View,
    /// Whether long cases run for minutes.
    pub is_long: bool,
    /// Whether systemd makes the cgroups.
    pub is_systemd: bool,
    /// System calls that are not there.
    pub missing: Option<Missing>,
    /// A list of cases that are known to fail.
    pub known: Option<PathBuf>,
    /// Whether that list is written anew.
    pub is_update: bool,
    /// Those words that say how and where cases run, for a command that repeats one.
    pub manner: Vec<String>,
    /// How this program was called, for the same command; by its path without a word.
    pub called: Option<String>,
    /// Whether it is said where the time went.
    pub shows_times: bool,
    /// How many cases run side by side; twice as many as there are processors without a number.
    pub jobs: Option<usize>,
    /// Whether each case has its line, whatever the format.
    pub shows_progress: bool,
}

impl Arguments {
    /// The arguments of these words.
    ///
    /// # Errors
    ///
    /// With what is wrong with them.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            if arguments.take_switch(flag) {
                if is_manner(flag) {
                    arguments.manner.push(flag.clone());
                }
                continue;
            }
            let value = words
                .next()
                .ok_or(format!("{flag} needs a value, or is unknown"))?;
            if is_manner(flag) {
                arguments.manner.extend([flag.clone(), value.clone()]);
            }
            match flag.as_str() {
                "--called" => arguments.called = Some(value.clone()),
                "--runtime" => arguments.runtime = value.into(),
                "--suite" => arguments.suites.push(value.clone()),
                "--area" => arguments.areas.push(value.clone()),
                "--case" => arguments.cases.push(value.clone()),
                "--format" => arguments.format = format(value)?,
                "--against" | "--peer" => arguments.peer = Some(value.into()),
                "--seed" => arguments.seed = Some(number(flag, value)?),
                "--count" => arguments.count = Some(number(flag, value)?),
                "--without" => {
                    let missing = arguments.missing.take().unwrap_or_default();
                    arguments.missing = Some(missing.named(value)?);
                }
                "--jobs" => arguments.jobs = Some(jobs(flag, value)?),
                "--known" => arguments.known = Some(value.into()),
                "--view" => arguments.view = view(value)?,
                _ => return Err(format!("unknown argument {flag}")),
            }
        }
        if arguments.runtime.as_os_str().is_empty() {
            return Err("--runtime PATH is missing".to_owned());
        }
        if arguments.is_update && arguments.known.is_none() {
            return Err("--update writes the list of --known FILE, which is missing".to_owned());
        }
        Ok(arguments)
    }

    /// How many cases run side by side: two for each processor, since a half of them waits.
    #[must_use]
    pub fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or_else(|| 2 * processors())
    }

    /// Whether a word is a flag without a value, which is set then.
    fn take_switch(&mut self, flag: &str) -> bool {
        match flag {
            "--long" => self.is_long = true,
            "--systemd-cgroup" => self.is_systemd = true,
            "--update" => self.is_update = true,
            "--times" => self.shows_times = true,
            "--progress" => self.shows_progress = true,
            "--old-kernel" => {
                let missing = self.missing.take().unwrap_or_default();
                self.missing = Some(missing.after_5_10());
            }
            _ => return false,
        }
        true
    }
}

/// Whether a flag says how and where cases run, and not which.
fn is_manner(flag: &str) -> bool {
    let flags = [
        "--view",
        "--systemd-cgroup",
        "--long",
        "--old-kernel",
        "--without",
        "--against",
        "--peer",
    ];
    flags.contains(&flag)
}

fn jobs(flag: &str, word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err(format!("{flag} {word}: not a number of cases")),
    }
}

fn number(flag: &str, word: &str) -> Result<u64, String> {
    word.parse()
        .map_err(|_| format!("{flag} {word}: not a number"))
}

/// The format of this name.
///
/// # Errors
///
/// With the names that there are.
pub fn format(word: &str) -> Result<Format, String> {
    match word {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "md" => Ok(Format::Markdown),
        _ => Err(format!("--format {word}: text, json or md")),
    }
}

fn view(word: &str) -> Result<View, String> {
    match word {
        "host" => Ok(View::Host),
        "v1" => Ok(View::V1),
        "v2" => Ok(View::V2),
        _ => Err(format!("--view {word}: host, v1 or v2")),
    }
}

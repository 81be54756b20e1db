//! The program `conformance`, built and run.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conformance::known::Known;
use conformance::outcome::Result as Told;
use testkit::find_program;

use crate::Error;
use crate::cargo::{STATIC_TARGET, build_with_profile, has_target, workspace};

/// The program, and tare: both static.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) program: PathBuf,
    pub(crate) tare: PathBuf,
}

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Run {
    /// What it is called in tables.
    name: &'static str,
    /// A name on the path, or `tare`.
    runtime: &'static str,
    options: &'static [&'static str],
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) results: Vec<Told>,
    /// Whether exactly those cases failed that are listed, or the list is about another version.
    pub(crate) is_as_known: bool,
    /// Whether the list is about this version.
    pub(crate) is_judged: bool,
}

impl Run {
    pub(crate) const fn new(
        name: &'static str,
        runtime: &'static str,
        options: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            runtime,
            options,
        }
    }
}

impl Run {
    /// A name on the path, or `tare`.
    pub(crate) const fn runtime(&self) -> &'static str {
        self.runtime
    }
}

/// The list of what a runtime is known to fail.
pub(crate) fn list_of(runtime: &str) -> PathBuf {
    let lists = workspace().join("conformance/known");
    lists.join(format!("{runtime}.txt"))
}

impl Built {
    /// Builds both: the program runs in root filesystems that have nothing else.
    pub(crate) fn make() -> Result<Self, Error> {
        if !has_target(STATIC_TARGET) {
            return Err(
                format!("a static program is needed: rustup target add {STATIC_TARGET}").into(),
            );
        }
        let packages = ["conformance", "runtime-cli"];
        let directory = build_with_profile("guest", STATIC_TARGET, &packages)?;
        Ok(Self {
            program: directory.join("conformance"),
            tare: directory.join("tare"),
        })
    }

    /// A runtime by the name that it has on command lines: `tare` is the one that was built.
    fn runtime(&self, name: &str) -> Result<PathBuf, Error> {
        if name == "tare" {
            return Ok(self.tare.clone());
        }
        let found = match name.contains('/') {
            true => Some(PathBuf::from(name)),
            false => find_program(name),
        };
        found.ok_or_else(|| format!("{name} is not on the path: apt-get install {name}").into())
    }

    fn command(&self, runtime: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--called", "cargo xtask conformance"]);
        command.arg("--runtime").arg(runtime);
        command
    }

    /// Measures one runtime and lets the program tell; true when no case failed.
    pub(crate) fn show(&self, runtime: &str, options: &[String]) -> Result<bool, Error> {
        let mut command = self.command(&self.runtime(runtime)?);
        match command.args(options).status()?.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err("nothing was measured".into()),
        }
    }

    /// Measures a runtime and compares it with its list; the program says what differs.
    pub(crate) fn measure(&self, run: &Run, options: &[String]) -> Result<Measured, Error> {
        let mut command = self.command(&self.runtime(run.runtime)?);
        command
            .args(["--format", "json", "--known"])
            .arg(list_of(run.runtime));
        command.args(run.options).args(options);
        if std::io::stderr().is_terminal() {
            command.arg("--progress");
        }
        let (code, results) = told(&mut command, run)?;
        Ok(Measured {
            name: run.name.to_owned(),
            results,
            is_as_known: code == 0,
            is_judged: self.is_judged(run)?,
        })
    }

    /// Whether a runtime's list is about the version that is here.
    fn is_judged(&self, run: &Run) -> Result<bool, Error> {
        let version = conformance::theatre::version(&self.runtime(run.runtime)?)?;
        Ok(Known::read(&list_of(run.runtime))?.is_about(&version))
    }

    /// Writes a runtime's list anew; the results are those of the last round.
    pub(crate) fn update(&self, run: &Run) -> Result<Measured, Error> {
        let mut command = self.command(&self.runtime(run.runtime)?);
        command.args(["--format", "json", "--progress", "--update", "--known"]);
        command.arg(list_of(run.runtime)).args(run.options);
        let (_, results) = told(&mut command, run)?;
        Ok(Measured {
            name: run.name.to_owned(),
            results,
            is_as_known: true,
            is_judged: true,
        })
    }
}

/// The exit status, which says whether something was measured, and the results.
fn told(command: &mut Command, run: &Run) -> Result<(i32, Vec<Told>), Error> {
    let output = command.stderr(Stdio::inherit()).output()?;
    match output.status.code() {
        Some(code @ (0 | 1)) => Ok((code, serde_json::from_slice(&output.stdout)?)),
        _ => Err(format!("{}: nothing was measured", run.name).into()),
    }
}

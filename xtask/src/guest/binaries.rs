//! The workspace's static binaries: what a guest gets.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::guest::Builder;

use crate::Error;
use crate::cargo::{cargo, has_target, target_directory, workspace};

/// The guest's processor.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The crates whose tests run in guests.
const PACKAGES: [&str; 4] = ["runtime-core", "runtime-init", "runtime-cli", "testkit"];

/// `tare` and the test programs, static, with the profile `guest`.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) tare: PathBuf,
    /// What the security tests put into their containers.
    attacker: PathBuf,
    pub(super) tests: Vec<TestProgram>,
}

/// A test program of libtest's.
#[derive(Debug)]
pub(super) struct TestProgram {
    /// `runtime-cli/lifecycle`; `runtime-core/lib` for the tests beside the code.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Builds all of them.
pub(super) fn build() -> Result<Binaries, Error> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("guests are x86_64 machines, and this one builds for another".into());
    }
    if !has_target(TARGET) {
        return Err(format!("guests need static binaries: rustup target add {TARGET}").into());
    }
    let mut build = cargo();
    build.args([
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    build.args(["--quiet", "--profile", "guest", "--target", TARGET]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    let output = build.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the guest's binaries can't be built".into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    found(&messages.collect::<Vec<Value>>(), compile_attacker()?)
}

/// The program is in C, and guests have no compiler.
fn compile_attacker() -> Result<PathBuf, Error> {
    let source = workspace().join("runtime-cli/tests/security/attacker.c");
    let program = target_directory().join("guest/attacker");
    std::fs::create_dir_all(target_directory().join("guest"))?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-no-pie", "-O1", "-w", "-o"]);
    match gcc.arg(&program).arg(&source).status() {
        Ok(status) if status.success() => Ok(program),
        Ok(_) => Err(format!("gcc can't compile {}", source.display()).into()),
        Err(error) => Err(format!("gcc: {error}").into()),
    }
}

/// The executables that cargo's messages tell of.
fn found(messages: &[Value], attacker: PathBuf) -> Result<Binaries, Error> {
    let mut tare = None;
    let mut tests = Vec::new();
    for message in messages {
        let (Some(path), Some(target)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
        ) else {
            continue;
        };
        let package = package_of(message);
        if message["profile"]["test"] == true {
            let target = match message["target"]["kind"][0].as_str() {
                Some("test") => target,
                Some(kind) => kind,
                None => continue,
            };
            tests.push(TestProgram {
                name: format!("{package}/{target}"),
                path: path.into(),
            });
        } else if target == "tare" {
            tare = Some(path.into());
        }
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Binaries {
        tare: tare.ok_or("cargo has built no tare")?,
        attacker,
        tests,
    })
}

/// `runtime-cli` of a message whose package id is `path+file:///…/runtime-cli#0.1.0`.
fn package_of(message: &Value) -> &str {
    let id = message["package_id"].as_str().unwrap_or_default();
    let path = id.split('#').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

impl Binaries {
    /// Puts them into a guest: `/guest/in/tare` and `/guest/in/tests/NAME`.
    pub(super) fn put_into(&self, builder: Builder) -> Builder {
        let builder = builder
            .put("tare", &self.tare)
            .put("attacker", &self.attacker);
        self.tests.iter().fold(builder, |builder, test| {
            builder.put(&format!("tests/{}", test.name), &test.path)
        })
    }

    /// The start of a script: the path, and what tells tests where they are.
    pub(super) fn environment(&self) -> String {
        "export PATH=\"/guest/in:$PATH\" TARE_UNDER_TEST=/guest/in/tare REQUIRE_KERNEL=guest\n\
         export INSTA_UPDATE=no RUST_BACKTRACE=0 TARE_ATTACKER=/guest/in/attacker\n"
            .to_owned()
    }
}

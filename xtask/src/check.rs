//! `cargo xtask test`: all checks and tests, in the order in which they fail fastest.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Fact, Residue, find_program};

use crate::cargo::{
    AARCH64_TARGET, STATIC_TARGET, aarch64_linker, cargo, has_target, target_directory,
};
use crate::deb_check;
use crate::packages::install_missing;
use crate::{Error, nothing_more, take_flag, take_value, told};

/// The largest static binary that tare allows itself.
const SIZE_LIMIT_BYTES: u64 = 3 << 20;

/// One part of the checks.
struct Suite {
    name: &'static str,
    /// Whether `--quick` leaves it out.
    is_slow: bool,
    run: fn() -> Outcome,
}

/// How a suite ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    Failed,
}

const SUITES: [Suite; 11] = [
    Suite {
        name: "fmt",
        is_slow: false,
        run: formatting,
    },
    Suite {
        name: "clippy",
        is_slow: false,
        run: clippy,
    },
    Suite {
        name: "unit",
        is_slow: false,
        run: unit_tests,
    },
    Suite {
        name: "integration",
        is_slow: false,
        run: integration_tests,
    },
    Suite {
        name: "doc",
        is_slow: false,
        run: documentation,
    },
    Suite {
        name: "fuzz",
        is_slow: true,
        run: fuzz_targets,
    },
    Suite {
        name: "size",
        is_slow: true,
        run: size,
    },
    Suite {
        name: "cross",
        is_slow: true,
        run: cross,
    },
    Suite {
        name: "conformance",
        is_slow: true,
        run: conformance,
    },
    Suite {
        name: "guest",
        is_slow: true,
        run: guests,
    },
    Suite {
        name: "deb",
        is_slow: true,
        run: deb_check::run,
    },
];

/// Runs the suites asked for; true if none failed.
pub(crate) fn test(arguments: &[String]) -> Result<bool, Error> {
    let mut arguments = arguments.to_vec();
    let is_quick = take_flag(&mut arguments, "--quick");
    let mut wanted = Vec::new();
    while let Some(name) = take_value(&mut arguments, "--suite")? {
        wanted.push(name);
    }
    nothing_more(&arguments)?;
    let known = |name: &&String| !SUITES.iter().any(|suite| suite.name == *name);
    if let Some(name) = wanted.iter().find(known) {
        return Err(format!("there is no suite {name}").into());
    }
    let is_wanted = |suite: &&Suite| match wanted.is_empty() {
        true => !(is_quick && suite.is_slow),
        false => wanted.iter().any(|name| name == suite.name),
    };
    install_missing();
    if !Fact::Root.holds() {
        println!("(not root: tests that need root are skipped, and say so)");
    }
    let results: Vec<_> = SUITES.iter().filter(is_wanted).map(run_suite).collect();
    Ok(summarize(&results))
}

/// A suite that has run.
struct Ended {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    /// What its output says of failures.
    telling: Vec<String>,
}

fn run_suite(suite: &Suite) -> Ended {
    println!("\n== {}", suite.name);
    let started = Instant::now();
    let (outcome, telling) = told::listening(suite.run);
    Ended {
        name: suite.name,
        outcome,
        took: started.elapsed(),
        telling,
    }
}

fn summarize(suites: &[Ended]) -> bool {
    let is_failed = |suite: &&Ended| suite.outcome == Outcome::Failed;
    for failed in suites.iter().filter(is_failed) {
        println!("\n== {} FAILED, of its output", failed.name);
        for line in &failed.telling {
            println!("{line}");
        }
    }
    println!("\n== summary");
    for suite in suites {
        let outcome = match &suite.outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Skipped(why) => format!("SKIPPED: {why}"),
            Outcome::Failed => "FAILED".to_owned(),
        };
        let took = suite.took.as_secs_f64();
        println!("{:12} {took:5.0} s  {outcome}", suite.name);
    }
    let is_passed = !suites.iter().any(|suite| is_failed(&suite));
    println!(
        "{}",
        if is_passed {
            "everything passed"
        } else {
            "something FAILED"
        }
    );
    is_passed
}

fn formatting() -> Outcome {
    outcome(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Outcome {
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    outcome(clippy.args(["--", "-D", "warnings"]))
}

/// Unit, property and snapshot tests: they stand beside the code.
fn unit_tests() -> Outcome {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--lib", "--bins"]);
    outcome(in_test_environment(&mut tests))
}

/// Tests with real containers. Afterwards the host has to be as it was before.
fn integration_tests() -> Outcome {
    let residue = Residue::watch_host();
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--test", "*"]);
    let outcome = outcome(in_test_environment(&mut tests));
    // The kernel takes network namespaces and keyrings apart in its own time.
    std::thread::sleep(Duration::from_secs(1));
    let difference = residue.difference();
    if difference.is_empty() {
        return outcome;
    }
    println!("the host is not as it was before the tests:\n{difference}");
    // On a person's machine others are at work too; a CI machine has nothing else to do.
    if std::env::var_os("CI").is_some() {
        Outcome::Failed
    } else {
        outcome
    }
}

fn in_test_environment(command: &mut Command) -> &mut Command {
    // Snapshots are compared and never written.
    command
        .env("INSTA_UPDATE", "no")
        .env("INSTA_FORCE_PASS", "0")
}

fn documentation() -> Outcome {
    let mut documents = cargo();
    documents.args([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    let built = outcome(documents.env("RUSTDOCFLAGS", "-D warnings"));
    if built != Outcome::Passed {
        return built;
    }
    outcome(in_test_environment(cargo().args([
        "test",
        "--workspace",
        "--doc",
    ])))
}

/// The fuzz targets still fit what they call: checked by the stable compiler, run by cargo-fuzz.
fn fuzz_targets() -> Outcome {
    let mut check = cargo();
    check.args(["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"]);
    outcome(check.env("RUSTFLAGS", "--cfg fuzzing"))
}

fn size() -> Outcome {
    if !has_target(STATIC_TARGET) {
        return Outcome::Skipped(format!("rustup target add {STATIC_TARGET} is needed"));
    }
    if build_release(STATIC_TARGET, None) != Outcome::Passed {
        return Outcome::Failed;
    }
    let binary = target_directory().join(STATIC_TARGET).join("release/tare");
    let Ok(metadata) = binary.metadata() else {
        return Outcome::Failed;
    };
    println!(
        "{} has {} KiB of at most {}",
        binary.display(),
        metadata.len() >> 10,
        SIZE_LIMIT_BYTES >> 10
    );
    if metadata.len() > SIZE_LIMIT_BYTES {
        return Outcome::Failed;
    }
    for binary in [&binary, &binary.with_file_name("tare-image")] {
        if is_dynamic(binary) {
            println!("{} is not static: it has an interpreter", binary.display());
            return Outcome::Failed;
        }
    }
    outcome(Command::new(binary).arg("--version"))
}

/// Whether a binary names a dynamic loader.
fn is_dynamic(binary: &Path) -> bool {
    let bytes = std::fs::read(binary).unwrap_or_default();
    let loader = b"/ld-";
    bytes
        .windows(loader.len())
        .take(4096)
        .any(|window| window == loader)
}

fn cross() -> Outcome {
    if !has_target(AARCH64_TARGET) {
        return Outcome::Skipped(format!("rustup target add {AARCH64_TARGET} is needed"));
    }
    if build_release(AARCH64_TARGET, Some(aarch64_linker())) != Outcome::Passed {
        return Outcome::Failed;
    }
    let Some(qemu) = find_program("qemu-aarch64-static") else {
        return Outcome::Skipped("built, and not run: qemu-user-static is not installed".into());
    };
    let binaries = target_directory().join(AARCH64_TARGET).join("release");
    let start = |name| {
        outcome(
            Command::new(&qemu)
                .arg(binaries.join(name))
                .arg("--version"),
        )
    };
    match start("tare") {
        Outcome::Passed => start("tare-image"),
        other => other,
    }
}

/// tare and its peers measured by all cases and compared with their lists, with the host as it was
/// afterwards.
fn conformance() -> Outcome {
    if !Fact::Root.holds() {
        return Outcome::Skipped("containers are made as root".into());
    }
    let residue = Residue::watch_host();
    let is_good = crate::conformance::suite();
    let difference = residue.difference();
    println!("{difference}");
    match is_good {
        Ok(true) if difference.is_empty() => Outcome::Passed,
        Ok(_) => Outcome::Failed,
        Err(error) => {
            println!("{error}");
            Outcome::Failed
        }
    }
}

/// Tests in virtual machines with pure cgroup v2, other kernels and all capabilities.
fn guests() -> Outcome {
    if cfg!(not(target_arch = "x86_64")) {
        return Outcome::Skipped("guests are x86_64 machines".into());
    }
    if !Fact::Root.holds() {
        return Outcome::Skipped("a guest's image is made as root".into());
    }
    match crate::guest::suite() {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Failed,
        Err(error) => {
            println!("{error}");
            Outcome::Failed
        }
    }
}

fn build_release(target: &str, linker: Option<&str>) -> Outcome {
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "runtime-cli",
        "--package",
        "image",
        "--target",
        target,
    ]);
    if let Some(linker) = linker {
        // What TLS needs of C is compiled for that machine, too.
        build.env("CC_aarch64_unknown_linux_musl", linker);
        let variable = format!(
            "CARGO_TARGET_{}_LINKER",
            target.replace('-', "_").to_uppercase()
        );
        build.env(variable, linker);
    }
    outcome(&mut build)
}

fn outcome(command: &mut Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(_) => Outcome::Failed,
        Err(error) => {
            println!("{}: {error}", command.get_program().display());
            Outcome::Failed
        }
    }
}

//! The same profiles through libseccomp, as runc hands them to it.
//!
//! A small C program links the real library and prints the filters that it makes. What a
//! filter answers is compared call by call, by our interpreter. Differences that are meant
//! are left out of the comparison by name: see [`is_comparable`].

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libc::sock_filter;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::super::*;
use super::interpret::{self, CallData};
use super::{ENOSYS, X86_64, answer, random};

/// Builds the C program. Without a compiler or the library there is nothing to compare with:
/// that is told, and under CI it is a failure.
#[expect(
    clippy::print_stderr,
    reason = "a comparison that is left out must be seen"
)]
fn exporter(directory: &tempfile::TempDir) -> Option<PathBuf> {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/plan/seccomp/tests/libseccomp.c"
    );
    let program = directory.path().join("export");
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .args([program.as_os_str(), source.as_ref()])
        .arg("-lseccomp")
        .output();
    match built {
        Ok(output) if output.status.success() => return Some(program),
        Ok(output) => eprintln!("not compared: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("not compared: cc: {error}"),
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI needs cc and libseccomp-dev"
    );
    None
}

/// What libseccomp makes of profiles: None where it refuses one.
fn exported(program: &PathBuf, profiles: &[Value]) -> Vec<Option<Vec<sock_filter>>> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: String = profiles.iter().map(script).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let filters: Vec<_> = text.lines().map(instructions).collect();
    assert_eq!(filters.len(), profiles.len());
    filters
}

fn instructions(line: &str) -> Option<Vec<sock_filter>> {
    let one = |word: &str| {
        let word = u64::from_str_radix(word, 16).unwrap();
        let [a, b, jt, jf, k @ ..] = word.to_le_bytes();
        sock_filter {
            code: u16::from_le_bytes([a, b]),
            jt,
            jf,
            k: u32::from_le_bytes(k),
        }
    };
    (!line.starts_with("refused")).then(|| line.split_whitespace().map(one).collect())
}

/// A profile as calls of libseccomp, the way runc makes them.
fn script(profile: &Value) -> String {
    let default = value_of(profile, "defaultAction", "defaultErrnoRet");
    let mut script = format!("filter {default}\n");
    for architecture in profile["architectures"].as_array().into_iter().flatten() {
        let token: u32 = match architecture.as_str().unwrap() {
            "SCMP_ARCH_X86" => 0x4000_0003,
            "SCMP_ARCH_X32" => 0x4000_003e,
            _ => continue,
        };
        writeln!(script, "architecture {token}").unwrap();
    }
    for entry in profile["syscalls"].as_array().into_iter().flatten() {
        let action = value_of(entry, "action", "errnoRet");
        if action == default {
            continue;
        }
        let args: Vec<String> = entry["args"]
            .as_array()
            .into_iter()
            .flatten()
            .map(arg)
            .collect();
        for name in entry["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            if is_repeated(entry) {
                for arg in &args {
                    writeln!(script, "rule {action} {name} 1 {arg}").unwrap();
                }
            } else {
                writeln!(
                    script,
                    "rule {action} {name} {} {}",
                    args.len(),
                    args.join(" ")
                )
                .unwrap();
            }
        }
    }
    script + "export\n"
}

fn is_repeated(entry: &Value) -> bool {
    let args = entry["args"].as_array().map_or(&[][..], Vec::as_slice);
    (1..args.len()).any(|at| {
        args[..at]
            .iter()
            .any(|arg| arg["index"] == args[at]["index"])
    })
}

fn arg(arg: &Value) -> String {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let name = arg["op"]
        .as_str()
        .unwrap()
        .strip_prefix("SCMP_CMP_")
        .unwrap();
    let operator = operators.iter().position(|known| *known == name).unwrap() + 1;
    let number = |key: &str| arg[key].as_u64().unwrap_or(0);
    format!(
        "{} {operator} {} {}",
        number("index"),
        number("value"),
        number("valueTwo")
    )
}

fn value_of(entry: &Value, action: &str, errno: &str) -> u64 {
    let errno = entry[errno].as_u64().unwrap_or(1);
    match entry[action].as_str().unwrap() {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        _ => 0,
    }
}

/// Whether libseccomp's answer to this call has to be ours. Not so, on purpose:
/// - ENOSYS for newer calls, which runc adds to what libseccomp makes;
/// - several rules with different actions for one call, of which libseccomp's tree picks one;
/// - arguments that the kernel takes as int, of which libseccomp compares all bits;
/// - `socketcall` and `ipc`, where libseccomp compares registers that hold something else.
///
/// And where libseccomp 2.5.4 is wrong:
/// - several lists of conditions for one call, when its tree joins parts that are no common
///   parts (`a1 >= 1 << 32` or `a1 < 0xffffffff` then holds for 0xffffffff);
/// - LE in 32 bits, which it takes for GT before a further condition.
fn is_comparable(profile: &Value, plan: &SeccompPlan, call: &CallData) -> bool {
    let narrow = call.audit != X86_64 || call.number & 0x4000_0000 != 0;
    let rules = rules_for(profile, call);
    let mut actions: Vec<u64> = rules.iter().map(|rule| action_of(rule)).collect();
    actions.sort_unstable();
    actions.dedup();
    let args = || {
        rules
            .iter()
            .flat_map(|rule| rule["args"].as_array().into_iter().flatten())
    };
    let has =
        |operators: &[&str]| args().any(|arg| operators.contains(&arg["op"].as_str().unwrap()));
    let lists = rules.len() > 1 || rules.iter().any(|rule| is_repeated(rule));
    interpret::run(&plan.program, call).unwrap() != ENOSYS
        && actions.len() < 2
        && !has_upper_half_of_int(call, &rules)
        && !(narrow && matches!(call.number, 102 | 117))
        && !(lists && has(&["SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_GT", "SCMP_CMP_GE"]))
        && !(narrow && has(&["SCMP_CMP_LE"]))
}

/// The rules that say something about the call, in any architecture.
fn rules_for<'a>(profile: &'a Value, call: &CallData) -> Vec<&'a Value> {
    let default = value_of(profile, "defaultAction", "defaultErrnoRet");
    let names_it = |rule: &&Value| {
        rule["names"].as_array().unwrap().iter().any(|name| {
            let found = syscalls::find(name.as_str().unwrap());
            found.is_some_and(|found| found.numbers.contains(&call.number))
        })
    };
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    rules
        .filter(|rule| action_of(rule) != default)
        .filter(names_it)
        .collect()
}

fn action_of(rule: &Value) -> u64 {
    value_of(rule, "action", "errnoRet")
}

/// Whether the call takes ints, and an upper half is there to make a difference.
fn has_upper_half_of_int(call: &CallData, rules: &[&Value]) -> bool {
    let is_wide = |value: u64| value >> 32 != 0;
    let args = || {
        rules
            .iter()
            .flat_map(|rule| rule["args"].as_array().into_iter().flatten())
    };
    ["socket", "ioctl", "personality"].iter().any(|name| {
        let numbers = syscalls::find(name).unwrap().numbers;
        numbers.contains(&call.number)
    }) && (call.arguments.iter().any(|&argument| is_wide(argument))
        || args().any(|arg| is_wide(arg["value"].as_u64().unwrap())))
}

#[test]
fn random_profiles_mean_what_libseccomp_makes_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = exporter(&directory) else {
        return;
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let profiles: Vec<Value> = (0..100)
        .map(|_| random::profile().new_tree(&mut runner).unwrap().current())
        .collect();
    let mut compared = 0;
    for (profile, theirs) in profiles.iter().zip(exported(&program, &profiles)) {
        compared += compare(profile, theirs.as_deref());
    }
    assert!(compared > 100_000, "only {compared} calls were compared");
}

/// libseccomp 2.5.4 has filters for x32 that look for system call numbers in the architecture,
/// as they forget to load the number when no rule of the first name fits.
fn loads_number(program: &[sock_filter]) -> bool {
    let mut at = 1;
    loop {
        let one = program[at];
        at += 1 + match one.code {
            0x15 if one.k == X86_64 => usize::from(one.jt),
            0x15 if one.k == super::X86 => usize::from(one.jf),
            0x05 => one.k as usize,
            code => return code == 0x20 && one.k == 0,
        };
    }
}

/// Compares one profile; how many calls could be.
fn compare(profile: &Value, theirs: Option<&[sock_filter]>) -> usize {
    let (Ok(Some(plan)), Some(theirs)) = (super::planned(profile, Machine::X86_64), theirs) else {
        return 0;
    };
    if !loads_number(theirs) {
        return 0;
    }
    let text = profile.to_string();
    let seccomp: spec::Seccomp<'_> = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for call in oracle::telling_calls(&seccomp) {
        if is_comparable(profile, &plan, &call) {
            let ours = interpret::run(&plan.program, &call).unwrap();
            let theirs = interpret::run(theirs, &call).unwrap();
            assert_eq!(
                format!("{ours:#x}"),
                format!("{theirs:#x}"),
                "{call:x?} of {profile:#}"
            );
            compared += 1;
        }
    }
    compared
}

#[test]
fn dockers_and_podmans_profiles_mean_what_libseccomp_makes_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = exporter(&directory) else {
        return;
    };
    let parse = |text| serde_json::from_str(text).unwrap();
    let profiles: Vec<Value> = [super::DOCKER, super::PODMAN].map(parse).into();
    for (profile, theirs) in profiles.iter().zip(exported(&program, &profiles)) {
        let theirs = theirs.unwrap();
        assert!(compare(profile, Some(&theirs)) > 1000);
        let plan = super::filter(profile);
        assert!(
            plan.program.len() < theirs.len(),
            "longer than libseccomp's {}",
            theirs.len()
        );
    }
}

#[test]
fn every_number_that_libseccomp_knows_is_ours() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = exporter(&directory) else {
        return;
    };
    let output = Command::new(&program).arg("numbers").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut known = 0;
    for line in text.lines() {
        let [architecture, number, name] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        let column: usize = architecture.parse().unwrap();
        let ours = syscalls::find(name).map(|call| call.numbers[column]);
        assert_eq!(ours, Some(number.parse().unwrap()), "{line}");
        known += 1;
    }
    assert!(known > 1500, "only {known}");
}

#[test]
fn what_libseccomp_is_asked_is_what_the_profile_says() {
    let profile = super::deny_all_but(serde_json::json!([
        {"names": ["mmap"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 1, "value": 3, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]},
    ]));
    insta::assert_snapshot!(script(&profile), @r"
    filter 327681
    rule 2147418112 mmap 1 1 7 3 2
    export
    ");
    assert_eq!(
        answer(&super::filter(&profile), X86_64, 9, &[0, 6]),
        super::ALLOW
    );
}

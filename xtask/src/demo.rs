//! `cargo xtask demo`: one container, seen from inside and from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Fact, Marker, Residue, Runtime};

use crate::cargo::build_static;
use crate::view::{Host, rows};
use crate::{Error, nothing_more, take_value};

/// What the container may use, as root.
pub(crate) const MEMORY_LIMIT_BYTES: u64 = 64 << 20;

/// The same for processes and threads.
pub(crate) const TASK_LIMIT: u64 = 32;

/// Runs that the time is the median of.
const TIMED_RUNS: usize = 11;

/// System calls that the demonstration's seccomp profile refuses.
const REFUSED: [&str; 8] = [
    "mount",
    "umount2",
    "pivot_root",
    "ptrace",
    "kexec_load",
    "init_module",
    "bpf",
    "unshare",
];

/// Shows a container; true if nothing is left of it.
pub(crate) fn demo(arguments: &[String]) -> Result<bool, Error> {
    let mut arguments = arguments.to_vec();
    let runtime = take_value(&mut arguments, "--runtime")?;
    nothing_more(&arguments)?;
    println!("building tare and the demonstration's program ...");
    let binaries = build_static(&["runtime-cli", "demo"])?;
    let tare = runtime.map_or_else(|| binaries.join("tare"), Into::into);

    let marker = Marker::new("demo");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::new(&tare, &marker);
    let bundle = marker.directory();
    make_bundle(&runtime, bundle.path(), &binaries.join("demo"), &marker)?;
    show(&runtime, bundle.path(), &marker, fs::metadata(&tare)?.len())?;
    let took = time(&runtime, bundle.path(), &marker)?;
    println!(
        "\nstart to end   {:.1} ms, the median of {TIMED_RUNS} runs",
        milliseconds(took)
    );
    drop(bundle);
    Ok(show_residue(&residue, &runtime))
}

/// A rootfs of one program, and the runtime's own default config with limits and seccomp.
fn make_bundle(
    runtime: &Runtime,
    bundle: &Path,
    program: &Path,
    marker: &Marker,
) -> Result<(), Error> {
    let rootfs = bundle.join("rootfs");
    for name in ["", "dev", "proc", "sys"] {
        fs::create_dir(rootfs.join(name))?;
    }
    fs::copy(program, rootfs.join("demo"))?;
    let path = bundle
        .to_str()
        .ok_or("the temporary directory's name is no text")?;
    let is_root = Fact::Root.holds();
    let spec: &[&str] = &["spec", "--bundle", path, "--rootless"];
    runtime
        .call(if is_root { &spec[..3] } else { spec })
        .succeeded();
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    config["process"]["terminal"] = false.into();
    config["hostname"] = "demo".into();
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": REFUSED, "action": "SCMP_ACT_ERRNO"}],
    });
    if is_root {
        config["linux"]["cgroupsPath"] = format!("/{marker}").into();
        config["linux"]["resources"]["memory"] = json!({"limit": MEMORY_LIMIT_BYTES});
        config["linux"]["resources"]["pids"] = json!({"limit": TASK_LIMIT});
    }
    configure(bundle, &mut config, &["/demo"])
}

fn configure(bundle: &Path, config: &mut Value, args: &[&str]) -> Result<(), Error> {
    config["process"]["args"] = json!(args);
    Ok(fs::write(
        bundle.join("config.json"),
        serde_json::to_vec_pretty(config)?,
    )?)
}

/// Starts the container, asks it and the host, prints both, and lets it end.
fn show(runtime: &Runtime, bundle: &Path, marker: &Marker, size_bytes: u64) -> Result<(), Error> {
    let mut child = start(runtime, bundle, marker)?;
    let seen = read_view(&mut child);
    let state = runtime.state(marker.as_str());
    let pid = state["pid"].as_u64().ok_or("`state` says no pid")?;
    let host = Host::look_at(pid);
    let seen = seen?;
    println!(
        "\n{} ({} KiB), {}",
        version(runtime),
        size_bytes >> 10,
        privilege()
    );
    println!(
        "\n{:14}{:38}in the eyes of the host",
        "", "in the container"
    );
    for row in rows(&seen, &host) {
        println!("{:14}{:38}{}", row.what, row.inside, row.outside);
    }
    for (index, tried) in seen["tries"].split("; ").enumerate() {
        println!("{:14}{tried}", if index == 0 { "it tries to" } else { "" });
    }
    // The end of its standard input ends the container.
    drop(child.stdin.take());
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the container ended with {status}").into())
    }
}

fn start(runtime: &Runtime, bundle: &Path, marker: &Marker) -> Result<Child, Error> {
    let mut command = run(runtime, bundle, marker);
    Ok(command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}

fn run(runtime: &Runtime, bundle: &Path, marker: &Marker) -> Command {
    let mut command = runtime.command(&["run", "--bundle"]);
    command.arg(bundle).arg(marker.as_str());
    command
}

/// What the container prints of its world: its last line is named `tries`.
fn read_view(child: &mut Child) -> Result<BTreeMap<String, String>, Error> {
    let stdout = child
        .stdout
        .take()
        .ok_or("the container's output is a pipe")?;
    let mut seen = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let (name, value) = line
            .split_once('\t')
            .ok_or_else(|| format!("it says {line:?}"))?;
        seen.insert(name.to_owned(), value.to_owned());
        if name == "tries" {
            return Ok(seen);
        }
    }
    Err("the container ended before it had said what it sees".into())
}

/// The median time of containers whose program ends at once.
fn time(runtime: &Runtime, bundle: &Path, marker: &Marker) -> Result<Duration, Error> {
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    configure(bundle, &mut config, &["/demo", "quick"])?;
    let mut times = Vec::new();
    for _ in 0..TIMED_RUNS {
        let started = Instant::now();
        let status = run(runtime, bundle, marker).stdin(Stdio::null()).status()?;
        times.push(started.elapsed());
        if !status.success() {
            return Err(format!("a timed container ended with {status}").into());
        }
    }
    times.sort();
    Ok(times[TIMED_RUNS / 2])
}

fn show_residue(residue: &Residue, runtime: &Runtime) -> bool {
    // The kernel ends processes and keyrings in its own time.
    std::thread::sleep(Duration::from_millis(100));
    let mut left = residue.difference();
    let state = fs::read_dir(runtime.root()).into_iter().flatten().flatten();
    state.for_each(|entry| left.push_str(&format!("left state: {}\n", entry.path().display())));
    if left.is_empty() {
        println!("left behind    nothing: no process, cgroup, mount, socket, key or state");
    } else {
        println!("left behind\n{left}");
    }
    left.is_empty()
}

fn version(runtime: &Runtime) -> String {
    let text = runtime.call(&["--version"]).stdout;
    text.lines()
        .next()
        .unwrap_or_default()
        .replace(" version", "")
}

fn privilege() -> &'static str {
    if Fact::Root.holds() {
        "as root"
    } else {
        "rootless, as an ordinary user, without limits"
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

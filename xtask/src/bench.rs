//! `cargo xtask bench`: builds what is measured and what measures, and starts it in a view of
//! the host that every peer can run in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::Fact;

use crate::cargo::{build_static, target_directory};
use crate::{Error, nothing_more, take_flag, take_value};

/// Debian's crun refuses hosts with both kinds of cgroups: hidden behind an empty tmpfs, in a
/// mount namespace of our own, the second kind is not there.
const WITHOUT_UNIFIED: &str = "mount -t tmpfs tmpfs /sys/fs/cgroup/unified && exec \"$@\"";

/// A new file system in a file, mounted where only the program sees it, for its temporary files.
const ON_OWN_DISK: &str = "directory=$(mktemp -d) || exit
    mount -o loop \"$0\" \"$directory\" && TMPDIR=\"$directory\" \"$@\"
    status=$?
    umount --lazy \"$directory\" && rmdir \"$directory\"
    exit $status";

/// How large that may get, in bytes; what isn't used takes no room.
const DISK_BYTES: u64 = 16 << 30;

/// Measures; true if it ran, and with `--check` if the promises are kept.
pub(crate) fn bench(arguments: &[String]) -> Result<bool, Error> {
    let mut arguments = arguments.to_vec();
    let measures_shim = take_flag(&mut arguments, "--shim");
    let measures_image = take_flag(&mut arguments, "--image");
    let runtime = take_value(&mut arguments, "--runtime")?;
    let rounds = take_value(&mut arguments, "--rounds")?;
    let json = take_value(&mut arguments, "--json")?;
    let check = take_flag(&mut arguments, "--check");
    let without_docker = measures_image && take_flag(&mut arguments, "--without-docker");
    nothing_more(&arguments)?;
    if !Fact::Root.holds() {
        return Err("bench needs root: its peers' containers have no user namespace".into());
    }
    if measures_image {
        return images(rounds, json, check, without_docker);
    }
    let binaries = build_static(&["runtime-cli", "shim", "benches"])?;
    if measures_shim {
        return shims(&binaries, rounds, json, check);
    }
    let tare = runtime.map_or_else(|| binaries.join("tare"), Into::into);
    let json = json.map_or_else(|| target_directory().join("bench.json"), Into::into);

    let mut benches = in_view();
    benches.arg(binaries.join("benches"));
    benches.arg("--runtime").arg(pair("tare", &tare));
    for peer in ["runc", "crun"] {
        match Fact::Program(peer).holds() {
            true => {
                benches
                    .arg("--runtime")
                    .arg(format!("{peer}={}", program(peer)?));
            }
            false => println!("SKIPPED {peer}: it is not installed"),
        }
    }
    for program in ["floor", "nothing", "peak"] {
        benches
            .arg(format!("--{program}"))
            .arg(binaries.join(program));
    }
    benches.arg("--json").arg(json);
    if let Some(rounds) = rounds {
        benches.args(["--rounds", &rounds]);
    }
    if check {
        benches.arg("--check");
    }
    Ok(benches.status()?.success())
}

/// tare's shim against containerd's own, under Debian's engines.
fn shims(
    binaries: &Path,
    rounds: Option<String>,
    json: Option<String>,
    check: bool,
) -> Result<bool, Error> {
    if !Fact::Engines.holds() {
        return Err("bench --shim needs the packages containerd and docker.io".into());
    }
    let mut benches = in_view();
    benches
        .arg(binaries.join("shim"))
        .arg("--tare")
        .arg(binaries);
    benches.args(rounds.iter().flat_map(|rounds| ["--rounds", rounds]));
    benches.args(json.iter().flat_map(|json| ["--json", json]));
    if check {
        benches.arg("--check");
    }
    Ok(benches.status()?.success())
}

/// tare-image against skopeo, umoci and Docker.
fn images(
    rounds: Option<String>,
    json: Option<String>,
    check: bool,
    without_docker: bool,
) -> Result<bool, Error> {
    let docker = (!without_docker).then_some("dockerd");
    let programs = ["skopeo", "umoci", "docker-registry", "mmdebstrap"];
    for program in programs.into_iter().chain(docker) {
        if !Fact::Program(program).holds() {
            return Err(format!("bench --image needs the program {program}").into());
        }
    }
    let binaries = build_static(&["runtime-cli", "image", "benches"])?;
    let content = root_filesystem()?;
    let disk = new_disk()?;
    let mut benches = Command::new("unshare");
    benches.args(["--mount", "--propagation", "private"]);
    benches.args(["sh", "-c", ON_OWN_DISK]).arg(&disk);
    benches.arg(binaries.join("image"));
    benches.arg("--tare").arg(&binaries);
    benches.arg("--content").arg(content);
    benches.args(rounds.iter().flat_map(|rounds| ["--rounds", rounds]));
    benches.args(json.iter().flat_map(|json| ["--json", json]));
    benches.args(check.then_some("--check"));
    benches.args(without_docker.then_some("--without-docker"));
    let status = benches.status()?;
    std::fs::remove_file(&disk)?;
    Ok(status.success())
}

/// A file with an ext4 that nobody has used yet.
fn new_disk() -> Result<PathBuf, Error> {
    let path = target_directory().join("bench-disk.img");
    std::fs::File::create(&path)?.set_len(DISK_BYTES)?;
    let mut mkfs = Command::new("mkfs.ext4");
    if !mkfs.args(["-q", "-F"]).arg(&path).status()?.success() {
        return Err("mkfs.ext4 failed".into());
    }
    Ok(path)
}

/// A root filesystem of Debian with tens of thousands of files, made once.
fn root_filesystem() -> Result<PathBuf, Error> {
    let path = target_directory().join("bench-root.tar");
    if !path.exists() {
        println!("(making a Debian root filesystem for {})", path.display());
        let partial = path.with_extension("partial.tar");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=minbase", "--include=git,perl,python3"]);
        mmdebstrap.arg("bookworm").arg(&partial);
        if !mmdebstrap.status()?.success() {
            return Err("mmdebstrap failed".into());
        }
        std::fs::rename(&partial, &path)?;
    }
    Ok(path)
}

/// The start of a command whose program and arguments are still to come.
fn in_view() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        println!("(the cgroup2 mount beside the v1 hierarchies is hidden meanwhile)");
        command.args(["sh", "-c", WITHOUT_UNIFIED, "sh"]);
    }
    command
}

fn pair(name: &str, path: &Path) -> OsString {
    let mut pair = OsString::from(format!("{name}="));
    pair.push(path);
    pair
}

fn program(name: &str) -> Result<String, Error> {
    let path = testkit::find_program(name).ok_or_else(|| format!("{name} is not installed"))?;
    Ok(path.display().to_string())
}

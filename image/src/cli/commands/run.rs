//! `tare image run`.
//!
//! The root filesystem is mounted in a mount namespace of this process's own, from where the
//! runtime is started. So the host sees no mount, and none is left however this ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use image::Reference;
use image::convert::{Bind, Settings, clean_path};
use image::error::{Error, ErrorKind, Result};
use image::run::{BundleOptions, make_bundle};
use image::snapshot::{Active, Chain, MountOptions, Use};

use super::{pull, with_private_mounts};
use crate::cli::arguments::{Network, PullPolicy, Run};
use crate::cli::context::{Context, Parts, variable};
use crate::cli::{child, output, rootless};

pub(crate) fn run(context: &Context, run: &Run) -> Result<ExitCode> {
    let settings = settings(run)?;
    let runtime = Runtime::find(run)?;
    let name = run.name.clone().unwrap_or_else(unique_name);
    let lease = context.lease()?;
    let (parts, unpacked) = parts(context, run)?;
    let snapshots = context.snapshots()?;
    let chain = match unpacked {
        Some(chain) => chain,
        None => context.unpack(&snapshots, &parts)?,
    };
    let active = snapshots.prepare(&name, &chain, &Use::Process)?;
    // The layers are in use now, which a pruning sees.
    drop(lease);
    let signals = child::Signals::block()?;
    let options = BundleOptions {
        id: name.clone(),
        user: run.user.clone(),
        mount: MountOptions {
            read_only: false,
            // A container's changes go when it ends, unless it goes on without us.
            is_volatile: !run.detach,
            native: run.native,
            id_mappings: settings.id_mappings.clone(),
        },
        settings,
    };
    let result = with_private_mounts(|| start(&active, &parts, &options, &runtime, run, signals));
    match result {
        Ok(code) if run.detach && code == ExitCode::SUCCESS => {
            active.leave_to(&Use::Container(runtime.state_of(&name)?))?;
            output::line(&name)?;
            Ok(code)
        }
        ended => {
            let removed = active.remove();
            // The container's own end counts for more than what remains of it.
            let code = ended?;
            if let Err(error) = removed {
                output::warning(&error.to_string());
            }
            Ok(code)
        }
    }
}

fn start(
    active: &Active,
    parts: &Parts,
    options: &BundleOptions,
    runtime: &Runtime,
    run: &Run,
    signals: child::Signals,
) -> Result<ExitCode> {
    let bundle = make_bundle(active, &parts.config, options)?;
    for warning in &bundle.warnings {
        output::warning(warning);
    }
    let mut command = Command::new(&runtime.program);
    if let Some(root) = runtime.own_state_root(active, run)? {
        command.arg("--root").arg(root);
    }
    command.arg("run").arg("--bundle").arg(&bundle.path);
    command.env_remove(rootless::VARIABLE);
    if run.detach {
        command.arg("--detach");
    }
    command.arg(&options.id);
    let child = command.spawn().map_err(|error| {
        let error = Error::system(format!("start {}", runtime.program.display()), error);
        error.advise("--runtime PROGRAM names another one")
    })?;
    signals.attend(child)
}

/// The image's parts, after asking the registry as the caller wants it; what was pulled is
/// unpacked.
fn parts(context: &Context, run: &Run) -> Result<(Parts, Option<Chain>)> {
    let found = context.parts(&run.image, run.platform.as_deref());
    let is_missing = matches!(&found, Err(error) if error.kind() == ErrorKind::NotFound);
    let must_pull = match run.pull {
        PullPolicy::Never => false,
        PullPolicy::Missing => is_missing,
        PullPolicy::Always => true,
    };
    if !must_pull {
        return found.map(|parts| (parts, None));
    }
    let reference: Reference = run.image.parse()?;
    let platforms: Vec<String> = run.platform.iter().cloned().collect();
    let unpacked = pull::pull_and_unpack(context, &reference, &platforms, &run.registry)?;
    let parts = context.parts(&reference.to_string(), run.platform.as_deref())?;
    Ok((parts, unpacked))
}

/// The program that runs bundles.
struct Runtime {
    program: PathBuf,
}

impl Runtime {
    /// The one that the caller names, else the tare beside this program, else one on PATH.
    fn find(run: &Run) -> Result<Self> {
        if let Some(program) = &run.runtime {
            return Ok(Self {
                program: program.clone(),
            });
        }
        let own = std::env::current_exe().unwrap_or_default();
        let beside = own.with_file_name("tare");
        if beside.is_file() {
            return Ok(Self { program: beside });
        }
        let path = variable("PATH").unwrap_or_default();
        let mut directories = path
            .split(':')
            .filter(|directory| directory.starts_with('/'));
        match directories.find_map(|directory| {
            let program = Path::new(directory).join("tare");
            program.is_file().then_some(program)
        }) {
            Some(program) => Ok(Self { program }),
            None => {
                let message = "there is no tare beside this program, and none on PATH";
                let error = Error::new(ErrorKind::NotFound, message);
                Err(error.advise("--runtime PROGRAM names a runtime"))
            }
        }
    }

    /// A place for the state of a container that ends with this process, where the runtime has
    /// none of its own: for a user whose session has no XDG_RUNTIME_DIR.
    fn own_state_root(&self, active: &Active, run: &Run) -> Result<Option<PathBuf>> {
        let is_usual = |path: String| path.starts_with('/');
        if !rootless::is_inside() || variable("XDG_RUNTIME_DIR").is_some_and(is_usual) {
            return Ok(None);
        }
        if run.detach {
            let message = "XDG_RUNTIME_DIR is not set, so nobody would find a container that \
                           goes on";
            let error = Error::new(ErrorKind::InvalidInput, message);
            return Err(
                error.advise("it is /run/user/UID as a rule; without --detach it is not needed")
            );
        }
        Ok(Some(active.directory().join("state")))
    }

    /// Where the runtime keeps a container's state; it goes with the container.
    fn state_of(&self, name: &str) -> Result<PathBuf> {
        let user_directory = variable("XDG_RUNTIME_DIR").filter(|_| rootless::is_inside());
        let root = user_directory.map_or_else(|| PathBuf::from("/run"), PathBuf::from);
        let program = self.program.file_name().unwrap_or_default();
        Ok(root.join(program).join(name))
    }
}

fn unique_name() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let seed = format!("{}-{}", std::process::id(), now.as_nanos());
    image::Digest::of(seed.as_bytes()).short().to_owned()
}

fn settings(run: &Run) -> Result<Settings> {
    let mut settings = Settings {
        command: Some(run.command.clone()).filter(|command| !command.is_empty()),
        entrypoint: run
            .entrypoint
            .as_ref()
            .map(|program| match program.is_empty() {
                true => Vec::new(),
                false => vec![program.clone()],
            }),
        env: environment(run)?,
        working_dir: run.workdir.clone(),
        terminal: run.tty,
        hostname: run.hostname.clone(),
        read_only: run.read_only,
        host_network: run.network == Network::Host,
        binds: run
            .volume
            .iter()
            .map(|text| bind(text))
            .collect::<Result<_>>()?,
        added_capabilities: run.cap_add.clone(),
        dropped_capabilities: run.cap_drop.clone(),
        memory_limit_bytes: run.memory.as_deref().map(bytes).transpose()?,
        pids_limit: run.pids_limit,
        cpus: run.cpus,
        id_mappings: run
            .userns
            .as_deref()
            .map(id_mappings)
            .transpose()?
            .unwrap_or_default(),
        cgroup_v2: has_only_cgroup_v2(),
        rootless: rootless::is_inside(),
        ..Settings::default()
    };
    for option in &run.security_opt {
        match option.as_str() {
            "seccomp=unconfined" => settings.unfiltered = true,
            "no-new-privileges" | "no-new-privileges=true" => settings.no_new_privileges = true,
            other => {
                return Err(invalid(
                    "--security-opt",
                    other,
                    "seccomp=unconfined or no-new-privileges",
                ));
            }
        }
    }
    if settings
        .cpus
        .is_some_and(|cpus| !(cpus.is_finite() && cpus >= 0.01))
    {
        let given = settings.cpus.unwrap_or_default().to_string();
        return Err(invalid("--cpus", &given, "a number from 0.01"));
    }
    Ok(settings)
}

fn invalid(flag: &str, value: &str, expected: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{flag} {value}: {expected} is expected"),
    )
}

/// `NAME=value`; of `NAME` alone the caller's value, if there is one.
fn environment(run: &Run) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in &run.env_file {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::system(format!("read {}", path.display()), error))?;
        let meant = text.lines().map(str::trim_start);
        lines.extend(
            meant
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    lines.extend(run.env.iter().cloned());
    Ok(lines
        .into_iter()
        .filter_map(|line| match line.contains('=') {
            true => Some(line),
            false => variable(&line).map(|value| format!("{line}={value}")),
        })
        .collect())
}

/// `SOURCE:TARGET[:ro|rw]`.
fn bind(text: &str) -> Result<Bind> {
    let expected = "SOURCE:TARGET[:ro], both absolute paths";
    let words: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match words[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err(invalid("--volume", text, expected)),
    };
    if !target.starts_with('/') || clean_path(target) == "/" || source.is_empty() {
        return Err(invalid("--volume", text, expected));
    }
    let source = std::path::absolute(source)
        .map_err(|error| Error::system(format!("--volume {text}"), error))?;
    if !source.exists() {
        let message = format!("--volume {text}: there is no {}", source.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(Bind {
        source,
        destination: clean_path(target),
        read_only,
    })
}

/// `64m`: a number, and k, m, g or t for powers of 1024.
fn bytes(text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, power) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 1),
        Some(b'm') => (&lower[..lower.len() - 1], 2),
        Some(b'g') => (&lower[..lower.len() - 1], 3),
        Some(b't') => (&lower[..lower.len() - 1], 4),
        _ => (lower, 0),
    };
    let number: Option<i64> = digits.parse().ok().filter(|number| *number > 0);
    number
        .and_then(|number| number.checked_mul(1024_i64.pow(power)))
        .ok_or_else(|| invalid("--memory", text, "a number of bytes, such as 64m,"))
}

/// `FIRST:COUNT`.
fn id_mappings(text: &str) -> Result<Vec<(u32, u32, u32)>> {
    let wrong = || invalid("--userns", text, "FIRST:COUNT, such as 100000:65536,");
    let (first, count) = text.split_once(':').ok_or_else(wrong)?;
    let first: u32 = first.parse().map_err(|_| wrong())?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    if count == 0 || first.checked_add(count).is_none() {
        return Err(wrong());
    }
    Ok(vec![(0, first, count)])
}

/// Whether the host's cgroups are version 2 and nothing else.
fn has_only_cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [("5", 5), ("64m", 64 << 20), ("1G", 1 << 30), ("2kb", 2048)] {
            assert_eq!(bytes(text).expect(text), expected);
        }
        for text in ["", "m", "-1", "1.5g", "9999999999t", "1x", "0"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn binds_are_read() {
        let expected = Bind {
            source: "/tmp".into(),
            destination: "/b".into(),
            read_only: true,
        };
        assert_eq!(bind("/tmp:/a/../b:ro").expect("it is one"), expected);
        for text in [
            "/tmp",
            "/tmp:b",
            "/tmp:/",
            "/tmp:/b:x",
            ":/b",
            "/nowhere-at-all:/b",
        ] {
            assert!(bind(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mappings_are_read() {
        assert_eq!(
            id_mappings("100000:65536").expect("it is one"),
            [(0, 100_000, 65_536)]
        );
        for text in ["", "1", "1:0", "4294967295:2", "a:b"] {
            assert!(id_mappings(text).is_err(), "{text}");
        }
    }
}

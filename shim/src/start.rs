//! `start`: the server of a container's group is found or made, and containerd told where it is.
//!
//! ```text
//!  containerd ── start ──▶ socket listens ──▶ bundle/address, bundle/s ──▶ fork
//!       ▲                                                                   ├─▶ the server
//!       └────────────────────────── address ────────────────────────────────┘
//! ```
//!
//! containerd waits for the end of this process and of its output, takes everything that it has
//! written for the address, and connects at once.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime_core::bundle::{parse, read_document};
use runtime_core::errno::of_io;
use serde::Deserialize;

use crate::arguments::{Arguments, Environment};
use crate::bootstrap::{self, Request};
use crate::detach::{self, Detached};
use crate::failure::Failure;
use crate::options::Options;
use crate::socket::{self, Found};

/// How this program was run.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name, as the caller says it.
    pub program: String,
    /// The flags.
    pub arguments: Arguments,
    /// The environment.
    pub environment: Environment,
    /// Where it was run.
    pub working_directory: PathBuf,
}

impl Caller {
    /// The bundle that this is about.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.arguments.bundle_or(self.working_directory.clone())
    }
}

/// Makes or finds the server, and gives what containerd is to read. The server listens then,
/// and nothing of this process's output is open in it.
///
/// # Errors
///
/// Nothing of a server is left then.
pub fn start(caller: &Caller, input: impl AsFd + Read) -> Result<Vec<u8>, Failure> {
    let arguments = &caller.arguments;
    if arguments.id.is_empty() {
        return Err(Failure::invalid("shim id cannot be empty: -id is missing"));
    }
    let request = Request::parse(&bootstrap::read_to_end(input)?, arguments)?;
    let options = Options::from_any(request.options.as_ref())?;
    let bundle = caller.bundle();
    let group = group_of(&bundle)?.unwrap_or_else(|| arguments.id.clone());
    let path = socket::path(
        &request.socket_directory,
        &request.containerd_address,
        &arguments.namespace,
        &group,
    )?;
    let address = socket::address(&path);
    match socket::listen_or_find(&path)? {
        Found::Server => leave_address(&bundle, &path, &address)?,
        Found::Nobody(listener) => {
            let made = leave_address(&bundle, &path, &address).and_then(|()| {
                detach::detach(&Detached {
                    listener: &listener,
                    command: command(caller, &request, &bundle, &path),
                    environment: environment(caller, &request),
                    shim_cgroup: &options.shim_cgroup,
                    sched_core: caller.environment.sched_core,
                })
            });
            made.inspect_err(|_| undo(&bundle, &path))?;
        }
    }
    request.answer(&address)
}

/// Nobody serves the socket, so nobody may find it; the failure before is the one to report.
fn undo(bundle: &Path, socket: &Path) {
    std::fs::remove_file(socket).ok();
    std::fs::remove_file(bundle.join("address")).ok();
}

/// The arguments of the server, its own name first.
fn command(caller: &Caller, request: &Request, bundle: &Path, socket: &Path) -> Vec<String> {
    let arguments = &caller.arguments;
    let mut command = vec![caller.program.clone()];
    let bundle = bundle.display().to_string();
    let socket = socket.display().to_string();
    for (flag, value) in [
        ("-namespace", &arguments.namespace),
        ("-id", &arguments.id),
        ("-address", &request.containerd_address),
        ("-bundle", &bundle),
        ("-socket", &socket),
    ] {
        command.extend([flag.to_owned(), value.clone()]);
    }
    if request.debug {
        command.push("-debug".to_owned());
    }
    command
}

fn environment(caller: &Caller, request: &Request) -> Environment {
    let environment = caller.environment.clone();
    match request.events_address.as_str() {
        "" => environment,
        address => environment.with("TTRPC_ADDRESS", address),
    }
}

/// What of config.json says which containers share a server.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "io.containerd.runc.v2.group")]
    group: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-id")]
    sandbox: Option<String>,
}

/// The group that the bundle's container says it belongs to.
fn group_of(bundle: &Path) -> Result<Option<String>, Failure> {
    let document = read_document(&bundle.join("config.json"))
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let spec: Annotated =
        parse(&document).map_err(|fault| Failure::invalid(format!("config.json: {fault}")))?;
    let Some(annotations) = spec.annotations else {
        return Ok(None);
    };
    let said = |name: Option<String>| name.filter(|name| !name.is_empty());
    Ok(said(annotations.group).or(said(annotations.sandbox)))
}

/// Leaves the address where containerd before 2.0 looks for it when it comes back, and a link
/// to the directory of the socket, as Go's shims do.
fn leave_address(bundle: &Path, socket: &Path, address: &str) -> Result<(), Failure> {
    let failed = |name: &str, error: &std::io::Error| {
        let act = format!("write {name} into {}", bundle.display());
        Failure::call(act, of_io(error))
    };
    // Two starts in one bundle say the same, and neither takes the other's file away.
    let unfinished = bundle.join(format!(".address-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| std::io::Write::write_all(&mut file, address.as_bytes()))
        .and_then(|()| std::fs::rename(&unfinished, bundle.join("address")));
    written.map_err(|error| {
        // The first failure is the one to report.
        std::fs::remove_file(&unfinished).ok();
        failed("address", &error)
    })?;
    match symlink(socket.parent().unwrap_or(socket), bundle.join("s")) {
        Err(error) if of_io(&error) != Errno::EEXIST => Err(failed("s", &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(config: &str) -> Result<Option<String>, Failure> {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("config.json"), config).unwrap();
        group_of(bundle.path())
    }

    #[test]
    fn the_group_is_runcs_annotation_before_the_sandboxs_and_no_empty_one() {
        let runc = r#""io.containerd.runc.v2.group": "g""#;
        let sandbox = r#""io.kubernetes.cri.sandbox-id": "pod", "x": "y""#;
        let empty = r#""io.containerd.runc.v2.group": """#;
        for (annotations, expected) in [
            (format!("{sandbox}, {runc}"), Some("g")),
            (sandbox.to_owned(), Some("pod")),
            (format!("{empty}, {sandbox}"), Some("pod")),
            (empty.to_owned(), None),
            (String::new(), None),
        ] {
            let found = group(&format!(r#"{{"annotations": {{{annotations}}}}}"#));
            assert_eq!(found.unwrap().as_deref(), expected, "{annotations}");
        }
        assert_eq!(group(r#"{"annotations": null, "root": {}}"#).unwrap(), None);
        assert_eq!(group("{}").unwrap(), None);
    }

    #[test]
    fn a_config_that_cannot_be_used_is_named() {
        let failure = group(r#"{"annotations": {"io.kubernetes.cri.sandbox-id": 1}}"#).unwrap_err();
        assert!(
            failure.message.starts_with("config.json: /annotations/"),
            "{failure}"
        );
        assert!(group("{").is_err());
        let failure = group_of(Path::new("/nonexistent")).unwrap_err();
        assert!(
            failure.message.contains("/nonexistent/config.json"),
            "{failure}"
        );
    }

    #[test]
    fn an_address_is_left_whole_and_again_and_a_bundle_that_cannot_be_written_is_named() {
        let bundle = tempfile::tempdir().unwrap();
        let socket = Path::new("/run/s/x");
        for address in ["unix:///run/s/x", "unix:///run/s/y"] {
            leave_address(bundle.path(), socket, address).unwrap();
            let left = std::fs::read_to_string(bundle.path().join("address"));
            assert_eq!(left.unwrap(), address);
        }
        let link = std::fs::read_link(bundle.path().join("s")).unwrap();
        assert_eq!(link, Path::new("/run/s"));
        assert_eq!(bundle.path().read_dir().unwrap().count(), 2);
        let failure = leave_address(Path::new("/proc"), socket, "x").unwrap_err();
        assert!(
            failure.message.starts_with("write address into /proc: "),
            "{failure}"
        );
    }
}

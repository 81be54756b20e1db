//! What is measured: runtimes with a bundle each, and the floor.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::{Value, json};

use crate::Error;
use crate::options::Options;

/// The newest version of the specification that Debian's peers read.
const PEERS_VERSION: &str = "1.0.2";

/// A directory with a rootfs and a bundle for each runtime, removed when dropped.
#[derive(Debug)]
pub(crate) struct Workshop {
    directory: PathBuf,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) peak: PathBuf,
}

/// A program whose containers are measured.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Takes runc's command line.
    Runtime {
        root: PathBuf,
        bundle: PathBuf,
        sleeping_bundle: PathBuf,
    },
    /// Takes a rootfs.
    Floor { rootfs: PathBuf },
}

impl Workshop {
    /// Makes the bundles. Their config is what the first runtime's `spec` writes, without a
    /// terminal; the others get the same under a version that they accept.
    pub(crate) fn set_up(options: &Options) -> Result<Self, Error> {
        // A container that outlives its runtime is then ours to wait for, at once.
        nix::sys::prctl::set_child_subreaper(true)?;
        let directory = std::env::temp_dir().join(format!("tare-bench-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let mut workshop = Self {
            directory,
            subjects: Vec::new(),
            peak: options.peak.clone(),
        };
        let rootfs = workshop.make_rootfs(&options.nothing)?;
        let config = workshop.config_of(&options.runtimes[0].1)?;
        for (index, (name, binary)) in options.runtimes.iter().enumerate() {
            let mut config = config.clone();
            if index > 0 {
                config["ociVersion"] = PEERS_VERSION.into();
            }
            let subject = workshop.runtime(name, binary, &config, &rootfs)?;
            workshop.subjects.push(subject);
        }
        let binary = options.floor.clone();
        let floor = Subject {
            name: "floor".into(),
            binary,
            kind: Kind::Floor { rootfs },
        };
        workshop.subjects.push(floor);
        Ok(workshop)
    }

    fn make_rootfs(&self, nothing: &Path) -> Result<PathBuf, Error> {
        let rootfs = self.directory.join("rootfs");
        fs::create_dir(&rootfs)?;
        for name in ["dev", "proc", "sys"] {
            fs::create_dir(rootfs.join(name))?;
        }
        fs::copy(nothing, rootfs.join("nothing"))?;
        Ok(rootfs)
    }

    fn config_of(&self, runtime: &Path) -> Result<Value, Error> {
        let bundle = self.directory.join("spec");
        fs::create_dir(&bundle)?;
        succeed(
            Command::new(runtime)
                .arg("spec")
                .arg("--bundle")
                .arg(&bundle),
        )?;
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
        config["process"]["terminal"] = false.into();
        Ok(config)
    }

    fn runtime(
        &self,
        name: &str,
        binary: &Path,
        config: &Value,
        rootfs: &Path,
    ) -> Result<Subject, Error> {
        let bundle = |kind: &str, args: &[&str]| -> Result<PathBuf, Error> {
            let bundle = self.directory.join(format!("{name}-{kind}"));
            fs::create_dir(&bundle)?;
            symlink(rootfs, bundle.join("rootfs"))?;
            let mut config = config.clone();
            config["process"]["args"] = json!(args);
            config["root"]["path"] = json!(rootfs);
            fs::write(
                bundle.join("config.json"),
                serde_json::to_vec_pretty(&config)?,
            )?;
            Ok(bundle)
        };
        let kind = Kind::Runtime {
            root: self.directory.join(format!("{name}-state")),
            bundle: bundle("bundle", &["/nothing"])?,
            sleeping_bundle: bundle("sleeping", &["/nothing", "wait"])?,
        };
        Ok(Subject {
            name: name.to_owned(),
            binary: binary.to_owned(),
            kind,
        })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What can't be removed is a directory for temporary files.
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Subject {
    /// Whether it has commands besides `run`.
    pub(crate) const fn is_runtime(&self) -> bool {
        matches!(self.kind, Kind::Runtime { .. })
    }

    /// Runs a container from start to end.
    pub(crate) fn run(&self, id: &str) -> Result<Duration, Error> {
        match &self.kind {
            Kind::Runtime { bundle, .. } => timed(self.command(&["run"], Some(bundle), &[id])),
            Kind::Floor { rootfs } => {
                let mut command = Command::new(&self.binary);
                command.arg(rootfs);
                timed(command)
            }
        }
    }

    /// The times of create, start and delete of a container that ends by itself.
    pub(crate) fn create_start_delete(&self, id: &str) -> Result<[Duration; 3], Error> {
        let Kind::Runtime { bundle, .. } = &self.kind else {
            return Err("no runtime".into());
        };
        let create = timed(self.command(&["create"], Some(bundle), &[id]))?;
        let start = timed(self.command(&["start"], None, &[id]))?;
        reap_orphans()?;
        let delete = timed(self.command(&["delete"], None, &[id]))?;
        Ok([create, start, delete])
    }

    /// Starts a container that does not end.
    pub(crate) fn start_sleeper(&self, id: &str) -> Result<(), Error> {
        let Kind::Runtime {
            sleeping_bundle, ..
        } = &self.kind
        else {
            return Ok(());
        };
        timed(self.command(&["run", "--detach"], Some(sleeping_bundle), &[id])).map(drop)
    }

    /// The time of a process that enters a running container and ends.
    pub(crate) fn exec(&self, id: &str) -> Result<Duration, Error> {
        timed(self.command(&["exec"], None, &[id, "/nothing"]))
    }

    /// Ends and deletes a container.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Error> {
        timed(self.command(&["delete", "--force"], None, &[id])).map(drop)
    }

    /// The peak resident memory of `create`, in KiB.
    pub(crate) fn peak_of_create(&self, peak: &Path, id: &str) -> Result<u64, Error> {
        let Kind::Runtime { bundle, .. } = &self.kind else {
            return Err("no runtime".into());
        };
        let create = self.command(&["create"], Some(bundle), &[id]);
        let mut launcher = Command::new(peak);
        launcher.arg(create.get_program()).args(create.get_args());
        // The container inherits the output, so it is no pipe.
        let path = bundle.join("peak");
        launcher.stdout(File::create(&path)?);
        timed_with(launcher)?;
        let peak_kib = fs::read_to_string(path)?.trim().parse()?;
        self.remove(id)?;
        reap_orphans()?;
        Ok(peak_kib)
    }

    fn command(&self, words: &[&str], bundle: Option<&Path>, rest: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        if let Kind::Runtime { root, .. } = &self.kind {
            command.arg("--root").arg(root);
        }
        command.args(words);
        if let Some(bundle) = bundle {
            command.arg("--bundle").arg(bundle);
        }
        command.args(rest);
        command
    }
}

fn timed(mut command: Command) -> Result<Duration, Error> {
    command.stdout(Stdio::null());
    timed_with(command)
}

/// From before the start to after the end; an exit code other than 0 is an error.
fn timed_with(mut command: Command) -> Result<Duration, Error> {
    command.stdin(Stdio::null());
    let started = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let took = started.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

fn succeed(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Waits for all processes whose parents left them to us.
pub(crate) fn reap_orphans() -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) if Instant::now() > deadline => {
                return Err("a container has not ended within ten seconds".into());
            }
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(200)),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

//! What a case works with: the runtime, a directory, bundles, and an end that leaves nothing.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bundle::{Bundle, PROBE, place};
use crate::case::{Trouble, failed};
use crate::missing::Missing;
use crate::residue;
use crate::run::Finished;
use crate::runtime::{Manner, Runtime};

/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all cases of a run share.
#[derive(Debug)]
pub struct Stage {
    /// The runtime that is measured.
    pub runtime: PathBuf,
    /// One to compare it with.
    pub peer: Option<PathBuf>,
    /// How it is run.
    pub manner: Manner,
    /// Whether long cases run for minutes.
    pub is_long: bool,
    /// The first seed of bundles by chance.
    pub seed: u64,
    /// How many of them there are of each kind, if that was said.
    pub count: Option<u64>,
    /// This program, as it is put into root filesystems.
    pub probe: PathBuf,
    /// An empty directory, where each case's host is put together.
    pub shelter: PathBuf,
    /// Where cases have their directories.
    pub directory: PathBuf,
    /// The first part of the name of everything that is made.
    pub marker: String,
}

impl Stage {
    /// The first part of the name of everything that the case with this number makes.
    #[must_use]
    pub fn marker_of(&self, number: usize) -> String {
        format!("{}-{number}", self.marker)
    }
}

/// One case's part of it.
#[derive(Debug)]
pub struct Scene<'a> {
    stage: &'a Stage,
    runtime: Runtime,
    directory: PathBuf,
    /// The program in its root filesystems.
    probe: PathBuf,
    marker: String,
    bundles: Cell<u32>,
    /// Containers that may be there.
    ids: RefCell<Vec<String>>,
}

impl<'a> Scene<'a> {
    /// The scene of the case with this number.
    #[must_use]
    pub fn new(stage: &'a Stage, number: usize) -> Self {
        let marker = stage.marker_of(number);
        let directory = stage.directory.join(number.to_string());
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let runtime = Runtime::new(&stage.runtime, &directory.join("root"), &stage.manner);
        let probe = probe_of(stage, &directory);
        Self {
            stage,
            runtime,
            directory,
            probe,
            marker,
            bundles: Cell::new(0),
            ids: RefCell::default(),
        }
    }

    /// The same case's scene with another runtime, in a directory of its own below. Its
    /// containers have the same names: one scene's are gone before the other's begin.
    #[must_use]
    pub fn under(&self, runtime: &Path) -> Self {
        let directory = self.directory.join("beside");
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        Self {
            stage: self.stage,
            runtime: Runtime::new(runtime, &directory.join("root"), &self.stage.manner),
            directory,
            probe: self.probe.clone(),
            marker: self.marker.clone(),
            bundles: Cell::new(self.bundles.get().saturating_sub(1)),
            ids: RefCell::default(),
        }
    }

    /// What all cases share.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        self.stage
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A directory of the case's own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new bundle.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        let number = self.bundles.replace(self.bundles.get() + 1);
        let id = format!("{}-{number}", self.marker);
        let directory = self.directory.join(format!("bundle{number}"));
        self.ids.borrow_mut().push(id.clone());
        let cgroup = self.cgroups_path(&id);
        Bundle::new(&directory, id, &cgroup, &self.probe)
    }

    /// The `cgroupsPath` of a container: of systemd's scope in the slice of the system's services,
    /// or of a cgroup at the top.
    fn cgroups_path(&self, id: &str) -> String {
        match self.stage.manner.is_systemd {
            true => format!("system.slice:conformance:{id}"),
            false => format!("/{id}"),
        }
    }

    /// Whether `cgroupsPath` can't be a path.
    ///
    /// # Errors
    ///
    /// The skip that says so.
    pub fn needs_paths_of_cgroups(&self) -> Result<(), Trouble> {
        match self.stage.manner.is_systemd {
            true => crate::case::skipped("systemd makes the cgroups, and names them its own way"),
            false => Ok(()),
        }
    }

    /// `run` of a bundle, to its end.
    #[must_use]
    pub fn run(&self, bundle: &Bundle) -> Finished {
        bundle.save();
        self.runtime
            .call(&["run", "--bundle", &path(bundle.path()), bundle.id()])
    }

    /// `run` of a bundle whose process reports what it sees: the report.
    ///
    /// # Errors
    ///
    /// The failure that says how the runtime or the process ended.
    pub fn report(&self, bundle: &Bundle) -> Result<Value, Trouble> {
        let finished = self.run(bundle);
        match serde_json::from_str(&finished.stdout) {
            Ok(report) if finished.code == 0 => Ok(report),
            _ => failed("the container runs and reports", finished.brief()),
        }
    }

    /// `run` of a bundle whose process tries these things: what came of each, by its word.
    ///
    /// # Errors
    ///
    /// The failure that says how the runtime or the process ended.
    pub fn tries(&self, bundle: Bundle, words: &[&str]) -> Result<Value, Trouble> {
        self.report(&bundle.does(&[&["try"], words].concat()))
    }

    /// `exec` of a process in a running container, to its end.
    #[must_use]
    pub fn exec(&self, bundle: &Bundle, process: &Value) -> Finished {
        let file = self.directory.join("process.json");
        std::fs::write(&file, process.to_string()).expect("a file can be written");
        self.runtime
            .call(&["exec", "--process", &path(&file), bundle.id()])
    }

    /// A tmpfs of the case's own, mounted on the host until the case is over.
    ///
    /// # Errors
    ///
    /// When it can't be mounted.
    pub fn tmpfs(&self, at: &Path) -> Result<(), Trouble> {
        std::fs::create_dir_all(at).expect("a directory can be made");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), flags, None::<&str>)
            .or_else(|errno| failed("a tmpfs can be mounted", format!("{errno:?}")))
    }

    /// Binds a file or directory of the host on another until the case is over.
    ///
    /// # Errors
    ///
    /// When it can't be mounted.
    pub fn bind(&self, source: impl AsRef<Path>, at: &Path) -> Result<(), Trouble> {
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(source.as_ref()), at, None::<&str>, flags, None::<&str>)
            .or_else(|errno| failed("a bind mount", format!("{errno:?}")))
    }

    /// Changes a mount on the host: flags of its own, or its propagation.
    ///
    /// # Errors
    ///
    /// When it can't be changed.
    pub fn change_mount(&self, at: &Path, flags: nix::mount::MsFlags) -> Result<(), Trouble> {
        nix::mount::mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
            .or_else(|errno| failed("a mount can be changed", format!("{errno:?}")))
    }

    /// Namespaces of these kinds for the runtime to join.
    ///
    /// # Errors
    ///
    /// When this host does not let the case have them.
    pub fn holder(&self, kinds: &[&str]) -> Result<crate::holder::Holder, Trouble> {
        crate::holder::Holder::new(&self.probe, kinds)
    }

    /// The name that everything of this case begins with.
    #[must_use]
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// `create` of a bundle.
    ///
    /// # Errors
    ///
    /// The failure that says how it ended.
    pub fn create(&self, bundle: &Bundle) -> Result<(), Trouble> {
        bundle.save();
        let finished = self.create_saved(bundle);
        match finished.code {
            0 => Ok(()),
            _ => failed("`create` succeeds", finished.brief()),
        }
    }

    /// `create` of a bundle whose config.json is written. The container's streams are none of
    /// the case's.
    #[must_use]
    pub fn create_saved(&self, bundle: &Bundle) -> Finished {
        self.detached(&["create", "--bundle", &path(bundle.path()), bundle.id()])
    }

    /// A command whose container keeps its standard streams: they are /dev/null and two files
    /// of the case's.
    #[must_use]
    pub fn detached(&self, arguments: &[&str]) -> Finished {
        self.detached_from(&self.directory, arguments)
    }

    /// The same with another working directory.
    #[must_use]
    pub fn detached_from(&self, directory: &Path, arguments: &[&str]) -> Finished {
        let mut command = self.runtime.command(arguments);
        command.current_dir(directory);
        self.detached_as(command, arguments)
    }

    /// The same for a command with these arguments, which was altered.
    #[must_use]
    pub fn detached_as(&self, mut command: Command, arguments: &[&str]) -> Finished {
        let files = ["stdout", "stderr"].map(|name| self.directory.join(name));
        let [stdout, stderr] = files
            .clone()
            .map(|file| std::fs::File::create(file).expect("a file can be made"));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let code = crate::run::status_within(&mut command, crate::run::LIMIT);
        let [stdout, stderr] = files.map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let finished = Finished {
            code: code.unwrap_or(-1),
            stdout,
            stderr,
            is_late: code.is_none(),
        };
        self.runtime.note(arguments, &finished);
        finished
    }

    /// What a detached container has written until now.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.directory.join("stdout")).unwrap_or_default()
    }

    /// `create` and `start` of a bundle.
    ///
    /// # Errors
    ///
    /// The failure that says how either ended.
    pub fn start(&self, bundle: &Bundle) -> Result<(), Trouble> {
        self.create(bundle)?;
        self.succeeds(&["start", bundle.id()]).map(drop)
    }

    /// A command of the runtime that must succeed.
    ///
    /// # Errors
    ///
    /// The failure that says how it ended.
    pub fn succeeds(&self, arguments: &[&str]) -> Result<Finished, Trouble> {
        let finished = self.runtime.call(arguments);
        match finished.code {
            0 => Ok(finished),
            _ => failed(
                format!("`{}` succeeds", arguments.join(" ")),
                finished.brief(),
            ),
        }
    }

    /// A bundle that must be refused, leaving no container.
    ///
    /// # Errors
    ///
    /// The failure that says that it was accepted, or what it left.
    pub fn is_refused(&self, bundle: &Bundle) -> Result<Finished, Trouble> {
        bundle.save();
        let finished = self.create_saved(bundle);
        if finished.code == 0 {
            return failed("an error", "`create` succeeds");
        }
        if finished.is_late || (128..192).contains(&finished.code) {
            return failed("an error, not a crash", finished.brief());
        }
        // Without a state file there is nothing to ask for.
        let state = match self.has_state() {
            true => self.runtime.state(bundle.id()),
            false => None,
        };
        match state {
            None => Ok(finished),
            Some(state) => failed("no container after the error", state.to_string()),
        }
    }

    /// Whether anything is in the runtime's state root.
    fn has_state(&self) -> bool {
        std::fs::read_dir(self.runtime.root()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Waits until something is so.
    ///
    /// # Errors
    ///
    /// The failure that says that it never was.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) -> Result<(), Trouble> {
        let started = Instant::now();
        while !is_so() {
            if started.elapsed() > PATIENCE {
                return failed(what, "not within 10 s");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until a container has this status.
    ///
    /// # Errors
    ///
    /// The failure that says that it never had.
    pub fn until_status(&self, bundle: &Bundle, status: &str) -> Result<(), Trouble> {
        self.until(&format!("status {status}"), || {
            self.runtime.status(bundle.id()) == status
        })
    }

    /// The refusal of a runtime that can't do without the system calls that are missing: it says
    /// which, and nothing runs that it was to run.
    #[must_use]
    pub fn refusal(&self, missing: &Missing) -> Option<String> {
        let complaint = self.runtime.complaint(|words| missing.is_named_in(words))?;
        let is_entry = ["create", "run", "start", "restore"].contains(&complaint.command.as_str());
        match is_entry && residue::runs(&self.probe, PROBE) {
            true => None,
            false => Some(format!("{}: {}", complaint.command, complaint.words)),
        }
    }

    /// Removes the container of a bundle, if there is one, and its cgroups.
    pub fn remove(&self, bundle: &Bundle) {
        if self.has_state() {
            drop(self.runtime.call(&["delete", "--force", bundle.id()]));
        }
        crate::residue::remove_cgroups(bundle.cgroup());
    }

    /// Removes whatever the case has left.
    pub fn clear(self) {
        let may_be_there = self.has_state();
        for id in self.ids.borrow().iter() {
            if may_be_there {
                // Most are gone already.
                drop(self.runtime.call(&["delete", "--force", id]));
            }
            residue::remove_cgroups(&place(&self.cgroups_path(id)));
        }
        residue::remove_from_the_root(&self.marker);
        residue::remove_directory(&self.directory);
    }
}

/// The program for a case's root filesystems: a copy where it is asked whether a container of this
/// case runs it, and not one of a case beside it.
fn probe_of(stage: &Stage, directory: &Path) -> PathBuf {
    if stage.manner.filter.is_none() {
        return stage.probe.clone();
    }
    let copy = directory.join("probe");
    std::fs::copy(&stage.probe, &copy).expect("a file can be copied");
    copy
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

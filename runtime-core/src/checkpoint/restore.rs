//! Restore: images become a container again, under the config.json of a bundle.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use runtime_init::{Attributes, Mount, Source, Step};

use super::children::Children;
use super::criu::{Criu, DEADLINE, Setting};
use super::dump::{JoinedKind, check_success, refuse_rootless, require_version};
use super::external;
use super::materials::{Images, Materials};
use super::moments::{Moment, Progress, finished};
use super::rpc::{self, Kind, Notice, Options};
use super::verify::Target;
use super::{RestoreOptions, keys};
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::container::{Container, State};
use crate::error::{Error, ErrorKind};
use crate::hooks::{self, HookKind, HookSetting};
use crate::host::Host;
use crate::id::ContainerId;
use crate::plan::{Plan, RootEntry};
use crate::process::Process;
use crate::procfs::Procfs;
use crate::runtime::{REMOVAL_DEADLINE, Runtime, intent, procfs};
use crate::state::{Record, StateDirectory, Status};

/// criu's log in the work directory.
pub(super) const LOG: &str = "restore.log";

/// Where criu finds what it is given, in a mount namespace of its own: a tmpfs over `/tmp`, which
/// also takes what criu makes there for itself.
const SCRATCH: &CStr = c"/tmp";
pub(super) const SCRATCH_ROOT: &CStr = c"/tmp/root";
const SCRATCH_CRIU: &CStr = c"/tmp/criu";
pub(super) const SCRATCH_NULL: &CStr = c"/tmp/null";

const NEWNS: u64 = libc::CLONE_NEWNS as u64;
const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

impl Runtime {
    /// Makes a container again from the images of [`Container::checkpoint`], under the
    /// config.json of `bundle`. It runs when this returns, its init is a child of this program,
    /// and createRuntime and poststart hooks have run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] when the images hold more than config.json gives (a
    /// capability, a namespace, a mount, …), or a link; [`ErrorKind::Unsupported`] for what criu
    /// can't do, by name; [`ErrorKind::Criu`] with the last errors of criu's log; any other kind
    /// as for [`Runtime::create`]. Nothing of the container is left then.
    pub fn restore(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &RestoreOptions<'_>,
    ) -> Result<Container, Error> {
        options.check()?;
        let procfs = procfs()?;
        let host = Host::probe(&procfs)?;
        refuse_rootless(&host, "restore")?;
        let plan = Plan::new(&bundle.spec()?, bundle.path(), id, &host, &options.plan)?;
        refuse_unrestorable(&plan, options)?;
        let images = Images::open(&plan, options)?;
        let directory = self.root().reserve(id)?;
        let mut restoration = Restoration {
            runtime: self,
            procfs: &procfs,
            host: &host,
            plan: &plan,
            options,
            images: &images,
            config: bundle.config(),
            record: intent(id, bundle, &plan, &host),
            deadline: Instant::now() + options.deadline.unwrap_or(DEADLINE),
        };
        match restoration.make(&directory) {
            Ok(restored) => Ok(Container::new(
                self.clone(),
                restoration.record,
                bundle.config(),
                restored,
                plan.warnings,
            )),
            Err(error) => {
                restoration.poststop();
                directory.remove()?;
                Err(error)
            }
        }
    }
}

/// What criu can't give a container.
fn refuse_unrestorable(plan: &Plan, options: &RestoreOptions<'_>) -> Result<(), Error> {
    let unsupported = |text: String| {
        Err(Error::text(
            ErrorKind::Unsupported,
            format!("restore: {text}"),
        ))
    };
    if plan.rootfs.entry != RootEntry::Pivot {
        return unsupported("linux.namespaces needs one of type mount".into());
    }
    for (hooks, name) in [
        (&plan.hooks.create_container, "createContainer"),
        (&plan.hooks.start_container, "startContainer"),
    ] {
        if !hooks.is_empty() {
            return unsupported(format!(
                "hooks.{name}: there is no such moment in a restore, and leaving the hooks out could leave the container without what they do"
            ));
        }
    }
    for joined in &plan.namespaces.joined {
        if JoinedKind::of(joined.kind).is_none() {
            return unsupported(format!(
                "linux.namespaces[{}]: criu can't join a namespace of this type ({})",
                joined.index,
                joined.path.display()
            ));
        }
    }
    external::of_plan(plan)?;
    match (
        plan.process.terminal,
        options.console_socket,
        options.shell_job,
    ) {
        (Some(_), None, false) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot allocate tty if the caller will detach without setting console socket: process.terminal is true, so give one",
        )),
        (None, Some(_), _) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot use console socket if the caller will not detach or allocate tty: process.terminal is false",
        )),
        _ => Ok(()),
    }
}

/// One restore, from the intent to the record.
pub(super) struct Restoration<'a> {
    runtime: &'a Runtime,
    pub(super) procfs: &'a Procfs,
    host: &'a Host,
    plan: &'a Plan,
    pub(super) options: &'a RestoreOptions<'a>,
    images: &'a Images,
    pub(super) config: &'a [u8],
    record: Record,
    deadline: Instant,
}

impl Restoration<'_> {
    fn make(&mut self, directory: &StateDirectory) -> Result<(Process, Option<Cgroup>), Error> {
        directory.write_intent(&self.record, self.config)?;
        let mut cgroup = Cgroup::create(&self.host.cgroups, &self.plan.cgroup)?;
        self.record.cgroups_owned = 1;
        directory.mark_cgroups_owned()?;
        cgroup.apply(&self.plan.cgroup)?;
        let children = Children::of_this_thread(self.procfs)?;
        let restored = self.restore_in(directory, &cgroup);
        let process = restored.and_then(|process| {
            self.poststart(&process)?;
            Ok(process)
        });
        match process {
            Ok(process) => {
                cgroup.keep();
                cgroup.close_task_files();
                Ok((process, Some(cgroup)))
            }
            Err(error) => {
                // Killing comes before the cgroup's own guard, which removes the directories.
                let killed = cgroup.kill_all(Instant::now() + REMOVAL_DEADLINE);
                children.reap_new(self.procfs);
                Err(match killed {
                    Ok(()) => error,
                    Err(left) => error.with_hint(&format!("; and then: {left}")),
                })
            }
        }
    }

    fn restore_in(
        &mut self,
        directory: &StateDirectory,
        cgroup: &Cgroup,
    ) -> Result<Process, Error> {
        self.check_version()?;
        let given = Materials::open(self.plan, self.images, self.options)?;
        let work = &self.images.work;
        let names = given.names();
        let tasks = cgroup.v1_task_numbers();
        let setting = Setting {
            binary: self.options.criu,
            environment: self.runtime.environment(),
            procfs: self.procfs,
            cgroup: cgroup.v2_dir(),
            namespaces: NEWNS,
            steps: self.steps(&given, &names, &tasks),
            program: Some(SCRATCH_CRIU),
            needed: given.needed(&tasks),
            passed: given.passed(),
            stdio: self.options.shell_job.then(|| given.streams(self.options)),
            deadline: self.deadline,
        };
        let criu = Criu::start(&setting)?;
        let progress = RefCell::new(Progress::default());
        let record = RefCell::new(self.record.clone());
        let request = rpc::request(Kind::Restore, &self.request(&given));
        let asked = (|| {
            let known = given.known_to(&criu, self.procfs, &names)?;
            let target = Target {
                plan: self.plan,
                procfs: self.procfs,
                cgroup,
                joined: &given.namespaces,
                mounts: &known,
                lsm_profile: self.options.lsm_profile,
            };
            let mut on_notice = |notice: &Notice, descriptor: Option<OwnedFd>| {
                let moment = Moment {
                    restoration: self,
                    directory,
                    target: &target,
                    progress: &progress,
                    record: &record,
                };
                moment.handle(notice, descriptor)
            };
            let response = criu.ask(Kind::Restore, &request, &mut on_notice)?;
            check_success(Kind::Restore, &response, &criu.printed_hint())?;
            Ok(response.pid)
        })();
        let pid = asked.map_err(|error: Error| match error.kind() {
            ErrorKind::Criu | ErrorKind::TimedOut => error.with_hint(&work.log_hint(LOG)),
            _ => error,
        })?;
        criu.finish()?;
        self.record = record.into_inner();
        finished(pid, progress.into_inner())
    }

    fn check_version(&self) -> Result<(), Error> {
        let lock = self
            .options
            .network_lock
            .map(|lock| (lock.number().1, "network_lock"));
        let wants_label = self.lsm_profile().is_some();
        let label = wants_label.then_some((31600, "a label (lsm_profile)"));
        let context = self
            .options
            .lsm_mount_context
            .map(|_| (31600, "lsm_mount_context"));
        let needed = [lock, label, context]
            .into_iter()
            .flatten()
            .max_by_key(|(least, _)| *least);
        let Some((least, option)) = needed else {
            return Ok(());
        };
        let setting = Setting {
            binary: self.options.criu,
            environment: self.runtime.environment(),
            procfs: self.procfs,
            cgroup: None,
            namespaces: 0,
            steps: Vec::new(),
            program: None,
            needed: Vec::new(),
            passed: Vec::new(),
            stdio: None,
            deadline: self.deadline,
        };
        require_version(&setting, least, option)
    }

    /// From this program to criu: into the container's cgroup, and to mounts that nobody else
    /// sees.
    fn steps<'s>(
        &'s self,
        given: &'s Materials<'_>,
        names: &'s [CString],
        tasks: &'s [RawFd],
    ) -> Vec<(Step<'s>, &'static str)> {
        let mut steps = Vec::new();
        if !tasks.is_empty() {
            steps.push((Step::EnterCgroups(tasks), "enter the cgroups"));
        }
        if self.plan.namespaces.new & NEWCGROUP != 0 {
            // Its root is the container's cgroup, since that is where criu is: what it restores
            // is born in both, whatever the image says.
            steps.push((Step::Unshare(NEWCGROUP), "make the cgroup namespace"));
        }
        if self.plan.process.no_new_privileges {
            // What criu makes inherits it; criu before 3.18 does not know of it.
            steps.push((Step::NoNewPrivileges, "set no_new_privs"));
        }
        let private = libc::MS_PRIVATE | libc::MS_REC;
        steps.push((Step::RootPropagation(private), "let no mount out"));
        steps.push((Step::OpenRootfs(c"/"), "open /"));
        let scratch = Source::Filesystem {
            kind: c"tmpfs",
            device: Some(c"tmpfs"),
            // In a user namespace criu is another user when it makes files there.
            options: &[(c"mode", Some(c"1777"))],
        };
        steps.push((
            Step::Mount(mount(scratch, SCRATCH, 0)),
            "mount a tmpfs on /tmp",
        ));
        let mut attach = |tree: &OwnedFd, target: &'s CStr, guards: u64| {
            let source = Source::Tree(tree.as_raw_fd());
            steps.push((Step::Mount(mount(source, target, guards)), "attach a tree"));
        };
        attach(&given.root, SCRATCH_ROOT, 0);
        attach(&given.criu, SCRATCH_CRIU, 0);
        if let Some(null) = &given.null {
            attach(null, SCRATCH_NULL, 0);
        }
        for (tree, name) in given.trees.iter().zip(names) {
            attach(&tree.fd, name, tree.external.guards);
        }
        steps
    }

    fn request(&self, given: &Materials<'_>) -> Options {
        let options = self.options;
        let mut external: Vec<Vec<u8>> = given
            .trees
            .iter()
            .zip(given.names())
            .map(|(tree, name)| keys::restored(&tree.external.key(), &name.to_string_lossy()))
            .collect();
        if given.null.is_some() {
            let source = SCRATCH_NULL.to_string_lossy();
            external.push(keys::restored(keys::NULL_KEY, &source));
        }
        let mut inherited = given.replacements.inherited.clone();
        let mut joined = Vec::new();
        for (namespace, fd) in self.plan.namespaces.joined.iter().zip(&given.namespaces) {
            match JoinedKind::of(namespace.kind) {
                Some(JoinedKind { key: Some(key), .. }) => {
                    inherited.push((key.to_owned(), fd.as_raw_fd()));
                }
                Some(kind) => {
                    let number = fd.as_raw_fd();
                    joined.push((kind.file, format!("/proc/self/fd/{number}")));
                }
                None => {}
            }
        }
        Options {
            images_dir: self.images.for_criu.as_raw_fd(),
            work_dir: self.images.work_for_criu.as_raw_fd(),
            log_file: LOG,
            root: SCRATCH_ROOT.to_bytes().to_vec(),
            evasive_devices: true,
            restore_sibling: true,
            orphan_terminal: true,
            ext_unix_sk: options.ext_unix_sk,
            tcp_established: options.tcp_established,
            tcp_close: options.tcp_close,
            shell_job: options.shell_job,
            file_locks: options.file_locks,
            lazy_pages: options.lazy_pages,
            auto_dedup: options.auto_dedup,
            cgroups_mode: super::CgroupsMode::Ignore.number(),
            network_lock: options.network_lock.map(|lock| lock.number().0),
            lsm_profile: self.lsm_profile(),
            lsm_mount_context: options.lsm_mount_context.map(str::to_owned),
            empty_namespaces: if options.empty_network {
                libc::CLONE_NEWNET.cast_unsigned()
            } else {
                0
            },
            external,
            inherited,
            joined,
            ..Options::default()
        }
    }

    /// The label of every process: the caller's, or config.json's.
    fn lsm_profile(&self) -> Option<String> {
        let process = &self.plan.process;
        let apparmor = process
            .apparmor_profile
            .as_ref()
            .map(|name| format!("apparmor:{name}"));
        let selinux = process
            .selinux_label
            .as_ref()
            .map(|label| format!("selinux:{label}"));
        let own = apparmor.or(selinux);
        self.options.lsm_profile.map(str::to_owned).or(own)
    }

    pub(super) fn run_hooks(&self, kind: HookKind, pid: i32, status: Status) -> Result<(), Error> {
        let list = match kind {
            HookKind::Prestart => &self.plan.hooks.prestart,
            HookKind::CreateRuntime => &self.plan.hooks.create_runtime,
            _ => &self.plan.hooks.poststart,
        };
        let state = self.state_json(pid, status);
        Ok(hooks::run_all(kind, list, &self.hook_setting(&state))?)
    }

    fn poststart(&self, process: &Process) -> Result<(), Error> {
        if self.plan.hooks.poststart.is_empty() {
            return Ok(());
        }
        self.run_hooks(HookKind::Poststart, process.pid(), Status::Running)
    }

    /// poststop hooks of a container that failed to come back: what earlier hooks made is theirs
    /// to undo.
    fn poststop(&self) {
        let hooks = &self.plan.hooks;
        let others = [&hooks.prestart, &hooks.create_runtime, &hooks.poststart];
        if !hooks.poststop.is_empty() && others.iter().any(|list| !list.is_empty()) {
            let state = self.state_json(0, Status::Stopped);
            // Their failures don't hide the one that is reported.
            drop(hooks::run_each(
                HookKind::Poststop,
                &hooks.poststop,
                &self.hook_setting(&state),
            ));
        }
    }

    fn hook_setting<'s>(&'s self, state: &'s [u8]) -> HookSetting<'s> {
        HookSetting {
            state,
            environment: self.runtime.environment(),
            directory: &self.plan.bundle,
        }
    }

    fn state_json(&self, pid: i32, status: Status) -> Vec<u8> {
        let state = State {
            oci_version: self.plan.oci_version.clone(),
            id: self.record.id.clone(),
            pid,
            status,
            bundle: self.record.bundle.clone(),
            rootfs: self.record.rootfs.clone(),
            created: self.record.created.clone(),
            annotations: self.plan.annotations.clone(),
            owner: self.record.owner,
        };
        state.to_hook_json()
    }
}

fn mount<'a>(source: Source<'a>, target: &'a CStr, guards: u64) -> Mount<'a> {
    Mount {
        source,
        target,
        refuse_links: false,
        inside_proc: false,
        source_is_procfs: false,
        attributes: Attributes {
            set: guards,
            clear: 0,
        },
        recursive: Attributes::default(),
        propagation: &[],
        copy_up: false,
    }
}

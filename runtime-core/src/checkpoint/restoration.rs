//! One restore, from the intent to the record.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::children::Children;
use super::criu::{Criu, Setting};
use super::dump::{JoinedKind, check_success, require_version};
use super::entry::{self, SCRATCH_CRIU, SCRATCH_NULL, SCRATCH_ROOT};
use super::materials::{Images, Materials};
use super::moments::{Moment, Progress, finished};
use super::rpc::{self, Kind, Notice, Options};
use super::verify::Target;
use super::{RestoreOptions, keys};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Systemd;
use crate::container_hooks::ContainerHooks;
use crate::error::{Error, ErrorKind};
use crate::hooks::HookKind;
use crate::host::Host;
use crate::plan::Plan;
use crate::process::Process;
use crate::procfs::Procfs;
use crate::runtime::{REMOVAL_DEADLINE, Runtime};
use crate::state::{Record, StateDirectory, Status};
use crate::unit;

/// criu's log in the work directory.
pub(super) const LOG: &str = "restore.log";

const NEWNS: u64 = libc::CLONE_NEWNS as u64;

/// One restore, from the intent to the record.
pub(super) struct Restoration<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) procfs: &'a Procfs,
    pub(super) host: &'a Host,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a RestoreOptions<'a>,
    pub(super) images: &'a Images,
    pub(super) config: &'a [u8],
    pub(super) record: Record,
    pub(super) deadline: Instant,
}

impl Restoration<'_> {
    /// Those of the runtime's namespaces: the others have no moment at a restore.
    pub(super) fn hooks(&self) -> ContainerHooks<'_> {
        ContainerHooks {
            plan: self.plan,
            record: &self.record,
            environment: self.runtime.environment(),
        }
    }

    pub(super) fn make(
        &mut self,
        directory: &StateDirectory,
        systemd: Option<Systemd>,
    ) -> Result<(Process, Option<Cgroup>), Error> {
        directory.write_intent(&self.record, self.config)?;
        let mut cgroup = self.make_cgroup(directory, systemd)?;
        let children = Children::of_this_thread(self.procfs)?;
        let restored = self.restore_in(directory, &cgroup);
        let process = restored.and_then(|process| {
            cgroup.settle(&self.plan.cgroup)?;
            let pid = process.pid();
            self.hooks()
                .run(HookKind::Poststart, pid, Status::Running)?;
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

    fn make_cgroup(
        &mut self,
        directory: &StateDirectory,
        systemd: Option<Systemd>,
    ) -> Result<Cgroup, Error> {
        if let Some(systemd) = systemd {
            let plan = (&self.plan.cgroup, self.host, self.procfs);
            let record = &mut self.record;
            if let Some(cgroup) = unit::start(systemd, plan, self.runtime, record, directory)? {
                return Ok(cgroup);
            }
        }
        let cgroup = Cgroup::create(&self.host.cgroups, &self.plan.cgroup)?;
        self.record.cgroups_owned = 1;
        directory.mark_cgroups_owned()?;
        cgroup.apply(&self.plan.cgroup)?;
        Ok(cgroup)
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
            steps: entry::steps(self.plan, &given, &names, &tasks),
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
}

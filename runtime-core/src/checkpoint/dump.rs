//! Checkpoint: a container's processes become images.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::criu::{Criu, DEADLINE, Setting};
use super::external::{self, View};
use super::images::Directory;
use super::rpc::{self, Kind, Notice, Options, Response};
use super::streams::Streams;
use super::{CheckpointOptions, version_text};
use crate::container::Container;
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::plan::{Plan, PlanOptions};
use crate::process::Process;
use crate::procfs::Procfs;
use crate::runtime::procfs;
use crate::state::{Operation, Status};

/// criu's log in the work directory.
const LOG: &str = "dump.log";

/// How long processes may take to end that criu has killed.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// How long a container may take to go on that a failed dump has left frozen.
const THAW_DEADLINE: Duration = Duration::from_secs(10);

impl Container {
    /// Writes images of all processes, from which [`crate::Runtime::restore`] makes them again.
    ///
    /// Afterwards the container is stopped, and is there to be deleted; with `leave_running` or
    /// `pre_dump` it goes on as it was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] or [`ErrorKind::NotRunning`] unless running or paused;
    /// [`ErrorKind::Unsupported`] for what criu can't do, by name; [`ErrorKind::Criu`] with the
    /// last errors of criu's log. The container goes on then, as far as criu can see to it;
    /// images that were begun are left for who wants to know why.
    pub fn checkpoint(&mut self, options: &CheckpointOptions<'_>) -> Result<(), Error> {
        options.check()?;
        let directory = self.lock()?;
        let status = self.require(&directory, Operation::Checkpoint)?;
        let Some(init) = self.init_process()? else {
            let refusal = Status::Stopped.refusal(Operation::Checkpoint, self.id().as_str());
            return Err(Error::text(ErrorKind::NotRunning, refusal));
        };
        let procfs = procfs()?;
        let host = Host::probe(&procfs)?;
        refuse_rootless(&host, "checkpoint")?;
        let spec = self.spec()?;
        let bundle = &self.record().bundle;
        let plan = Plan::new(&spec, bundle, self.id(), &host, &PlanOptions::default())?;
        let dump = Dump {
            container: self,
            options,
            procfs: &procfs,
            plan: &plan,
            init: &init,
            deadline: Instant::now() + options.deadline.unwrap_or(DEADLINE),
        };
        let dumped = dump.run();
        if dumped.is_err() && status == Status::Running {
            self.thaw_after_failure();
        }
        dumped
    }

    /// A criu that was killed in the middle has perhaps left the container frozen.
    fn thaw_after_failure(&self) {
        if let Ok(cgroup) = self.cgroup()
            && matches!(cgroup.is_frozen(), Ok(true))
        {
            // The dump's failure is the one to report.
            cgroup.thaw(Instant::now() + THAW_DEADLINE).ok();
        }
    }
}

/// Refuses a runtime without privilege, which criu needs over the host.
pub(super) fn refuse_rootless(host: &Host, act: &str) -> Result<(), Error> {
    if host.is_rootless() {
        return Err(Error::text(
            ErrorKind::Unsupported,
            format!(
                "{act}: criu needs root in the initial user namespace; this is a rootless runtime"
            ),
        ));
    }
    Ok(())
}

/// One dump.
struct Dump<'a> {
    container: &'a Container,
    options: &'a CheckpointOptions<'a>,
    procfs: &'a Procfs,
    plan: &'a Plan,
    init: &'a Process,
    deadline: Instant,
}

impl Dump<'_> {
    fn run(&self) -> Result<(), Error> {
        let images = Directory::open(self.options.image_path, "image directory", true)?;
        let has_parent = self.check_images(&images)?;
        let work = match self.options.work_path {
            Some(path) => Directory::open(path, "work directory", true)?,
            None => Directory::open(self.options.image_path, "image directory", false)?,
        };
        work.remove(LOG)?;
        let for_images = images.for_criu(has_parent)?;
        let for_work = match self.options.work_path {
            Some(_) => work.for_criu(false)?,
            None => for_images
                .try_clone()
                .map_err(|error| Error::call("duplicate", crate::errno::of_io(&error)))?,
        };
        self.check_features()?;
        let mut request = self.request(&for_images, &for_work)?;
        if !self.options.pre_dump {
            self.describe_outside(&images, &mut request)?;
        }
        let kind = match self.options.pre_dump {
            true => Kind::PreDump,
            false => Kind::Dump,
        };
        let said = self.ask(kind, &rpc::request(kind, &request));
        said.map_err(|error| match error.kind() {
            ErrorKind::Criu | ErrorKind::TimedOut => error.with_hint(&work.log_hint(LOG)),
            _ => error,
        })?;
        self.wait_for_the_end()
    }

    /// Whether criu follows a `parent` link, which then has been looked at.
    fn check_images(&self, images: &Directory) -> Result<bool, Error> {
        let linked = images.refuse_links()?;
        if let Some(path) = self.options.parent_path {
            images.refuse_other_parent(path)?;
            let parent = images.parent(path)?;
            if parent.refuse_links()? {
                parent.check_parents()?;
            }
            return Ok(true);
        }
        if linked {
            images.check_parents()?;
        }
        Ok(linked)
    }

    /// Asks criu whether it can do what not every one can.
    fn check_features(&self) -> Result<(), Error> {
        let setting = || self.setting();
        if let Some(lock) = self.options.network_lock {
            require_version(&setting(), lock.number().1, "network_lock")?;
        }
        if !self.options.pre_dump && !self.options.lazy_pages {
            return Ok(());
        }
        let (tracks, is_lazy) = ask_features(&setting())?;
        let lacking = match (
            self.options.pre_dump && !tracks,
            self.options.lazy_pages && !is_lazy,
        ) {
            (true, _) => "pre_dump: this kernel can't tell which memory has changed (soft-dirty)",
            (_, true) => "lazy_pages: this kernel has no userfaultfd(2) for it",
            _ => return Ok(()),
        };
        Err(Error::text(ErrorKind::Unsupported, lacking))
    }

    fn setting(&self) -> Setting<'_> {
        Setting {
            binary: self.options.criu,
            environment: self.container.runtime().environment(),
            procfs: self.procfs,
            cgroup: None,
            namespaces: 0,
            steps: Vec::new(),
            program: None,
            needed: Vec::new(),
            passed: Vec::new(),
            stdio: None,
            deadline: self.deadline,
        }
    }

    fn request(&self, images: &OwnedFd, work: &OwnedFd) -> Result<Options, Error> {
        let options = self.options;
        let parent = options.parent_path.map(|path| {
            use std::os::unix::ffi::OsStrExt;
            path.as_os_str().as_bytes().to_vec()
        });
        Ok(Options {
            images_dir: images.as_raw_fd(),
            work_dir: work.as_raw_fd(),
            pid: self.init.pid(),
            log_file: LOG,
            root: self.plan.rootfs.path.to_bytes().to_vec(),
            leave_running: options.leave_running,
            ext_unix_sk: options.ext_unix_sk,
            tcp_established: options.tcp_established,
            tcp_skip_in_flight: options.tcp_skip_in_flight,
            shell_job: options.shell_job,
            file_locks: options.file_locks,
            link_remap: options.link_remap,
            lazy_pages: options.lazy_pages,
            auto_dedup: options.auto_dedup,
            orphan_terminal: true,
            cgroups_mode: options.cgroups_mode.number(),
            network_lock: options.network_lock.map(|lock| lock.number().0),
            page_server: options
                .page_server
                .map(|(address, port)| (address.to_owned(), port)),
            empty_namespaces: if options.empty_network {
                libc::CLONE_NEWNET.cast_unsigned()
            } else {
                0
            },
            track_memory: parent.is_some(),
            parent_image: parent,
            freeze_cgroup: self.freezer(),
            external: self.joined_namespaces()?,
            ..Options::default()
        })
    }

    /// The directory by which criu stops all processes at once.
    fn freezer(&self) -> Option<String> {
        let paths = &self.container.record().cgroup_paths;
        paths.get("freezer").or_else(|| paths.get("")).cloned()
    }

    /// Namespaces that the container has joined: not saved, and there again at the restore.
    fn joined_namespaces(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut said = Vec::new();
        for joined in &self.plan.namespaces.joined {
            let kind = JoinedKind::of(joined.kind).ok_or_else(|| {
                Error::text(
                    ErrorKind::Unsupported,
                    format!(
                        "checkpoint: linux.namespaces[{}]: criu can't save a container that has joined a namespace of this type ({})",
                        joined.index,
                        joined.path.display()
                    ),
                )
            })?;
            let Some(key) = kind.key else { continue };
            let link = |pid: &str| {
                let path = format!("{pid}/ns/{}", kind.file);
                self.procfs
                    .link(&path)
                    .map_err(|errno| Error::call(format!("read /proc/{path}"), errno))
            };
            let theirs = link(&self.init.pid().to_string())?;
            // In criu's own there is nothing to save.
            if theirs != link("self")? {
                let number = theirs.trim_start_matches(|c: char| c != '[');
                said.push(format!("{}{number}:{key}", kind.file).into_bytes());
            }
        }
        Ok(said)
    }

    /// Mounts and streams of the host's.
    fn describe_outside(&self, images: &Directory, request: &mut Options) -> Result<(), Error> {
        let view = View::of(self.procfs, self.init.pid())?;
        request
            .external
            .extend(external::for_dump(self.plan, &view)?);
        let streams = Streams::of(self.procfs, self.init.pid(), &view)?;
        let named = streams.external.iter().map(|name| name.as_bytes().to_vec());
        request.external.extend(named);
        streams.save(images)
    }

    fn ask(&self, kind: Kind, request: &[u8]) -> Result<(), Error> {
        let criu = Criu::start(&self.setting())?;
        let response = criu.ask(kind, request, &mut |notice, _| self.notice(notice))?;
        let printed = criu.printed_hint();
        let exit = criu.finish()?;
        check_success(kind, &response, &printed)?;
        // After a pre-dump criu waits for the next one, and ends with a failure without.
        match exit {
            crate::process::Exit::Code(0) => Ok(()),
            _ if kind == Kind::PreDump => Ok(()),
            exit => Err(Error::text(
                ErrorKind::Criu,
                format!(
                    "criu has said that {} is done, and ended with {exit}",
                    kind.name()
                ),
            )),
        }
    }

    fn notice(&self, notice: &Notice) -> Result<(), Error> {
        if notice.moment == "status-ready"
            && let Some(status) = self.options.status_fd
        {
            match nix::unistd::write(status, &[0]) {
                // Whoever wanted to know is gone.
                Ok(_) | Err(Errno::EPIPE) => {}
                Err(errno) => return Err(Error::call("write to status_fd", errno)),
            }
        }
        Ok(())
    }

    fn wait_for_the_end(&self) -> Result<(), Error> {
        if self.options.leave_running || self.options.pre_dump {
            return Ok(());
        }
        match self.init.ended_within(END_DEADLINE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::text(
                ErrorKind::TimedOut,
                format!(
                    "criu has written the images and not ended container init (pid {}) within {} s",
                    self.init.pid(),
                    END_DEADLINE.as_secs()
                ),
            )),
            Err(errno) => Err(Error::call("poll(2) on container init", errno)),
        }
    }
}

/// How criu names a namespace that a container joins.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinedKind {
    /// In `/proc/PID/ns`, and criu's word for it.
    pub(super) file: &'static str,
    /// What criu asks for at a restore; without, it joins by path.
    pub(super) key: Option<&'static str>,
}

impl JoinedKind {
    /// None for a kind that criu can't have from outside.
    pub(super) fn of(kind: u64) -> Option<Self> {
        let (file, key) = match i32::try_from(kind).ok()? {
            libc::CLONE_NEWNET => ("net", Some("extRootNetNS")),
            libc::CLONE_NEWPID => ("pid", Some("extRootPidNS")),
            libc::CLONE_NEWIPC => ("ipc", None),
            libc::CLONE_NEWUTS => ("uts", None),
            _ => return None,
        };
        Some(Self { file, key })
    }
}

/// Turns criu's last word into a success or the reason why not.
pub(super) fn check_success(kind: Kind, response: &Response, printed: &str) -> Result<(), Error> {
    if response.success {
        return Ok(());
    }
    let errno = (response.errno != 0).then(|| Errno::from_raw(response.errno));
    let mut text = format!("criu {} failed", kind.name());
    if let Some(errno) = errno {
        text.push_str(&format!(": {}", crate::errno::Words(errno)));
    }
    if !response.text.is_empty() {
        text.push_str(&format!(": {:?}", response.text));
    }
    text.push_str(printed);
    Err(Error::text(ErrorKind::Criu, text).with_errno(errno))
}

/// Refuses a criu that is older than an option.
pub(super) fn require_version(
    setting: &Setting<'_>,
    least: i32,
    option: &str,
) -> Result<(), Error> {
    let criu = Criu::start(setting)?;
    let response = criu.ask(Kind::Version, &rpc::version_request(), &mut |_, _| Ok(()))?;
    check_success(Kind::Version, &response, &criu.printed_hint())?;
    match response.version {
        Some(version) if version >= least => Ok(()),
        version => Err(Error::text(
            ErrorKind::Unsupported,
            format!(
                "{option} needs criu {} or newer, and this one is {}",
                version_text(least),
                version.map_or_else(|| "of no known version".to_owned(), version_text)
            ),
        )),
    }
}

/// Whether memory can be tracked, and loaded when it is needed.
fn ask_features(setting: &Setting<'_>) -> Result<(bool, bool), Error> {
    let criu = Criu::start(setting)?;
    let response = criu.ask(Kind::FeatureCheck, &rpc::feature_request(), &mut |_, _| {
        Ok(())
    })?;
    check_success(Kind::FeatureCheck, &response, &criu.printed_hint())?;
    Ok(response.features)
}

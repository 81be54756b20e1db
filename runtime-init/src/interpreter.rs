//! The child, whole: walks the steps and reports the one that fails.

use core::ffi::CStr;

use crate::descriptors::pass_on;
use crate::failure::refuse;
use crate::masks::Masks;
use crate::program::{Call, Failure, Message, Program, RawFd, Step};
use crate::sys::{self, Fd};
use crate::text::Text;

/// What the steps leave for later ones.
pub(crate) struct Init<'p> {
    /// A procfs of the parent's.
    pub(crate) proc: RawFd,
    /// Who hears of phases and failures: the parent, later whoever starts the container.
    pub(crate) listener: RawFd,
    /// Keeps `listener` open when it is a connection of ours.
    pub(crate) connection: Option<Fd>,
    /// The rootfs: every path of the container is resolved below it.
    pub(crate) rootfs: Option<Fd>,
    /// The directory of the last device or link, for the next one: only until another kind of
    /// step, which might mount something over it.
    pub(crate) parent: Option<(&'p [u8], Fd)>,
    /// Whether no mount of this namespace is in a peer group any more.
    pub(crate) nothing_shared: bool,
    /// Mounts that hide paths.
    pub(crate) masks: Masks,
    /// After [`Step::LetGo`]: the highest descriptor that was open then.
    pub(crate) last_kept: Option<RawFd>,
    /// An open `/proc/self/attr/*`.
    pub(crate) label: Option<Fd>,
    /// The mask that the program gets. Until then it is 0 here, so that modes are what the
    /// steps say.
    pub(crate) umask: u32,
    /// The program that was found.
    pub(crate) found: Option<&'p CStr>,
    /// The kernel's own words about the failure of the current step.
    pub(crate) explanation: Text<{ Message::TEXT_MAX + 1 }>,
}

/// Walks the program's steps to its execve(2).
///
/// When a step fails, the listener gets one [`Message::FAILURE`] and the process ends with
/// status 1.
///
/// The child has copies of all descriptors of its parent, the parent's end of the socket among
/// them; as long as it has that one it does not notice the parent's death. [`Step::KeepOnly`]
/// is for that.
pub fn run(program: &Program<'_>) -> ! {
    let mut init = Init::new(program);
    for (index, step) in program.steps.iter().enumerate() {
        let later = program.steps.get(index + 1..).unwrap_or_default();
        if let Err(failure) = init.perform(step, later) {
            init.report(index, failure);
            break;
        }
    }
    sys::exit(1)
}

impl<'p> Init<'p> {
    fn new(program: &Program<'p>) -> Self {
        // A message to a parent that is gone must be an error, not the end. If the call fails,
        // it is the end.
        sys::ignore(sys::set_disposition(libc::SIGPIPE, libc::SIG_IGN));
        Self {
            proc: program.proc,
            listener: program.sync,
            connection: None,
            rootfs: None,
            parent: None,
            nothing_shared: false,
            masks: Masks::default(),
            last_kept: None,
            label: None,
            umask: sys::umask(0),
            found: None,
            explanation: Text::new(),
        }
    }

    /// The rootfs's descriptor.
    pub(crate) fn rootfs(&self) -> Result<RawFd, Failure> {
        match &self.rootfs {
            Some(rootfs) => Ok(rootfs.raw()),
            // A program that has not said where its rootfs is.
            None => refuse(Call::Open, libc::EBADF),
        }
    }

    pub(crate) fn keep_rootfs(&mut self, rootfs: Fd) {
        self.rootfs = Some(rootfs);
    }

    fn perform(&mut self, step: &Step<'p>, later: &[Step<'p>]) -> Result<(), Failure> {
        if !matches!(step, Step::Device(_) | Step::Symlink { .. }) {
            self.parent = None;
        }
        match *step {
            Step::Undumpable => self.become_undumpable(),
            Step::KeepOnly(kept) => self.close_all_but(kept),
            Step::LetGo(kept) => self.let_go(kept),
            Step::DefaultSignals => self.reset_signals(),
            Step::Stdio(streams) => self.take_streams(streams),
            Step::PassOn(passed) => pass_on(passed),
            Step::Affinity(cpus) => self.set_affinity(cpus),
            Step::EnterCgroups(tasks) => self.enter_cgroups(tasks),
            Step::Join { namespace, kind } => self.join(namespace, kind),
            Step::Unshare(flags) => self.unshare(flags),
            Step::Respawn(flags) => self.respawn(flags),
            Step::Tell(phase) => self.tell(phase),
            Step::Await(gate) => self.await_gate(gate),
            Step::TellUserNamespace => self.tell_user_namespace(),
            Step::BecomeRoot { set_groups } => self.become_root(set_groups),
            Step::TimeOffsets(offsets) => self.enter_time_namespace(offsets),
            Step::NewSession => self.start_session(),
            Step::SessionKeyring(name) => self.join_keyring(name),
            Step::Hostname(name) => self.set_hostname(name),
            Step::Domainname(name) => self.set_domainname(name),
            Step::LoopbackUp => self.bring_loopback_up(),

            Step::RootPropagation(flags) => self.set_root_propagation(flags),
            Step::BindRootfs(path) => self.bind_rootfs(path),
            Step::OpenRootfs(path) => self.open_rootfs(path),
            Step::Mount(ref mount) => self.mount(mount),
            Step::Directory { path, mode } => self.make_directory(path, mode),
            Step::Device(ref device) => self.make_device(device),
            Step::Symlink {
                text,
                path,
                replace,
            } => self.make_link(text, path, replace),
            Step::Console(ref console) => self.open_console(console),
            Step::ControllingTerminal => self.take_terminal(),
            Step::Hook(ref hook) => self.run_hook(hook),
            Step::Sysctl { path, value } => self.write_sysctl(path, value),
            Step::ReadonlyPath(path) => self.make_path_readonly(path),
            Step::MaskedPath(path) => self.mask_path(path),
            Step::ReadonlyRootfs => self.make_rootfs_readonly(),
            Step::PivotRoot => self.pivot_root(later),
            Step::MoveRoot => self.move_root(later),
            Step::Chroot => self.chroot(later),
            Step::FinalPropagation(flags) => self.set_final_propagation(flags),

            Step::OpenLsmLabel(file) => self.open_label(file),
            Step::LsmLabel(label) => self.write_label(label),
            Step::Personality(persona) => self.set_personality(persona),
            Step::MemoryPolicy { mode, nodes } => self.set_memory_policy(mode, nodes),
            Step::Umask(mask) => self.set_umask(mask),
            Step::OwnStdio { uid } => self.own_stdio(uid),
            Step::Groups(groups) => self.set_groups(groups),
            Step::User { uid, gid } => self.become_user(uid, gid),
            Step::BoundingSet(mask) => self.limit_capabilities(mask),
            Step::Capabilities(ref masks) => self.set_capabilities(masks),
            Step::Limit {
                resource,
                soft,
                hard,
            } => self.set_limit(resource, soft, hard),
            Step::NoNewPrivileges => self.give_up_new_privileges(),
            Step::Seccomp { program, flags } => self.load_filter(program, flags),
            Step::SeccompListener { program, flags } => self.load_filter_to_ask(program, flags),
            Step::WorkingDirectory { path, create } => self.enter_directory(path, create),
            Step::CloseOnExecFrom(first) => self.close_on_exec_from(first),
            Step::FindProgram(candidates) => self.find_program(candidates),
            Step::AwaitStart(socket) => self.await_start(socket),
            Step::Exec(ref exec) => self.exec(exec),
        }
    }
}

//! New processes: clone3(2) for a child that interprets a program, fork(2) for one helper.
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::prctl;

use super::Result;

/// How many threads make a process that must be born undumpable, and whether this program has to
/// become dumpable again after the last of them.
static BEARING: Mutex<Bearing> = Mutex::new(Bearing {
    threads: 0,
    was_dumpable: false,
});

struct Bearing {
    threads: usize,
    was_dumpable: bool,
}

/// For as long as it lives this program is undumpable, and so is what it clones: prctl(2),
/// PR_SET_DUMPABLE.
///
/// A user namespace is open to everyone who has the uid that made it and is in the namespace above
/// (user_namespaces(7)). So user 0 of a container that sees the host's processes could, without any
/// capability, trace a process that root has just cloned into a new one (ptrace(2)): the owner of
/// the host's files, in the host's mounts. Its own first step would be too late: it can be seen
/// before it runs.
struct Undumpable;

impl Undumpable {
    fn new() -> Result<Self> {
        let mut bearing = BEARING.lock().unwrap_or_else(PoisonError::into_inner);
        if bearing.threads == 0 {
            bearing.was_dumpable = prctl::get_dumpable()?;
            prctl::set_dumpable(false)?;
        }
        bearing.threads += 1;
        Ok(Self)
    }
}

impl Drop for Undumpable {
    fn drop(&mut self) {
        let mut bearing = BEARING.lock().unwrap_or_else(PoisonError::into_inner);
        bearing.threads -= 1;
        if bearing.threads == 0 && bearing.was_dumpable {
            // What was allowed a moment ago; and if not, the program is only better protected.
            prctl::set_dumpable(true).ok();
        }
    }
}

/// Blocks every signal of this thread for as long as the guard lives, so that no handler of
/// the embedding program runs in a new process before its handlers are reset.
#[derive(Debug)]
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        // SAFETY: sigset_t is plain old data, for which zeroes are a valid value.
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
        // SAFETY: `all` is live and exclusively borrowed.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both sets are live; the call can't fail with a valid `how`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
        Self(old)
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        let old = std::ptr::null_mut();
        // SAFETY: the saved set is live; a null old set is allowed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, old) };
    }
}

/// Makes the command start with no signal blocked and every signal at its default, whatever this
/// thread blocks and this process ignores: a caller that reads its signals from a signalfd(2)
/// blocks them all, and one under nohup(1) ignores some. And makes it end with this thread, which
/// is to wait for it: nobody else would see to it that it ends some time.
pub(crate) fn start_as_part_of_this_thread(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs between fork and execve and makes system calls on its own
    // stack: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(before_exec) };
}

fn before_exec() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    runtime_init::default_signals().map_err(std::io::Error::from_raw_os_error)?;
    let none = nix::sys::signal::SigSet::empty();
    none.thread_set_mask().map_err(std::io::Error::from)
}

/// clone3(2) of a process that is a copy of this one; the child interprets `program` and
/// never returns here.
///
/// A child of root's in a new user namespace is born undumpable, and stays so until execve(2)
/// unless a step says otherwise.
///
/// Gives the child's pid and, as the caller must ask for CLONE_PIDFD, its descriptor.
pub(crate) fn clone_init(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    program: &runtime_init::Program<'_>,
) -> Result<(i32, OwnedFd)> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    let mut pidfd: c_int = -1;
    let mut arguments = runtime_init::CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..runtime_init::CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    let _undumpable = bears_undumpable(flags).then(Undumpable::new).transpose()?;
    let _blocked = SignalsBlocked::new();
    // SAFETY: without CLONE_VM and with no new stack the child goes on with its own copy of
    // this stack and of everything `program` borrows. It runs only `runtime_init::run`, which
    // allocates nothing, takes no lock and never returns, so no state of the other threads of
    // this program, which the child has copied in whatever state it was, is ever used.
    match unsafe { runtime_init::clone3(&arguments) } {
        Ok(runtime_init::Cloned::Child) => runtime_init::run(program),
        Ok(runtime_init::Cloned::Parent { pid }) => {
            // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that nobody else
            // owns.
            Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
        Err(errno) => Err(Errno::from_raw(errno)),
    }
}

/// Whether a process with these namespaces is in reach of who has the caller's uid and is not to
/// be: root's. Any other user's containers have user namespaces of their own, out of which nobody
/// reaches one beside it; and the files of an undumpable process are not the user's, who could not
/// write its id mappings.
fn bears_undumpable(flags: u64) -> bool {
    flags & libc::CLONE_NEWUSER as u64 != 0 && nix::unistd::geteuid().is_root()
}

/// Runs `make` in a forked process with a user and a mount namespace of its own, and gives the
/// descriptor that it makes.
///
/// Only for a program with one thread: the child runs ordinary code.
pub(crate) fn in_user_and_mount_namespace(
    make: impl FnOnce() -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
        sendmsg, socketpair,
    };
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    // SAFETY: the caller has one thread, so the child's copy of every lock is in order.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::last()),
        0 => {
            let flags = nix::sched::CloneFlags::CLONE_NEWUSER | nix::sched::CloneFlags::CLONE_NEWNS;
            // Whoever has the uid that made a user namespace may do anything in it: without this,
            // root of a container that sees the host's processes could open this one's program.
            let made = nix::sys::prctl::set_dumpable(false)
                .and_then(|()| nix::sched::unshare(flags))
                .and_then(|()| make());
            if let Ok(made) = made {
                let word = [std::io::IoSlice::new(b"x")];
                let rights = [made.as_raw_fd()];
                let rights = [ControlMessage::ScmRights(&rights)];
                // The parent sees end of file when this fails.
                let _sent = sendmsg::<()>(
                    theirs.as_raw_fd(),
                    &word,
                    &rights,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                );
            }
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => {
            drop(theirs);
            let mut word = [0; 1];
            let mut room = nix::cmsg_space!(std::os::fd::RawFd);
            let mut parts = [std::io::IoSliceMut::new(&mut word)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(ours.as_raw_fd(), &mut parts, Some(&mut room), flags);
            let number = received.and_then(|message| {
                let rights = message.cmsgs()?.find_map(|part| match part {
                    ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
                    _ => None,
                });
                rights.ok_or(Errno::EPERM)
            });
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
            // SAFETY: the kernel has just installed this descriptor for this message alone.
            number.map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether user 0 without capabilities may look into a process.
    fn opens_to_root_without_capabilities(pid: i32) -> bool {
        let mut look = Command::new("setpriv");
        look.args(["--inh-caps=-all", "--bounding-set=-all", "readlink"])
            .arg(format!("/proc/{pid}/root"));
        look.output().unwrap().status.success()
    }

    /// A child with these namespaces that waits for its end.
    fn waiting_child(flags: u64) -> crate::process::Process {
        let procfs = crate::procfs::Procfs::open().unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let steps = [runtime_init::Step::Await(runtime_init::Gate::Committed)];
        let program = runtime_init::Program {
            steps: &steps,
            sync: theirs.as_raw_fd(),
            proc: procfs.raw(),
        };
        let (pid, pidfd) = clone_init(flags, None, &program).unwrap();
        // The child has a copy of this end as well.
        drop(ours);
        crate::process::Process::new(pid, pidfd)
    }

    #[test]
    fn no_neighbour_looks_into_roots_child_in_a_new_user_namespace() {
        let needed = [testkit::Fact::Root, testkit::Fact::Program("setpriv")];
        if testkit::missing(&needed) {
            return;
        }
        let was_dumpable = prctl::get_dumpable().unwrap();
        let look = || {
            for _ in 0..5 {
                let child = waiting_child(libc::CLONE_NEWUSER as u64);
                let opens = opens_to_root_without_capabilities(child.pid());
                crate::launch::end(&child);
                assert!(!opens);
            }
        };
        // Several at once: the flag belongs to all of them.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(look);
            }
        });
        assert_eq!(prctl::get_dumpable().unwrap(), was_dumpable);
    }

    #[test]
    fn a_command_neither_ignores_nor_blocks_what_this_program_does() {
        // SAFETY: no handler; nothing in this test program is waiting for this signal.
        let before = unsafe { libc::signal(libc::SIGWINCH, libc::SIG_IGN) };
        assert_ne!(before, libc::SIG_ERR);
        let mut command = Command::new("grep");
        command.args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
        start_as_part_of_this_thread(&mut command);
        let blocked = SignalsBlocked::new();
        let output = command.output();
        drop(blocked);
        let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
        assert_eq!(said, none);
    }
}

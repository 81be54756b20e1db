//! A runtime under ptrace(2), stopped at its k-th system call: there it is killed, or the call
//! fails with an error number of the test's choice.
//!
//! Counting starts in the program's own `main`: what the dynamic loader and the standard
//! library do before it is not the runtime's.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use testkit::{Residue, Runtime};

/// A command that runs longer than this hangs.
const HANG: Duration = Duration::from_secs(90);

/// Whose system calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The runtime's own. Its children are not traced.
    Runtime,
    /// Those of its children up to their execve(2).
    Children,
    /// Both.
    All,
}

/// What happens at the system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The process is killed before the call.
    Kill,
    /// The call is not made and fails.
    Fail(Errno),
    /// All calls of this number fail with ENOSYS, as on a kernel that lacks it or under a
    /// seccomp filter that hides it.
    Hide(i64),
}

impl Act {
    fn errno(self) -> Option<Errno> {
        match self {
            Self::Kill => None,
            Self::Fail(errno) => Some(errno),
            Self::Hide(_) => Some(Errno::ENOSYS),
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The number of the call that was hit; none if there were fewer calls.
    pub(crate) call: Option<i64>,
    /// Exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<Signal>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    /// Whether it was killed since it did not end by itself.
    pub(crate) hung: bool,
}

impl Outcome {
    /// The call that was hit, for messages.
    pub(crate) fn call_name(&self) -> String {
        match self.call {
            Some(number) => name(number),
            None => "no call".into(),
        }
    }
}

/// Calls that can't fail, or whose failure is not the runtime's to handle: memory, signal
/// masks, its own ids, its end. They are not counted for [`Act::Fail`].
const INFALLIBLE: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_umask,
];

/// A call that a process is about to make: its number, and its second argument.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: i64,
    second: u64,
}

impl Call {
    fn is_counted(self, act: Act) -> bool {
        // The standard library looks at descriptors that it closes, when it is built with its
        // own checks; and a lock that is held can always be let go.
        let checks = [
            (libc::SYS_fcntl, libc::F_GETFD),
            (libc::SYS_flock, libc::LOCK_UN),
        ];
        let is_check = checks.iter().any(|(number, argument)| {
            self.number == *number && Ok(*argument) == i32::try_from(self.second)
        });
        match act {
            // There are 62 in a row, and none changes anything that outlives its process.
            Act::Kill => self.number != libc::SYS_rt_sigaction,
            Act::Fail(_) => !(is_check || INFALLIBLE.contains(&self.number)),
            Act::Hide(number) => self.number == number,
        }
    }
}

/// Runs the command and acts at call number `at`, counted from 1.
///
/// The command's processes are this thread's to wait for, and nobody else's.
pub(crate) fn run(command: &Command, whose: Whose, at: u32, act: Act) -> Outcome {
    let (stdout, stderr) = (unnamed_file(), unnamed_file());
    let main = spawn_stopped(command, &stdout, &stderr);
    let mut options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    if whose != Whose::Runtime {
        options |= Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE;
    }
    ptrace::seize(main, options).expect("a child can be traced");
    kill(main, Signal::SIGCONT).expect("the child is there");
    let (watchdog, ended) = watch(main);
    let mut tracer = Tracer {
        main,
        whose,
        at,
        act,
        count: 0,
        hit: None,
        executed: false,
        active: BTreeSet::new(),
        inside: BTreeMap::new(),
        failing: BTreeSet::new(),
        alive: BTreeSet::from([main]),
    };
    let end = tracer.until_main_has_ended();
    tracer.let_go();
    drop(ended);
    let hung = watchdog.join().expect("the watchdog does not fail");
    let (code, signal) = match end {
        WaitStatus::Exited(_, code) => (Some(code), None),
        WaitStatus::Signaled(_, signal, _) => (None, Some(signal)),
        other => panic!("{other:?} is no end"),
    };
    Outcome {
        call: tracer.hit,
        code,
        signal,
        stdout: text_of(stdout),
        stderr: text_of(stderr),
        hung,
    }
}

/// Kills the process if the sender is not dropped in time; says whether it did.
fn watch(main: Pid) -> (std::thread::JoinHandle<bool>, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let hung = receiver.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout);
        if hung {
            // It has not been waited for, so the number is still its own.
            kill(main, Signal::SIGKILL).ok();
        }
        hung
    });
    (watchdog, sender)
}

/// The command in a shell that stops before it becomes the command, so that it can be seized
/// without code between fork and execve.
fn spawn_stopped(command: &Command, stdout: &File, stderr: &File) -> Pid {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().expect("a descriptor can be duplicated"))
        .stderr(stderr.try_clone().expect("a descriptor can be duplicated"))
        .process_group(0);
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    #[expect(
        clippy::zombie_processes,
        reason = "the tracer waits for it by its number"
    )]
    let child = shell.spawn().expect("there is a shell");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits into an i32"));
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("the child is ours");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    pid
}

/// Checks that nothing is left but what the kernel itself lets go of in its own time: keyrings
/// are looked for once, at the end of a test, since that takes seconds.
pub(crate) fn assert_settled(residue: &Residue, runtime: &Runtime) {
    let started = Instant::now();
    loop {
        let mut left: Vec<String> = residue
            .difference()
            .lines()
            .filter(|line| !line.starts_with("left key"))
            .map(str::to_owned)
            .collect();
        let states = std::fs::read_dir(runtime.root()).expect("the root is there");
        left.extend(states.map(|entry| format!("left state: {entry:?}")));
        if left.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "the host is not as it was: {left:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Tracer {
    main: Pid,
    whose: Whose,
    at: u32,
    act: Act,
    count: u32,
    hit: Option<i64>,
    /// Whether the shell has become the command.
    executed: bool,
    /// Processes whose calls count.
    active: BTreeSet<Pid>,
    /// The call that a process is inside of.
    inside: BTreeMap<Pid, i64>,
    /// Processes whose present call is to fail.
    failing: BTreeSet<Pid>,
    /// Traced processes.
    alive: BTreeSet<Pid>,
}

impl Tracer {
    fn until_main_has_ended(&mut self) -> WaitStatus {
        loop {
            let status = next(None).expect("the command has not ended");
            match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => {
                    self.alive.remove(&pid);
                    if pid == self.main {
                        return status;
                    }
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.at_call(pid);
                    resume(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event),
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
                _ => {}
            }
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_EXEC if pid == self.main => {
                self.executed = true;
                self.active.remove(&pid);
            }
            libc::PTRACE_EVENT_EXEC => {
                // The container's program, or a hook: no longer the runtime.
                self.alive.remove(&pid);
                ptrace::detach(pid, None).ok();
                return;
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let child = ptrace::getevent(pid).expect("the event has a number");
                let child = Pid::from_raw(i32::try_from(child).expect("a pid fits into an i32"));
                self.alive.insert(child);
                self.active.insert(child);
            }
            _ => {}
        }
        resume(pid, None);
    }

    fn at_call(&mut self, pid: Pid) {
        if let Some(call) = self.inside.remove(&pid) {
            if self.failing.remove(&pid)
                && let Some(errno) = self.act.errno()
            {
                set_result(pid, errno);
            }
            if pid == self.main && self.executed && call == libc::SYS_sigaltstack {
                self.active.insert(pid);
            }
            return;
        }
        let Some(call) = present_call(pid) else {
            return;
        };
        self.inside.insert(pid, call.number);
        let ours = match self.whose {
            Whose::Runtime => pid == self.main,
            Whose::Children => pid != self.main,
            Whose::All => true,
        };
        if !ours || !self.active.contains(&pid) || !call.is_counted(self.act) {
            return;
        }
        if self.whose != Whose::Runtime && image(pid) != image(self.main) {
            // The container's program already.
            self.active.remove(&pid);
            return;
        }
        self.count += 1;
        if self.count == self.at || matches!(self.act, Act::Hide(_)) {
            self.hit = Some(call.number);
            match self.act {
                Act::Kill => kill(pid, Signal::SIGKILL).expect("a stopped process is there"),
                Act::Fail(_) | Act::Hide(_) => {
                    self.failing.insert(pid);
                    skip_call(pid);
                }
            }
        }
    }

    /// Lets the processes that are still traced run on by themselves.
    fn let_go(&mut self) {
        for pid in std::mem::take(&mut self.alive) {
            ptrace::interrupt(pid).ok();
            match next(Some(pid)) {
                Err(_) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
                Ok(WaitStatus::Stopped(_, signal)) => {
                    ptrace::detach(pid, signal).ok();
                }
                Ok(_) => {
                    if self.failing.remove(&pid)
                        && let Some(errno) = self.act.errno()
                    {
                        set_result(pid, errno);
                    }
                    ptrace::detach(pid, None).ok();
                }
            }
        }
    }
}

fn next(pid: Option<Pid>) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Err(Errno::EINTR) => {}
            // Real-time signals have no name here.
            Err(Errno::EINVAL) => {}
            status => return status,
        }
    }
}

/// The program that a process executes.
fn image(pid: Pid) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// To the next stop; a process that has been killed meanwhile reports its end.
fn resume(pid: Pid, signal: Option<Signal>) {
    ptrace::syscall(pid, signal).ok();
}

fn present_call(pid: Pid) -> Option<Call> {
    let registers = ptrace::getregs(pid).ok()?;
    Some(Call {
        number: registers.orig_rax.cast_signed(),
        second: registers.rsi,
    })
}

/// The call that the process is about to make has no effect.
fn skip_call(pid: Pid) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.orig_rax = u64::MAX;
        ptrace::setregs(pid, registers).ok();
    }
}

/// The call that the process comes out of has failed with this number.
fn set_result(pid: Pid, errno: Errno) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = (-i64::from(errno as i32)).cast_unsigned();
        ptrace::setregs(pid, registers).ok();
    }
}

fn unnamed_file() -> File {
    tempfile::tempfile().expect("a temporary file can be made")
}

fn text_of(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("a file can be read");
    file.read_to_end(&mut bytes).expect("a file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names of the calls that the runtime makes, for messages.
pub(crate) fn name(number: i64) -> String {
    const NAMES: &[(i64, &str)] = &[
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_pread64, "pread64"),
        (libc::SYS_pwrite64, "pwrite64"),
        (libc::SYS_openat, "openat"),
        (libc::SYS_open, "open"),
        (libc::SYS_openat2, "openat2"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_lstat, "lstat"),
        (libc::SYS_stat, "stat"),
        (libc::SYS_statfs, "statfs"),
        (libc::SYS_fstatfs, "fstatfs"),
        (libc::SYS_readlinkat, "readlinkat"),
        (libc::SYS_readlink, "readlink"),
        (libc::SYS_mkdir, "mkdir"),
        (libc::SYS_mkdirat, "mkdirat"),
        (libc::SYS_rmdir, "rmdir"),
        (libc::SYS_unlink, "unlink"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_rename, "rename"),
        (libc::SYS_renameat, "renameat"),
        (libc::SYS_getdents64, "getdents64"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_lseek, "lseek"),
        (libc::SYS_poll, "poll"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_socket, "socket"),
        (libc::SYS_socketpair, "socketpair"),
        (libc::SYS_bind, "bind"),
        (libc::SYS_listen, "listen"),
        (libc::SYS_connect, "connect"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_sendmsg, "sendmsg"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_recvmsg, "recvmsg"),
        (libc::SYS_recvfrom, "recvfrom"),
        (libc::SYS_clone3, "clone3"),
        (libc::SYS_clone, "clone"),
        (libc::SYS_vfork, "vfork"),
        (libc::SYS_execve, "execve"),
        (libc::SYS_execveat, "execveat"),
        (libc::SYS_waitid, "waitid"),
        (libc::SYS_wait4, "wait4"),
        (libc::SYS_kill, "kill"),
        (libc::SYS_pidfd_open, "pidfd_open"),
        (libc::SYS_pidfd_send_signal, "pidfd_send_signal"),
        (libc::SYS_close_range, "close_range"),
        (libc::SYS_open_tree, "open_tree"),
        (libc::SYS_move_mount, "move_mount"),
        (libc::SYS_fsopen, "fsopen"),
        (libc::SYS_fsconfig, "fsconfig"),
        (libc::SYS_fsmount, "fsmount"),
        (libc::SYS_mount_setattr, "mount_setattr"),
        (libc::SYS_mount, "mount"),
        (libc::SYS_umount2, "umount2"),
        (libc::SYS_pivot_root, "pivot_root"),
        (libc::SYS_fchdir, "fchdir"),
        (libc::SYS_chdir, "chdir"),
        (libc::SYS_setns, "setns"),
        (libc::SYS_unshare, "unshare"),
        (libc::SYS_prctl, "prctl"),
        (libc::SYS_prlimit64, "prlimit64"),
        (libc::SYS_keyctl, "keyctl"),
        (libc::SYS_memfd_create, "memfd_create"),
        (libc::SYS_capset, "capset"),
        (libc::SYS_setgroups, "setgroups"),
        (libc::SYS_setresuid, "setresuid"),
        (libc::SYS_setresgid, "setresgid"),
        (libc::SYS_seccomp, "seccomp"),
        (libc::SYS_sethostname, "sethostname"),
        (libc::SYS_dup3, "dup3"),
        (libc::SYS_mknodat, "mknodat"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchmodat, "fchmodat"),
        (libc::SYS_fchown, "fchown"),
        (libc::SYS_fchownat, "fchownat"),
        (libc::SYS_symlinkat, "symlinkat"),
        (libc::SYS_setsid, "setsid"),
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_uname, "uname"),
        (libc::SYS_getsockopt, "getsockopt"),
    ];
    let found = NAMES.iter().find(|(known, _)| *known == number);
    found.map_or_else(
        || format!("system call {number}"),
        |(_, name)| (*name).to_owned(),
    )
}

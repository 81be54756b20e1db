//! Runs hand-written steps in new namespaces of the real kernel, and a script at their end.
//!
//! A [`Root`] is a small root filesystem with busybox; a [`Scene`] puts steps around it, starts
//! them by clone3 from this program of many threads, plays the parent, and collects what came of
//! it. Without root everything happens in a user namespace.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    unreachable_pub,
    reason = "the kit is a module of several test programs"
)]
#![allow(missing_debug_implementations, reason = "nobody prints the kit")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "tests end by a panic, and say aloud what they skip"
)]

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};
use runtime_init::{
    Attributes, Call, CloneArgs, Cloned, Exec, Failure, Gate, Message, Mount, Phase, Program,
    Source, Step, clone3, run,
};

pub const NEWNS: u64 = 0x0002_0000;
pub const NEWCGROUP: u64 = 0x0200_0000;
pub const NEWUTS: u64 = 0x0400_0000;
pub const NEWIPC: u64 = 0x0800_0000;
pub const NEWUSER: u64 = 0x1000_0000;
pub const NEWPID: u64 = 0x2000_0000;
pub const NEWNET: u64 = 0x4000_0000;

const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// A C string for the rest of the program.
pub fn c(text: impl Into<Vec<u8>>) -> &'static CStr {
    Box::leak(CString::new(text).unwrap().into_boxed_c_str())
}

/// Bytes, steps or whatever else for the rest of the program.
pub fn keep<T: Clone>(items: &[T]) -> &'static [T] {
    Box::leak(items.to_vec().into_boxed_slice())
}

/// A NULL-terminated array of C strings.
pub fn array(texts: &[&str]) -> &'static [*const c_char] {
    let pointers = texts.iter().map(|text| c(*text).as_ptr());
    Box::leak(pointers.chain([std::ptr::null()]).collect())
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// A seccomp filter that lets these system calls fail with this errno, and allows all others.
pub fn refusing(calls: &[libc::c_long], errno: i32) -> &'static [libc::sock_filter] {
    const RETURN_ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code.try_into().unwrap(),
        jt: 0,
        jf: 0,
        k,
    };
    let refused = |call: &libc::c_long| {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let jump = statement(equal, (*call).try_into().unwrap());
        let jump = libc::sock_filter { jf: 1, ..jump };
        [
            jump,
            statement(libc::BPF_RET, RETURN_ERRNO | errno.cast_unsigned()),
        ]
    };
    // The number of the call is the first word of what a filter sees.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    program.extend(calls.iter().flat_map(refused));
    program.push(statement(libc::BPF_RET, ALLOW));
    keep(&program)
}

/// Lets this whole test program, and what it starts, ignore a signal.
pub fn ignore_signal(signal: i32) {
    // SAFETY: no code of ours is called for it.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Whether a test that needs root can run; a test that can't says so, and fails where skips are
/// not allowed.
pub fn can_be_root(test: &str) -> bool {
    if !is_root() {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "{test} needs root"
        );
        println!("SKIPPED {test}: needs root");
    }
    is_root()
}

/// A new tmpfs on `target`.
pub fn tmpfs(target: &str) -> Mount<'static> {
    Mount {
        source: Source::Filesystem {
            kind: c"tmpfs",
            device: Some(c"tmpfs"),
            options: &[],
        },
        target: c(target),
        refuse_links: false,
        inside_proc: false,
        source_is_procfs: false,
        attributes: Attributes::default(),
        recursive: Attributes::default(),
        propagation: &[],
        copy_up: false,
    }
}

/// A new procfs on `target`.
pub fn proc(target: &str) -> Mount<'static> {
    let source = Source::Filesystem {
        kind: c"proc",
        device: Some(c"proc"),
        options: &[],
    };
    Mount {
        source,
        ..tmpfs(target)
    }
}

/// A copy of a tree of the host's on `target`.
pub fn bind(path: impl AsRef<Path>, target: &str) -> Mount<'static> {
    let path = c(path.as_ref().to_str().unwrap());
    Mount {
        source: Source::Bind {
            path,
            recursive: true,
        },
        ..tmpfs(target)
    }
}

/// A root filesystem with a shell.
pub struct Root {
    directory: tempfile::TempDir,
}

impl Root {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Self { directory };
        root.dir("bin");
        root.install(Path::new("/bin/busybox"), "bin/busybox");
        for applet in "cat cut grep head id ls mkdir readlink sh sleep stat touch tr tty".split(' ')
        {
            root.link("busybox", &format!("bin/{applet}"));
        }
        root
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn c_path(&self) -> &'static CStr {
        c(self.directory.path().to_str().unwrap())
    }

    pub fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    pub fn file(&self, path: &str, content: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
        self
    }

    /// Copies an executable, in another process: a descriptor to write it, inherited by a child
    /// of some other test, would make execve(2) fail with ETXTBSY.
    pub fn install(&self, from: &Path, path: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        let mut install = std::process::Command::new("install");
        let status = install
            .arg("-m755")
            .arg(from)
            .arg(self.path(path))
            .status()
            .unwrap();
        assert!(status.success(), "{} is not there", from.display());
        self
    }

    pub fn script(&self, path: &str, content: &str) -> &Self {
        let source = tempfile::NamedTempFile::new().unwrap();
        fs::write(source.path(), content).unwrap();
        self.install(source.path(), path)
    }

    pub fn link(&self, text: &str, path: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        symlink(text, self.path(path)).unwrap();
        self
    }

    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// New mount and pid namespaces around this root.
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            root: self,
            flags: NEWNS | NEWPID,
            first: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            argv: Vec::new(),
            propagation: libc::MS_SLAVE | libc::MS_REC,
            pivots: true,
        }
    }

    /// The same, where the last of these steps enters the rootfs, and not PivotRoot.
    pub fn scene_entered_by(&self, steps: &[Step<'static>]) -> Scene<'_> {
        Scene {
            pivots: false,
            ..self.scene()
        }
        .before(steps)
    }
}

/// What a test does in a [`Root`].
pub struct Scene<'r> {
    root: &'r Root,
    flags: u64,
    first: Vec<Step<'static>>,
    before: Vec<Step<'static>>,
    after: Vec<Step<'static>>,
    argv: Vec<String>,
    propagation: u64,
    pivots: bool,
}

impl Scene<'_> {
    /// Further namespaces.
    pub fn flags(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }

    /// What the mounts' propagation is set to at first.
    pub fn propagation(mut self, flags: u64) -> Self {
        self.propagation = flags;
        self
    }

    /// Steps before anything else.
    pub fn first(mut self, steps: &[Step<'static>]) -> Self {
        self.first.extend_from_slice(steps);
        self
    }

    /// Steps before the pivot.
    pub fn before(mut self, steps: &[Step<'static>]) -> Self {
        self.before.extend_from_slice(steps);
        self
    }

    /// Steps after the pivot.
    pub fn after(mut self, steps: &[Step<'static>]) -> Self {
        self.after.extend_from_slice(steps);
        self
    }

    /// Runs the steps and then a shell script in the root.
    pub fn run(mut self, script: &str) -> Outcome {
        self.argv = ["/bin/busybox", "sh", "-c", script]
            .map(String::from)
            .to_vec();
        self.start()
    }

    /// Runs the steps and then this program.
    pub fn exec(mut self, argv: &[&str]) -> Outcome {
        self.argv = argv.iter().map(ToString::to_string).collect();
        self.start()
    }

    fn start(self) -> Outcome {
        let in_user_namespace = !is_root() || self.flags & NEWUSER != 0;
        let mut steps = Vec::new();
        let mut flags = self.flags;
        if in_user_namespace {
            flags |= NEWUSER;
            steps.extend([
                Step::Tell(Phase::NeedsIds),
                Step::Await(Gate::IdsMapped),
                Step::BecomeRoot {
                    set_groups: is_root(),
                },
            ]);
        }
        steps.extend(self.first);
        steps.push(Step::RootPropagation(self.propagation));
        steps.push(Step::BindRootfs(self.root.c_path()));
        steps.extend(self.before);
        if self.pivots {
            steps.push(Step::PivotRoot);
        }
        steps.extend(self.after);
        let argv: Vec<&str> = self.argv.iter().map(String::as_str).collect();
        steps.push(Step::FindProgram(keep(&[c(argv[0])])));
        let envp = array(&["PATH=/bin"]);
        steps.push(Step::Exec(Exec {
            argv: array(&argv),
            envp,
        }));
        run_steps(flags, &steps)
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code, or the negated signal.
    pub exit: i32,
    /// Standard output and standard error.
    pub output: String,
    pub phases: Vec<u16>,
    pub failure: Option<Reported>,
}

#[derive(Debug)]
pub struct Reported {
    pub step: u16,
    pub call: Call,
    pub code: i32,
    pub text: String,
}

impl Outcome {
    /// The output of a script that ended well.
    #[track_caller]
    pub fn output(self) -> String {
        assert!(self.failure.is_none() && self.exit == 0, "{self:?}");
        self.output
    }

    /// The call that failed, and why; the child has ended with status 1.
    #[track_caller]
    pub fn failure(self) -> Failure {
        let Some(reported) = &self.failure else {
            panic!("nothing failed: {self:?}")
        };
        assert_eq!(self.exit, 1, "{self:?}");
        Failure {
            call: reported.call,
            code: reported.code,
        }
    }
}

/// A failure to compare with.
pub fn failure(call: Call, code: i32) -> Failure {
    Failure { call, code }
}

/// Runs steps in a child of these namespaces and plays its parent until it has ended.
pub fn run_steps(flags: u64, steps: &[Step<'_>]) -> Outcome {
    let (mut output, write) = pipe();
    let null = fs::File::open("/dev/null").unwrap();
    let streams = [null.as_raw_fd(), write.as_raw_fd(), write.as_raw_fd()];
    let mut all = vec![Step::Stdio(streams)];
    all.extend_from_slice(steps);

    let child = start(flags, &all);
    drop(write);
    let mut conversation = Conversation::default();
    let pid = conversation.play(&child);
    let mut text = Vec::new();
    output.read_to_end(&mut text).unwrap();
    let exit = wait(pid);
    Outcome {
        exit,
        output: String::from_utf8_lossy(&text).into_owned(),
        phases: conversation.phases,
        failure: conversation.failure,
    }
}

fn pipe() -> (fs::File, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    (read.into(), write)
}

/// A child that has been cloned and runs its steps.
pub struct Child {
    pub pid: i32,
    pub sync: OwnedFd,
}

/// clone3 and `run`, as the library's parent does it.
pub fn start(flags: u64, steps: &[Step<'_>]) -> Child {
    start_keeping(flags, steps, None)
}

/// The same for a child that closes all descriptors but what it needs itself, so that it holds
/// no copy of the end that its parent closes.
pub fn start_alone(flags: u64, steps: &[Step<'_>]) -> Child {
    start_keeping(flags, steps, Some(&[0, 1, 2]))
}

fn start_keeping(flags: u64, steps: &[Step<'_>], kept: Option<&[RawFd]>) -> Child {
    let (parent, child) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    let proc = fs::File::open("/proc").unwrap();
    let mut all: Vec<RawFd> = kept.unwrap_or_default().to_vec();
    all.extend([child.as_raw_fd(), proc.as_raw_fd()]);
    all.sort_unstable();
    let steps = match kept {
        Some(_) => &[&[Step::KeepOnly(&all)], steps].concat(),
        None => steps,
    };
    let program = Program {
        steps,
        sync: child.as_raw_fd(),
        proc: proc.as_raw_fd(),
    };
    let args = CloneArgs {
        flags: flags | CLEAR_SIGHAND,
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        ..CloneArgs::default()
    };
    // SAFETY: no CLONE_VM, no stack, no pidfd; the child calls nothing but `run`.
    match unsafe { clone3(&args) }.expect("clone3") {
        Cloned::Child => run(&program),
        Cloned::Parent { pid } => Child { pid, sync: parent },
    }
}

pub fn wait(pid: i32) -> i32 {
    match waitpid(Pid::from_raw(pid), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => -(signal as i32),
        other => panic!("{other:?}"),
    }
}

/// What the child has said.
#[derive(Default)]
pub struct Conversation {
    pub phases: Vec<u16>,
    pub failure: Option<Reported>,
}

impl Conversation {
    /// Answers until the child's end is closed: the pid of the process that went on last.
    fn play(&mut self, child: &Child) -> i32 {
        let mut pid = child.pid;
        while let Some((message, text)) = receive(child.sync.as_fd().as_raw_fd()) {
            match message.kind {
                Message::PHASE => {
                    self.phases.push(message.subject);
                    answer(child, pid, message.subject);
                }
                Message::RESPAWNED => {
                    assert_eq!(wait(pid), 0);
                    pid = message.code;
                }
                Message::FAILURE => {
                    self.failure = Some(Reported {
                        step: message.subject,
                        call: Call::from_number(message.call).unwrap(),
                        code: message.code,
                        text,
                    });
                }
                kind => panic!("a message of kind {kind}"),
            }
        }
        pid
    }
}

pub fn receive(socket: RawFd) -> Option<(Message, String)> {
    let mut bytes = [0; 512];
    let length = recv(socket, &mut bytes, MsgFlags::empty()).unwrap_or(0);
    if length == 0 {
        return None;
    }
    let message = Message::from_bytes(&bytes[..length]).unwrap();
    let text = String::from_utf8_lossy(&bytes[Message::SIZE..length]).into_owned();
    Some((message, text))
}

fn answer(child: &Child, pid: i32, phase: u16) {
    if phase == Phase::NeedsIds as u16 {
        map_ids(pid);
        open_gate(child, Gate::IdsMapped);
    } else if phase == Phase::Joined as u16 {
        open_gate(child, Gate::HooksDone);
    } else if phase == Phase::Ready as u16 {
        open_gate(child, Gate::Committed);
    }
}

pub fn open_gate(child: &Child, gate: Gate) {
    let message = Message {
        kind: Message::GATE,
        subject: gate as u16,
        call: 0,
        reserved: 0,
        code: 0,
    };
    // A child that has failed meanwhile is no longer there.
    send(
        child.sync.as_raw_fd(),
        &message.to_bytes(),
        MsgFlags::MSG_NOSIGNAL,
    )
    .ok();
}

/// Root inside: every id for root outside, else only the caller's.
pub fn map_ids(pid: i32) {
    let directory = Path::new("/proc").join(pid.to_string());
    let (uid, gid) = (Uid::effective(), nix::unistd::Gid::effective());
    if is_root() {
        fs::write(directory.join("uid_map"), "0 0 65536").unwrap();
        fs::write(directory.join("gid_map"), "0 0 65536").unwrap();
    } else {
        fs::write(directory.join("setgroups"), "deny").unwrap();
        fs::write(directory.join("uid_map"), format!("0 {uid} 1")).unwrap();
        fs::write(directory.join("gid_map"), format!("0 {gid} 1")).unwrap();
    }
}

/// A descriptor of ours as the child will have it.
pub fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller has just got this descriptor and gives it up.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

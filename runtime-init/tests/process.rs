//! The process: identity, confinement, working directory, descriptors, start.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::ffi::CStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kit::{Outcome, Root, c, can_be_root, failure, keep, proc};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use runtime_init::{Call, CapabilityMasks, Message, Phase, Step};

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

fn status(root: &Root, steps: &[Step<'static>], fields: &str) -> Outcome {
    let script = format!("grep -E '^({fields}):' /proc/self/status | tr -s '\\t' ' '");
    root.scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(steps)
        .run(&script)
}

#[test]
fn a_user_keeps_exactly_the_capabilities_it_is_given() {
    if !can_be_root("a_user_keeps_exactly_the_capabilities_it_is_given") {
        return;
    }
    let root = Root::new();
    let three = CHOWN | KILL | NET_RAW;
    let masks = CapabilityMasks {
        effective: CHOWN | KILL,
        permitted: three,
        inheritable: KILL | NET_RAW,
        ambient: KILL | NET_RAW,
    };
    let steps = [
        Step::BoundingSet(three),
        Step::Groups(&[5, 6]),
        Step::User {
            uid: 1000,
            gid: 1001,
        },
        Step::Capabilities(masks),
    ];
    let output = status(&root, &steps, "Uid|Gid|Groups|Cap...").output();
    // execve(2) of an ordinary file leaves a user its ambient capabilities.
    let expected = "Uid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 5 6 \n\
         CapInh: 0000000000002020\nCapPrm: 0000000000002020\nCapEff: 0000000000002020\n\
         CapBnd: 0000000000002021\nCapAmb: 0000000000002020\n";
    assert_eq!(output, expected);
}

#[test]
fn a_user_without_capabilities_has_none() {
    let root = Root::new();
    let steps = [
        Step::BoundingSet(0),
        Step::Capabilities(CapabilityMasks::default()),
    ];
    let output = status(&root, &steps, "Cap...").output();
    assert_eq!(output.matches("0000000000000000").count(), 5, "{output}");
}

#[test]
fn an_ambient_capability_needs_an_inheritable_one() {
    let root = Root::new();
    let masks = CapabilityMasks {
        effective: KILL,
        permitted: KILL,
        inheritable: 0,
        ambient: KILL,
    };
    let failed = status(&root, &[Step::Capabilities(masks)], "Cap...").failure();
    assert_eq!(failed, failure(Call::CapAmbient, libc::EPERM));
}

#[test]
fn a_capability_that_was_dropped_does_not_come_back() {
    let root = Root::new();
    let all = CapabilityMasks {
        effective: KILL,
        permitted: KILL,
        ..Default::default()
    };
    let steps = [
        Step::Capabilities(CapabilityMasks::default()),
        Step::Capabilities(all),
    ];
    let failed = status(&root, &steps, "Cap...").failure();
    assert_eq!(failed, failure(Call::Capset, libc::EPERM));
}

#[test]
fn no_new_privileges_is_a_flag_of_the_process() {
    let root = Root::new();
    let output = status(&root, &[Step::NoNewPrivileges], "NoNewPrivs").output();
    assert_eq!(output, "NoNewPrivs: 1\n");
}

/// The system calls that make a directory, on this architecture.
#[cfg(target_arch = "x86_64")]
const MKDIR: &[libc::c_long] = &[libc::SYS_mkdir, libc::SYS_mkdirat];
#[cfg(not(target_arch = "x86_64"))]
const MKDIR: &[libc::c_long] = &[libc::SYS_mkdirat];

#[test]
fn a_filter_is_in_force_in_the_program() {
    let root = Root::new();
    let steps = [
        Step::NoNewPrivileges,
        Step::Seccomp {
            program: kit::refusing(MKDIR, libc::EXDEV),
            flags: 0,
        },
    ];
    let script = "mkdir /d 2>&1; grep '^Seccomp:' /proc/self/status";
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&steps)
        .run(script);
    let output = outcome.output();
    assert!(output.contains("Invalid cross-device link"), "{output}");
    assert!(output.ends_with("Seccomp:\t2\n"), "{output}");
}

#[test]
fn a_filter_that_is_no_program_fails() {
    let root = Root::new();
    let steps = [
        Step::NoNewPrivileges,
        Step::Seccomp {
            program: &[],
            flags: 0,
        },
    ];
    let failed = root.scene().after(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Seccomp, libc::EINVAL));
}

#[test]
fn the_working_directory_is_entered_and_made_on_demand() {
    let root = Root::new();
    let enter = |path, create| Step::WorkingDirectory { path, create };
    let run = |step| root.scene().after(&[step]).run("pwd");
    assert_eq!(run(enter(c"/bin", false)).output(), "/bin\n");
    let missing = run(enter(c"/a/b", false)).failure();
    assert_eq!(missing, failure(Call::Chdir, libc::ENOENT));
    assert_eq!(run(enter(c"/a/b", true)).output(), "/a/b\n");
    let file = run(enter(c"/bin/busybox", false)).failure();
    assert_eq!(file, failure(Call::Chdir, libc::ENOTDIR));
}

#[test]
fn a_descriptor_of_the_host_is_no_working_directory() {
    let root = Root::new();
    let host = fs::File::open("/").unwrap();
    let path = c(format!("/proc/self/fd/{}", host.as_raw_fd()));
    let steps = [Step::WorkingDirectory {
        path,
        create: false,
    }];
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&steps)
        .run("ls");
    assert_eq!(outcome.failure(), failure(Call::Chdir, libc::ELOOP));
}

#[test]
fn a_directory_that_the_root_does_not_reach_is_found_out() {
    let root = Root::new();
    root.dir("removed");
    let state = fs::File::open("/dev/null").unwrap();
    let hook = |script| runtime_init::Hook {
        path: c"/bin/sh",
        argv: kit::array(&["sh", "-c", script]),
        envp: kit::array(&[]),
        timeout_ms: 60_000,
        state: state.as_raw_fd(),
        output: 2,
    };
    let enter = |path| Step::WorkingDirectory {
        path,
        create: false,
    };
    let run = |first, script| {
        let steps = [enter(first), Step::Hook(hook(script)), enter(c".")];
        let before = [Step::Mount(kit::tmpfs("/unmounted"))];
        root.scene()
            .before(&before)
            .after(&steps)
            .run("true")
            .failure()
    };
    let outside = failure(Call::OutsideRoot, libc::ENOENT);
    assert_eq!(
        run(c"/removed", "cd /; /bin/busybox rmdir /removed"),
        outside
    );
    assert_eq!(
        run(c"/unmounted", "cd /; /bin/busybox umount -l /unmounted"),
        outside
    );
}

#[test]
fn a_program_that_is_not_there_or_not_executable_is_told_apart() {
    let root = Root::new();
    root.file("plain", "#!/bin/sh\n")
        .dir("directory")
        .file("odd", "");
    let run = |candidates: &[&'static CStr]| {
        let steps = [Step::FindProgram(keep(candidates))];
        root.scene().after(&steps).run("true").failure().code
    };
    assert_eq!(run(&[c"/missing"]), libc::ENOENT);
    assert_eq!(run(&[c"/plain"]), libc::EACCES);
    assert_eq!(run(&[c"/directory"]), libc::EISDIR);
    assert_eq!(run(&[c"/plain/below"]), libc::ENOTDIR);
    assert_eq!(run(&[c"/missing", c"/plain", c"/directory"]), libc::EACCES);
    assert_eq!(run(&[]), libc::ENOENT);
}

#[test]
fn the_first_candidate_that_may_be_executed_is_started() {
    let root = Root::new();
    root.file("first/x", "").dir("second/x");
    root.script("third/x", "#!/bin/sh\necho third\n")
        .script("fourth/x", "#!/bin/sh\necho no\n");
    let candidates = keep(&[c"/first/x", c"/second/x", c"/third/x", c"/fourth/x"]);
    let mut steps = vec![
        Step::RootPropagation(libc::MS_SLAVE | libc::MS_REC),
        Step::BindRootfs(root.c_path()),
        Step::PivotRoot,
        Step::FindProgram(candidates),
    ];
    let (argv, envp) = (kit::array(&["x"]), kit::array(&[]));
    steps.push(Step::Exec(runtime_init::Exec { argv, envp }));
    if kit::is_root() {
        assert_eq!(kit::run_steps(kit::NEWNS, &steps).output(), "third\n");
    }
}

#[test]
fn a_program_that_the_kernel_refuses_is_told_with_its_errno() {
    let root = Root::new();
    root.script("crlf", "#!/bin/sh\r\necho\r\n")
        .script("garbage", "\x01\x02");
    assert_eq!(
        root.scene().exec(&["/crlf"]).failure(),
        failure(Call::Execve, libc::ENOENT)
    );
    assert_eq!(
        root.scene().exec(&["/garbage"]).failure(),
        failure(Call::Execve, libc::ENOEXEC)
    );
}

#[test]
fn phases_are_told_and_gates_waited_for() {
    let root = Root::new();
    let outcome = root
        .scene()
        .before(&[
            Step::Tell(Phase::Joined),
            Step::Await(runtime_init::Gate::HooksDone),
        ])
        .after(&[
            Step::Tell(Phase::Ready),
            Step::Await(runtime_init::Gate::Committed),
            Step::Tell(Phase::Executing),
        ])
        .run("echo $0");
    let told = [
        Phase::Joined as u16,
        Phase::Ready as u16,
        Phase::Executing as u16,
    ];
    assert!(outcome.phases.ends_with(&told), "{outcome:?}");
    assert_eq!(outcome.output(), "sh\n");
}

#[test]
fn another_gate_than_the_awaited_one_fails() {
    let root = Root::new();
    let steps = [
        Step::Tell(Phase::Joined),
        Step::Await(runtime_init::Gate::Committed),
    ];
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Receive, libc::EPROTO));
}

#[test]
fn a_parent_that_goes_ends_the_child_without_a_word() {
    let child = kit::start_alone(0, &[Step::Await(runtime_init::Gate::Committed)]);
    let pid = child.pid;
    drop(child);
    assert_eq!(kit::wait(pid), 1);
}

/// A listening socket below `directory`, and the address to find it at.
fn listening(directory: &std::path::Path) -> (std::os::fd::OwnedFd, UnixAddr) {
    let family = AddressFamily::Unix;
    let listener = socket(family, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new(&directory.join("start")).unwrap();
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    (listener, address)
}

fn connected(address: &UnixAddr) -> std::os::fd::OwnedFd {
    let family = AddressFamily::Unix;
    let starter = socket(family, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(starter.as_raw_fd(), address).unwrap();
    starter
}

#[test]
fn whoever_starts_the_container_hears_how_it_went() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, address) = listening(directory.path());
    let start = |program: &'static str| {
        let steps = [
            Step::AwaitStart(listener.as_raw_fd()),
            Step::FindProgram(keep(&[c("/bin/sh")])),
            Step::Tell(Phase::Executing),
            Step::FindProgram(keep(&[c(program)])),
            Step::Exec(runtime_init::Exec {
                argv: kit::array(&["sh", "-c", "exit 5"]),
                envp: kit::array(&[]),
            }),
        ];
        let child = kit::start(0, &steps);
        let starter = connected(&address);
        let executing = kit::receive(starter.as_raw_fd()).unwrap().0;
        assert_eq!(
            (executing.kind, executing.subject),
            (Message::PHASE, Phase::Executing as u16)
        );
        let then = kit::receive(starter.as_raw_fd()).map(|(message, _)| message);
        (then, kit::wait(child.pid))
    };
    assert_eq!(start("/bin/sh"), (None, 5));
    let (failed, exit) = start("/no/such/program");
    let failed = failed.unwrap();
    assert_eq!(exit, 1);
    assert_eq!(
        (failed.kind, failed.subject, failed.code),
        (Message::FAILURE, 3, libc::ENOENT)
    );
}

#[test]
fn a_starter_that_leaves_at_once_does_not_keep_the_program_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, address) = listening(directory.path());
    let steps = [
        Step::AwaitStart(listener.as_raw_fd()),
        // Long enough for the other end to be closed.
        Step::Hook(runtime_init::Hook {
            path: c"/bin/sh",
            argv: kit::array(&["sh", "-c", "sleep 0.3"]),
            envp: kit::array(&["PATH=/bin:/usr/bin"]),
            timeout_ms: 60_000,
            state: fs::File::open("/dev/null")
                .map(std::os::fd::IntoRawFd::into_raw_fd)
                .unwrap(),
            output: 2,
        }),
        Step::Tell(Phase::Executing),
        Step::FindProgram(keep(&[c"/bin/sh"])),
        Step::Exec(runtime_init::Exec {
            argv: kit::array(&["sh", "-c", "exit 6"]),
            envp: kit::array(&[]),
        }),
    ];
    let child = kit::start(0, &steps);
    drop(connected(&address));
    assert_eq!(kit::wait(child.pid), 6);
}

#[test]
fn only_the_kept_descriptors_are_left() {
    let root = Root::new();
    let leak = fs::File::open("/").unwrap();
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&[Step::CloseOnExecFrom(3)])
        .run("ls /proc/self/fd | tr '\\n' ' '");
    assert_eq!(outcome.output(), "0 1 2 3 ");
    drop(leak);
}

#[test]
fn everything_but_a_list_is_closed() {
    // The kit's streams come first, so this is what a child looks like that has kept some.
    let null = fs::File::open("/dev/null").unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    // SAFETY: F_DUPFD makes a descriptor of its own, which lives as long as the test.
    let high = unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD, 700) };
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open() > 4);
    let directory = tempfile::tempdir().unwrap();
    let script = format!("ls /proc/self/fd > {}/list", directory.path().display());
    let mut kept = [0, 1, 2, high, write.as_raw_fd()];
    kept.sort_unstable();
    let steps = [
        Step::KeepOnly(&kept),
        Step::Stdio([high, write.as_raw_fd(), write.as_raw_fd()]),
        Step::FindProgram(keep(&[c"/bin/sh"])),
        Step::Exec(runtime_init::Exec {
            argv: kit::array(&["sh", "-c", &script]),
            envp: kit::array(&["PATH=/bin:/usr/bin"]),
        }),
    ];
    let child = kit::start(0, &steps);
    drop(write);
    assert_eq!(kit::wait(child.pid), 0);
    std::io::Read::read_to_end(&mut read, &mut Vec::new()).unwrap();
    let list = fs::read_to_string(directory.path().join("list")).unwrap();
    assert_eq!(
        list.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3", "700"]
    );
    drop(kit::owned(high));
}

#[test]
fn streams_may_come_in_any_order() {
    let file = tempfile::tempdir().unwrap();
    let open = |name| fs::File::create(file.path().join(name)).unwrap();
    let [a, b] = [open("a"), open("b")];
    let steps = [
        Step::Stdio([0, a.as_raw_fd(), b.as_raw_fd()]),
        // Output and errors change places.
        Step::Stdio([0, 2, 1]),
        Step::FindProgram(keep(&[c"/bin/sh"])),
        Step::Exec(runtime_init::Exec {
            argv: kit::array(&["sh", "-c", "echo out; echo err >&2"]),
            envp: kit::array(&[]),
        }),
    ];
    let child = kit::start(0, &steps);
    assert_eq!(kit::wait(child.pid), 0);
    let read = |name| fs::read_to_string(file.path().join(name)).unwrap();
    assert_eq!((read("a").as_str(), read("b").as_str()), ("err\n", "out\n"));
}

#[test]
fn a_descriptor_that_is_passed_on_is_the_programs_too() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name| fs::File::create(directory.path().join(name)).unwrap();
    let [passed, other] = [open("passed"), open("other")];
    let [fd, other_fd] = [passed.as_raw_fd(), other.as_raw_fd()];
    let script = format!("echo here >/proc/self/fd/{fd}; test ! -e /proc/self/fd/{other_fd}");
    let steps = [
        Step::PassOn(keep(&[fd])),
        Step::FindProgram(keep(&[c"/bin/sh"])),
        Step::Exec(runtime_init::Exec {
            argv: kit::array(&["sh", "-c", &script]),
            envp: kit::array(&[]),
        }),
    ];
    let child = kit::start(0, &steps);
    assert_eq!(kit::wait(child.pid), 0);
    let said = fs::read_to_string(directory.path().join("passed")).unwrap();
    assert_eq!(said, "here\n");
}

#[test]
fn standard_streams_go_to_the_user_but_dev_null_does_not() {
    if !can_be_root("standard_streams_go_to_the_user_but_dev_null_does_not") {
        return;
    }
    let root = Root::new();
    let null = fs::metadata("/dev/null").unwrap().uid();
    let steps = [Step::OwnStdio { uid: 1234 }];
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&steps)
        .run("stat -L -c %u /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2");
    assert_eq!(outcome.output(), format!("{null}\n1234\n1234\n"));
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), null);
}

#[test]
fn the_umask_is_the_callers_unless_a_step_says_one() {
    let root = Root::new();
    let mine = fs::read_to_string("/proc/self/status").unwrap();
    let mine = mine
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"))
        .unwrap();
    assert_eq!(root.scene().run("umask").output(), format!("{mine}\n"));
    let outcome = root
        .scene()
        .after(&[Step::Umask(0o027)])
        .run("umask; touch /f");
    assert_eq!(outcome.output(), "0027\n");
    let mode = fs::metadata(root.path("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_personality_is_that_of_the_program() {
    let root = Root::new();
    let steps = [Step::Personality(0x0004_0000)];
    let script = "read value < /proc/self/personality; echo $value";
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&steps)
        .run(script);
    assert_eq!(outcome.output(), "00040000\n");
}

#[test]
fn a_label_is_written_only_to_the_file_that_was_opened() {
    let root = Root::new();
    let missing = root
        .scene()
        .before(&[Step::OpenLsmLabel(c"no-such-module/exec")])
        .run("true");
    assert_eq!(missing.failure(), failure(Call::Open, libc::ENOENT));
    let unopened = root.scene().before(&[Step::LsmLabel(b"label")]).run("true");
    assert_eq!(unopened.failure(), failure(Call::Write, libc::EBADF));
}

#[test]
fn an_undumpable_child_is_closed_to_others() {
    let child = kit::start_alone(
        0,
        &[
            Step::Undumpable,
            Step::Tell(Phase::Joined),
            Step::Await(runtime_init::Gate::HooksDone),
        ],
    );
    assert!(kit::receive(child.sync.as_raw_fd()).is_some());
    let directory = fs::metadata(format!("/proc/{}/environ", child.pid)).unwrap();
    // Its files are root's, whoever runs it.
    assert_eq!(directory.uid(), 0);
    let opened = fs::File::open(format!("/proc/{}/environ", child.pid));
    assert_eq!(opened.is_ok(), kit::is_root());
    let pid = child.pid;
    drop(child);
    assert_eq!(kit::wait(pid), 1);
}

//! Linux 5.10 and 5.11 lack mount_setattr(2) and CLOSE_RANGE_CLOEXEC; a filter that hides them
//! shows what a container is there.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use kit::{NEWUSER, Outcome, Root, bind, failure, proc, refusing, tmpfs};
use runtime_init::{Attributes, Call, Mount, Step};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const NOATIME: u64 = 0x10;

fn set(set: u64) -> Attributes {
    Attributes { set, clear: 0 }
}

/// Runs where the kernel has no mount_setattr.
fn run(root: &Root, flags: u64, steps: &[Step<'static>], script: &str) -> Outcome {
    let program = refusing(&[libc::SYS_mount_setattr], libc::ENOSYS);
    let first = [Step::Seccomp { program, flags: 0 }, Step::Umask(0o022)];
    let mut before = vec![Step::Mount(proc("/proc"))];
    before.extend_from_slice(steps);
    let options = "options() { grep \" $1 \" /proc/self/mountinfo | cut -d' ' -f6-7; };";
    root.scene()
        .flags(flags)
        .first(&first)
        .before(&before)
        .run(&format!("{options} {script}"))
}

#[test]
fn a_bind_mount_gets_its_attributes_and_keeps_others() {
    let root = Root::new();
    let source = Mount {
        attributes: set(NOSUID | NODEV),
        ..tmpfs("/source")
    };
    let copy = Mount {
        attributes: set(RDONLY | NOEXEC),
        ..bind(root.path("source"), "/copy")
    };
    let steps = [Step::Mount(source), Step::Mount(copy)];
    let script = "options /source; options /copy; touch /copy/x 2>&- || echo refused";
    for flags in [0, NEWUSER] {
        let output = run(&root, flags, &steps, script).output();
        assert_eq!(
            output,
            "rw,nosuid,nodev,relatime -\nro,nosuid,nodev,noexec,relatime -\nrefused\n"
        );
    }
}

#[test]
fn a_mount_that_is_there_changes_its_attributes() {
    let root = Root::new();
    let first = Mount {
        attributes: set(NOSUID | NOEXEC | NOATIME),
        ..tmpfs("/t")
    };
    let change = Attributes {
        set: RDONLY,
        clear: NOEXEC | 0x70,
    };
    let source = runtime_init::Source::Existing;
    let second = Mount {
        source,
        attributes: change,
        ..tmpfs("/t")
    };
    let steps = [Step::Mount(first), Step::Mount(second)];
    assert_eq!(
        run(&root, 0, &steps, "options /t").output(),
        "ro,nosuid,relatime -\n"
    );
}

#[test]
fn read_only_paths_and_roots_are() {
    let root = Root::new();
    root.dir("d");
    let steps = [
        Step::ReadonlyPath(c"/d"),
        Step::Mount(tmpfs("/t")),
        Step::ReadonlyRootfs,
    ];
    let script = "touch /d/x 2>&- || echo path; touch /x 2>&- || echo root; touch /t/x && echo t";
    for flags in [0, NEWUSER] {
        assert_eq!(
            run(&root, flags, &steps, script).output(),
            "path\nroot\nt\n"
        );
    }
}

#[test]
fn a_copied_up_filesystem_becomes_read_only_at_last() {
    let root = Root::new();
    root.file("var/x", "kept");
    let mount = Mount {
        copy_up: true,
        attributes: set(RDONLY),
        ..tmpfs("/var")
    };
    let script = "cat /var/x; touch /var/y 2>&- || echo refused";
    let outcome = run(&root, 0, &[Step::Mount(mount)], script);
    assert_eq!(outcome.output(), "keptrefused\n");
}

#[test]
fn propagation_is_set() {
    let root = Root::new();
    let mount = Mount {
        propagation: &[libc::MS_SHARED | libc::MS_REC],
        ..tmpfs("/t")
    };
    let output = run(&root, 0, &[Step::Mount(mount)], "options /t").output();
    assert!(output.contains("shared:"), "{output}");
}

#[test]
fn what_needs_the_newer_call_is_refused() {
    let root = Root::new();
    root.dir("source");
    let mount = Mount {
        recursive: set(RDONLY),
        ..bind(root.path("source"), "/copy")
    };
    let failed = run(&root, 0, &[Step::Mount(mount)], "true").failure();
    assert_eq!(failed, failure(Call::MountSetattr, libc::ENOSYS));
}

#[test]
fn a_mask_needs_no_newer_call() {
    let root = Root::new();
    root.file("f", "f").file("d/x", "");
    let steps = [Step::MaskedPath(c"/f"), Step::MaskedPath(c"/d")];
    let script = "cat /f; ls /d; touch /d/x 2>&- || echo refused";
    assert_eq!(run(&root, 0, &steps, script).output(), "refused\n");
}

#[test]
fn a_filter_that_hides_younger_calls_does_not_hide_the_program() {
    let root = Root::new();
    for errno in [libc::ENOSYS, libc::EPERM] {
        let hidden = [libc::SYS_statx, libc::SYS_faccessat2];
        let filter = Step::Seccomp {
            program: refusing(&hidden, errno),
            flags: 0,
        };
        assert_eq!(
            root.scene().after(&[filter]).run("echo in").output(),
            "in\n"
        );
        let missing = root.scene().after(&[filter]).exec(&["/missing"]).failure();
        assert_eq!(missing, failure(Call::Execve, libc::ENOENT));
    }
}

#[test]
fn a_hook_and_a_second_process_start_where_clone3_is_hidden() {
    let root = Root::new();
    root.script("hook", "#!/bin/sh\ntouch /ran\n");
    let state = std::fs::File::open("/dev/null").unwrap();
    let hook = runtime_init::Hook {
        path: c"/hook",
        argv: kit::array(&["hook"]),
        envp: kit::array(&["PATH=/bin"]),
        timeout_ms: 60_000,
        state: std::os::fd::AsRawFd::as_raw_fd(&state),
        output: 2,
    };
    for errno in [libc::ENOSYS, libc::EPERM] {
        let filter = Step::Seccomp {
            program: refusing(&[libc::SYS_clone3], errno),
            flags: 0,
        };
        let steps = [filter, Step::Hook(hook)];
        let outcome = root.scene().after(&steps).run("ls /ran");
        assert_eq!(outcome.output(), "/ran\n");
        std::fs::remove_file(root.path("ran")).unwrap();

        // The first process of a pid namespace can have no sibling, so this is one of the host's.
        let steps = [
            Step::NoNewPrivileges,
            filter,
            Step::Respawn(0),
            Step::FindProgram(&[c"/bin/sh"]),
            Step::Exec(runtime_init::Exec {
                argv: kit::array(&["sh", "-c", "echo second"]),
                envp: kit::array(&[]),
            }),
        ];
        assert_eq!(kit::run_steps(0, &steps).output(), "second\n");
    }
}

#[test]
fn descriptors_close_one_by_one() {
    let root = Root::new();
    let program = refusing(&[libc::SYS_close_range], libc::EINVAL);
    let outcome = root
        .scene()
        .before(&[Step::Mount(proc("/proc"))])
        .after(&[
            Step::Seccomp { program, flags: 0 },
            Step::CloseOnExecFrom(3),
        ])
        .run("ls /proc/self/fd | tr '\\n' ' '");
    assert_eq!(outcome.output(), "0 1 2 3 ");
}

//! Masked and read-only paths.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::fs;

use kit::{NEWUSER, Root, failure, proc, tmpfs};
use runtime_init::{Attributes, Call, Mount, Step};

#[test]
fn masked_files_read_as_empty_and_masked_directories_have_nothing() {
    let root = Root::new();
    root.file("secret/a", "a")
        .file("other/b", "b")
        .file("f1", "1")
        .file("f2", "2");
    let steps = ["/f1", "/f2", "/secret", "/other"].map(|path| Step::MaskedPath(kit::c(path)));
    let script = "cat f1 f2; ls secret other; touch secret/x 2>&- || echo refused; \
         echo x > f1; cat f1";
    let expected = "other:\n\nsecret:\nrefused\n";
    for flags in [0, NEWUSER] {
        let before = root.scene().flags(flags).before(&steps).run(script);
        assert_eq!(before.output(), expected, "before the pivot");
        let after = root.scene().flags(flags).after(&steps).run(script);
        assert_eq!(after.output(), expected, "after the pivot");
    }
    assert_eq!(fs::read_to_string(root.path("f1")).unwrap(), "1");
}

#[test]
fn masks_made_before_the_pivot_serve_after_it() {
    let root = Root::new();
    root.file("f1", "1")
        .file("f2", "2")
        .file("d1/x", "")
        .file("d2/x", "");
    let outcome = root
        .scene()
        .before(&[Step::MaskedPath(c"/f1"), Step::MaskedPath(c"/d1")])
        .after(&[Step::MaskedPath(c"/f2"), Step::MaskedPath(c"/d2")])
        .run("cat /f1 /f2; ls /d1 /d2");
    assert_eq!(outcome.output(), "/d1:\n\n/d2:\n");
}

#[test]
fn a_missing_path_needs_no_mask() {
    let root = Root::new();
    root.file("f", "");
    let steps = [
        Step::MaskedPath(c"/missing"),
        Step::MaskedPath(c"/f/below-a-file"),
        Step::ReadonlyPath(c"/missing/too"),
    ];
    assert_eq!(
        root.scene().after(&steps).run("echo fine").output(),
        "fine\n"
    );
}

#[test]
fn a_link_is_masked_where_it_leads_inside() {
    let root = Root::new();
    root.file("etc/hostname", "inside")
        .link("/etc/hostname", "name");
    let host = fs::read("/etc/hostname").ok();
    let outcome = root
        .scene()
        .before(&[Step::MaskedPath(c"/name")])
        .run("cat /etc/hostname");
    assert_eq!(outcome.output(), "");
    assert_eq!(fs::read("/etc/hostname").ok(), host);
}

#[test]
fn an_image_s_own_null_device_masks_nothing() {
    let root = Root::new();
    root.file("dev/null", "not the device").file("secret", "s");
    let outcome = root
        .scene()
        .after(&[Step::MaskedPath(c"/secret")])
        .run("cat /secret");
    assert_eq!(outcome.output(), "");
}

#[test]
fn a_read_only_path_keeps_its_other_attributes() {
    let root = Root::new();
    let mount = Mount {
        attributes: Attributes {
            set: 2 | 8,
            clear: 0,
        },
        ..tmpfs("/t")
    };
    let steps = [
        Step::Mount(proc("/proc")),
        Step::Mount(mount),
        Step::Mount(tmpfs("/t/below")),
        Step::ReadonlyPath(c"/t"),
    ];
    let script = "touch /t/x 2>&- || echo refused; touch /t/below/x && echo below; \
         grep -c ' /t ro,nosuid,noexec,' /proc/self/mountinfo";
    for flags in [0, NEWUSER] {
        let outcome = root.scene().flags(flags).before(&steps).run(script);
        assert_eq!(outcome.output(), "refused\nbelow\n1\n");
    }
}

#[test]
fn a_part_of_procfs_becomes_read_only() {
    let root = Root::new();
    let steps = [Step::Mount(proc("/proc")), Step::ReadonlyPath(c"/proc/sys")];
    let script = "echo x > /proc/sys/kernel/domainname && echo written; true";
    let outcome = root.scene().flags(kit::NEWUTS).before(&steps).run(script);
    assert!(outcome.output().contains("Read-only file system"));
}

#[test]
fn what_is_not_the_null_device_masks_nothing() {
    let root = Root::new();
    root.file("secret", "s").file("fake", "");
    // The runtime's own /dev/null, in a mount namespace of the test's.
    let steps = [
        Step::RootPropagation(libc::MS_PRIVATE | libc::MS_REC),
        Step::OpenRootfs(c"/"),
        Step::Mount(kit::bind(root.path("fake"), "/dev/null")),
    ];
    let outcome = root
        .scene()
        .first(&steps)
        .before(&[Step::MaskedPath(c"/secret")])
        .run("cat /secret");
    assert_eq!(
        outcome.failure(),
        failure(Call::DeviceNumbers, libc::ENODEV)
    );
}

//! Device nodes, links and directories of the rootfs.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::fs;
use std::os::unix::fs::MetadataExt;

use kit::{NEWUSER, Root, can_be_root, failure};
use runtime_init::{Call, Device, Step};

const NULL: Device<'static> = Device {
    path: c"/dev/null",
    mode: libc::S_IFCHR | 0o666,
    major: 1,
    minor: 3,
    uid: 0,
    gid: 0,
    bind: None,
};

#[test]
fn a_node_has_its_numbers_mode_and_owner() {
    if !can_be_root("a_node_has_its_numbers_mode_and_owner") {
        return;
    }
    let root = Root::new();
    let steps = [
        Step::Device(NULL),
        Step::Device(Device {
            path: c"/dev/deep/zero",
            minor: 5,
            uid: 5,
            gid: 6,
            ..NULL
        }),
        Step::Device(Device {
            path: c"/dev/fifo",
            mode: libc::S_IFIFO | 0o622,
            ..NULL
        }),
    ];
    let script = "cd /dev; stat -c '%n %a %t:%T %u:%g %F' null deep/zero fifo; echo x > null";
    let expected = "null 666 1:3 0:0 character special file\n\
         deep/zero 666 1:5 5:6 character special file\nfifo 622 0:0 0:0 fifo\n";
    assert_eq!(root.scene().before(&steps).run(script).output(), expected);
    // A second run finds the same devices there.
    assert_eq!(root.scene().before(&steps).run(script).output(), expected);
}

#[test]
fn another_device_in_the_way_fails() {
    if !can_be_root("another_device_in_the_way_fails") {
        return;
    }
    let root = Root::new();
    let zero = Device { minor: 5, ..NULL };
    for first in [
        Step::Device(zero),
        Step::Symlink {
            text: c"/dev/zero",
            path: c"/dev/null",
            replace: true,
        },
    ] {
        let outcome = root
            .scene()
            .before(&[first, Step::Device(NULL)])
            .run("true");
        assert_eq!(
            outcome.failure(),
            failure(Call::DeviceNumbers, libc::EEXIST)
        );
    }
}

#[test]
fn in_a_user_namespace_a_node_is_the_hosts() {
    let root = Root::new();
    let bound = Device {
        bind: Some(c"/dev/null"),
        ..NULL
    };
    let scene = || root.scene().flags(NEWUSER);
    let script = "echo x > /dev/null; stat -c '%t:%T' /dev/null; cat /dev/null";
    let output = scene().before(&[Step::Device(bound)]).run(script).output();
    assert_eq!(output, "1:3\n");

    let made = scene()
        .before(&[Step::Device(Device {
            path: c"/dev/x",
            ..NULL
        })])
        .run("true");
    assert_eq!(made.failure(), failure(Call::Mknod, libc::EPERM));
    let wrong = Device {
        bind: Some(c"/dev/zero"),
        path: c"/dev/x",
        ..NULL
    };
    let outcome = scene().before(&[Step::Device(wrong)]).run("true");
    assert_eq!(
        outcome.failure(),
        failure(Call::DeviceNumbers, libc::ENODEV)
    );
}

#[test]
fn a_bound_node_goes_through_no_link() {
    let root = Root::new();
    root.file("victim", "").link("/victim", "dev/null");
    let bound = Device {
        bind: Some(c"/dev/null"),
        ..NULL
    };
    let outcome = root
        .scene()
        .flags(NEWUSER)
        .before(&[Step::Device(bound)])
        .run("true");
    assert_eq!(outcome.failure(), failure(Call::Open, libc::ELOOP));
}

#[test]
fn dev_as_a_link_is_followed_inside() {
    let outside = tempfile::tempdir().unwrap();
    let root = Root::new();
    root.link(outside.path().to_str().unwrap(), "dev");
    let steps = [Step::Symlink {
        text: c"pts/ptmx",
        path: c"/dev/ptmx",
        replace: true,
    }];
    root.scene().before(&steps).run("true").output();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    let inside = outside.path().strip_prefix("/").unwrap().join("ptmx");
    assert!(root.has(inside.to_str().unwrap()));
}

#[test]
fn a_link_that_is_there_stays_and_another_is_replaced_only_on_demand() {
    let root = Root::new();
    root.link("/proc/self/fd", "dev/fd")
        .link("elsewhere", "dev/core")
        .file("dev/x", "file");
    let link = |path, replace| Step::Symlink {
        text: c"/proc/self/fd",
        path,
        replace,
    };

    let inode = fs::symlink_metadata(root.path("dev/fd")).unwrap().ino();
    root.scene()
        .before(&[link(c"/dev/fd", false)])
        .run("true")
        .output();
    assert_eq!(
        fs::symlink_metadata(root.path("dev/fd")).unwrap().ino(),
        inode
    );

    for path in [c"/dev/core", c"/dev/x"] {
        let kept = root.scene().before(&[link(path, false)]).run("true");
        assert_eq!(kept.failure(), failure(Call::Symlink, libc::EEXIST));
        root.scene()
            .before(&[link(path, true)])
            .run("true")
            .output();
        let name = path.to_str().unwrap().trim_start_matches('/');
        assert_eq!(
            fs::read_link(root.path(name)).unwrap().to_str(),
            Some("/proc/self/fd")
        );
    }
}

#[test]
fn a_directory_in_the_way_of_a_link_stays() {
    let root = Root::new();
    root.dir("dev/fd");
    let steps = [Step::Symlink {
        text: c"x",
        path: c"/dev/fd",
        replace: true,
    }];
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Unlink, libc::EISDIR));
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let root = Root::new();
    root.dir("d");
    let before = fs::metadata(root.path("d")).unwrap().mode();
    let steps = [Step::Directory {
        path: c"/d",
        mode: 0o700,
    }];
    root.scene().before(&steps).run("true").output();
    assert_eq!(fs::metadata(root.path("d")).unwrap().mode(), before);
}

#[test]
fn a_name_that_is_none_fails() {
    let root = Root::new();
    for path in [c"/", c"/dev/..", c"/dev/."] {
        let steps = [Step::Symlink {
            text: c"x",
            path,
            replace: false,
        }];
        let failed = root.scene().before(&steps).run("true").failure();
        assert_eq!(failed, failure(Call::Open, libc::EINVAL), "{path:?}");
    }
}

//! `linux.devices`, the default devices and the links that go with them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::json;
use testkit::needs;

use crate::container::Container;

#[test]
fn the_default_devices_and_links_are_there_and_work() {
    needs!(Root);
    let container = Container::new("defaultdevices").args(&["sleep", "1000"]);
    let pid = container.detached();
    let expected = [
        ("full", 1, 7),
        ("null", 1, 3),
        ("random", 1, 8),
        ("tty", 5, 0),
        ("urandom", 1, 9),
        ("zero", 1, 5),
    ];
    for (name, major, minor) in expected {
        let node = fs::metadata(format!("/proc/{pid}/root/dev/{name}")).expect("it is there");
        assert!(node.file_type().is_char_device(), "{name}");
        assert_eq!(
            (
                nix::sys::stat::major(node.rdev()),
                nix::sys::stat::minor(node.rdev())
            ),
            (major, minor)
        );
        assert_eq!(
            (node.mode() & 0o7777, node.uid(), node.gid()),
            (0o666, 0, 0),
            "{name}"
        );
    }
    let inside = container.exec(
        "cd /dev; ls; for l in fd stdin stdout stderr ptmx; do readlink $l; done; \
         head -c 3 zero | od -An -tx1; head -c 4 urandom | wc -c; echo x > null; (echo x > full) 2>&1; true",
    );
    let expected = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
    assert!(inside.starts_with(expected), "{inside}");
    assert!(inside.contains("00 00 00\n4\n"), "{inside}");
    assert!(inside.contains("No space left on device"), "{inside}");
}

#[test]
fn listed_devices_have_their_kind_numbers_mode_and_owner() {
    needs!(Root);
    let container = Container::new("devices")
        .set(
            "/linux/devices",
            json!([
                {"type": "c", "path": "/dev/char", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
                {"type": "u", "path": "/dev/unbuffered", "major": 1, "minor": 5},
                {"type": "b", "path": "/srv/deep/block", "major": 7, "minor": 0, "fileMode": 0o600},
                {"type": "p", "path": "/dev/pipe", "fileMode": 0o622, "uid": 3},
                {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600},
                {"type": "c", "path": "/dev/big", "major": 4095, "minor": 1_048_575, "fileMode": 0o1777},
            ]),
        )
        .args(&["sleep", "1000"]);
    let pid = container.detached();
    let node = |path: &str| fs::metadata(format!("/proc/{pid}/root{path}")).expect("it is there");
    let facts = |path: &str| {
        let node = node(path);
        let (major, minor) = (
            nix::sys::stat::major(node.rdev()),
            nix::sys::stat::minor(node.rdev()),
        );
        (major, minor, node.mode() & 0o7777, node.uid(), node.gid())
    };
    assert!(node("/dev/char").file_type().is_char_device());
    assert_eq!(facts("/dev/char"), (1, 3, 0o640, 7, 8));
    assert!(node("/dev/unbuffered").file_type().is_char_device());
    assert_eq!(facts("/dev/unbuffered"), (1, 5, 0o666, 0, 0));
    assert!(node("/srv/deep/block").file_type().is_block_device());
    assert_eq!(facts("/srv/deep/block"), (7, 0, 0o600, 0, 0));
    assert!(node("/dev/pipe").file_type().is_fifo());
    assert_eq!(facts("/dev/pipe"), (0, 0, 0o622, 3, 0));
    assert_eq!(facts("/dev/null"), (1, 3, 0o600, 0, 0));
    assert_eq!(facts("/dev/big"), (4095, 1_048_575, 0o1777, 0, 0));
    let inside = container.exec("stat -c '%F %t:%T %a' /dev/char /srv/deep/block /dev/pipe");
    assert_eq!(
        inside,
        "character special file 1:3 640\nblock special file 7:0 600\nfifo 0:0 622\n"
    );
}

#[test]
fn a_file_in_the_way_must_be_the_same_device() {
    needs!(Root);
    // The image has it already; its permissions are the image's.
    let container = Container::new("samedevice").set(
        "/linux/devices",
        json!([{"type": "c", "path": "/srv/null", "major": 1, "minor": 3, "fileMode": 0o622}]),
    );
    fs::create_dir_all(container.rootfs().join("srv")).expect("a directory can be made");
    let node = container.rootfs().join("srv/null");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::sys::stat::mknod(
        &node,
        nix::sys::stat::SFlag::S_IFCHR,
        mode,
        nix::sys::stat::makedev(1, 3),
    )
    .expect("we are root");
    assert_eq!(container.prints_of("stat -c %a /srv/null"), "600\n");

    let mismatches = [
        json!({"type": "c", "path": "/srv/node", "major": 1, "minor": 5}),
        json!({"type": "b", "path": "/srv/node", "major": 1, "minor": 3}),
        json!({"type": "c", "path": "/etc/hostname", "major": 1, "minor": 3}),
    ];
    for device in mismatches {
        let container = Container::new("otherdevice").set("/linux/devices", json!([device]));
        fs::create_dir_all(container.rootfs().join("srv")).expect("a directory can be made");
        let node = container.rootfs().join("srv/node");
        nix::sys::stat::mknod(
            &node,
            nix::sys::stat::SFlag::S_IFCHR,
            mode,
            nix::sys::stat::makedev(1, 3),
        )
        .expect("we are root");
        let said = container.refused();
        assert!(said.contains("devices[0]"), "{said}");
    }
}

#[test]
fn devices_in_a_user_namespace_are_the_hosts_bound() {
    needs!(Root);
    let container = Container::new("userdevices")
        .with_user_namespace()
        .set(
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/loop-control", "major": 10, "minor": 237}]),
        )
        .args(&["sleep", "1000"]);
    if !std::path::Path::new("/dev/loop-control").exists() {
        return;
    }
    container.detached();
    let inside = container
        .exec("echo x > /dev/null; head -c 2 /dev/zero | wc -c; ls -l /dev/loop-control | cut -c1");
    assert_eq!(inside, "2\nc\n");
    let mounts = container.mounts();
    assert_eq!(mounts.at("/dev/null").root, "/null");
    assert_eq!(mounts.at("/dev/loop-control").root, "/loop-control");
}

#[test]
fn devices_that_make_no_sense_are_refused() {
    needs!(Root);
    for (device, pointer) in [
        (
            json!({"type": "x", "path": "/dev/a", "major": 1, "minor": 1}),
            "/linux/devices/0/type",
        ),
        (
            json!({"type": "c", "path": "dev/a", "major": 1, "minor": 1}),
            "/linux/devices/0/path",
        ),
        (
            json!({"type": "c", "path": "/dev/a", "minor": 1}),
            "/linux/devices/0/major",
        ),
        (
            json!({"type": "c", "path": "/dev/a", "major": 4096, "minor": 1}),
            "/linux/devices/0/major",
        ),
        (
            json!({"type": "b", "path": "/dev/a", "major": 1, "minor": -1}),
            "/linux/devices/0/minor",
        ),
        (
            json!({"type": "c", "path": "/dev/a", "major": 1, "minor": 1, "fileMode": 65535}),
            "fileMode",
        ),
    ] {
        let container = Container::new("baddevice").set("/linux/devices", json!([device]));
        if pointer == "fileMode" {
            // All of st_mode is what some callers pass: its kind is left out.
            assert_eq!(container.prints_of("stat -c %a /dev/a"), "7777\n");
            continue;
        }
        let said = container.refused();
        assert!(said.contains(pointer), "{said}");
    }
    let two = json!([
        {"type": "c", "path": "/dev/a", "major": 1, "minor": 3},
        {"type": "c", "path": "/dev/a", "major": 1, "minor": 5},
    ]);
    let said = Container::new("twodevices")
        .set("/linux/devices", two)
        .refused();
    assert!(said.contains("/linux/devices/1"), "{said}");
}

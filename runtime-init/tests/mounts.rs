//! Mounts: sources, attributes, propagation, and targets that must not be.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kit::{Outcome, Root, bind, c, can_be_root, failure, keep, proc, tmpfs};
use runtime_init::{Attributes, Call, Mount, Source, Step};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const NODIRATIME: u64 = 0x80;

fn set(set: u64) -> Attributes {
    Attributes { set, clear: 0 }
}

/// Prints the options of the mount on `$1`, and of its filesystem.
const OPTIONS: &str = "options() { while read -r a b c d point options rest; do \
     [ $point = $1 ] && echo $options $rest; done < /proc/self/mountinfo; };";

fn run(root: &Root, mounts: &[Mount<'static>], script: &str) -> Outcome {
    let mut steps = vec![Step::Mount(proc("/proc"))];
    steps.extend(mounts.iter().map(|mount| Step::Mount(*mount)));
    root.scene()
        .before(&steps)
        .run(&format!("{OPTIONS} {script}"))
}

#[test]
fn a_filesystem_has_its_attributes_and_options() {
    let root = Root::new();
    let options = keep(&[(c"size", Some(c"64k")), (c"mode", Some(c"0700"))]);
    let source = Source::Filesystem {
        kind: c"tmpfs",
        device: Some(c"mine"),
        options,
    };
    let attributes = set(NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME);
    let mount = Mount {
        source,
        attributes,
        ..tmpfs("/t")
    };
    let output = run(&root, &[mount], "options /t").output();
    let mount_part = "rw,nosuid,nodev,noexec,noatime,nodiratime";
    assert!(output.starts_with(mount_part), "{output}");
    assert!(
        output.contains("tmpfs mine rw,size=64k,mode=700"),
        "{output}"
    );
}

#[test]
fn a_refused_option_is_told_in_the_kernels_words() {
    let root = Root::new();
    let options = keep(&[(c"nonsense", Some(c"1"))]);
    let source = Source::Filesystem {
        kind: c"tmpfs",
        device: None,
        options,
    };
    let outcome = run(
        &root,
        &[Mount {
            source,
            ..tmpfs("/t")
        }],
        "true",
    );
    let reported = outcome
        .failure
        .as_ref()
        .expect("tmpfs knows no such option");
    assert_eq!(reported.text, "tmpfs: Unknown parameter 'nonsense'");
    assert_eq!(outcome.failure(), failure(Call::Fsconfig, libc::EINVAL));
}

#[test]
fn an_unknown_filesystem_fails() {
    let root = Root::new();
    let source = Source::Filesystem {
        kind: c"nosuchfs",
        device: None,
        options: &[],
    };
    let failed = run(
        &root,
        &[Mount {
            source,
            ..tmpfs("/t")
        }],
        "true",
    )
    .failure();
    assert_eq!(failed, failure(Call::Fsopen, libc::ENODEV));
}

#[test]
fn options_too_long_for_fsconfig_are_mounted_all_the_same() {
    let root = Root::new();
    let layers: Vec<_> = (0..4)
        .map(|layer| {
            let path = format!("layers/{}{layer}", "long".repeat(30));
            root.file(&format!("{path}/file{layer}"), "");
            root.path(&path).to_str().unwrap().to_owned()
        })
        .collect();
    let lower = c(layers.join(":"));
    assert!(lower.count_bytes() > 255);
    let options = keep(&[(c"lowerdir", Some(lower))]);
    let source = Source::Filesystem {
        kind: c"overlay",
        device: Some(c"overlay"),
        options,
    };
    let mount = Mount {
        source,
        attributes: set(NODEV),
        ..tmpfs("/o")
    };
    let output = run(&root, &[mount], "ls /o; options /o").output();
    assert!(
        output.starts_with("file0\nfile1\nfile2\nfile3\n"),
        "{output}"
    );
    assert!(output.contains("nodev"), "{output}");
}

#[test]
fn a_bound_file_gets_a_file_to_lie_on() {
    let root = Root::new();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("f"), "from the host").unwrap();
    let mount = Mount {
        attributes: set(RDONLY),
        ..bind(host.path().join("f"), "/etc/new/f")
    };
    let output = run(
        &root,
        &[mount],
        "cat /etc/new/f; echo x > /etc/new/f || true",
    )
    .output();
    assert!(output.starts_with("from the host"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    let target = fs::metadata(root.path("etc/new/f")).unwrap();
    assert!(target.is_file() && target.mode() & 0o7777 == 0o644);
}

#[test]
fn a_recursive_attribute_reaches_mounts_below_and_a_plain_one_does_not() {
    let root = Root::new();
    let tree = [
        tmpfs("/tree"),
        tmpfs("/tree/below"),
        Mount {
            attributes: set(RDONLY),
            ..bind(root.path("tree"), "/plain")
        },
        Mount {
            recursive: set(RDONLY),
            ..bind(root.path("tree"), "/deep")
        },
    ];
    let script = "for d in /plain /plain/below /deep /deep/below; do \
         touch $d/x 2>&- && echo $d writable || true; done";
    // The source of the binds is the tree that the first two mounts made in this namespace.
    assert_eq!(
        run(&root, &tree, script).output(),
        "/plain/below writable\n"
    );
}

#[test]
fn a_mount_that_is_there_changes_its_attributes() {
    let root = Root::new();
    let first = Mount {
        attributes: set(NOSUID | NOEXEC),
        ..tmpfs("/t")
    };
    let change = Attributes {
        set: RDONLY | NOATIME,
        clear: NOEXEC | ATIME,
    };
    let second = Mount {
        source: Source::Existing,
        attributes: change,
        ..tmpfs("/t")
    };
    let output = run(&root, &[first, second], "options /t").output();
    assert!(output.starts_with("ro,nosuid,noatime "), "{output}");
}

#[test]
fn what_is_no_mount_can_not_change_its_attributes() {
    let root = Root::new();
    root.dir("t");
    let mount = Mount {
        source: Source::Existing,
        attributes: set(RDONLY),
        ..tmpfs("/t")
    };
    let failed = run(&root, &[mount], "true").failure();
    assert_eq!(failed, failure(Call::MountSetattr, libc::EINVAL));
}

#[test]
fn a_classic_remount_changes_the_filesystem() {
    let root = Root::new();
    let flags = libc::MS_REMOUNT;
    let source = Source::Classic {
        kind: c"tmpfs",
        device: c"tmpfs",
        flags,
        data: c"size=32k",
    };
    let again = Mount {
        source,
        attributes: set(NODEV),
        ..tmpfs("/t")
    };
    let output = run(&root, &[tmpfs("/t"), again], "options /t").output();
    assert!(
        output.starts_with("rw,nodev,") && output.contains("size=32k"),
        "{output}"
    );
}

#[test]
fn a_classic_mount_is_made() {
    let root = Root::new();
    let flags = libc::MS_SILENT;
    let source = Source::Classic {
        kind: c"tmpfs",
        device: c"old",
        flags,
        data: c"size=32k",
    };
    let mount = Mount {
        source,
        propagation: &[libc::MS_SHARED],
        ..tmpfs("/t")
    };
    let output = run(&root, &[mount], "options /t").output();
    assert!(
        output.contains("shared:") && output.contains("- tmpfs old"),
        "{output}"
    );
}

#[test]
fn propagation_is_what_the_changes_end_in() {
    let root = Root::new();
    let shared = Mount {
        propagation: &[libc::MS_SHARED],
        ..tmpfs("/shared")
    };
    let both = Mount {
        propagation: &[libc::MS_SHARED, libc::MS_SLAVE],
        ..tmpfs("/both")
    };
    let unbindable = Mount {
        propagation: &[libc::MS_UNBINDABLE],
        ..tmpfs("/unbindable")
    };
    let script = "options /shared; options /both; options /unbindable";
    let output = run(&root, &[shared, both, unbindable], script).output();
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[0].contains("shared:"), "{output}");
    assert!(!lines[1].contains("shared:"), "{output}");
    assert!(lines[2].contains("unbindable"), "{output}");
}

#[test]
fn a_part_of_procfs_is_no_target() {
    let root = Root::new();
    root.link("proc/sys", "innocent").file("f", "");
    let over_file = bind(root.path("f"), "/proc/uptime");
    let mounts = [
        tmpfs("/proc/sys"),
        tmpfs("/proc"),
        tmpfs("/innocent"),
        over_file,
    ];
    for mount in mounts {
        let failed = run(&root, &[mount], "true").failure();
        assert_eq!(
            failed,
            failure(Call::InsideProc, libc::EPERM),
            "{:?}",
            mount.target
        );
    }
}

#[test]
fn procfs_may_be_stacked_and_an_allowed_part_covered() {
    let root = Root::new();
    root.file("f", "covered");
    let allowed = Mount {
        inside_proc: true,
        ..bind(root.path("f"), "/proc/uptime")
    };
    let output = run(
        &root,
        &[proc("/proc"), allowed],
        "cat /proc/uptime; echo $$",
    )
    .output();
    assert_eq!(output, "covered1\n");
}

#[test]
fn a_tmpfs_takes_over_what_it_covers() {
    if !can_be_root("a_tmpfs_takes_over_what_it_covers") {
        return;
    }
    let root = Root::new();
    root.file("var/deep/er/file", "content")
        .link("file", "var/deep/er/link")
        .file("var/own", "");
    let set_mode = |path: &str, mode| {
        fs::set_permissions(root.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    nix::unistd::chown(&root.path("var/own"), Some(7.into()), Some(8.into())).unwrap();
    set_mode("var/own", 0o4755);
    set_mode("var/deep", 0o1770);
    set_mode("var", 0o711);
    nix::unistd::mkfifo(&root.path("var/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();

    let mount = Mount {
        copy_up: true,
        attributes: set(RDONLY),
        ..tmpfs("/var")
    };
    let script = "cat /var/deep/er/link; stat -c '%n %a %u:%g %F' /var /var/deep /var/own /var/fifo; \
         touch /var/x";
    let outcome = run(&root, &[mount], script);
    let expected = "content/var 711 0:0 directory\n/var/deep 1770 0:0 directory\n\
         /var/own 4755 7:8 regular empty file\n/var/fifo 400 0:0 fifo\n";
    assert!(outcome.output.starts_with(expected), "{outcome:?}");
    assert!(
        outcome.output.contains("Read-only file system"),
        "{outcome:?}"
    );
}

#[test]
fn a_copy_keeps_times() {
    let root = Root::new();
    root.file("var/old", "");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options()
        .write(true)
        .open(root.path("var/old"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let mount = Mount {
        copy_up: true,
        ..tmpfs("/var")
    };
    let output = run(&root, &[mount], "stat -c %Y /var/old; touch /var/new").output();
    assert_eq!(output, "1000000\n");
    assert!(!root.has("var/new"));
}

#[test]
fn a_missing_source_fails() {
    let root = Root::new();
    let failed = run(&root, &[bind("/no/such/source", "/t")], "true").failure();
    assert_eq!(failed, failure(Call::OpenTree, libc::ENOENT));
}

#[test]
fn a_directory_does_not_go_on_a_file_nor_a_file_on_a_directory() {
    let root = Root::new();
    root.file("f", "");
    let failed = run(&root, &[tmpfs("/f")], "true").failure();
    assert_eq!(failed, failure(Call::Open, libc::ENOTDIR));
    let failed = run(&root, &[bind(root.path("f"), "/bin")], "true").failure();
    assert_eq!(failed, failure(Call::MoveMount, libc::ENOTDIR));
}

#[test]
fn nothing_of_the_host_is_left_after_the_pivot() {
    let root = Root::new();
    let output = run(&root, &[], "cut -d' ' -f5 /proc/self/mountinfo; ls /").output();
    assert_eq!(output, "/\n/proc\nbin\nproc\n");
}

#[test]
fn a_read_only_rootfs_leaves_mounts_below_writable() {
    let root = Root::new();
    let steps = [Step::Mount(tmpfs("/t")), Step::ReadonlyRootfs];
    let script = "touch /t/x && echo tmpfs; touch /x 2>&- || echo refused";
    assert_eq!(
        root.scene().before(&steps).run(script).output(),
        "tmpfs\nrefused\n"
    );
}

#[test]
fn the_rootfs_can_be_moved_or_chrooted_instead() {
    let root = Root::new();
    for step in [Step::MoveRoot, Step::Chroot] {
        let steps = [Step::Mount(proc("/proc")), step];
        let output = root
            .scene_entered_by(&steps)
            .run("ls /; cd ..; ls -d /work 2>&1; true");
        assert!(
            output
                .output
                .starts_with("bin\nproc\nls: /work: No such file"),
            "{output:?}"
        );
    }
}

#[test]
fn a_moved_root_keeps_none_of_the_hosts_procfs() {
    let root = Root::new();
    let steps = [Step::Mount(proc("/proc")), Step::MoveRoot];
    let outcome = root
        .scene_entered_by(&steps)
        .run("grep -c -e ' - proc ' -e ' - sysfs ' /proc/self/mountinfo");
    assert_eq!(outcome.output(), "1\n");
}

#[test]
fn a_shared_namespace_can_be_pivoted_from() {
    let root = Root::new();
    let steps = [Step::RootPropagation(libc::MS_SHARED | libc::MS_REC)];
    let output = root
        .scene()
        .first(&steps)
        .propagation(libc::MS_SHARED | libc::MS_REC)
        .run("echo in");
    assert_eq!(output.output(), "in\n");
}

#[test]
fn the_final_propagation_is_that_of_the_containers_root() {
    let root = Root::new();
    let steps = [Step::Mount(proc("/proc"))];
    let outcome = root
        .scene()
        .before(&steps)
        .after(&[Step::FinalPropagation(libc::MS_SHARED | libc::MS_REC)])
        .run("grep -c shared: /proc/self/mountinfo");
    assert_eq!(outcome.output(), "2\n");
}

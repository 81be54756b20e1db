//! `root` and `mounts`: types, binds, missing targets, links, tmpcopyup.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use testkit::needs;

use crate::container::Container;
use crate::mountinfo::MountInfo;

#[test]
fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    needs!(Root);
    let container = Container::new("readonlyroot")
        .set("/root/readonly", true)
        .mount("tmpfs", "tmpfs", "/tmp", &[])
        .args(&["sleep", "1000"]);
    container.detached();
    let inside = container
        .exec("touch /x 2>&1; touch /tmp/x && echo written; mount -o remount,rw / 2>&1; true");
    assert!(
        inside.contains("touch: /x: Read-only file system"),
        "{inside}"
    );
    assert!(inside.contains("written"), "{inside}");
    assert!(inside.contains("permission denied"), "{inside}");
    let mounts = container.mounts();
    assert!(mounts.at("/").has("ro"), "{mounts:?}");
    assert!(mounts.at("/tmp").has("rw"), "{mounts:?}");
    drop(container);
    let printed = Container::new("writableroot").prints_of("touch /x && ls /x");
    assert_eq!(printed, "/x\n");
}

#[test]
fn every_kind_of_filesystem_is_mounted() {
    needs!(Root);
    let container = Container::new("kinds")
        .mount(
            "proc",
            "proc",
            "/other/proc",
            &["nosuid", "noexec", "nodev"],
        )
        .mount("sysfs", "sysfs", "/other/sys", &["ro"])
        .mount("tmpfs", "some", "/other/tmp", &["size=1m", "mode=1777"])
        .mount("ramfs", "ramfs", "/other/ram", &["noexec"])
        .mount(
            "devpts",
            "devpts",
            "/other/pts",
            &["newinstance", "ptmxmode=0600"],
        )
        .mount("mqueue", "mqueue", "/other/mqueue", &["nosuid"])
        .mount("devtmpfs", "devtmpfs", "/other/dev", &["ro"])
        .mount("debugfs", "debugfs", "/other/debug", &["ro"])
        .mount(
            "overlay",
            "overlay",
            "/other/overlay",
            &["lowerdir=/etc:/bin"],
        )
        .mount("bpf", "bpf", "/other/bpf", &["mode=0700"]);
    let has = |kind: &str| {
        let kinds = fs::read_to_string("/proc/filesystems").expect("there is a procfs");
        kinds
            .lines()
            .any(|line| line.split('\t').nth(1) == Some(kind))
    };
    assert!(
        has("bpf") && has("overlay") && has("debugfs"),
        "this kernel is too small for the test"
    );
    let container = container.args(&["sleep", "1000"]);
    container.detached();
    let mounts = container.mounts();
    for (name, kind) in [
        ("proc", "proc"),
        ("sys", "sysfs"),
        ("tmp", "tmpfs"),
        ("ram", "ramfs"),
        ("pts", "devpts"),
        ("mqueue", "mqueue"),
        ("dev", "devtmpfs"),
        ("debug", "debugfs"),
        ("overlay", "overlay"),
        ("bpf", "bpf"),
    ] {
        let mount = mounts.at(&format!("/other/{name}"));
        assert_eq!(mount.kind, kind, "{mount:?}");
    }
    assert_eq!(mounts.at("/other/tmp").source, "some");
    assert!(
        mounts
            .at("/other/overlay")
            .filesystem_options
            .contains("lowerdir=/etc:/bin")
    );
    assert!(
        mounts
            .at("/other/bpf")
            .filesystem_options
            .contains("mode=700")
    );
    assert_eq!(container.exec("cat /other/proc/1/comm"), "sleep\n");
}

#[test]
fn an_unknown_filesystem_or_option_is_an_error_that_names_the_mount() {
    needs!(Root);
    let said = Container::new("nosuchfs")
        .mount("nosuchfs", "x", "/data", &[])
        .refused();
    assert!(
        said.contains("mounts[7]") && said.contains("nosuchfs"),
        "{said}"
    );
    let said = Container::new("nosuchoption")
        .mount("tmpfs", "x", "/data", &["nosuchoption=7"])
        .refused();
    assert!(
        said.contains("mounts[7]") && said.contains("nosuchoption"),
        "{said}"
    );
    let said = Container::new("notype")
        .mount("", "x", "/data", &[])
        .refused();
    assert!(said.contains("/mounts/7/type"), "{said}");
    let said = Container::new("nosource")
        .mount("", "/nonexistent/source", "/data", &["bind"])
        .refused();
    assert!(
        said.contains("mounts[7]") && said.contains("/nonexistent/source"),
        "{said}"
    );
}

#[test]
fn files_and_directories_are_bound_where_there_was_nothing() {
    needs!(Root);
    let container = Container::new("binds")
        .mount("", "file", "/deep/er/file", &["bind", "ro"])
        .mount("bind", "directory", "/new/directory", &["rbind"])
        .mount("none", "file", "etc/hostname", &["bind"])
        .args(&["sleep", "1000"]);
    fs::write(container.path("file"), "host's\n").expect("a file can be written");
    fs::create_dir(container.path("directory")).expect("a directory can be made");
    fs::write(container.path("directory/in"), "in it\n").expect("a file can be written");
    container.detached();
    let inside = container.exec(
        "cat /deep/er/file /new/directory/in /etc/hostname; echo more > /new/directory/out; \
         echo x 2>&1 > /deep/er/file; stat -c '%F %a' /deep/er",
    );
    assert!(inside.starts_with("host's\nin it\nhost's\n"), "{inside}");
    assert!(inside.ends_with("directory 755\n"), "{inside}");
    let written = fs::read_to_string(container.path("directory/out")).expect("it was written");
    assert_eq!(written, "more\n");
    let mounts = container.mounts();
    assert!(mounts.at("/deep/er/file").has("ro"));
    let untouched = fs::read_to_string(container.path("file")).expect("it is there");
    assert_eq!(untouched, "host's\n");
}

#[test]
fn targets_behind_links_are_made_inside_of_the_rootfs() {
    needs!(Root);
    let container = Container::new("danglinglinks")
        .mount("tmpfs", "a", "/dangling/sub", &[])
        .mount("tmpfs", "b", "/absolute", &[])
        .mount("tmpfs", "c", "/up/x", &[])
        .mount("", "file", "/filelink", &["bind"])
        .args(&["sleep", "1000"]);
    fs::write(container.path("file"), "bound\n").expect("a file can be written");
    for (link, text) in [
        ("dangling", "not/there"),
        ("absolute", "/also/not/there"),
        ("up", "../../../../srv/data"),
        ("filelink", "/var/lib/missing/file"),
    ] {
        symlink(text, container.rootfs().join(link)).expect("a link can be made");
    }
    container.detached();
    let mounts = container.mounts();
    for point in [
        "/not/there/sub",
        "/also/not/there",
        "/srv/data/x",
        "/var/lib/missing/file",
    ] {
        assert!(mounts.find(point).is_some(), "{point} in {mounts:#?}");
    }
    assert_eq!(container.exec("cat /filelink"), "bound\n");
    assert!(!std::path::Path::new("/also/not/there").exists());
}

#[test]
fn nothing_but_proc_is_mounted_on_proc() {
    needs!(Root);
    for (kind, source, target, options, text) in [
        ("tmpfs", "x", "/proc", &[][..], "not of type proc"),
        ("tmpfs", "x", "/proc/sys", &[], "inside /proc"),
        ("", "/tmp", "/proc/1", &["bind"][..], "inside /proc"),
        ("", "/tmp", "/proc", &["bind"], "procfs"),
        ("tmpfs", "x", "/", &[], "root"),
    ] {
        let said = Container::new("onproc")
            .mount(kind, source, target, options)
            .refused();
        assert!(said.contains(text), "{target}: {said}");
    }
    let container = Container::new("linktoproc").mount("tmpfs", "x", "/link", &[]);
    symlink("/proc/sys", container.rootfs().join("link")).expect("a link can be made");
    let said = container.refused();
    assert!(said.contains("/proc"), "{said}");
    // The few files that runtimes cover are allowed, and so is the host's procfs.
    let container = Container::new("inproc")
        .mount("", "file", "/proc/uptime", &["bind"])
        .script("cat /proc/uptime");
    fs::write(container.path("file"), "covered\n").expect("a file can be written");
    assert_eq!(container.prints(), "covered\n");
    let (container, pid) = Container::new("hostproc")
        .mount("", "/proc", "/proc", &["rbind"])
        .without_namespace("pid")
        .sleeping();
    let inside = container.exec(&format!("cat /proc/{pid}/comm"));
    assert_eq!(inside, "sleep\n");
}

#[test]
fn later_mounts_cover_earlier_ones_in_order() {
    needs!(Root);
    let container = Container::new("order")
        .mount("tmpfs", "first", "/m", &[])
        .mount("tmpfs", "below", "/m/below", &[])
        .mount("tmpfs", "second", "/m", &["ro"])
        .script("cat /proc/self/mountinfo");
    let mounts = MountInfo::parse(&container.prints());
    let sources: Vec<&str> = mounts
        .0
        .iter()
        .filter(|mount| mount.point.starts_with("/m"))
        .map(|mount| mount.source.as_str())
        .collect();
    assert_eq!(sources, ["first", "below", "second"]);
    assert!(mounts.at("/m").has("ro"));
}

#[test]
fn mounts_can_be_made_in_a_read_only_tmpfs() {
    needs!(Root);
    let container = Container::new("readonlytmpfs")
        .set("/root/readonly", true)
        .mount("tmpfs", "outer", "/tmp", &["ro"])
        .mount("tmpfs", "inner", "/tmp/a/b", &[])
        .script("touch /tmp/x 2>/dev/null || echo outer is read-only; touch /tmp/a/b/x && echo inner is not");
    assert_eq!(container.prints(), "outer is read-only\ninner is not\n");
}

#[test]
fn a_tmpfs_has_the_mode_that_its_options_say_else_that_of_the_directory_it_covers() {
    needs!(Root);
    let container = Container::new("tmpfsmode")
        .mount("tmpfs", "tmpfs", "/covers", &[])
        .mount("tmpfs", "tmpfs", "/chosen", &["mode=0711"])
        .mount("tmpfs", "tmpfs", "/readonly", &["ro"])
        .mount("tmpfs", "tmpfs", "/missing", &[]);
    for name in ["covers", "chosen", "readonly"] {
        let directory = container.rootfs().join(name);
        fs::create_dir(&directory).expect("a directory can be made");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o2750)).expect("it is ours");
    }
    let printed = container.prints_of("stat -c '%n %a' /covers /chosen /readonly /missing");
    assert_eq!(
        printed,
        "/covers 2750\n/chosen 711\n/readonly 2750\n/missing 1777\n"
    );
}

#[test]
fn a_private_root_leaves_mounts_the_propagation_that_they_ask_for() {
    needs!(Root);
    let printed = Container::new("ownpropagation")
        .set("/linux/rootfsPropagation", "rprivate")
        .mount("tmpfs", "tmpfs", "/own", &["shared"])
        .mount("tmpfs", "tmpfs", "/other", &[])
        .prints_of(
            "grep -c ' /own .* shared:' /proc/self/mountinfo; grep -c shared: /proc/self/mountinfo",
        );
    assert_eq!(printed, "1\n1\n", "one mount is shared, and it is that one");
}

#[test]
fn tmpcopyup_keeps_content_modes_owners_links_and_times() {
    needs!(Root);
    let container = Container::new("tmpcopyup").with_all_capabilities().mount(
        "tmpfs",
        "tmpfs",
        "/data",
        &["tmpcopyup", "nosuid"],
    );
    let data = container.rootfs().join("data");
    fs::create_dir_all(data.join("sub/deep")).expect("a directory can be made");
    fs::write(data.join("file"), "content\n").expect("a file can be written");
    fs::write(data.join("sub/deep/big"), vec![b'x'; 300_000]).expect("a file can be written");
    fs::write(data.join("empty"), "").expect("a file can be written");
    symlink("/nowhere/at/all", data.join("dangling")).expect("a link can be made");
    symlink("file", data.join("link")).expect("a link can be made");
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode("file", 0o640);
    mode("empty", 0o4755);
    mode("sub", 0o1777);
    mode("", 0o751);
    for (name, uid, gid) in [("file", 1, 2), ("sub", 3, 4), ("link", 5, 6), ("", 7, 8)] {
        std::os::unix::fs::lchown(data.join(name), Some(uid), Some(gid)).expect("we are root");
    }
    let script = "cd /data; find . | sort | while read -r f; do stat -c '%n %F %a %u %g' $f; done; \
        cat file link; readlink link; readlink dangling; wc -c < sub/deep/big; echo changed > file";
    let printed = container.prints_of(script);
    let expected = "\
. directory 751 7 8
./dangling symbolic link 777 0 0
./empty regular empty file 4755 0 0
./file regular file 640 1 2
./link symbolic link 777 5 6
./sub directory 1777 3 4
./sub/deep directory 755 0 0
./sub/deep/big regular file 644 0 0
content
content
file
/nowhere/at/all
300000
";
    assert_eq!(printed, expected);
}

#[test]
fn tmpcopyup_leaves_alone_what_the_options_say_of_the_directory() {
    needs!(Root);
    let container = Container::new("copyoptions")
        .with_all_capabilities()
        .mount("tmpfs", "tmpfs", "/mode", &["tmpcopyup", "mode=0711"])
        .mount("tmpfs", "tmpfs", "/owner", &["tmpcopyup", "uid=5", "gid=6"])
        .mount("tmpfs", "tmpfs", "/new", &["tmpcopyup", "mode=0700"]);
    for name in ["mode", "owner"] {
        let directory = container.rootfs().join(name);
        fs::create_dir(&directory).expect("a directory can be made");
        fs::write(directory.join("file"), "").expect("a file can be written");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o1770)).expect("it is ours");
        std::os::unix::fs::chown(&directory, Some(7), Some(8)).expect("we are root");
    }
    let printed = container.prints_of("stat -c '%n %a %u %g' /mode /owner /new; ls /mode /owner");
    assert_eq!(
        printed,
        "/mode 711 7 8\n/owner 1770 5 6\n/new 700 0 0\n/mode:\nfile\n\n/owner:\nfile\n"
    );
}

#[test]
fn tmpcopyup_of_a_missing_directory_is_an_empty_tmpfs_and_of_other_types_an_error() {
    needs!(Root);
    let printed = Container::new("copynothing")
        .mount("tmpfs", "tmpfs", "/missing", &["tmpcopyup"])
        .prints_of(
            "ls -a /missing; grep -c ' /missing ' /proc/self/mountinfo; stat -c %a /missing",
        );
    assert_eq!(
        printed, ".\n..\n1\n1777\n",
        "all may write, as to any new tmpfs"
    );
    let said = Container::new("copybind")
        .mount("", "/tmp", "/m", &["bind", "tmpcopyup"])
        .refused();
    assert!(said.contains("tmpcopyup"), "{said}");
}

#[test]
fn a_foreign_dev_is_taken_as_it_is() {
    needs!(Root);
    let container = Container::new("foreigndev");
    let mut mounts = container.bundle().config()["mounts"].clone();
    mounts
        .as_array_mut()
        .expect("there is a list")
        .retain(|mount| {
            !mount["destination"]
                .as_str()
                .is_some_and(|path| path.starts_with("/dev"))
        });
    let container = container
        .set("/mounts", mounts)
        .mount("", "/dev", "/dev", &["rbind", "ro"])
        .script("test -c /dev/null && echo there; grep -c ' /dev ' /proc/self/mountinfo");
    assert_eq!(container.prints(), "there\n1\n");
}

#[test]
fn the_root_may_be_given_as_an_absolute_path_and_must_be_a_directory() {
    needs!(Root);
    let container = Container::new("absoluteroot");
    let rootfs = container.path("rootfs");
    let container = container.set("/root/path", rootfs);
    assert_eq!(container.prints_of("echo ran"), "ran\n");
    let said = Container::new("missingroot")
        .set("/root/path", "nowhere")
        .refused();
    assert!(said.contains("nowhere"), "{said}");
    let said = Container::new("fileroot")
        .set("/root/path", "config.json")
        .refused();
    assert!(said.contains("config.json"), "{said}");
}

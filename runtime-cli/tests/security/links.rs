//! Links in an image lead nowhere but into the image (CVE-2019-16884, CVE-2021-30465,
//! CVE-2025-31133, CVE-2025-54867, CVE-2026-41579, CVE-2026-47766).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use testkit::{Finished, TestBundle, needs};

use crate::ground::{Ground, assert_none, assert_refused, text, without_mount};

/// The places of an image that a runtime touches.
const PLACES: [&str; 14] = [
    "proc",
    "sys",
    "dev",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/console",
    "dev/ptmx",
    "dev/fd",
    "dev/null",
    "etc/hosts",
    "run/x",
    "sys/fs/cgroup",
    "work",
];

/// Where a hostile link may point; `{}` is the canary tree.
const TARGETS: [&str; 6] = [
    "{}/directory",
    "{}/null",
    "../../../../../../../../..{}/directory",
    "/nowhere/at/all",
    "self-loop",
    "/proc/1/root{}/directory",
];

/// Puts a link at a place of the image, whatever was there.
fn plant(bundle: &TestBundle, place: &str, target: &str) {
    let path = bundle.rootfs().join(place);
    let parent = path.parent().expect("a place has a parent");
    fs::create_dir_all(parent).expect("the rootfs can be written");
    if path.is_dir() {
        fs::remove_dir_all(&path).expect("the rootfs can be written");
    } else if path.exists() {
        fs::remove_file(&path).expect("the rootfs can be written");
    }
    let target = if target == "self-loop" {
        format!("/{place}")
    } else {
        target.to_owned()
    };
    symlink(target, path).expect("the rootfs can be written");
}

fn hostile(ground: &Ground, place: &str, target: &str) -> TestBundle {
    let target = target.replace("{}", text(ground.canary()));
    let bundle = ground
        .bundle()
        .mount("bind", "/etc/hostname", "/etc/hosts", &["bind", "ro"])
        .mount("tmpfs", "tmpfs", "/run/x", &["nosuid"])
        .set("/process/cwd", "/work".into())
        .args(&["true"]);
    plant(&bundle, place, &target);
    bundle
}

fn run_to_its_end(ground: &Ground, bundle: &TestBundle) -> Finished {
    let finished = ground.runtime.run(bundle);
    ground.delete(bundle);
    ground.check();
    finished
}

#[test]
fn a_link_at_any_place_that_the_runtime_touches_leads_nowhere_else() {
    needs!(Root);
    let ground = Ground::new("links");
    for place in PLACES {
        for target in TARGETS {
            let bundle = hostile(&ground, place, target);
            let finished = run_to_its_end(&ground, &bundle);
            if matches!(place, "proc" | "sys") {
                assert_refused(&finished, &format!("/{place}"));
            }
        }
    }
    ground.finish(vec![]);
}

#[test]
fn nor_without_a_filesystem_of_its_own_on_dev() {
    needs!(Root);
    let ground = Ground::new("nodev");
    for place in PLACES.iter().filter(|place| place.starts_with("dev")) {
        for target in TARGETS {
            let bundle = without_mount(hostile(&ground, place, target), "/dev");
            run_to_its_end(&ground, &bundle);
        }
    }
    ground.finish(vec![]);
}

#[test]
fn nor_with_a_terminal() {
    needs!(Root, Program("script"));
    let ground = Ground::new("ttylinks");
    for place in ["dev/console", "dev/ptmx", "dev/pts", "dev/tty", "dev"] {
        for target in ["{}/console", "/nowhere", "/proc/1/root{}/console"] {
            for own_dev in [true, false] {
                let bundle = hostile(&ground, place, target).set("/process/terminal", true.into());
                let bundle = if own_dev {
                    bundle
                } else {
                    without_mount(bundle, "/dev")
                };
                bundle.save();
                let words = ["run", "--bundle", text(bundle.path()), bundle.id()];
                let mut command = testkit::under_terminal(&ground.runtime.command(&words));
                testkit::finish(&mut command, std::time::Duration::from_secs(60));
                ground.delete(&bundle);
                ground.check();
            }
        }
    }
    ground.finish(vec![]);
}

#[test]
fn a_mount_whose_target_is_below_a_link_lands_inside() {
    needs!(Root);
    let ground = Ground::new("inside");
    let bundle = ground
        .bundle()
        .mount("tmpfs", "tmpfs", "/a/b/c", &["nosuid"])
        .mount("bind", "/etc/hostname", "/f/g", &["bind"])
        .script("stat -f -c %T /nowhere/b/c; ls /nowhere/g");
    symlink("../../../../../nowhere", bundle.rootfs().join("a")).expect("it is ours");
    symlink("/nowhere", bundle.rootfs().join("f")).expect("it is ours");
    let finished = ground.runtime.run(&bundle).success();
    assert_eq!(finished.stdout, "tmpfs\n/nowhere/g\n");
    assert!(!Path::new("/nowhere").exists());
    ground.finish(vec![bundle]);
}

#[test]
fn nothing_is_mounted_over_parts_of_proc() {
    needs!(Root);
    let ground = Ground::new("overproc");
    let canary = ground.canary_file("directory");
    for target in [
        "/proc/self/attr",
        "/proc/sys",
        "/proc/self",
        "/proc/sys/kernel/core_pattern",
        "/proc/../proc/sys",
        "/proc/sysrq-trigger",
        "/proc/1/attr/exec",
        "/proc/thread-self",
        "//proc//self//attr",
        "/dev/../proc/fs",
    ] {
        for kind in ["bind", "tmpfs"] {
            let options: &[&str] = if kind == "bind" { &["bind"] } else { &[] };
            let bundle = ground
                .bundle()
                .mount(kind, &canary, target, options)
                .args(&["true"]);
            assert_refused(&run_to_its_end(&ground, &bundle), "inside /proc");
        }
    }
    // By a link of the image, which no text shows.
    for link in ["/proc/self/attr", "/proc/sys", "/proc", "proc/sys/kernel"] {
        let bundle = ground
            .bundle()
            .mount("bind", &canary, "/innocent", &["bind"])
            .args(&["true"]);
        symlink(link, bundle.rootfs().join("innocent")).expect("it is ours");
        let finished = run_to_its_end(&ground, &bundle);
        assert!(finished.code != 0, "{finished}");
    }
    for kind in ["tmpfs", "bind"] {
        let bundle = ground
            .bundle()
            .mount(
                kind,
                &canary,
                "/proc",
                if kind == "bind" { &["bind"] } else { &[] },
            )
            .args(&["true"]);
        let finished = run_to_its_end(&ground, &bundle);
        assert!(finished.code != 0, "{finished}");
    }
    ground.finish(vec![]);
}

/// Makes what stands in for `/dev/null` in a volume.
fn fake_null(directory: &Path, kind: &str) {
    let path = directory.join("null");
    let all = Mode::from_bits_truncate(0o666);
    match kind {
        "core_pattern" => symlink("/proc/sys/kernel/core_pattern", path).expect("it is ours"),
        "canary" => symlink(directory.join("elsewhere"), path).expect("it is ours"),
        "file" => fs::write(path, "fake").expect("it is ours"),
        "zero" => mknod(&path, SFlag::S_IFCHR, all, makedev(1, 5)).expect("root makes nodes"),
        "fifo" => nix::unistd::mkfifo(&path, all).expect("it is ours"),
        _ => {}
    }
}

#[test]
fn a_volume_on_dev_decides_nothing_about_masks() {
    needs!(Root);
    let ground = Ground::new("null");
    for kind in ["core_pattern", "canary", "file", "zero", "fifo", "missing"] {
        let volume = ground.marker.directory();
        fake_null(volume.path(), kind);
        let bundle = without_mount(ground.bundle(), "/dev")
            .mount("bind", text(volume.path()), "/dev", &["bind"])
            .set(
                "/linux/maskedPaths",
                json!(["/secret", "/secrets", "/absent", "/proc/kcore"]),
            )
            .script(
                "cat /secret | wc -c; ls /secrets | wc -l; \
                 (echo x > /proc/sys/kernel/core_pattern) && echo WRITTEN; \
                 echo x > /secret; stat -c %t:%T /secret",
            );
        fs::write(bundle.rootfs().join("secret"), "secret").expect("it is ours");
        fs::create_dir(bundle.rootfs().join("secrets")).expect("it is ours");
        fs::write(bundle.rootfs().join("secrets/one"), "secret").expect("it is ours");
        let finished = run_to_its_end(&ground, &bundle);
        if finished.code == 0 {
            assert_eq!(finished.stdout, "0\n0\n1:3\n", "{kind}: {finished}");
        }
        drop(volume);
    }
    ground.finish(vec![]);
}

#[test]
fn a_device_node_of_the_image_is_used_only_if_it_is_the_same_device() {
    needs!(Root);
    let ground = Ground::new("nodes");
    for kind in ["core_pattern", "file", "zero", "fifo"] {
        let bundle = without_mount(ground.bundle(), "/dev").script("stat -c %t:%T /dev/null");
        fs::create_dir_all(bundle.rootfs().join("dev")).expect("it is ours");
        fake_null(&bundle.rootfs().join("dev"), kind);
        let finished = run_to_its_end(&ground, &bundle);
        assert!(
            finished.code != 0 || finished.stdout == "1:3\n",
            "{kind}: {finished}"
        );
    }
    ground.finish(vec![]);
}

#[test]
fn a_read_only_rootfs_is_so_whatever_the_image_ships_as_proc() {
    needs!(Root);
    let ground = Ground::new("roroot");
    let bundle = ground
        .bundle()
        .set("/root/readonly", true.into())
        .script("grep ' / / ' /proc/self/mountinfo | cut -d' ' -f6; echo x > /written");
    let fake = bundle.rootfs().join("proc/self/fd");
    fs::create_dir_all(&fake).expect("it is ours");
    for fd in 0..20 {
        symlink(ground.canary(), fake.join(fd.to_string())).expect("it is ours");
    }
    let finished = run_to_its_end(&ground, &bundle);
    assert!(finished.code != 0, "{finished}");
    assert!(
        finished.stderr.contains("Read-only file system"),
        "{finished}"
    );
    let root = finished.stdout.lines().last().unwrap_or_default();
    assert!(root.is_empty() || root.starts_with("ro"), "{finished}");
    assert!(!bundle.rootfs().join("written").exists());
    ground.finish(vec![bundle]);
}

#[test]
fn a_working_directory_is_made_inside_or_refused() {
    needs!(Root);
    let ground = Ground::new("workdir");
    let canary = text(ground.canary()).to_owned();
    for target in [
        format!("{canary}/directory"),
        "../../../../../../etc".to_owned(),
        "/work".to_owned(),
        "/made/new".to_owned(),
    ] {
        let bundle = ground
            .bundle()
            .set("/process/cwd", "/work".into())
            .script("pwd -P; ls -a | grep -c secret");
        symlink(&target, bundle.rootfs().join("work")).expect("it is ours");
        let finished = run_to_its_end(&ground, &bundle);
        assert!(!finished.stdout.contains("(unreachable)"), "{finished}");
        if target == "/work" {
            assert_refused(&finished, "");
        }
        if target == "/made/new" {
            assert_eq!(finished.stdout, "/made/new\n0\n", "{finished}");
        }
    }
    ground.finish(vec![]);
}

#[test]
fn no_file_of_an_image_holds_the_runtime_up() {
    needs!(Root);
    let ground = Ground::new("fifos");
    let all = Mode::from_bits_truncate(0o666);
    let places = [
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "dev/console",
        "run/x",
        "bin/true",
    ];
    for place in places {
        let bundle = ground
            .bundle()
            .mount("bind", "/etc/hostname", "/etc/hosts", &["bind"])
            .args(&["true"]);
        let path = bundle.rootfs().join(place);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it is ours");
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).expect("it is ours");
        }
        nix::unistd::mkfifo(&path, all).expect("it is ours");
        // The deadline of the call is the criterion.
        run_to_its_end(&ground, &bundle);
        let running = ground.second_bundle().args(&["sleep", "1000"]);
        let fifo = running.rootfs().join("etc/passwd");
        fs::remove_file(&fifo).expect("it is ours");
        nix::unistd::mkfifo(&fifo, all).expect("it is ours");
        ground.runtime.run_detached(&running).succeeded();
        ground.exec(&running, &["true"]).succeeded();
        ground.delete(&running);
    }
    ground.finish(vec![]);
}

#[test]
fn huge_and_odd_passwd_files_cost_nothing_and_decide_nothing() {
    needs!(Root);
    let ground = Ground::new("passwd");
    let sparse = |path: &Path| {
        let file = fs::File::create(path).expect("it is ours");
        file.set_len(10 << 30).expect("a sparse file can be made");
    };
    let watchdog = |path: &Path| {
        // Opening it would start a timer that resets the machine, if there is one.
        let mode = Mode::from_bits_truncate(0o600);
        mknod(path, SFlag::S_IFCHR, mode, makedev(10, 130)).expect("root makes nodes");
    };
    let lines = |path: &Path| {
        let line = "x:x:4294967296:0::/wrong:\n1:x:0:0::/wrong:\n\0:x:7:0::/wro\0ng:\n";
        fs::write(path, line.repeat(50_000)).expect("it is ours");
    };
    let out = |path: &Path| symlink("../../../../../../etc/passwd", path).expect("it is ours");
    let makers: [&dyn Fn(&Path); 4] = [&sparse, &watchdog, &lines, &out];
    let mut took = Vec::new();
    for make in makers {
        // Nothing of the container's own may read the file: that takes as long as it is large.
        let script = "while read -r key uid _; do case $key in Uid:) echo $uid;; esac; done \
                      </proc/self/status; echo $HOME";
        let bundle = ground.bundle().script(script);
        let bundle = bundle.set("/process/user", json!({"uid": 7, "gid": 7}));
        let passwd = bundle.rootfs().join("etc/passwd");
        fs::remove_file(&passwd).expect("it is ours");
        make(&passwd);
        let finished = run_to_its_end(&ground, &bundle).success();
        assert_eq!(finished.stdout, "7\n/\n");
        took.push(finished.took);
    }
    assert_none(
        &took
            .iter()
            .filter(|took| took.as_secs() > 10)
            .collect::<Vec<_>>(),
        "starts that took too long",
    );
    ground.finish(vec![]);
}

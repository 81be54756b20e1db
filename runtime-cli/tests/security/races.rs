//! Places that change while they are used (CVE-2019-19921, CVE-2021-30465, CVE-2023-27561,
//! CVE-2024-45310, CVE-2025-31133, CVE-2025-52565).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use testkit::{TestBundle, needs};

use crate::ground::{
    Ground, arm, assert_none, compiler, long_or, results, text, tree, wait_until,
    with_volume_on_dev,
};

/// Exchanges two paths as fast as it can, until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !flag.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                // One of them is in use at times: then the next try counts.
                if renameat_with(CWD, &one, CWD, &other, flags).is_ok() {
                    swaps += 1;
                }
            }
            swaps
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let swaps = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            let swapped = swaps.is_some_and(|swaps| swaps.is_ok_and(|swaps| swaps > 0));
            assert!(swapped, "nothing was ever exchanged");
        }
    }
}

/// How long a race is run.
fn duration() -> Duration {
    Duration::from_secs(long_or(60, 4))
}

/// Starts containers for some seconds, and checks the host after each.
fn start_for_a_while(ground: &Ground, bundle: &TestBundle) {
    let end = Instant::now() + duration();
    while Instant::now() < end {
        // Whether it starts is the swapper's to decide.
        ground.runtime.run(bundle);
        ground.delete(bundle);
        ground.check();
    }
}

/// A volume in which `d` and `link` are exchanged; `link` leads out.
fn volume(ground: &Ground, target: &str) -> (tempfile::TempDir, Swapper) {
    let volume = ground.marker.directory();
    let (one, other) = (volume.path().join("d"), volume.path().join("link"));
    fs::create_dir(&one).expect("it is ours");
    symlink(target, &other).expect("it is ours");
    let swapper = Swapper::start(one, other);
    (volume, swapper)
}

#[test]
fn a_target_that_becomes_a_link_meanwhile_leads_nowhere_else() {
    needs!(Root);
    let ground = Ground::new("race");
    let canary = text(ground.canary()).to_owned();
    for target in [
        canary.clone(),
        format!("../../../../../../../../..{canary}"),
        format!("/proc/self/root{canary}"),
        "/".to_owned(),
    ] {
        let (volume, swapper) = volume(&ground, &target);
        let file = "/vol/d/directory/file";
        let bundle = ground
            .bundle()
            .mount("bind", text(volume.path()), "/vol", &["rbind"])
            .mount("tmpfs", "tmpfs", "/vol/d/tmpfs", &["nosuid"])
            .mount("bind", "/etc", "/vol/d/etc", &["bind", "ro"])
            .mount("bind", "/etc/hostname", file, &["bind", "ro"])
            .mount("mqueue", "mqueue", "/vol/d/queue", &["nosuid"])
            .args(&["true"]);
        start_for_a_while(&ground, &bundle);
        drop(swapper);
        drop(volume);
    }
    assert!(!Path::new("/tmpfs").exists() && !Path::new("/queue").exists());
    ground.finish(vec![]);
}

#[test]
fn a_working_directory_that_becomes_a_link_is_inside_or_refused() {
    needs!(Root);
    let ground = Ground::new("racecwd");
    let (volume, swapper) = volume(&ground, text(ground.canary()));
    let bundle = ground
        .bundle()
        .mount("bind", text(volume.path()), "/vol", &["rbind"])
        .set("/process/cwd", "/vol/d/new/directory".into())
        .args(&["true"]);
    start_for_a_while(&ground, &bundle);
    let running = ground
        .second_bundle()
        .mount("bind", text(volume.path()), "/vol", &["rbind"])
        .args(&["sleep", "1000"]);
    ground.runtime.run_detached(&running).succeeded();
    for _ in 0..long_or(1000, 40) {
        let words = ["exec", "--cwd", "/vol/d", running.id(), "ls"];
        let finished = ground.runtime.call(&words);
        assert!(!finished.stdout.contains("secret"), "{finished}");
        ground.check();
    }
    ground.delete(&running);
    drop(swapper);
    drop(volume);
    ground.finish(vec![running, bundle]);
}

#[test]
fn a_null_device_that_becomes_a_link_never_unmasks() {
    needs!(Root);
    let ground = Ground::new("racenull");
    let volume = ground.marker.directory();
    let (one, other) = (volume.path().join("null"), volume.path().join("other"));
    symlink("/proc/sys/kernel/core_pattern", &one).expect("it is ours");
    fs::write(&other, "").expect("it is ours");
    let swapper = Swapper::start(one, other);
    let bundle = with_volume_on_dev(ground.bundle(), volume.path())
        .set("/linux/maskedPaths", json!(["/secret"]))
        .script("cat /secret; echo hacked > /secret");
    fs::write(bundle.rootfs().join("secret"), "secret").expect("it is ours");
    let end = Instant::now() + duration();
    while Instant::now() < end {
        let finished = ground.runtime.run(&bundle);
        assert_eq!(finished.stdout, "", "{finished}");
        ground.delete(&bundle);
        ground.check();
    }
    drop(swapper);
    drop(volume);
    ground.finish(vec![bundle]);
}

#[test]
fn proc_that_becomes_a_link_is_never_written_through() {
    needs!(Root);
    let ground = Ground::new("raceproc");
    // Whoever shares the rootfs exchanges its /proc.
    let sysctls = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "77777"});
    let bundle = ground
        .bundle()
        .set("/linux/sysctl", sysctls)
        .set("/process/oomScoreAdj", 500.into())
        .script("cd /proc; cat sys/net/ipv4/ip_forward sys/kernel/shmmax self/oom_score_adj");
    let (proc, fake) = (bundle.rootfs().join("proc"), bundle.rootfs().join("fake"));
    symlink(ground.canary(), &fake).expect("it is ours");
    let swapper = Swapper::start(proc, fake);
    let end = Instant::now() + duration();
    let mut lands = 0;
    let latest = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end || (lands == 0 && Instant::now() < latest) {
        let finished = ground.runtime.run(&bundle);
        // By the time that it runs, /proc may be a link again.
        if finished.code == 0 {
            assert_eq!(finished.stdout, "1\n77777\n500\n", "{finished}");
            lands += 1;
        }
        ground.delete(&bundle);
        ground.check();
    }
    assert!(lands > 0, "it never started, so nothing was tried");
    drop(swapper);
    ground.finish(vec![bundle]);
}

const WRITE_EVERYWHERE: &str = "for f in /shared/file /plain/file /shared/below/new /plain/new \
     /new; do (echo x > $f) && echo WRITTEN $f; done; \
     mount -o remount,rw /plain && echo REMOUNTED; \
     awk '$5 ~ \"^/(shared|plain)?$\" {print substr($6, 1, 2)}' /proc/self/mountinfo";

#[test]
fn a_read_only_mount_is_never_writable_not_even_for_a_moment() {
    needs!(Root, compiler());
    let ground = Ground::new("ro");
    let shared = ground.marker.directory();
    fs::write(shared.path().join("file"), "text").expect("it is ours");
    fs::create_dir(shared.path().join("below")).expect("it is ours");
    let source = text(shared.path());
    let watcher = ground
        .second_bundle()
        .mount("bind", source, "/shared", &["rbind", "ro", "rslave"])
        .args(&["/attacker", "spin", "/shared/file"]);
    arm(&watcher);
    ground.runtime.run_detached(&watcher).succeeded();
    let bundle = ground
        .bundle()
        .set("/root/readonly", true.into())
        .mount("bind", source, "/shared", &["rbind", "rro"])
        .mount("bind", source, "/plain", &["bind", "ro"])
        .script(WRITE_EVERYWHERE);
    for name in ["shared", "plain"] {
        fs::create_dir(bundle.rootfs().join(name)).expect("it is ours");
    }
    let before = tree(shared.path());
    for _ in 0..long_or(500, 10) {
        let finished = ground.runtime.run(&bundle);
        assert_eq!(finished.stdout, "ro\nro\nro\n", "{finished}");
    }
    fs::write(watcher.rootfs().join("stop"), "").expect("it is ours");
    wait_until("the watcher ends", || {
        results(&watcher).iter().any(|line| line[0] == "END")
    });
    let lines = results(&watcher);
    let is_written = |line: &&Vec<String>| line[0] == "TRY" && line[2] == "0";
    let written: Vec<_> = lines.iter().filter(is_written).collect();
    assert_none(&written, "writes through a read-only mount");
    assert_eq!(before, tree(shared.path()));
    ground.delete(&watcher);
    drop(shared);
    ground.finish(vec![bundle, watcher]);
}

#[test]
fn a_mount_point_is_not_made_in_a_read_only_source() {
    needs!(Root);
    let ground = Ground::new("romkdir");
    let shared = ground.marker.directory();
    let before = tree(shared.path());
    let bundle = ground
        .bundle()
        .mount("bind", text(shared.path()), "/shared", &["bind", "ro"])
        .mount("tmpfs", "tmpfs", "/shared/missing", &[])
        .args(&["true"]);
    let finished = ground.runtime.run(&bundle);
    assert!(finished.code != 0, "{finished}");
    assert_eq!(before, tree(shared.path()));
    drop(shared);
    ground.finish(vec![bundle]);
}

//! Names in a hostile root filesystem never lead out of it.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::fs;
use std::os::unix::fs::MetadataExt;

use kit::{Root, c, failure, proc, tmpfs};
use runtime_init::{Call, Mount, Step};

const ELOOP: i32 = libc::ELOOP;

#[test]
fn missing_parents_are_made_as_directories_of_mode_755() {
    let root = Root::new();
    let steps = [Step::Mount(tmpfs("/a/b/./c//d/"))];
    let output = root
        .scene()
        .before(&steps)
        .run("grep -c ' /a/b/c/d ' /proc/self/mountinfo; ls -ld /a/b");
    assert!(output.failure.is_none(), "{output:?}");
    let mode = fs::metadata(root.path("a/b")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert!(root.path("a/b/c/d").is_dir());
}

#[test]
fn an_absolute_link_starts_at_the_rootfs() {
    let outside = tempfile::tempdir().unwrap();
    let root = Root::new();
    root.link(outside.path().to_str().unwrap(), "data");
    let steps = [Step::Directory {
        path: c"/data/made",
        mode: 0o700,
    }];
    root.scene().before(&steps).run("true").output();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    let inside = outside.path().strip_prefix("/").unwrap().join("made");
    assert!(root.path(inside.to_str().unwrap()).is_dir());
}

#[test]
fn dots_end_at_the_rootfs() {
    let root = Root::new();
    root.link("../../../../../../../..", "up");
    let steps = [
        Step::Directory {
            path: c"/../../../made-by-dots",
            mode: 0o755,
        },
        Step::Directory {
            path: c"/up/made-by-link",
            mode: 0o755,
        },
    ];
    root.scene().before(&steps).run("true").output();
    assert!(root.path("made-by-dots").is_dir());
    assert!(root.path("made-by-link").is_dir());
    assert!(fs::symlink_metadata("/made-by-dots").is_err());
}

#[test]
fn a_dangling_link_is_made_where_it_points() {
    let root = Root::new();
    root.link("/run", "var/run")
        .link("../spool/./x", "var/queue");
    let steps = [
        Step::Directory {
            path: c"/var/run/lock",
            mode: 0o755,
        },
        Step::Directory {
            path: c"/var/queue/in",
            mode: 0o755,
        },
    ];
    root.scene().before(&steps).run("true").output();
    assert!(root.path("run/lock").is_dir());
    assert!(root.path("spool/x/in").is_dir());
}

#[test]
fn the_last_part_may_be_a_dangling_link() {
    let root = Root::new();
    root.link("/mnt/real", "data");
    let steps = [Step::Mount(tmpfs("/data"))];
    root.scene().before(&steps).run("true").output();
    assert!(root.path("mnt/real").is_dir());
}

#[test]
fn a_loop_of_links_fails() {
    let root = Root::new();
    root.link("b", "a").link("a", "b");
    let steps = [Step::Directory {
        path: c"/a/x",
        mode: 0o755,
    }];
    assert_eq!(
        root.scene().before(&steps).run("true").failure(),
        failure(Call::Open, ELOOP)
    );
}

#[test]
fn a_dangling_link_that_grows_fails() {
    let root = Root::new();
    root.link("grow/x", "grow");
    let steps = [Step::Directory {
        path: c"/grow/y",
        mode: 0o755,
    }];
    assert_eq!(
        root.scene().before(&steps).run("true").failure(),
        failure(Call::Open, ELOOP)
    );
}

#[test]
fn dangling_links_are_followed_so_often_and_no_more() {
    let chain = |length: u32| {
        let root = Root::new();
        for link in 0..length {
            // Each is missing until the one before has been followed.
            root.link(&format!("/{}/down", link + 1), &format!("{link}/down"));
        }
        let steps = [Step::Directory {
            path: c"/0/down/end",
            mode: 0o755,
        }];
        root.scene().before(&steps).run("true")
    };
    // The kernel may count a link twice when something is renamed meanwhile, so not quite 40.
    chain(18).output();
    assert_eq!(chain(60).failure(), failure(Call::Open, ELOOP));
}

#[test]
fn a_magic_link_is_refused() {
    let root = Root::new();
    root.dir("proc").link("/proc/self/root/tmp", "magic");
    for path in [c"/proc/1/root/x", c"/proc/self/cwd/x", c"/magic/x"] {
        let steps = [
            Step::Mount(proc("/proc")),
            Step::Directory { path, mode: 0o755 },
        ];
        let failed = root.scene().before(&steps).run("true").failure();
        assert_eq!(failed, failure(Call::Open, ELOOP), "{path:?}");
    }
}

#[test]
fn links_are_refused_where_the_step_says_so() {
    let root = Root::new();
    root.dir("elsewhere")
        .link("elsewhere", "sys")
        .link("/nowhere", "dangling");
    for target in ["/sys", "/sys/x", "/dangling", "/dangling/x"] {
        let steps = [Step::Mount(Mount {
            refuse_links: true,
            ..tmpfs(target)
        })];
        let failed = root.scene().before(&steps).run("true").failure();
        assert_eq!(failed, failure(Call::Open, ELOOP), "{target}");
    }
}

#[test]
fn a_file_in_the_way_of_a_directory_fails() {
    let root = Root::new();
    root.file("etc/x", "");
    let steps = [Step::Directory {
        path: c"/etc/x/y",
        mode: 0o755,
    }];
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Open, libc::ENOTDIR));
}

#[test]
fn a_path_that_is_too_long_fails() {
    let root = Root::new();
    let path = c("/a".repeat(3000));
    let steps = [Step::Directory { path, mode: 0o755 }];
    let failed = root.scene().before(&steps).run("true").failure();
    assert_eq!(failed, failure(Call::Open, libc::ENAMETOOLONG));
}

#[test]
fn a_mode_is_what_the_step_says_whatever_the_umask() {
    let root = Root::new();
    let steps = [Step::Directory {
        path: c"/open",
        mode: 0o1777,
    }];
    let output = root
        .scene()
        .before(&steps)
        .after(&[Step::Umask(0o077)])
        .run("umask");
    assert_eq!(output.output(), "0077\n");
    assert_eq!(
        fs::metadata(root.path("open")).unwrap().mode() & 0o7777,
        0o1777
    );
}

/// Exchanges two names until it is told to stop.
struct Swapper {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<u32>>,
}

impl Swapper {
    fn start(one: std::path::PathBuf, other: std::path::PathBuf) -> Self {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use std::sync::atomic::Ordering;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !told.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn stop(mut self) -> u32 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Everything below a directory.
fn tree(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("there")).unwrap();
    let before = tree(outside.path());
    let root = Root::new();
    let up = format!("{}{}", "../".repeat(12), outside.path().display());
    root.dir("volume/d")
        .link(&up, "volume/link")
        .file("source", "");

    let swapper = Swapper::start(root.path("volume/d"), root.path("volume/link"));
    let file = kit::bind(root.path("source"), "/volume/d/new/file");
    let steps = [
        Step::Mount(tmpfs("/volume/d/there/t")),
        Step::Mount(file),
        Step::Directory {
            path: c"/volume/d/a/b/c",
            mode: 0o755,
        },
        Step::Symlink {
            text: c"x",
            path: c"/volume/d/link",
            replace: true,
        },
    ];
    for _ in 0..150 {
        let outcome = root.scene().before(&steps).run("true");
        // Whatever came of it, it was inside; a clean failure is as good as success.
        assert!(outcome.exit <= 1, "{outcome:?}");
        assert_eq!(tree(outside.path()), before);
    }
    assert!(swapper.stop() > 150);
}

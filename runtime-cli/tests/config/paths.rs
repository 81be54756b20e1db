//! `linux.maskedPaths`, `linux.readonlyPaths`, `linux.rootfsPropagation`.

use serde_json::json;
use testkit::needs;

use crate::container::Container;
use crate::mountinfo::MountInfo;

#[test]
fn masked_files_are_empty_masked_directories_empty_and_missing_ones_ignored() {
    needs!(Root);
    let container = Container::new("masked")
        .mount("tmpfs", "x", "/over", &[])
        .mount("", "below", "/over/below", &["bind"])
        .set(
            "/linux/maskedPaths",
            json!([
                "/secret",
                "/hidden",
                "/missing/path",
                "/over/below/deep",
                "/proc/version",
                "/link"
            ]),
        )
        .args(&["sleep", "1000"]);
    container.write("secret", "secret\n");
    container.write("hidden/file", "x");
    std::os::unix::fs::symlink("/secret2", container.rootfs().join("link"))
        .expect("a link can be made");
    container.write("secret2", "secret\n");
    std::fs::create_dir_all(container.path("below/deep")).expect("a directory can be made");
    std::fs::write(container.path("below/deep/x"), "x").expect("a file can be written");
    container.detached();
    let inside = container.exec(
        "cat /secret /proc/version /link; ls -A /hidden /over/below/deep; \
         touch /hidden/x 2>&1; echo x > /secret && cat /secret; ls /missing 2>&1; true",
    );
    assert!(
        inside.contains("/hidden:\n\n/over/below/deep:\n"),
        "{inside}"
    );
    assert!(inside.contains("Read-only file system"), "{inside}");
    assert!(!inside.contains("secret\n"), "{inside}");
    assert!(inside.contains("/missing: No such file"), "{inside}");
    let mounts = container.mounts();
    assert_eq!(mounts.at("/secret").root, "/null");
    assert!(mounts.at("/hidden").has("ro"));
    assert_eq!(mounts.at("/hidden").kind, "tmpfs");
    let kept = std::fs::read_to_string(container.rootfs().join("secret")).expect("it is there");
    assert_eq!(kept, "secret\n");
}

#[test]
fn read_only_paths_are_read_only_and_keep_their_other_attributes() {
    needs!(Root);
    let container = Container::new("readonlypaths")
        .mount("tmpfs", "x", "/over", &["nosuid", "noexec"])
        .mount("", "below", "/over/below", &["bind", "nodev"])
        .set(
            "/linux/readonlyPaths",
            json!([
                "/file",
                "/directory",
                "/missing",
                "/over/below",
                "/over",
                "/proc/sys"
            ]),
        )
        .args(&["sleep", "1000"]);
    container.write("file", "x\n");
    container.write("directory/in", "x\n");
    std::fs::create_dir_all(container.path("below")).expect("a directory can be made");
    container.detached();
    let inside = container.exec(
        "for f in /file /directory/in /directory/new /over/new /over/below/new /proc/sys/kernel/domainname; do \
         (echo y > $f) 2>/dev/null && echo wrote $f; done; cat /file /directory/in",
    );
    assert_eq!(inside, "x\nx\n");
    let mounts = container.mounts();
    for point in ["/file", "/directory", "/over", "/over/below", "/proc/sys"] {
        assert!(mounts.at(point).has("ro"), "{:?}", mounts.at(point));
    }
    assert!(mounts.at("/over").has("nosuid") && mounts.at("/over").has("noexec"));
    assert!(mounts.at("/over/below").has("nodev"));
    let proc_sys = mounts.at("/proc/sys");
    for word in ["nosuid", "noexec", "nodev"] {
        assert_eq!(
            proc_sys.has(word),
            mounts.at("/proc").has(word),
            "{proc_sys:?}"
        );
    }
}

#[test]
fn masked_and_read_only_paths_need_a_mount_namespace() {
    needs!(Root);
    for list in ["maskedPaths", "readonlyPaths"] {
        let said = Container::new("nomountns")
            .without_namespace("mount")
            .set("/mounts", json!([]))
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]))
            .set(&format!("/linux/{list}"), json!(["/etc"]))
            .refused();
        assert!(said.contains(&format!("/linux/{list}")), "{said}");
    }
    let said = Container::new("relativepath")
        .set("/linux/maskedPaths", json!(["etc"]))
        .refused();
    assert!(said.contains("/linux/maskedPaths/0"), "{said}");
}

#[test]
fn a_container_without_a_mount_namespace_is_in_a_chroot() {
    needs!(Root);
    let container = Container::new("chroot")
        .without_namespace("mount")
        .set("/mounts", json!([]))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .args(&["sleep", "1000"]);
    let pid = container.detached();
    let root = std::fs::read_link(format!("/proc/{pid}/root")).expect("it has one");
    assert_eq!(
        root,
        container.rootfs().canonicalize().expect("it is there")
    );
    let inside = container.exec("ls -d /bin; test -c /dev/null && echo null; cat /etc/hostname");
    assert_eq!(inside, "/bin\nnull\nimage\n");
    assert_eq!(
        crate::container::namespace_of(pid, "mnt"),
        crate::container::own_namespace("mnt")
    );
}

#[test]
fn every_propagation_of_the_root_is_what_mountinfo_shows() {
    needs!(Root);
    // The mount that the rootfs is on may be any of the host's.
    let setup = "mkdir $B/host; mount -t tmpfs host $B/host; mount --make-rshared /";
    for (word, root, below) in [
        ("private", "private", "private"),
        ("rprivate", "private", "private"),
        ("slave", "slave", "slave"),
        ("rslave", "slave", "slave"),
        ("shared", "shared", "shared"),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", "private"),
        ("runbindable", "unbindable", "unbindable"),
    ] {
        let container = Container::new("rootpropagation")
            .set("/linux/rootfsPropagation", word)
            .mount("", "host", "/bound", &["bind"])
            .script("cat /proc/self/mountinfo");
        let run = container.in_private_mounts(setup, &["run"]).success();
        let mounts = MountInfo::parse(&run.stdout);
        assert_eq!(mounts.at("/").propagation(), root, "{word}");
        assert_eq!(
            mounts.at("/bound").propagation(),
            below,
            "{word}: {:?}",
            mounts.at("/bound")
        );
    }
}

#[test]
fn without_pivot_root_a_private_root_is_refused_and_others_work() {
    needs!(Root);
    let container = Container::new("nopivot").set("/linux/rootfsPropagation", "private");
    container.bundle().save();
    let path = container.path("");
    let run = container
        .runtime
        .call(&["run", "--no-pivot", "--bundle", &path, container.id()]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("pivot"), "{run}");
    drop(container);
    let container = Container::new("nopivot").script("ls -d /bin /proc/1/root/bin");
    container.bundle().save();
    let path = container.path("");
    let run = container
        .runtime
        .call(&["run", "--no-pivot", "--bundle", &path, container.id()]);
    assert_eq!(run.stdout, "/bin\n/proc/1/root/bin\n", "{run}");
}

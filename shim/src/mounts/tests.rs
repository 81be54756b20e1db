//! Against the kernel: what is mounted, as seen in the rootfs, and what is left afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::TempDir;
use testkit::{Fact, Marker, Residue, needs};

use super::*;

/// A directory whose mounts and loop devices are looked for afterwards.
struct Bundle {
    directory: TempDir,
    residue: Residue,
}

impl Bundle {
    fn new() -> Self {
        let marker = Marker::new("mounts");
        let residue = Residue::watch(&marker);
        Self {
            directory: marker.directory(),
            residue,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// A directory with files in it: name and content.
    fn layer(&self, name: &str, files: &[(&str, &str)]) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::write(path.join(name), content).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.rootfs().join(name)).unwrap_or_else(|error| error.to_string())
    }

    /// Options of the mount that is seen at the rootfs, as the kernel says them.
    fn table(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.directory.path().to_str().unwrap().to_owned();
        let ours = |line: &&str| {
            line.split(' ')
                .nth(4)
                .is_some_and(|path| path.starts_with(&here))
        };
        table.lines().filter(ours).map(str::to_owned).collect()
    }

    fn finish(&self) {
        unmount(&self.rootfs()).unwrap();
        assert_eq!(self.table(), Vec::<String>::new());
        self.residue.assert_none(&[]);
    }
}

impl Drop for Bundle {
    /// For a test that has failed half-way.
    fn drop(&mut self) {
        unmount(&self.rootfs()).ok();
    }
}

fn of(kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        type_: kind.into(),
        source: source.into(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

#[test]
fn an_overlay_shows_its_layers_and_takes_writes() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let one = bundle.layer("one", &[("a", "1"), ("b", "1")]);
    let two = bundle.layer("two", &[("b", "2")]);
    let (upper, work) = (bundle.layer("upper", &[]), bundle.layer("work", &[]));
    let lower = format!("lowerdir={two}:{one}");
    let (upper_word, work) = (format!("upperdir={upper}"), format!("workdir={work}"));
    let words = ["index=off", &lower, &upper_word, &work];
    mount(&bundle.rootfs(), &[of("overlay", "overlay", &words)]).unwrap();
    assert_eq!(
        (bundle.read("a").as_str(), bundle.read("b").as_str()),
        ("1", "2")
    );
    fs::write(bundle.rootfs().join("c"), "3").unwrap();
    assert_eq!(fs::read_to_string(format!("{upper}/c")).unwrap(), "3");
    bundle.finish();
}

/// Sixty layers whose names together are longer than a page.
fn many_layers(bundle: &Bundle) -> (String, Vec<String>) {
    let deep = "d".repeat(60);
    let layer = |number: usize| {
        let name = number.to_string();
        bundle.layer(&format!("{deep}/{number}"), &[(&name, &name)])
    };
    let layers: Vec<String> = (0..60).map(layer).collect();
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 4096);
    (lower, layers)
}

#[test]
fn layers_of_any_number_are_mounted() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let (lower, _) = many_layers(&bundle);
    mount(
        &bundle.rootfs(),
        &[of("overlay", "overlay", &[&lower, "ro"])],
    )
    .unwrap();
    for number in 0..60 {
        assert_eq!(bundle.read(&number.to_string()), number.to_string());
    }
    assert!(fs::write(bundle.rootfs().join("x"), "").is_err());
    bundle.finish();
}

#[test]
fn a_kernel_that_takes_no_single_layers_gets_shorter_names() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let (lower, _) = many_layers(&bundle);
    make_directory(&bundle.rootfs()).unwrap();
    let options = MountOptions::new([lower.as_str()]);
    let filesystem = Filesystem::new("overlay", "overlay", &options).unwrap();
    let before = std::env::current_dir().unwrap();
    let classic = Classic::of(&filesystem);
    classic
        .mount(&Place::find(&bundle.rootfs(), "").unwrap())
        .unwrap();
    for number in 0..60 {
        assert_eq!(bundle.read(&number.to_string()), number.to_string());
    }
    assert_eq!(std::env::current_dir().unwrap(), before);
    bundle.finish();
}

#[test]
fn a_bind_mount_can_be_read_only_and_reach_below() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let source = bundle.layer("source", &[("a", "1")]);
    let inner = bundle.layer("source/inner", &[]);
    let tmpfs = of("tmpfs", "tmpfs", &["size=64k"]);
    mount(Path::new(&inner), &[tmpfs]).unwrap();
    fs::write(format!("{inner}/b"), "2").unwrap();
    mount(&bundle.rootfs(), &[of("bind", &source, &["bind", "ro"])]).unwrap();
    assert_eq!(bundle.read("a"), "1");
    assert!(bundle.read("inner/b").contains("No such file"));
    let refused = fs::write(bundle.rootfs().join("a"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    unmount(&bundle.rootfs()).unwrap();
    mount(
        &bundle.rootfs(),
        &[of("bind", &source, &["rbind", "rro", "rslave"])],
    )
    .unwrap();
    assert_eq!(bundle.read("inner/b"), "2");
    let refused = fs::write(bundle.rootfs().join("inner/b"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    fs::write(format!("{source}/a"), "1").unwrap();
    unmount(Path::new(&inner)).unwrap();
    bundle.finish();
}

#[test]
fn a_bind_mount_is_made_read_only_on_older_kernels_too() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let source = bundle.layer("source", &[("a", "1")]);
    make_directory(&bundle.rootfs()).unwrap();
    let options = MountOptions::new(["ro", "nosuid"]);
    let tree = DetachedMount::bind(&c_string(&source).unwrap(), false).unwrap();
    attach(&tree, &Place::find(&bundle.rootfs(), "").unwrap()).unwrap();
    classic::remount_bind(&tree, options.attributes).unwrap();
    let refused = fs::write(bundle.rootfs().join("a"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    assert!(
        bundle.table()[0].contains("ro,nosuid"),
        "{:?}",
        bundle.table()
    );
    bundle.finish();
}

#[test]
fn propagation_is_as_asked_for() {
    needs!(Fact::Root);
    for (word, field) in [
        ("private", ""),
        ("shared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        let bundle = Bundle::new();
        mount(&bundle.rootfs(), &[of("tmpfs", "x", &[word])]).unwrap();
        let table = bundle.table();
        let fields = table[0]
            .split(' ')
            .skip(6)
            .take_while(|field| *field != "-");
        let fields: Vec<&str> = fields.collect();
        let right = match field {
            "" => fields.is_empty(),
            field => fields.iter().any(|found| found.starts_with(field)),
        };
        assert!(right, "{word}: {table:?}");
        bundle.finish();
    }
}

#[test]
fn filesystems_get_their_own_options_and_the_mounts_flags() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let options = ["nosuid", "noexec", "mode=750,size=64k", "sync"];
    mount(&bundle.rootfs(), &[of("tmpfs", "tmpfs", &options)]).unwrap();
    assert_eq!(
        fs::metadata(bundle.rootfs()).unwrap().mode() & 0o7777,
        0o750
    );
    let table = bundle.table();
    assert!(table[0].contains("rw,nosuid,noexec,relatime"), "{table:?}");
    assert!(
        table[0].contains("size=64k") && table[0].contains("rw,sync"),
        "{table:?}"
    );
    bundle.finish();
}

#[test]
fn an_option_longer_than_fsconfig_takes_goes_to_the_filesystem_all_the_same() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    // With a zero before them, the digits are octal.
    let long = format!("size={}100k", "0".repeat(300));
    mount(
        &bundle.rootfs(),
        &[of("tmpfs", "tmpfs", &[&long, "noexec"])],
    )
    .unwrap();
    let table = bundle.table();
    assert!(
        table[0].contains("noexec") && table[0].contains("size=64k"),
        "{table:?}"
    );
    bundle.finish();
}

#[test]
fn a_file_is_a_device_with_the_word_loop_and_freed_with_its_mount() {
    needs!(Fact::Root, Fact::Program("mkfs.ext4"));
    let bundle = Bundle::new();
    let image = bundle.path("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let made = std::process::Command::new("mkfs.ext4")
        .arg("-q")
        .arg(&image)
        .status();
    assert!(made.unwrap().success());
    let source = image.to_str().unwrap();
    let backed = || {
        let files = fs::read_dir("/sys/block").unwrap().flatten();
        files
            .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok())
            .filter(|file| file.trim() == source)
            .count()
    };
    mount(&bundle.rootfs(), &[of("ext4", source, &["loop"])]).unwrap();
    fs::write(bundle.rootfs().join("a"), "1").unwrap();
    assert_eq!(backed(), 1);
    unmount(&bundle.rootfs()).unwrap();
    let direct = || {
        let files = fs::read_dir("/sys/block").unwrap().flatten();
        let mut ours = files.map(|entry| entry.path().join("loop")).filter(|path| {
            fs::read_to_string(path.join("backing_file")).is_ok_and(|file| file.trim() == source)
        });
        fs::read_to_string(ours.next().unwrap().join("dio")).unwrap()
    };
    mount(
        &bundle.rootfs(),
        &[of("ext4", source, &["loop", "ro", "direct-io"])],
    )
    .unwrap();
    assert_eq!(bundle.read("a"), "1");
    assert_eq!(direct().trim(), "1");
    let refused = fs::write(bundle.rootfs().join("a"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    unmount(&bundle.rootfs()).unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while backed() > 0 {
        assert!(
            std::time::Instant::now() < patience,
            "the loop device is still there"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bundle.finish();
}

/// A program that serves a filesystem.
fn fuse(lower: &str, upper: &str, work: &str) -> Mount {
    let options = [
        &format!("lowerdir={lower}")[..],
        &format!("upperdir={upper}"),
        &format!("workdir={work}"),
    ];
    of("fuse3.fuse-overlayfs", "overlay", &options)
}

#[test]
fn a_filesystem_that_a_program_serves_is_mounted_by_its_helper_and_ends_with_its_mount() {
    needs!(
        Fact::Root,
        Fact::Program("mount.fuse3"),
        Fact::Program("fuse-overlayfs")
    );
    let bundle = Bundle::new();
    let lower = bundle.layer("lower", &[("a", "1")]);
    let (upper, work) = (bundle.layer("upper", &[]), bundle.layer("work", &[]));
    mount(&bundle.rootfs(), &[fuse(&lower, &upper, &work)]).unwrap();
    assert_eq!(bundle.read("a"), "1");
    fs::write(bundle.rootfs().join("b"), "2").unwrap();
    assert_eq!(fs::read_to_string(format!("{upper}/b")).unwrap(), "2");
    let table = bundle.table();
    assert!(
        table.len() == 1 && table[0].contains(" - fuse.fuse-overlayfs "),
        "{table:?}"
    );
    unmount(&bundle.rootfs()).unwrap();
    bundle.finish();
}

#[test]
fn a_helpers_failure_is_told_in_its_words() {
    needs!(Fact::Root, Fact::Program("mount.fuse3"));
    let bundle = Bundle::new();
    let failure = |mount_: Mount| mount(&bundle.rootfs(), &[mount_]).unwrap_err().message;
    let text = failure(of("fuse3.no-such-program", "x", &[]));
    assert!(
        text.contains("mount.fuse3 -t no-such-program: exit status 1")
            && text.contains("not found"),
        "{text}"
    );
    let text = failure(of("fuse3.true", "x", &[]));
    assert!(
        text.ends_with("mount.fuse3 -t true has ended well, and nothing is mounted"),
        "{text}"
    );
    bundle.finish();
}

#[test]
fn owners_are_mapped_of_a_bind_mount_and_of_an_overlays_layers() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let one = bundle.layer("one", &[("a", "1")]);
    let two = bundle.layer("two", &[("b", "2")]);
    let words = ["uidmap=0:70000:10", "gidmap=0:80000:10"];
    let owner = |name: &str| {
        let file = fs::metadata(bundle.rootfs().join(name)).unwrap();
        (file.uid(), file.gid())
    };
    mount(
        &bundle.rootfs(),
        &[of("bind", &one, &["rbind", words[0], words[1]])],
    )
    .unwrap();
    assert_eq!(owner("a"), (70000, 80000));
    unmount(&bundle.rootfs()).unwrap();
    let (upper, work) = (bundle.layer("upper", &[]), bundle.layer("work", &[]));
    let overlay = [
        format!("lowerdir={two}:{one}"),
        format!("upperdir={upper}"),
        format!("workdir={work}"),
    ];
    let options: Vec<&str> = overlay.iter().map(String::as_str).chain(words).collect();
    mount(&bundle.rootfs(), &[of("overlay", "overlay", &options)]).unwrap();
    assert_eq!((owner("a"), owner("b")), ((70000, 80000), (70000, 80000)));
    assert_eq!(bundle.table().len(), 1, "the layers' own mounts are gone");
    bundle.finish();
}

#[test]
fn mounts_lie_above_each_other_and_below_the_rootfs_where_links_lead_nowhere_else() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let base = bundle.layer("base", &[("a", "1")]);
    bundle.layer("base/outside", &[]);
    let victim = bundle.layer("outside", &[("v", "untouched")]);
    // Absolute, so on the host it leads to the directory beside the rootfs.
    fs::create_dir_all(format!("{base}{victim}")).unwrap();
    std::os::unix::fs::symlink(&victim, format!("{base}/link")).unwrap();
    let more = bundle.layer("more", &[("m", "2")]);
    let below = Mount {
        target: "/link".into(),
        ..of("bind", &more, &["bind"])
    };
    let mounts = [of("bind", &base, &["bind"]), below];
    mount(&bundle.rootfs(), &mounts).unwrap();
    assert_eq!(bundle.read(&format!("{}/m", &victim[1..])), "2");
    assert_eq!(
        fs::read_to_string(format!("{victim}/v")).unwrap(),
        "untouched"
    );
    assert_eq!(bundle.table().len(), 2);
    bundle.finish();
}

#[test]
fn what_is_mounted_below_a_plain_directory_is_found() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    bundle.layer("rootfs/in side", &[]);
    let below = Mount {
        target: "in side".into(),
        ..of("tmpfs", "x", &[])
    };
    mount(&bundle.rootfs(), &[below]).unwrap();
    assert_eq!(bundle.table().len(), 1);
    bundle.finish();
}

#[test]
fn a_failure_names_the_mount_and_undoes_those_before_it() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    let base = bundle.layer("base", &[("a", "1")]);
    let failure = |second: Mount| {
        let first = [of("bind", &base, &["bind"]), of("tmpfs", "x", &[])];
        let failure = mount(&bundle.rootfs(), &[&first[..], &[second]].concat()).unwrap_err();
        assert_eq!(bundle.table(), Vec::<String>::new(), "{failure}");
        let here = bundle.directory.path().to_str().unwrap();
        (failure.code, failure.message.replace(here, "DIR"))
    };
    let (code, text) = failure(of("nosuchfs", "x", &[]));
    assert_eq!(code, Code::UNKNOWN);
    assert!(
        text.starts_with(
            "mount nosuchfs x on DIR/rootfs/ (rootfs[2]): fsopen(2): no such device (ENODEV)"
        ),
        "{text}"
    );
    let (_, text) = failure(of("tmpfs", "x", &["nosuchoption"]));
    assert!(
        text.contains("option nosuchoption: fsconfig(2): invalid argument (EINVAL)"),
        "{text}"
    );
    assert!(text.contains("Unknown parameter 'nosuchoption'"), "{text}");
    let (code, text) = failure(of("bind", "/no/such", &["bind"]));
    assert_eq!(code, Code::NOT_FOUND, "{text}");
    let (code, text) = failure(of("bind", "relative", &["bind"]));
    assert_eq!(code, Code::INVALID_ARGUMENT, "{text}");
    let (code, text) = failure(of("bind", &base, &["bind", "whatever=1"]));
    assert_eq!(code, Code::INVALID_ARGUMENT, "{text}");
    let (code, text) = failure(of("bind", &base, &["bind", "uidmap=0:1:1"]));
    assert_eq!(code, Code::INVALID_ARGUMENT, "{text}");
    let (code, text) = failure(of("erofs", &base, &["X-containerd.dmverity=1"]));
    assert_eq!(code, Code::UNIMPLEMENTED, "{text}");
    assert!(text.contains("X-containerd.dmverity=1"), "{text}");
    for kind in ["mkfs/ext4", "format/mkdir/overlay", "loop"] {
        let (code, text) = failure(of(kind, &base, &[]));
        assert_eq!(code, Code::UNIMPLEMENTED, "{text}");
        assert!(
            text.contains(&format!("type {kind:?} is for containerd's mount manager")),
            "{text}"
        );
    }
    let (_, text) = failure(of("overlay", "overlay", &["lowerdir=/no/such"]));
    assert!(text.contains("lowerdir"), "{text}");
    let absent = Mount {
        target: "/not/there".into(),
        ..of("bind", &base, &["bind"])
    };
    let (code, text) = failure(absent);
    assert_eq!(code, Code::NOT_FOUND);
    assert!(
        text.contains("on DIR/rootfs/not/there (rootfs[2])"),
        "{text}"
    );
    bundle.finish();
}

#[test]
fn unmounting_twice_or_where_nothing_is_is_no_error_and_follows_no_link() {
    needs!(Fact::Root);
    let bundle = Bundle::new();
    unmount(&bundle.rootfs()).unwrap();
    let other = bundle.layer("other", &[]);
    mount(Path::new(&other), &[of("tmpfs", "x", &[])]).unwrap();
    std::os::unix::fs::symlink(&other, bundle.rootfs()).unwrap();
    unmount(&bundle.rootfs()).unwrap();
    assert_eq!(bundle.table().len(), 1, "the link was followed");
    assert!(mount(&bundle.rootfs(), &[of("tmpfs", "x", &[])]).is_err());
    unmount(Path::new(&other)).unwrap();
    unmount(Path::new(&other)).unwrap();
    fs::remove_file(bundle.rootfs()).unwrap();
    for _ in 0..3 {
        mount(&bundle.rootfs(), &[of("tmpfs", "x", &[])]).unwrap();
    }
    assert_eq!(bundle.table().len(), 3);
    bundle.finish();
}

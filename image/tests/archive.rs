//! Archives and layouts, between this library and the programs that people have: skopeo, umoci,
//! podman, Docker. Digests stay what they are on every way.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image::archive::{
    Format, ImportOptions, LoadOptions, SaveOptions, export, import, load, load_layout, save,
};
use image::document::{Descriptor, ImageConfig, Manifest};
use image::layer::IdMaps;
use image::progress::Silent;
use image::store::{Image, Store, Untagged};
use image::{Digest, ErrorKind, Platform};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Engine, Marker, Residue, busybox_image, needs};

mod kit;

use kit::{assert_sound, reference};

const LIMIT: Duration = Duration::from_secs(120);

/// A directory with a store, and busybox as umoci and skopeo make it.
struct Setting {
    marker: Marker,
    directory: TempDir,
    store: Store,
    layout: PathBuf,
    archive: PathBuf,
}

impl Setting {
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        let directory = marker.directory();
        let layout = directory.path().join("layout");
        let archive = busybox_image(&marker, &layout);
        let store = Store::open(&directory.path().join("store")).expect("it opens");
        Self {
            marker,
            directory,
            store,
            layout,
            archive,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn other_store(&self, name: &str) -> Store {
        Store::open(&self.path(name)).expect("it opens")
    }

    /// Loads umoci's image under a name.
    fn load(&self, name: &str) -> Image {
        let options = LoadOptions {
            reference: Some(reference(name)),
        };
        let images = load_layout(&self.store, &self.layout, &options, &Silent).expect("it loads");
        assert_eq!(images.len(), 1);
        images.into_iter().next().expect("there is one")
    }

    /// Writes an archive of the images.
    fn save(&self, images: &[Image], format: Format, name: &str) -> PathBuf {
        let path = self.path(name);
        let options = SaveOptions {
            format,
            ..SaveOptions::default()
        };
        let file = File::create(&path).expect("made");
        save(&self.store, images, file, &options, &Silent).expect("it is written");
        path
    }
}

fn open(path: &Path) -> File {
    File::open(path).expect("it is there")
}

fn load_from(store: &Store, path: &Path) -> Vec<Image> {
    load(store, open(path), &LoadOptions::default(), &Silent).expect("it loads")
}

/// Manifest and configuration of an image for this machine.
fn parts(store: &Store, descriptor: &Descriptor) -> (Descriptor, Manifest, ImageConfig) {
    let (descriptor, manifest) = store
        .manifest(descriptor, &Platform::host())
        .expect("it has a manifest");
    let config = store.config(&manifest).expect("it is an image");
    (descriptor, manifest, config)
}

fn config_digest(store: &Store, image: &Image) -> Digest {
    parts(store, &image.descriptor).1.config.digest
}

fn digest_in_index(layout: &Path) -> String {
    let text = std::fs::read(layout.join("index.json")).expect("read");
    let index: Value = serde_json::from_slice(&text).expect("JSON");
    index["manifests"][0]["digest"]
        .as_str()
        .expect("text")
        .to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    testkit::finish(Command::new(program).args(arguments), LIMIT)
        .success()
        .stdout
}

fn skopeo(arguments: &[&str]) -> String {
    run("skopeo", &[&["--insecure-policy"], arguments].concat())
}

/// `transport:path`, or with a name behind it.
fn at(transport: &str, path: &Path, name: &str) -> String {
    let path = path.display();
    match name {
        "" => format!("{transport}:{path}"),
        name => format!("{transport}:{path}:{name}"),
    }
}

/// The digest of the manifest, and of the configuration, as skopeo sees them.
fn skopeo_sees(source: &str) -> (String, String) {
    let raw = skopeo(&["inspect", "--raw", source]);
    let manifest: Value = serde_json::from_str(&raw).expect("JSON");
    let config = manifest["config"]["digest"]
        .as_str()
        .expect("text")
        .to_owned();
    (Digest::of(raw.as_bytes()).to_string(), config)
}

#[test]
fn images_of_umoci_and_skopeo_are_loaded_byte_by_byte() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgload");
    let residue = Residue::watch(&setting.marker);
    let from_layout = setting.load("busybox:umoci");
    assert_eq!(
        from_layout.descriptor.digest.to_string(),
        digest_in_index(&setting.layout)
    );
    let other = setting.other_store("other");
    let [from_archive] = &load_from(&other, &setting.archive)[..] else {
        panic!("it is one image");
    };
    assert_eq!(from_archive.shown(), "busybox:test");
    assert_eq!(
        from_archive.descriptor.digest,
        from_layout.descriptor.digest
    );
    for store in [&setting.store, &other] {
        let (_, manifest, config) = parts(store, &from_layout.descriptor);
        assert_eq!(manifest.layers.len(), 4);
        assert_eq!(config.config.working_dir, "/root");
        assert_sound(store);
        assert_eq!(kit::unfinished(store.path()), [] as [String; 0]);
    }
    drop((setting, other));
    residue.assert_none(&[]);
}

#[test]
fn a_layout_that_anybody_has_packed_is_loaded() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgpacked");
    let layout = setting.layout.display().to_string();
    let expected = digest_in_index(&setting.layout);
    for (number, options) in [&["--format=gnu"][..], &["--format=pax"], &["--gzip"]]
        .iter()
        .enumerate()
    {
        let packed = setting.path(&format!("{number}.tar"));
        let target = packed.display().to_string();
        run(
            "tar",
            &[*options, &["-C", &layout, "-cf", &target, "."]].concat(),
        );
        let store = setting.other_store(&format!("store-{number}"));
        let images = load_from(&store, &packed);
        assert_eq!(
            images[0].descriptor.digest.to_string(),
            expected,
            "{options:?}"
        );
        assert_sound(&store);
    }
}

#[test]
fn docker_archives_of_skopeo_are_loaded_and_the_layers_are_the_configurations() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgolddocker");
    let archive = setting.path("docker.tar");
    let source = at("oci-archive", &setting.archive, "");
    skopeo(&[
        "copy",
        "--quiet",
        &source,
        &at("docker-archive", &archive, "busybox:old"),
    ]);
    let [image] = &load_from(&setting.store, &archive)[..] else {
        panic!("it is one image");
    };
    assert_eq!(image.shown(), "busybox:old");
    let (_, manifest, config) = parts(&setting.store, &image.descriptor);
    let layers: Vec<&Digest> = manifest.layers.iter().map(|layer| &layer.digest).collect();
    assert_eq!(
        layers,
        config.rootfs.diff_ids.iter().collect::<Vec<_>>(),
        "they are plain"
    );
    let seen = skopeo(&[
        "inspect",
        "--config",
        "--raw",
        &at("docker-archive", &archive, ""),
    ]);
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(
        seen["rootfs"]["diff_ids"],
        serde_json::json!(config.rootfs.diff_ids)
    );
    // The same archive is the same image.
    let other = setting.other_store("other");
    assert_eq!(
        load_from(&other, &archive)[0].descriptor.digest,
        image.descriptor.digest
    );
    assert_sound(&setting.store);
}

#[test]
fn skopeo_and_umoci_read_the_store_and_write_into_it() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgshared");
    let image = setting.load("busybox:1");
    let root = setting.store.path();
    let name = "docker.io/library/busybox:1";
    let (manifest, config) = skopeo_sees(&at("oci", root, name));
    assert_eq!(manifest, image.descriptor.digest.to_string());
    assert_eq!(config, config_digest(&setting.store, &image).to_string());

    let listed = run("umoci", &["ls", "--layout", &root.display().to_string()]);
    assert_eq!(listed.trim(), name);
    let bundle = setting.path("bundle");
    let by_umoci = at("", root, name);
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &by_umoci[1..],
            &bundle.display().to_string(),
        ],
    );
    assert!(bundle.join("rootfs/bin/busybox").exists());

    let new = at("oci", root, "docker.io/library/busybox:skopeo");
    skopeo(&[
        "copy",
        "--quiet",
        &at("oci-archive", &setting.archive, ""),
        &new,
    ]);
    let umocis = format!("{}:{name}", root.display());
    run(
        "umoci",
        &["tag", "--image", &umocis, "docker.io/library/busybox:umoci"],
    );
    run(
        "umoci",
        &[
            "config",
            "--image",
            &umocis,
            "--tag",
            "changed",
            "--config.user",
            "7",
        ],
    );
    let store = Store::open(root).expect("it is a store still");
    for name in ["busybox:skopeo", "busybox:umoci"] {
        let found = store.find(name).expect(name);
        assert_eq!(found.descriptor.digest, image.descriptor.digest, "{name}");
    }
    let changed = store.find("changed").expect("umoci's own name");
    assert_eq!(parts(&store, &changed.descriptor).2.config.user, "7");
    store
        .tag(&reference("busybox:changed"), &changed.descriptor)
        .expect("it is whole");
    assert_sound(&store);
}

#[test]
fn a_layout_of_umocis_becomes_a_store_as_it_is() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgadopt");
    let digest = digest_in_index(&setting.layout);
    let store = Store::open(&setting.layout).expect("it is an image layout");
    let image = store.find("test").expect("umoci's own name");
    assert_eq!(
        (image.reference, image.descriptor.digest.to_string()),
        (None, digest)
    );
    store
        .tag(&reference("busybox:1"), &image.descriptor)
        .expect("it is whole");
    store
        .prune(Untagged::Remove, |_| false)
        .expect("it can be pruned");
    assert_sound(&store);
    let listed = run(
        "umoci",
        &["ls", "--layout", &setting.layout.display().to_string()],
    );
    let mut names: Vec<&str> = listed.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["docker.io/library/busybox:1", "test"]);
    run(
        "umoci",
        &["gc", "--layout", &setting.layout.display().to_string()],
    );
    assert_sound(&store);
    assert!(store.find("busybox:1").is_ok());
}

#[test]
fn skopeo_reads_archives_of_ours_in_both_formats() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgsave");
    let image = setting.load("busybox:1");
    let expected = (
        image.descriptor.digest.to_string(),
        config_digest(&setting.store, &image).to_string(),
    );
    let name = "docker.io/library/busybox:1";
    let docker = setting.save(std::slice::from_ref(&image), Format::Docker, "docker.tar");
    let oci = setting.save(std::slice::from_ref(&image), Format::Oci, "oci.tar");
    assert_eq!(skopeo_sees(&at("oci-archive", &oci, name)), expected);
    assert_eq!(skopeo_sees(&at("oci-archive", &docker, name)), expected);
    let (_, config) = skopeo_sees(&at("docker-archive", &docker, "busybox:1"));
    assert_eq!(config, expected.1, "the image's id stays");
    let again = setting.save(&[image], Format::Docker, "again.tar");
    let bytes = |path: &Path| std::fs::read(path).expect("read");
    assert!(
        bytes(&docker) == bytes(&again),
        "the same image makes the same archive"
    );
}

#[test]
fn what_is_saved_is_loaded_with_all_names_through_a_pipe() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgpipe");
    let first = setting.load("busybox:1");
    setting
        .store
        .tag(&reference("registry.example:5000/a/b:2"), &first.descriptor)
        .expect("whole");
    let lease = setting.store.lease().expect("held");
    let layer = kit::ingest(&setting.store, &kit::content("layer", 100), 50).expect("written");
    let nameless = kit::image(&setting.store, &[layer], "x").expect("written");
    setting.store.add(&nameless).expect("whole");
    drop(lease);
    let images = setting.store.images().expect("a list");
    for format in [Format::Docker, Format::Oci] {
        let (reader, writer) = std::io::pipe().expect("made");
        let other = setting.other_store(&format!("{format:?}"));
        let options = SaveOptions {
            format,
            ..SaveOptions::default()
        };
        let loaded = std::thread::scope(|scope| {
            scope.spawn(|| {
                save(&setting.store, &images, writer, &options, &Silent).expect("it is written");
            });
            load(&other, reader, &LoadOptions::default(), &Silent).expect("it loads")
        });
        let digests = |images: &[Image]| -> Vec<(String, Digest)> {
            images
                .iter()
                .map(|i| (i.shown(), i.descriptor.digest.clone()))
                .collect()
        };
        assert_eq!(digests(&loaded), digests(&images));
        assert_eq!(digests(&other.images().expect("a list")), digests(&images));
        assert_sound(&other);
    }
}

#[test]
fn layers_of_zstd_are_loaded_and_saved_as_they_are() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgzstd");
    let layout = setting.path("zstd");
    let source = at("oci-archive", &setting.archive, "");
    let target = at("oci", &layout, "x");
    skopeo(&[
        "copy",
        "--quiet",
        "--dest-compress-format",
        "zstd",
        &source,
        &target,
    ]);
    let images = load_layout(&setting.store, &layout, &LoadOptions::default(), &Silent);
    let image = images.expect("it loads").remove(0);
    assert_eq!(
        image.descriptor.digest.to_string(),
        digest_in_index(&layout)
    );
    let (_, manifest, _) = parts(&setting.store, &image.descriptor);
    let is_zstd = |layer: &Descriptor| layer.media_type.as_str().ends_with("+zstd");
    assert!(manifest.layers.iter().all(is_zstd), "{manifest:?}");
    let expected = skopeo_sees(&at("oci", &layout, "x"));
    let saved = setting.save(&[image], Format::Oci, "zstd.tar");
    assert_eq!(skopeo_sees(&at("oci-archive", &saved, "")), expected);
}

#[test]
fn killed_while_loading_an_image_is_there_whole_or_not_at_all() {
    needs!(Program("strace"), Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgloadkill");
    let mut kills = 0;
    for call in ["/^rename", "fsync"] {
        for at in 1.. {
            let root = setting.path(&format!("{}-{at}", call.trim_start_matches("/^")));
            let load = kit::child("child_that_loads", &root, 0);
            let mut strace = Command::new("strace");
            strace.args(["-f", "--output=/dev/null"]);
            strace.arg(format!("--inject={call}:signal=KILL:when={at}"));
            strace.arg(load.get_program()).args(load.get_args());
            strace.env(kit::ROOT, &root).env(ARCHIVE, &setting.archive);
            let finished = testkit::finish(&mut strace, LIMIT);
            let store = Store::open(&root).expect("it opens");
            assert_sound(&store);
            assert!(store.images().expect("a list").len() <= 1);
            load_from(&store, &setting.archive);
            assert_sound(&store);
            store
                .prune(Untagged::Remove, |_| false)
                .expect("no lock is left");
            assert_eq!(kit::unfinished(&root), [] as [String; 0]);
            if finished.code == 0 {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 12, "only {kills} calls were seen");
}

#[test]
#[ignore = "a child of another test"]
fn child_that_loads() {
    if let (Some(root), Some(archive)) = (kit::told_root(), std::env::var_os(ARCHIVE)) {
        load_from(&Store::open(&root).expect("it opens"), Path::new(&archive));
    }
}

#[test]
fn docker_loads_ours_and_we_load_dockers() {
    needs!(Root, Engines, Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgdocker");
    let residue = Residue::watch(&setting.marker);
    let engine = Engine::docker_with(&setting.marker, &[]);
    let image = setting.load("busybox:ours");
    let archive = setting.save(std::slice::from_ref(&image), Format::Docker, "ours.tar");
    let id = config_digest(&setting.store, &image);
    engine
        .docker(&["load", "--input", &archive.display().to_string()])
        .succeeded();
    let seen = engine.docker(&["image", "inspect", "--format", "{{.Id}}", "busybox:ours"]);
    assert_eq!(
        seen.success().stdout.trim(),
        id.to_string(),
        "the image's id stays"
    );

    let theirs = setting.path("theirs.tar").display().to_string();
    engine
        .docker(&["save", "--output", &theirs, "busybox:ours", engine.image()])
        .succeeded();
    let other = setting.other_store("other");
    let mut images = load_from(&other, Path::new(&theirs));
    images.sort_by_key(Image::shown);
    let names: Vec<String> = images.iter().map(Image::shown).collect();
    assert_eq!(names, ["busybox:ours", engine.image()]);
    assert_eq!(config_digest(&other, &images[0]), id, "and on the way back");
    assert_sound(&other);
    let containerds = engine.ctr(&["image", "import", &archive.display().to_string()]);
    assert!(
        containerds
            .success()
            .stdout
            .contains("docker.io/library/busybox:ours")
    );
    drop((engine, setting, other));
    residue.assert_none(&[]);
}

#[test]
fn podman_loads_ours_and_we_load_podmans() {
    needs!(Root, Program("podman"), Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgpodman");
    let residue = Residue::watch(&setting.marker);
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(setting.path("podman"));
        command.arg("--runroot").arg(setting.path("podman-run"));
        command.arg("--tmpdir").arg(setting.path("podman-tmp"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        testkit::finish(command.args(arguments), LIMIT)
            .success()
            .stdout
    };
    let image = setting.load("busybox:ours");
    let id = config_digest(&setting.store, &image);
    let text = |path: &Path| path.display().to_string();
    for format in [Format::Docker, Format::Oci] {
        let archive = setting.save(std::slice::from_ref(&image), format, "ours.tar");
        podman(&["load", "--quiet", "--input", &text(&archive)]);
        let seen = podman(&[
            "image",
            "inspect",
            "--format",
            "{{.Id}}",
            "docker.io/library/busybox:ours",
        ]);
        assert_eq!(seen.trim(), id.hex(), "{format:?}");
        if format == Format::Docker {
            podman(&["rmi", "docker.io/library/busybox:ours"]);
        }
    }
    for format in ["docker-archive", "oci-archive"] {
        let archive = setting.path(format);
        podman(&[
            "save",
            "--quiet",
            "--format",
            format,
            "--output",
            &text(&archive),
            "busybox:ours",
        ]);
        let other = setting.other_store(&format!("from-{format}"));
        let [loaded] = &load_from(&other, &archive)[..] else {
            panic!("it is one image");
        };
        assert_eq!(loaded.shown(), "busybox:ours", "{format}");
        let (_, _, config) = parts(&other, &loaded.descriptor);
        assert_eq!(config.config.working_dir, "/root");
        assert_sound(&other);
    }
    drop(setting);
    residue.assert_none(&[]);
}

#[test]
fn the_same_archive_is_loaded_by_several_at_once_while_others_prune() {
    needs!(Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgloads");
    let store = &setting.store;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let images = load_from(store, &setting.archive);
                    assert_eq!(images[0].shown(), "busybox:test");
                    store.untag(&reference("busybox:test")).ok();
                    store.prune(Untagged::Remove, |_| false).expect("pruned");
                }
            });
        }
    });
    load_from(store, &setting.archive);
    assert_sound(store);
    assert_eq!(store.images().expect("a list").len(), 1);
    assert_eq!(kit::unfinished(store.path()), [] as [String; 0]);
}

#[test]
fn a_root_filesystem_is_exported_and_imported_again() {
    needs!(Root, Engines);
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, symlink};
    let marker = Marker::new("imgexport");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let bundle = testkit::TestBundle::busybox(&marker);
    let rootfs = bundle.rootfs();
    symlink("/etc/passwd", rootfs.join("outside")).expect("linked");
    std::fs::hard_link(rootfs.join("bin/busybox"), rootfs.join("twin")).expect("linked");
    let mut exported = Vec::new();
    let opened = open(&rootfs);
    let packed = export(opened.as_fd(), IdMaps::default(), &mut exported).expect("packed");
    assert_eq!(packed.digest, Digest::of(&exported));

    let store = Store::open(&directory.path().join("store")).expect("it opens");
    let options = ImportOptions {
        reference: Some(reference("exported:1")),
        ..ImportOptions::default()
    };
    let image = import(&store, &exported[..], &options).expect("it is an archive");
    let (_, _, config) = parts(&store, &image.descriptor);
    assert_eq!(config.rootfs.diff_ids[0], packed.diff_id);

    // GNU tar reads it, and nothing was followed.
    let tar = directory.path().join("exported.tar");
    std::fs::write(&tar, &exported).expect("written");
    let out = directory.path().join("out");
    std::fs::create_dir(&out).expect("made");
    run(
        "tar",
        &[
            "-C",
            &out.display().to_string(),
            "-xf",
            &tar.display().to_string(),
        ],
    );
    assert!(out.join("outside").is_symlink());
    let inode = |name: &str| std::fs::metadata(out.join(name)).expect("there").ino();
    assert_eq!(inode("twin"), inode("bin/busybox"));

    // Docker imports it as well.
    let engine = Engine::docker_with(&marker, &[]);
    engine
        .docker(&["import", &tar.display().to_string(), "ours:1"])
        .succeeded();
    let format = "{{index .RootFS.Layers 0}}";
    let seen = engine.docker(&["image", "inspect", "--format", format, "ours:1"]);
    assert_eq!(seen.success().stdout.trim(), packed.diff_id.to_string());
    drop((engine, store, opened, bundle, directory));
    residue.assert_none(&[]);
}

/// In bytes: what no operation may exceed, however large a layer is.
const MOST_MEMORY: u64 = 64 << 20;

#[test]
fn a_layer_larger_than_the_memory_goes_through_a_pipe() {
    let marker = Marker::new("imglarge");
    let directory = marker.directory();
    let mut child = kit::child("child_with_a_large_layer", directory.path(), 0);
    testkit::finish(&mut child, LIMIT).succeeded();
}

#[test]
#[ignore = "a child of another test"]
fn child_with_a_large_layer() {
    let Some(directory) = kit::told_root() else {
        return;
    };
    let store = Store::open(&directory.join("store")).expect("it opens");
    let other = Store::open(&directory.join("other")).expect("it opens");
    let before = peak_memory();
    let lease = store.lease().expect("held");
    let piece = kit::content("large", 1 << 20);
    let mut writer = store.writer_unnamed().expect("begun");
    for _ in 0..2 * MOST_MEMORY / (1 << 20) {
        writer.append(&piece).expect("written");
    }
    let layer = writer.commit(kit::layer_type()).expect("committed");
    assert_eq!(layer.size, 2 * MOST_MEMORY);
    let large = kit::image(&store, &[layer], "large").expect("written");
    store.tag(&reference("large"), &large).expect("whole");
    drop(lease);
    let images = store.images().expect("a list");
    let (reader, writer) = std::io::pipe().expect("made");
    std::thread::scope(|scope| {
        scope.spawn(|| save(&store, &images, writer, &SaveOptions::default(), &Silent));
        load(&other, reader, &LoadOptions::default(), &Silent).expect("it loads");
    });
    let peak = peak_memory();
    assert!(
        before > 0 && peak < MOST_MEMORY,
        "{peak} bytes of memory were used"
    );
}

/// In bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("it says so");
    let kilobytes: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kilobytes << 10
}

#[test]
fn a_full_disk_while_loading_leaves_no_image() {
    needs!(Root, Program("umoci"), Program("skopeo"));
    let setting = Setting::new("imgloadfull");
    let residue = Residue::watch(&setting.marker);
    let disk = setting.path("disk");
    std::fs::create_dir(&disk).expect("made");
    let child = kit::child("child_that_loads_on_a_small_disk", &disk, 0);
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
    unshare
        .arg("mount -t tmpfs -o size=600k tmpfs \"$0\" && exec \"$@\"")
        .arg(&disk);
    unshare
        .arg(child.get_program())
        .args(child.get_args())
        .env(kit::ROOT, &disk);
    testkit::finish(unshare.env(ARCHIVE, &setting.archive), LIMIT).succeeded();
    drop(setting);
    residue.assert_none(&[]);
}

const ARCHIVE: &str = "TARE_TEST_ARCHIVE";

#[test]
#[ignore = "a child of another test"]
fn child_that_loads_on_a_small_disk() {
    let (Some(disk), Some(archive)) = (kit::told_root(), std::env::var_os(ARCHIVE)) else {
        return;
    };
    let store = Store::open(&disk.join("store")).expect("there is room");
    let error = load(
        &store,
        open(Path::new(&archive)),
        &LoadOptions::default(),
        &Silent,
    )
    .expect_err("it is larger than the disk");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(kit::unfinished(store.path()), [] as [String; 0]);
    assert_eq!(store.images().expect("a list"), []);
    store
        .prune(Untagged::Remove, |_| false)
        .expect("a full disk can be pruned");
    let blobs = std::fs::read_dir(store.path().join("blobs/sha256")).expect("listed");
    assert_eq!(blobs.count(), 0);
}

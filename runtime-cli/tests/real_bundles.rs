//! Bundles that other programs made: an OCI image by umoci, Debian by mmdebstrap.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Finished, Marker, Residue, Runtime, TestBundle, busybox_image, default_config, finish,
    finish_with_input, needs, under_terminal,
};

/// How long one container of this file may live.
const LIMIT: Duration = Duration::from_secs(60);

fn runtime(marker: &Marker) -> Runtime {
    Runtime::under_test(env!("CARGO_BIN_EXE_tare"), marker)
}

#[test]
fn an_image_by_umoci_and_skopeo_runs_under_its_own_config() {
    needs!(Root, Program("umoci"), Program("skopeo"), Program("script"));
    let marker = Marker::new("umoci");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let directory = marker.directory();
    let archive = busybox_image(&marker, &directory.path().join("made"));
    let bundle = unpack(&archive, directory.path());
    let text = fs::read_to_string(bundle.join("config.json")).expect("umoci writes config.json");
    let config: Value = serde_json::from_str(&text).expect("umoci writes JSON");
    assert_eq!(
        config["process"]["terminal"], true,
        "umoci asks for a terminal"
    );

    let path = bundle.to_str().expect("a temporary path is text");
    let command = runtime.command(&["run", "--bundle", path, marker.as_str()]);
    let run = finish(&mut under_terminal(&command), LIMIT);
    assert!(run.stdout.contains("image umoci 0 /dev/pts/0"), "{run}");
    assert_eq!(run.code, 5, "{run}");
    drop(directory);
    residue.assert_none(&[&runtime]);
}

/// The bundle in an image archive: through skopeo to a layout, through umoci to a bundle.
fn unpack(archive: &Path, directory: &Path) -> PathBuf {
    let (layout, bundle) = (directory.join("layout"), directory.join("bundle"));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet"]);
    skopeo.arg(format!("oci-archive:{}", archive.display()));
    skopeo.arg(format!("oci:{}:copied", layout.display()));
    finish(&mut skopeo, LIMIT).succeeded();
    let mut umoci = Command::new("umoci");
    umoci
        .args(["unpack", "--image"])
        .arg(format!("{}:copied", layout.display()))
        .arg(&bundle);
    finish(&mut umoci, LIMIT).succeeded();
    bundle
}

#[test]
fn debian_runs_apt_ps_a_daemon_and_a_shell_under_specs_config() {
    needs!(Root, Program("mmdebstrap"), Program("script"));
    let marker = Marker::new("debian");
    let residue = Residue::watch(&marker);
    let debian = Debian::unpack(&marker);

    debian.configure(true, &["sh", "-c", APT_AND_PS]);
    let run = debian.run_under_terminal(b"");
    for expected in [
        "apt 2.",
        "base-files/",
        "PID %CPU",
        "ps aux",
        "Read-only file system",
    ] {
        assert!(run.stdout.contains(expected), "{expected:?} in {run}");
    }
    assert_eq!(run.code, 0, "{run}");

    debian.configure(false, &["sh", "-c", A_DAEMON]);
    let run = debian.run_under_terminal(b"");
    assert!(run.stdout.contains("cron runs, parent 1"), "{run}");
    assert!(run.stdout.contains("cron ended"), "{run}");
    assert_eq!(run.code, 0, "{run}");

    debian.configure(true, &["bash"]);
    let run =
        debian.run_under_terminal(b"sleep 1\necho shell $((6*7)) $BASH_VERSION; tty\nexit 3\n");
    assert!(run.stdout.contains("shell 42 5."), "{run}");
    assert!(run.stdout.contains("/dev/pts/0"), "{run}");
    assert_eq!(run.code, 3, "{run}");
    let Debian { runtime, directory } = debian;
    drop(directory);
    residue.assert_none(&[&runtime]);
}

/// On `spec`'s read-only rootfs.
const APT_AND_PS: &str = "apt --version && apt list --installed 2>/dev/null | grep base-files && \
    ps aux && ! touch /etc/new";

/// On a writable rootfs: cron starts, detaches itself from its parent, and is ended.
const A_DAEMON: &str = "cron && sleep 1 && pid=$(cat /run/crond.pid) && \
    test $(cat /proc/$pid/comm) = cron && \
    echo cron runs, parent $(ps -o ppid= -p $pid) | tr -s ' ' && \
    kill $pid && sleep 1 && ! test -d /proc/$pid/exe && echo cron ended";

/// A Debian root filesystem in a bundle.
struct Debian {
    runtime: Runtime,
    directory: tempfile::TempDir,
}

impl Debian {
    fn unpack(marker: &Marker) -> Self {
        let directory = marker.directory();
        let rootfs = directory.path().join("rootfs");
        fs::create_dir(&rootfs).expect("a directory can be made");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&rootfs).arg("-xpf").arg(debian_archive());
        finish(&mut tar, LIMIT).succeeded();
        Self {
            runtime: runtime(marker),
            directory,
        }
    }

    /// `spec`'s config, as the runtime itself writes it, with these arguments.
    fn configure(&self, readonly: bool, args: &[&str]) {
        let path = self.directory.path().join("config.json");
        if path.exists() {
            fs::remove_file(&path).expect("it is ours");
        }
        let bundle = self
            .directory
            .path()
            .to_str()
            .expect("a temporary path is text");
        self.runtime.call(&["spec", "--bundle", bundle]).succeeded();
        let text = fs::read_to_string(&path).expect("`spec` writes config.json");
        let mut config: Value = serde_json::from_str(&text).expect("`spec` writes JSON");
        config["process"]["args"] = json!(args);
        config["root"]["readonly"] = json!(readonly);
        fs::write(&path, config.to_string()).expect("config.json can be written");
    }

    /// `spec`'s config asks for a terminal, so there is one.
    fn run_under_terminal(&self, typed: &[u8]) -> Finished {
        let bundle = self.directory.path();
        let id = bundle
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name is text");
        let path = bundle.to_str().expect("a temporary path is text");
        let command = self.runtime.command(&["run", "--bundle", path, id]);
        finish_with_input(&mut under_terminal(&command), typed, LIMIT)
    }
}

/// A minimal Debian (or what this machine is: its suite, its mirrors) with procps and cron.
/// Made once and kept in cargo's directory for test files.
fn debian_archive() -> PathBuf {
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-minbase.tar");
    if archive.exists() {
        return archive;
    }
    let partial = archive.with_extension(format!("{}.tar", std::process::id()));
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", "--include=procps,cron"]);
    mmdebstrap.arg(codename()).arg(&partial).args(sources());
    finish(&mut mmdebstrap, Duration::from_secs(600)).succeeded();
    fs::rename(&partial, &archive).expect("a file can be renamed beside itself");
    archive
}

fn codename() -> String {
    let release = fs::read_to_string("/etc/os-release").expect("every distribution has it");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.expect("Debian and Ubuntu name their releases")
        .to_owned()
}

/// The package sources of this machine: they are known to be within reach.
fn sources() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let has_text = |path: &PathBuf| {
        File::open(path).is_ok_and(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0))
    };
    files.retain(has_text);
    files
}

/// A config that dockerd handed to its runtime, on a rootfs of ours: without the hook into the
/// daemon, and with the host's side of its bind mounts made here.
fn docker_bundle(marker: &Marker, config: &str) -> TestBundle {
    let mut config: Value = serde_json::from_str(config).expect("the fixture is JSON");
    config["hooks"] = json!({});
    let bundle = TestBundle::busybox(marker);
    let mounts = config["mounts"].as_array_mut().expect("docker has mounts");
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "bind") {
        let source = mount["source"]
            .as_str()
            .expect("a bind mount has a source")
            .to_owned();
        let made = bundle.path().join(source.replace('/', "_"));
        if source.starts_with("/var/lib/docker") {
            fs::write(&made, format!("{marker}\n")).expect("a file can be written");
        } else if source.starts_with("/srv") {
            fs::create_dir(&made).expect("a directory can be made");
        } else {
            continue;
        }
        mount["source"] = json!(made);
    }
    bundle.with_config(config)
}

#[test]
fn dockers_own_config_runs_with_its_capabilities_masks_and_seccomp_profile() {
    needs!(Root);
    let marker = Marker::new("dockerconfig");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let config = include_str!("../../runtime-core/tests/fixtures/docker-config.json");
    let script = "grep -E '^(CapEff|Seccomp)' /proc/self/status; cat /etc/hostname; \
        unshare -m true 2>/dev/null || echo refused; cat /proc/keys /proc/timer_list 2>/dev/null; \
        echo 1 2>/dev/null > /proc/sys/kernel/panic || echo read-only";
    let bundle = docker_bundle(&marker, config).script(script);
    let run = runtime.run(&bundle);
    // Newer kernels tell how many filters there are as well.
    let printed = run.stdout.replace("Seccomp_filters:\t1\n", "");
    let expected =
        format!("CapEff:\t00000000a80425fb\nSeccomp:\t2\n{marker}\nrefused\nread-only\n");
    assert_eq!((run.code, printed), (0, expected), "{run}");
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn dockers_config_with_every_limit_runs_as_the_user_it_names() {
    needs!(
        Root,
        Program("docker-init"),
        Cgroup("memory"),
        Program("script")
    );
    let marker = Marker::new("dockerlimits");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let config = include_str!("../../runtime-core/tests/fixtures/docker-config-limits.json");
    let script = "id -u; id -G; ulimit -n; cat /proc/1/oom_score_adj /proc/sys/net/core/somaxconn; \
        cat /proc/1/comm; touch /data/x 2>/dev/null || echo data is read-only; test -c /dev/nil && echo nil";
    let bundle =
        docker_bundle(&marker, config).args(&["/sbin/docker-init", "--", "sh", "-c", script]);
    bundle.save();
    let path = bundle.path().to_str().expect("a temporary path is text");
    let command = runtime.command(&["run", "--bundle", path, bundle.id()]);
    let run = finish(&mut under_terminal(&command), LIMIT);
    // script(1) types an end of input, which is a NUL under the raw mode that tare has set; the
    // container's terminal shows it wherever the cursor is.
    let shown = run.stdout.replace("^@", "");
    let printed: Vec<&str> = shown.lines().map(str::trim).collect();
    let expected = [
        "1000 100",
        "1024",
        "100",
        "512",
        "docker-init",
        "data is read-only",
        "nil",
    ];
    assert!(printed[0].ends_with("1000"), "{run}");
    assert_eq!((run.code, &printed[1..8]), (0, &expected[..]), "{run}");
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn the_default_config_of_the_tests_is_what_spec_writes() {
    let marker = Marker::new("spec");
    let runtime = runtime(&marker);
    let directory = marker.directory();
    let path = directory.path().to_str().expect("a temporary path is text");
    runtime.call(&["spec", "--bundle", path]).succeeded();
    let text = fs::read_to_string(directory.path().join("config.json")).expect("it was written");
    let mut written: Value = serde_json::from_str(&text).expect("`spec` writes JSON");
    let mut ours = default_config();
    for config in [&mut written, &mut ours] {
        config["ociVersion"] = Value::Null;
        config["hostname"] = Value::Null;
        config["process"]["terminal"] = Value::Null;
        config["process"]["capabilities"]["ambient"] = Value::Null;
        for list in ["/mounts", "/linux/maskedPaths"] {
            let list = config.pointer_mut(list).and_then(Value::as_array_mut);
            list.expect("there is one").sort_by_key(Value::to_string);
        }
        for mount in config["mounts"].as_array_mut().expect("there is one") {
            if mount["options"].is_null() {
                mount["options"] = json!([]);
            }
        }
    }
    assert_eq!(ours, written);
}

//! Broken, hostile or huge input: a clear error within a second, exit code 1, nothing created.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle};

/// A second on an idle machine; builds for tests are slow, and other tests run meanwhile.
const LIMIT: Duration = Duration::from_secs(20);

struct Input {
    residue: Residue,
    runtime: Runtime,
    marker: Marker,
}

impl Input {
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        Self {
            residue: Residue::watch(&marker),
            runtime: Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker),
            marker,
        }
    }

    fn bundle(&self) -> TestBundle {
        TestBundle::busybox(&self.marker)
            .set("/linux/cgroupsPath", format!("/{}", self.marker).into())
    }

    /// Saves the bundle without a superfluous byte, and gives its path.
    fn save(bundle: &TestBundle) -> &str {
        let text = serde_json::to_vec(bundle.config()).expect("a value can be written");
        fs::write(bundle.path().join("config.json"), text).expect("it is ours");
        bundle.path().to_str().expect("a temporary path is text")
    }

    /// `create` and `plan` refuse the bundle; gives what `create` says.
    fn is_refused(&self, bundle: &TestBundle, says: &str) {
        Self::save(bundle);
        self.text_is_refused(bundle, says);
    }

    fn text_is_refused(&self, bundle: &TestBundle, says: &str) {
        let path = bundle.path().to_str().expect("a temporary path is text");
        let create = self
            .runtime
            .call(&["create", "--bundle", path, bundle.id()]);
        self.is_clear(&create, says);
        let plan = self.runtime.call(&["plan", "--bundle", path]);
        assert_eq!(plan.code, 1, "{plan}");
    }

    fn is_clear(&self, finished: &Finished, says: &str) {
        assert_eq!(finished.code, 1, "{finished}");
        assert!(finished.took < LIMIT, "{:?}: {finished}", finished.took);
        assert!(finished.stderr.contains(says), "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        assert!(
            finished.stderr.len() < 100_000,
            "{} bytes",
            finished.stderr.len()
        );
        assert!(!finished.stderr.contains("panicked"), "{finished}");
        let made: Vec<_> = fs::read_dir(self.runtime.root())
            .expect("the root is ours")
            .collect();
        assert!(made.is_empty(), "{made:?}");
    }

    fn done(self, bundle: TestBundle) {
        drop(bundle);
        self.residue.assert_none(&[&self.runtime]);
    }
}

#[test]
fn ten_megabytes_of_nested_json_are_refused() {
    let input = Input::new("nested");
    let bundle = input.bundle();
    let deep = 5 << 20;
    let texts = [
        ["[".repeat(deep), "]".repeat(deep)].concat(),
        "{\"a\":".repeat(2 << 20),
        format!("{{\"process\":{}1{}}}", "[".repeat(deep), "]".repeat(deep)),
        format!(
            "{{\"hooks\":{{\"prestart\":{}",
            "{\"path\":".repeat(1 << 20)
        ),
        format!("{{\"ociVersion\":\"{}\"}}", "1".repeat(10 << 20)),
    ];
    for text in texts {
        fs::write(bundle.path().join("config.json"), text).expect("it is ours");
        input.text_is_refused(&bundle, "config.json");
    }
    input.done(bundle);
}

#[test]
fn bytes_that_are_no_json_are_refused_with_their_place() {
    let input = Input::new("garbage");
    let bundle = input.bundle();
    let texts: [&[u8]; 8] = [
        b"",
        b"\0\0\0\0",
        b"\xff\xfe{}",
        b"null",
        b"[]",
        b"{\"ociVersion\": \"1.0.2\", \"ociVersion\": 3}",
        b"{\"ociVersion\": \"\xff\"}",
        b"{\"ociVersion\": \"1.0.2\"} trailing",
    ];
    for text in texts {
        fs::write(bundle.path().join("config.json"), text).expect("it is ours");
        input.text_is_refused(&bundle, "line 1, column ");
    }
    input.done(bundle);
}

#[test]
fn a_config_that_is_no_regular_file_is_refused() {
    let input = Input::new("special");
    let bundle = input.bundle();
    let path = bundle.path().join("config.json");
    fs::create_dir(&path).expect("it is ours");
    input.text_is_refused(&bundle, "config.json");
    fs::remove_dir(&path).expect("it is ours");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a fifo can be made");
    input.text_is_refused(&bundle, "config.json");
    fs::remove_file(&path).expect("it is ours");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("it is ours");
    input.text_is_refused(&bundle, "config.json");
    std::os::unix::fs::symlink("config.json", bundle.path().join("loop")).expect("it is ours");
    input.done(bundle);
}

#[test]
fn nul_in_any_string_is_refused_by_name() {
    let input = Input::new("nul");
    let places = [
        ("/process/args", json!(["sh\0"])),
        ("/process/env", json!(["A=b\0c"])),
        ("/process/cwd", json!("/\0")),
        ("/hostname", json!("a\0b")),
        ("/root/path", json!("root\0fs")),
        ("/mounts/0/destination", json!("/proc\0/../..")),
        ("/mounts/1/options", json!(["size=1k\0"])),
        ("/mounts/1/source", json!("tmp\0fs")),
        ("/linux/maskedPaths", json!(["/proc/\0kcore"])),
        ("/linux/cgroupsPath", json!("/a\0b")),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1\0"})),
        ("/hooks", json!({"prestart": [{"path": "/bin/true\0"}]})),
    ];
    for (pointer, value) in places {
        let bundle = input.bundle().set(pointer, value);
        input.is_refused(
            &bundle,
            pointer.split('/').nth(1).expect("a pointer has a part"),
        );
    }
    let bundle = input.bundle();
    input.done(bundle);
}

#[test]
fn paths_that_lead_upwards_are_refused() {
    let input = Input::new("dots");
    let cases: [(&str, Value, &str); 4] = [
        ("/linux/cgroupsPath", json!("/../../x"), "cgroupsPath"),
        (
            "/linux/sysctl",
            json!({"net./../../kernel.core_pattern": "x"}),
            "sysctl",
        ),
        (
            "/linux/sysctl",
            json!({"kernel.core_pattern": "x"}),
            "sysctl",
        ),
        (
            "/linux/namespaces/1/path",
            json!("relative/../path"),
            "namespaces",
        ),
    ];
    for (pointer, value, says) in cases {
        let bundle = input.bundle().set(pointer, value);
        input.is_refused(&bundle, says);
    }
    let bundle = input.bundle();
    input.done(bundle);
}

#[test]
fn huge_lists_are_refused_or_fail_without_residue() {
    let input = Input::new("huge");
    let mount = json!({"destination": "/x", "type": "nosuchfs", "source": "x"});
    let bundle = input.bundle().set("/mounts", vec![mount; 10_000].into());
    let path = Input::save(&bundle).to_owned();
    let create = input
        .runtime
        .call(&["create", "--bundle", &path, bundle.id()]);
    input.is_clear(&create, "mounts");

    let large = "x".repeat(1 << 20);
    let bundle = input
        .bundle()
        .push("/process/env", format!("LARGE={large}").into());
    let path = Input::save(&bundle).to_owned();
    let run = input.runtime.call(&["run", "--bundle", &path, bundle.id()]);
    input.is_clear(&run, "E2BIG");

    let mapping: Vec<Value> = (0..100_000)
        .map(|id| json!({"containerID": id, "hostID": 100_000 + id, "size": 1}))
        .collect();
    let bundle = input
        .bundle()
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", mapping.clone().into())
        .set("/linux/gidMappings", mapping.into());
    input.is_refused(&bundle, "Mappings");

    let many = vec![json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}); 100_000];
    let bundle = input.bundle().set("/process/rlimits", many.into());
    input.is_refused(&bundle, "rlimits");

    let missing = vec![json!({"type": "no such namespace"}); 50_000];
    let bundle = input.bundle().set("/linux/namespaces", missing.into());
    input.is_refused(&bundle, "namespaces");
    input.done(bundle);
}

#[test]
fn many_small_arguments_reach_the_program_or_are_refused() {
    testkit::needs!(Root);
    let input = Input::new("manyargs");
    let mut args = vec!["sh", "-c", "echo $#", "sh"];
    args.resize(64 << 10, "x");
    let bundle = input.bundle().args(&args);
    let run = ["run", "--bundle", Input::save(&bundle), bundle.id()];
    let run = input.runtime.call(&run);
    assert_eq!((run.code, run.stdout.trim()), (0, "65532"), "{run}");
    args.resize(1 << 20, "x");
    let bundle = input.bundle().args(&args);
    let run = ["run", "--bundle", Input::save(&bundle), bundle.id()];
    input.is_clear(&input.runtime.call(&run), "E2BIG");
    input.done(bundle);
}

#[test]
fn ids_that_are_no_names_are_refused_by_every_verb() {
    let input = Input::new("ids");
    let sibling = input.runtime.root().with_extension("sibling");
    fs::create_dir(&sibling).expect("the directory above is ours");
    fs::write(sibling.join("state.json"), "{}").expect("it is ours");
    let escape = format!("../{}", sibling.file_name().expect("a name").display());
    let long = "x".repeat(4096);
    let bad = [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "../x",
        &escape,
        &long,
        "a\nb",
        "a b",
        "ä",
        "a\u{202e}b",
        "*",
        "a\\b",
        "%2e%2e",
    ];
    let bundle = input.bundle().args(&["true"]);
    let path = Input::save(&bundle).to_owned();
    for id in bad {
        let create = ["create", "--bundle", &path, "--", id];
        let run = ["run", "--bundle", &path, "--", id];
        let plain: Vec<[&str; 3]> = ["state", "start", "kill", "delete", "pause", "resume", "ps"]
            .map(|verb| [verb, "--", id])
            .to_vec();
        let force = ["delete", "--force", "--", id];
        let exec = ["exec", "--", id, "true"];
        let calls = [&create[..], &run, &force, &exec].into_iter();
        for call in calls.chain(plain.iter().map(|call| &call[..])) {
            let refused = input.runtime.call(call);
            let failure = if call[0] == "exec" { 255 } else { 1 };
            assert_eq!(refused.code, failure, "{refused}");
            assert!(
                refused.stderr.contains("invalid container ID format"),
                "{refused}"
            );
            assert!(refused.stderr.lines().count() == 1, "{refused}");
        }
    }
    assert!(sibling.join("state.json").exists());
    fs::remove_dir_all(&sibling).expect("it is ours");
    input.done(bundle);
}

//! Names and numbers from outside: refused before anything is done.

use std::fs;

use serde_json::json;
use testkit::needs;

use crate::ground::{Ground, assert_refused, text, without_namespace};

fn bad_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a\nb",
        "ü",
        "a b",
        "/",
        "a/",
        "x\u{202e}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(4096));
    names
}

#[test]
fn a_bad_id_is_refused_by_every_command_before_anything_is_written() {
    needs!(Root);
    let ground = Ground::new("ids");
    let bundle = ground.bundle().args(&["true"]);
    bundle.save();
    for name in bad_names() {
        for words in [
            &["create", "--bundle", text(bundle.path())][..],
            &["run", "--bundle", text(bundle.path())],
            &["start"],
            &["state"],
            &["kill"],
            &["delete"],
            &["delete", "--force"],
            &["pause"],
            &["resume"],
            &["ps"],
        ] {
            let finished = ground.runtime.call(&[words, &["--", &name]].concat());
            assert!(finished.code != 0, "{name:?}: {finished}");
        }
        let finished = ground.runtime.call(&["exec", "--", &name, "true"]);
        assert!(finished.code != 0, "{name:?}: {finished}");
    }
    let left = fs::read_dir(ground.runtime.root())
        .expect("the root is there")
        .count();
    assert_eq!(left, 0);
    ground.finish(vec![bundle]);
}

#[test]
fn a_bad_cgroups_path_is_refused() {
    needs!(Root);
    let ground = Ground::new("cgpath");
    for path in [
        "/",
        "..",
        "/../x",
        "a/../../b",
        "/.",
        "/a\nb",
        &"/x".repeat(3000),
        &format!("/{}", "y".repeat(300)),
    ] {
        let bundle = ground
            .bundle()
            .set("/linux/cgroupsPath", path.into())
            .args(&["true"]);
        assert_refused(&ground.runtime.run(&bundle), "cgroupsPath");
    }
    ground.finish(vec![]);
}

#[test]
fn a_sub_cgroup_is_below_the_containers_own_and_no_neighbour_of_the_same_prefix() {
    needs!(Root);
    let ground = Ground::new("sub");
    let bundle = ground.bundle().args(&["sleep", "1000"]);
    // Named like the first one with one letter more.
    let sibling = ground
        .second_bundle()
        .set("/linux/cgroupsPath", format!("/{}2", ground.marker).into())
        .args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    ground.runtime.run_detached(&sibling).succeeded();
    let neighbour = format!("../{}2", ground.marker);
    for below in [
        "..",
        "../..",
        &neighbour,
        "a/../../..",
        &format!("/{neighbour}"),
        "2",
        "/2",
        "nowhere",
    ] {
        let finished = ground.exec_in(&bundle, below);
        assert!(finished.code != 0, "{below}: {finished}");
    }
    let sleeping = ground.runtime.call(&["ps", sibling.id()]).success();
    assert_eq!(sleeping.stdout.lines().count(), 2, "{sleeping}");
    ground.delete(&bundle);
    ground.delete(&sibling);
    ground.finish(vec![bundle, sibling]);
}

impl Ground {
    fn exec_in(&self, bundle: &testkit::TestBundle, cgroup: &str) -> testkit::Finished {
        self.runtime.call(&[
            "exec",
            "--cgroup",
            cgroup,
            bundle.id(),
            "cat",
            "/proc/self/cgroup",
        ])
    }
}

#[test]
fn a_sysctl_of_the_host_is_refused() {
    needs!(Root);
    let ground = Ground::new("sysctl");
    for key in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "kernel.sysrq",
        "vm.swappiness",
        "fs.file-max",
        "net.ipv4.+ip_forward",
        "net.ipv4=ip_forward",
        "net.ipv4 ip_forward",
        "net/../kernel/core_pattern",
        "net/ipv4/../../kernel/core_pattern",
        "net.//.kernel.core_pattern",
        "net..core_pattern",
        ".",
        "..",
        "",
        "/kernel/core_pattern",
        "kernel.hostname",
        "net/ipv4/\u{2025}/x",
    ] {
        let bundle = ground
            .bundle()
            .set("/linux/sysctl", json!({key: "0"}))
            .args(&["true"]);
        assert_refused(&ground.runtime.run(&bundle), "/linux/sysctl");
    }
    for (kind, key) in [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmax"),
        ("uts", "kernel.domainname"),
    ] {
        let bundle = ground
            .bundle()
            .set("/linux/sysctl", json!({key: "1"}))
            .set("/hostname", serde_json::Value::Null)
            .args(&["true"]);
        let bundle = without_namespace(bundle, kind);
        assert!(ground.runtime.run(&bundle).code != 0, "{key}");
        // A namespace that is joined by path, and is the host's.
        let own = json!({"type": kind, "path": match kind { "network" => "/proc/1/ns/net", "ipc" => "/proc/1/ns/ipc", _ => "/proc/1/ns/uts" }});
        let bundle = bundle.push("/linux/namespaces", own);
        let finished = ground.runtime.run(&bundle);
        assert!(finished.code != 0, "{key}: {finished}");
    }
    ground.finish(vec![]);
}

#[test]
fn annotations_command_nothing() {
    needs!(Root);
    let ground = Ground::new("annotations");
    let canary = ground.canary_file("secret");
    let bundle = ground
        .bundle()
        .set(
            "/annotations",
            json!({
                "org.systemd.property.ExecStopPost": format!("'/bin/rm {canary}'"),
                "run.oci.hooks.stdout": canary,
                "run.oci.handler": "krun",
                "run.oci.mount_context_type": "context",
                "run.oci.seccomp_fail_unknown_syscall": "0",
                "run.oci.keep_original_groups": "1",
                "org.criu.config": canary,
                "cdi.k8s.io/x": "vendor.com/device=all",
                "io.kubernetes.cri-o.Devices": "/dev/mem",
                "run.oci.systemd.subgroup": "/../..",
                "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            }),
        )
        .script("ls /dev; cat /proc/self/status | grep ^Groups");
    let finished = ground.runtime.run(&bundle).success();
    assert!(!finished.stdout.contains("mem\n"), "{finished}");
    assert!(finished.stdout.contains("Groups:\t \n"), "{finished}");
    ground.finish(vec![bundle]);
}

#[test]
fn documents_of_odd_sizes_have_their_exact_effect_or_a_named_error() {
    needs!(Root);
    let ground = Ground::new("sizes");
    let expect = |bundle: testkit::TestBundle, words: &str| {
        let finished = ground.runtime.run(&bundle);
        ground.delete(&bundle);
        ground.check();
        if finished.code != 0 {
            assert!(finished.stderr.contains(words), "{words}: {finished}");
        }
        finished
    };
    let mapping = |index: u32| json!({"containerID": index, "hostID": 100_000 + index, "size": 1});
    let maps: Vec<_> = (0..5000).map(mapping).collect();
    let bundle = ground
        .bundle()
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", json!(maps))
        .set("/linux/gidMappings", json!(maps))
        .args(&["true"]);
    expect(bundle, "uid");
    let path = format!("/proc/self/{}ns/net", "./".repeat(35_000));
    let bundle = ground.bundle().args(&["true"]);
    let bundle = without_namespace(bundle, "network").push(
        "/linux/namespaces",
        json!({"type": "network", "path": path}),
    );
    let finished = expect(bundle, "namespaces");
    assert!(
        finished.code != 0,
        "a name of 70 KB is longer than PATH_MAX"
    );

    let value = "v".repeat(100_000);
    let variable = format!("BIG={value}");
    let bundle = ground
        .bundle()
        .push("/process/env", variable.into())
        .script("echo ${#BIG}");
    assert_eq!(expect(bundle, "env").stdout, "100000\n");
    let bundle = ground
        .bundle()
        .push(
            "/process/env",
            format!("BIG={}", "v".repeat(1 << 20)).into(),
        )
        .script("echo ${#BIG}");
    assert!(
        expect(bundle, "process.env").code != 0,
        "it is longer than MAX_ARG_STRLEN"
    );

    let mut args: Vec<String> = ["sh", "-c", "echo $#", "sh"].map(str::to_owned).to_vec();
    args.extend((0..64_000).map(|_| "a".to_owned()));
    let bundle = ground.bundle().set("/process/args", json!(args));
    assert_eq!(expect(bundle, "args").stdout, "64000\n");

    let bundle = ground
        .bundle()
        .set("/annotations", json!({"big": "x".repeat(5 << 20)}))
        .args(&["true"]);
    expect(bundle, "large").succeeded();

    let mut bundle = ground.bundle().script("grep -c tmpfs /proc/self/mountinfo");
    let mut mounts = bundle.config()["mounts"].clone();
    for index in 0..500 {
        mounts.as_array_mut().expect("a list").push(json!({
            "type": "tmpfs", "source": "tmpfs", "destination": format!("/m/{index}"),
        }));
    }
    bundle = bundle.set("/mounts", mounts);
    let finished = expect(bundle, "mounts");
    let count: u32 = finished.stdout.trim().parse().expect("a number");
    assert!(count >= 500, "{finished}");
    ground.finish(vec![]);
}

#[test]
fn text_with_nul_is_refused_where_the_kernel_would_cut_it() {
    needs!(Root);
    let ground = Ground::new("nul");
    for pointer in [
        "/process/args/0",
        "/process/cwd",
        "/process/env/0",
        "/mounts/0/destination",
        "/mounts/0/source",
        "/root/path",
        "/hostname",
        "/linux/maskedPaths/0",
        "/linux/namespaces/0/path",
    ] {
        let bundle = ground.bundle().args(&["true"]);
        let bundle = bundle.set(pointer, "/proc\0/x".into());
        let finished = ground.runtime.run(&bundle);
        assert!(finished.code != 0, "{pointer}: {finished}");
        ground.check();
    }
    ground.finish(vec![]);
}

#[test]
fn hooks_are_absolute_paths_of_files() {
    needs!(Root);
    let ground = Ground::new("hooks");
    for path in [
        "",
        ".",
        "..",
        "true",
        "../bin/true",
        "a/b",
        "/bin/true\0x",
        "/",
        "/nowhere",
    ] {
        for kind in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
        ] {
            let bundle = ground
                .bundle()
                .set(&format!("/hooks/{kind}"), json!([{"path": path}]))
                .args(&["true"]);
            let finished = ground.runtime.run(&bundle);
            assert!(finished.code != 0, "{kind} {path:?}: {finished}");
        }
    }
    ground.finish(vec![]);
}

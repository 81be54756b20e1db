//! Users, groups, capabilities, environment (CVE-2016-3697, CVE-2022-29162, CVE-2023-25173,
//! CVE-2025-27612, CVE-2026-30892).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{TestBundle, finish, needs};

use crate::ground::{Ground, text, with_capabilities};

const STATUS: &str = "grep -E '^(Cap|Groups|Uid|Gid|NoNewPrivs)' /proc/self/status";

/// The value of a field of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(":\t"))
        .map(|(_, value)| value.trim())
        .unwrap_or_else(|| panic!("no {name} in {status}"))
}

fn mask(status: &str, name: &str) -> u64 {
    u64::from_str_radix(field(status, name), 16).expect("it is hexadecimal")
}

#[test]
fn capabilities_are_those_asked_for_and_never_inheritable() {
    needs!(Root);
    let ground = Ground::new("caps");
    for (names, expected) in [
        (&[][..], 0),
        (&["CAP_KILL"], 1 << 5),
        (&["CAP_KILL", "CAP_NET_RAW"], 1 << 5 | 1 << 13),
    ] {
        for uid in [0, 7] {
            let bundle = with_capabilities(ground.bundle(), names)
                .set("/process/user", json!({"uid": uid, "gid": uid}))
                .script(STATUS);
            let said = ground.runtime.run(&bundle).success().stdout;
            assert_eq!(mask(&said, "CapInh"), 0, "{said}");
            assert_eq!(mask(&said, "CapAmb"), 0, "{said}");
            assert_eq!(mask(&said, "CapBnd"), expected, "{said}");
            // execve(2) of another user's process drops what is not ambient.
            assert_eq!(
                mask(&said, "CapPrm"),
                if uid == 0 { expected } else { 0 },
                "{said}"
            );
        }
    }
    for bad in ["CAP_NOTHING", "KILL", "cap_kill ", "CAP_41", ""] {
        let bundle = with_capabilities(ground.bundle(), &[bad]).args(&["true"]);
        let finished = ground.runtime.run(&bundle);
        assert!(
            finished.code != 0 || finished.stderr.contains("apabilit"),
            "{bad:?} passed in silence: {finished}"
        );
    }
    ground.finish(vec![]);
}

#[test]
fn a_further_process_has_no_more_than_the_container() {
    needs!(Root);
    let ground = Ground::new("execcaps");
    let bundle =
        with_capabilities(ground.bundle(), &["CAP_KILL", "CAP_CHOWN"]).args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    let said = ground.exec(&bundle, &["sh", "-c", STATUS]).success().stdout;
    assert_eq!(mask(&said, "CapEff"), 1 << 5 | 1, "{said}");
    assert_eq!(mask(&said, "CapInh"), 0, "{said}");
    let as_user = ["exec", "--user", "7:7", bundle.id(), "sh", "-c", STATUS];
    let said = ground.runtime.call(&as_user).success().stdout;
    assert_eq!(mask(&said, "CapEff"), 0, "{said}");
    assert_eq!(mask(&said, "CapInh"), 0, "{said}");
    assert_eq!(field(&said, "Groups"), "", "{said}");
    let more = [
        "exec",
        "--cap",
        "CAP_NET_RAW",
        bundle.id(),
        "sh",
        "-c",
        STATUS,
    ];
    let said = ground.runtime.call(&more).success().stdout;
    assert_eq!(mask(&said, "CapInh"), 0, "{said}");
    assert_eq!(mask(&said, "CapBnd") & !(1 << 13 | 1 << 5 | 1), 0, "{said}");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn ids_are_numbers_whatever_the_passwd_file_calls_them() {
    needs!(Root);
    let ground = Ground::new("ids");
    let bundle = ground.bundle().args(&["sleep", "1000"]);
    fs::write(
        bundle.rootfs().join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\n1:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n00:x:5:5::/:/bin/sh\n",
    )
    .expect("it is ours");
    ground.runtime.run_detached(&bundle).succeeded();
    let id = |user: &str| {
        ground.runtime.call(&[
            "exec",
            "--user",
            user,
            bundle.id(),
            "sh",
            "-c",
            "echo $(id -u):$(id -g)",
        ])
    };
    for (user, expected) in [("1", "1:"), ("1:1", "1:1"), ("0", "0:0")] {
        let finished = id(user).success();
        assert!(finished.stdout.starts_with(expected), "{user}: {finished}");
    }
    for user in [
        "-1",
        "4294967295",
        "4294967296",
        "1e1",
        ":5",
        "0x0",
        "root ",
        "name",
        "1:4294967296",
        "1:-1",
        " 1",
    ] {
        let finished = id(user);
        assert!(finished.code != 0, "{user:?}: {finished}");
    }
    for uid in [
        json!(-1),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!("0"),
        json!(1.5),
    ] {
        let other = ground
            .second_bundle()
            .set("/process/user/uid", uid.clone())
            .script("id -u");
        let finished = ground.runtime.run(&other);
        assert!(finished.code != 0, "{uid}: {finished}");
    }
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn groups_are_those_of_the_config_and_none_of_the_callers() {
    needs!(Root, Program("setpriv"));
    let ground = Ground::new("groups");
    let many: Vec<u32> = (1000..1070).collect();
    for groups in [json!([]), json!([44]), json!(many)] {
        let bundle = ground
            .bundle()
            .set(
                "/process/user",
                json!({"uid": 7, "gid": 8, "additionalGids": groups}),
            )
            .script(STATUS);
        bundle.save();
        let words = ["run", "--bundle", text(bundle.path()), bundle.id()];
        let tare = ground.runtime.command(&words);
        let mut command = Command::new("setpriv");
        command.args(["--groups", "0,4,6,24,27,999"]);
        command.arg(tare.get_program()).args(tare.get_args());
        let said = finish(&mut command, Duration::from_secs(60))
            .success()
            .stdout;
        let expected: Vec<String> = groups
            .as_array()
            .expect("a list")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(field(&said, "Groups"), expected.join(" "), "{said}");
        assert_eq!(field(&said, "Gid"), "8\t8\t8\t8", "{said}");
    }
    ground.finish(vec![]);
}

#[test]
fn the_environment_is_the_configs_alone_and_goes_into_no_file() {
    needs!(Root);
    let ground = Ground::new("env");
    let env = json!(["PATH=:.:/evil:/bin", "A=1\n2=x", "NOVALUE=", "A=3", "HOME="]);
    let bundle = ground.bundle().set("/process/env", env).args(&["env"]);
    let evil = bundle.rootfs().join("evil");
    fs::create_dir(&evil).expect("it is ours");
    let script = evil.join("env");
    fs::write(&script, "#!/bin/sh\necho inside\nexec /bin/env\n").expect("it is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    bundle.save();
    let words = ["run", "--bundle", text(bundle.path()), bundle.id()];
    let mut command = ground.runtime.command(&words);
    command.env("HOST_SECRET", "swordfish").env("A", "host");
    let finished = finish(&mut command, Duration::from_secs(60)).success();
    assert!(finished.stdout.starts_with("inside\n"), "{finished}");
    assert!(!finished.stdout.contains("swordfish"), "{finished}");
    assert!(!finished.stdout.contains("host"), "{finished}");
    let other = ground.second_bundle().args(&["env"]);
    let finished = ground.runtime.run(&other).success();
    assert!(!finished.stdout.contains("A="), "{finished}");
    for path in crate::ground::tree(&bundle.rootfs()) {
        if path.is_file() && !path.is_symlink() && path != script {
            let bytes = fs::read(&path).expect("it can be read");
            assert!(
                bytes.len() > 500_000 || !String::from_utf8_lossy(&bytes).contains("NOVALUE"),
                "{}",
                path.display()
            );
        }
    }
    ground.finish(vec![bundle, other]);
}

#[test]
fn a_user_without_access_to_the_working_directory_gets_no_other_one() {
    needs!(Root);
    let ground = Ground::new("cwd");
    let bundle = ground
        .bundle()
        .set("/process/user", json!({"uid": 7, "gid": 7}))
        .set("/process/cwd", "/private".into())
        .script("pwd -P; ls");
    let private = bundle.rootfs().join("private");
    fs::create_dir(&private).expect("it is ours");
    fs::write(private.join("file"), "").expect("it is ours");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let finished = ground.runtime.run(&bundle);
    assert!(!finished.stdout.contains("file"), "{finished}");
    assert!(!finished.stdout.contains("unreachable"), "{finished}");
    ground.finish(vec![bundle]);
}

#[test]
fn no_new_privileges_and_dumpability_are_as_promised() {
    needs!(Root);
    let ground = Ground::new("nnp");
    let bundle: TestBundle = ground.bundle().args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    for _ in 0..3 {
        let said = ground.exec(&bundle, &["sh", "-c", STATUS]).success().stdout;
        assert_eq!(field(&said, "NoNewPrivs"), "1", "{said}");
    }
    let said = ground
        .runtime
        .call(&["exec", "--user", "7:7", bundle.id(), "sh", "-c", STATUS])
        .success()
        .stdout;
    assert_eq!(field(&said, "NoNewPrivs"), "1", "{said}");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn labels_that_this_kernel_cannot_give_are_refused() {
    needs!(Root);
    let ground = Ground::new("labels");
    for (property, file) in [
        (
            "/process/apparmorProfile",
            "/sys/module/apparmor/parameters/enabled",
        ),
        ("/process/selinuxLabel", "/sys/fs/selinux/enforce"),
    ] {
        if fs::metadata(file).is_ok() {
            continue;
        }
        let bundle = ground
            .bundle()
            .set(property, "unconfined_or_not".into())
            .args(&["true"]);
        let finished = ground.runtime.run(&bundle);
        assert!(finished.code != 0, "{property} was ignored: {finished}");
    }
    ground.finish(vec![]);
}

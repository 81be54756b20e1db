//! `process`: working directory, environment, arguments, user, limits.

use std::fs;

use serde_json::{Value, json};
use testkit::{Fact, needs};

use crate::container::{Container, proc_file, status_line};

#[test]
fn a_missing_working_directory_is_made() {
    needs!(Root);
    let container = Container::new("cwd")
        .set("/process/cwd", "/made/for/this")
        .script("pwd; stat -c '%a %u %g' /made/for/this; sleep 1000");
    let run = container.runtime.run_detached(container.bundle()).success();
    let pid = container.pid();
    let link = fs::read_link(format!("/proc/{pid}/cwd")).expect("it has one");
    assert_eq!(link.to_str(), Some("/made/for/this"));
    crate::container::eventually("it has printed", || run.stdout_now().lines().count() == 2);
    assert_eq!(run.stdout_now(), "/made/for/this\n755 0 0\n");
}

#[test]
fn a_working_directory_through_links_stays_inside() {
    needs!(Root);
    let container = Container::new("cwdlink").set("/process/cwd", "/link");
    std::os::unix::fs::symlink("/../../../srv", container.rootfs().join("link"))
        .expect("a link can be made");
    let printed = container.prints_of("pwd -P; ls -d /srv");
    assert_eq!(printed, "/srv\n/srv\n");
}

#[test]
fn a_working_directory_that_is_a_file_or_a_magic_link_is_refused() {
    needs!(Root);
    let said = Container::new("cwdfile")
        .set("/process/cwd", "/etc/passwd")
        .refused();
    assert!(said.contains("/etc/passwd"), "{said}");
    let said = Container::new("cwdfd")
        .set("/process/cwd", "/proc/self/fd/7")
        .refused();
    assert!(said.contains("/proc/self/fd/7"), "{said}");
    let said = Container::new("cwdrelative")
        .set("/process/cwd", "tmp")
        .refused();
    assert!(said.contains("/process/cwd"), "{said}");
}

#[test]
fn the_environment_is_the_configs_and_a_home() {
    needs!(Root);
    let container = Container::new("environment")
        .set(
            "/process/env",
            json!(["PATH=/bin", "A=1", "A=2", "EMPTY=", "WORDS=a b=c"]),
        )
        .args(&["sleep", "1000"]);
    container.write("etc/passwd", "root:x:0:0:root:/root/home:/bin/sh\n");
    let pid = container.detached();
    let environment = proc_file(pid, "environ");
    let mut variables: Vec<&str> = environment.split_terminator('\0').collect();
    variables.sort_unstable();
    let expected = [
        "A=1",
        "A=2",
        "EMPTY=",
        "HOME=/root/home",
        "PATH=/bin",
        "WORDS=a b=c",
    ];
    assert_eq!(without_double(&variables), without_double(&expected));
    drop(container);

    // Nothing is inherited, and an empty environment is no error.
    let container = Container::new("environment")
        .set("/process/env", json!([]))
        .args(&["/bin/env"]);
    let mut command =
        container
            .runtime
            .command(&["run", "--bundle", &container.path(""), container.id()]);
    container.bundle().save();
    command.env("INHERITED", "1");
    let run = testkit::finish(&mut command, std::time::Duration::from_secs(60)).success();
    assert_eq!(run.stdout, "HOME=/root\n", "{run}");
}

/// Of a variable that is set twice either value is right, if it is the last that programs see.
fn without_double<'a>(variables: &[&'a str]) -> Vec<&'a str> {
    variables
        .iter()
        .copied()
        .filter(|variable| *variable != "A=1")
        .collect()
}

#[test]
fn home_is_the_users_of_the_containers_passwd_unless_config_has_one() {
    needs!(Root);
    let with = |uid: u32, env: Value| {
        let container = Container::new("home")
            .set("/process/user", json!({"uid": uid, "gid": uid}))
            .set("/process/env", env)
            .args(&["/bin/sh", "-c", "echo $HOME"]);
        container.write(
            "etc/passwd",
            "broken\nroot:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        );
        container.prints()
    };
    assert_eq!(with(1000, json!([])), "/home/user\n");
    assert_eq!(with(0, json!([])), "/root\n");
    assert_eq!(with(77, json!([])), "/\n");
    assert_eq!(with(1000, json!(["HOME=/mine"])), "/mine\n");
}

#[test]
fn arguments_are_passed_as_they_are() {
    needs!(Root);
    let args = [
        "sh",
        "-c",
        "for a; do echo \"[$a]\"; done",
        "x",
        "",
        "a b",
        "ü\"'$HOME",
        "-n",
    ];
    let printed = Container::new("arguments").args(&args).prints();
    assert_eq!(printed, "[]\n[a b]\n[ü\"'$HOME]\n[-n]\n");
    let (_container, pid) = Container::new("arguments").sleeping();
    assert_eq!(proc_file(pid, "cmdline"), "sleep\x001000\0");
}

#[test]
fn the_program_is_looked_for_in_the_containers_path() {
    needs!(Root);
    let container = Container::new("path")
        .set("/process/env", json!(["PATH=/nowhere:/opt/x:/bin"]))
        .args(&["tool"]);
    container.write("opt/x/tool", "#!/bin/sh\necho found $0\n");
    let path = container.rootfs().join("opt/x/tool");
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    assert_eq!(container.prints(), "found /opt/x/tool\n");
}

#[test]
fn user_group_umask_and_further_groups_are_the_configs() {
    needs!(Root);
    let container = Container::new("user")
        .set(
            "/process/user",
            json!({"uid": 1234, "gid": 2345, "umask": 0o027, "additionalGids": [7, 4000, 5]}),
        )
        .script("id -u; id -g; id -G; umask; touch /tmp/x; stat -c '%u %g %a' /tmp/x; sleep 1000");
    fs::set_permissions(
        container.rootfs().join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .expect("it is ours");
    let run = container.runtime.run_detached(container.bundle()).success();
    let status = proc_file(container.pid(), "status");
    assert_eq!(status_line(&status, "Uid"), "1234 1234 1234 1234");
    assert_eq!(status_line(&status, "Gid"), "2345 2345 2345 2345");
    assert_eq!(status_line(&status, "Groups"), "5 7 4000");
    assert_eq!(status_line(&status, "Umask"), "0027");
    crate::container::eventually("it has printed", || run.stdout_now().lines().count() == 5);
    assert_eq!(
        run.stdout_now(),
        "1234\n2345\n2345 5 7 4000\n0027\n1234 2345 640\n"
    );
}

#[test]
fn without_a_umask_the_callers_stays_and_without_groups_there_are_none() {
    needs!(Root);
    let (container, pid) = Container::new("noumask").sleeping();
    let status = proc_file(pid, "status");
    let own = fs::read_to_string("/proc/self/status").expect("there is a procfs");
    assert_eq!(status_line(&status, "Umask"), status_line(&own, "Umask"));
    assert_eq!(status_line(&status, "Groups"), "");
    drop(container);
    for umask in [0o000, 0o777] {
        let (_container, pid) = Container::new("noumask")
            .set("/process/user/umask", umask)
            .sleeping();
        let line = status_line(&proc_file(pid, "status"), "Umask");
        assert_eq!(line, format!("{umask:04o}"));
    }
}

#[test]
fn every_rlimit_can_be_lowered_for_root_and_for_a_user() {
    needs!(Root);
    let limits = [
        (
            "RLIMIT_AS",
            "Max address space",
            900_000_000_u64,
            950_000_000_u64,
        ),
        ("RLIMIT_CORE", "Max core file size", 0, 1),
        ("RLIMIT_CPU", "Max cpu time", 500, 600),
        ("RLIMIT_DATA", "Max data size", 800_000_000, 900_000_000),
        ("RLIMIT_FSIZE", "Max file size", 1_000_000, 2_000_000),
        ("RLIMIT_LOCKS", "Max file locks", 10, 20),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1000, 2000),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_NOFILE", "Max open files", 64, 128),
        ("RLIMIT_NPROC", "Max processes", 500, 600),
        ("RLIMIT_RSS", "Max resident set", 100_000_000, 200_000_000),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 10, 20),
        ("RLIMIT_STACK", "Max stack size", 1_000_000, 2_000_000),
    ];
    let rlimits: Vec<Value> = limits
        .iter()
        .map(|(kind, _, soft, hard)| json!({"type": kind, "soft": soft, "hard": hard}))
        .collect();
    for uid in [0, 1000] {
        let (container, pid) = Container::new("rlimits")
            .set("/process/rlimits", json!(rlimits))
            .set("/process/user/uid", uid)
            .sleeping();
        let text = proc_file(pid, "limits");
        for (kind, name, soft, hard) in limits {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
            let words: Vec<&str> = line.split_whitespace().collect();
            let expected = [soft.to_string(), hard.to_string()];
            assert_eq!(words[..2], expected, "{kind} of user {uid}");
        }
        // What is executed later gets the config's limits too.
        assert_eq!(container.exec("ulimit -n; ulimit -Hn"), "64\n128\n");
    }
}

#[test]
fn a_low_limit_of_open_files_hinders_the_container_and_not_its_making() {
    needs!(Root);
    for uid in [0, 1000] {
        let container = Container::new("fewfiles")
            .set("/process/user/uid", uid)
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]),
            )
            .script("ulimit -n; cat /etc/passwd 2>/dev/null || echo too many");
        assert_eq!(container.prints(), "3\ntoo many\n");
    }
}

#[test]
fn a_limit_that_can_not_be_raised_an_unknown_one_and_a_double_one_are_errors() {
    needs!(Root);
    if !Fact::Capability(24).holds() {
        let high = json!([{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 900_000}]);
        for uid in [0, 1000] {
            let container = Container::new("raise")
                .set("/process/user/uid", uid)
                .set("/process/rlimits", high.clone())
                .script("true");
            let run = container.run();
            assert_eq!(run.code, 1, "{run}");
            assert!(run.stderr.contains("RLIMIT_NOFILE to 1000:900000"), "{run}");
            assert!(run.stderr.contains("CAP_SYS_RESOURCE"), "{run}");
        }
    }
    let limit =
        |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    for (limits, pointer) in [
        (json!([limit("RLIMIT_X", 1, 1)]), "/process/rlimits/0"),
        (json!([limit("RLIMIT_CORE", 2, 1)]), "/process/rlimits/0"),
        (
            json!([limit("RLIMIT_CORE", 0, 0), limit("RLIMIT_CORE", 0, 0)]),
            "/process/rlimits/1",
        ),
    ] {
        let said = Container::new("badlimit")
            .set("/process/rlimits", limits)
            .refused();
        assert!(said.contains(pointer), "{said}");
    }
}

#[test]
fn with_cap_sys_resource_hard_limits_are_raised_and_the_oom_score_lowered() {
    needs!(Root, Capability(24));
    for uid in [0, 1000] {
        let (container, pid) = Container::new("raise")
            .set("/process/user/uid", uid)
            .set("/process/oomScoreAdj", -500)
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1_048_576},
                       {"type": "RLIMIT_MEMLOCK", "soft": u64::MAX, "hard": u64::MAX}]),
            )
            .sleeping();
        assert_eq!(proc_file(pid, "oom_score_adj"), "-500\n");
        let limits = proc_file(pid, "limits");
        let has = |line: &str| {
            limits
                .lines()
                .any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line)
        };
        assert!(has("Max open files 1000 1048576 files"), "{limits}");
        assert!(
            has("Max locked memory unlimited unlimited bytes"),
            "{limits}"
        );
        assert_eq!(container.exec("ulimit -Hn"), "1048576\n");
    }
}

#[test]
fn no_new_privileges_are_the_configs() {
    needs!(Root);
    for (value, expected) in [(json!(true), "1"), (json!(false), "0"), (Value::Null, "0")] {
        let (container, pid) = Container::new("nnp")
            .set("/process/noNewPrivileges", value)
            .sleeping();
        assert_eq!(
            status_line(&proc_file(pid, "status"), "NoNewPrivs"),
            expected
        );
        let inside = container.exec("grep NoNewPrivs /proc/self/status");
        assert_eq!(inside, format!("NoNewPrivs:\t{expected}\n"));
    }
}

#[test]
fn the_oom_score_is_the_configs_and_else_the_callers() {
    needs!(Root);
    let (_container, pid) = Container::new("oomscore")
        .set("/process/oomScoreAdj", 321)
        .sleeping();
    assert_eq!(proc_file(pid, "oom_score_adj"), "321\n");
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("there is a procfs");
    let (container, pid) = Container::new("oomscore").sleeping();
    assert_eq!(proc_file(pid, "oom_score_adj"), own);
    assert_eq!(container.exec("cat /proc/self/oom_score_adj"), own);
    // As a user and in a user namespace too.
    let (_container, pid) = Container::new("oomscore")
        .set("/process/oomScoreAdj", 999)
        .set("/process/user/uid", 1000)
        .with_user_namespace()
        .sleeping();
    assert_eq!(proc_file(pid, "oom_score_adj"), "999\n");
}

#[test]
fn an_oom_score_that_can_not_be_lowered_is_an_error() {
    needs!(Root);
    if Fact::Capability(24).holds() {
        return;
    }
    let said = Container::new("oomlower")
        .set("/process/oomScoreAdj", -500)
        .refused();
    assert!(said.contains("oom_score_adj"), "{said}");
    let said = Container::new("oomrange")
        .set("/process/oomScoreAdj", 1001)
        .refused();
    assert!(said.contains("/process/oomScoreAdj"), "{said}");
}

#[test]
fn labels_of_absent_security_modules_are_refused_by_name() {
    needs!(Root);
    if !Fact::AppArmor.holds() {
        let said = Container::new("apparmor")
            .set("/process/apparmorProfile", "docker-default")
            .refused();
        assert!(said.contains("AppArmor is not enabled"), "{said}");
    }
    if !Fact::Selinux.holds() {
        let said = Container::new("selinux")
            .set("/process/selinuxLabel", "a:b:c:s0")
            .refused();
        assert!(said.contains("SELinux is not enabled"), "{said}");
        // It would become `context=` of every filesystem, which no kernel without SELinux takes.
        let said = Container::new("mountlabel")
            .set("/linux/mountLabel", "a:b:c:s0")
            .refused();
        assert!(said.contains("/linux/mountLabel"), "{said}");
    }
    // Empty labels are none.
    let container = Container::new("nolabels")
        .set("/process/apparmorProfile", "")
        .set("/process/selinuxLabel", "")
        .set("/linux/mountLabel", "");
    assert_eq!(container.prints_of("echo ran"), "ran\n");
}

#[test]
fn a_personality_of_32_bits_shows_in_uname() {
    needs!(Root);
    let (container, pid) = Container::new("personality")
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .sleeping();
    assert_eq!(proc_file(pid, "personality"), "00000008\n");
    assert_eq!(container.exec("cat /proc/self/personality"), "00000008\n");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(container.exec("uname -m"), "i686\n");
    }
    drop(container);
    let (container, pid) = Container::new("personality")
        .set(
            "/linux/personality",
            json!({"domain": "LINUX", "flags": []}),
        )
        .sleeping();
    assert_eq!(proc_file(pid, "personality"), "00000000\n");
    drop(container);
    for broken in [
        json!({"domain": "LINUX64"}),
        json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
        json!({}),
    ] {
        let said = Container::new("personality")
            .set("/linux/personality", broken)
            .refused();
        assert!(said.contains("/linux/personality"), "{said}");
    }
}

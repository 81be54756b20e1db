//! `linux.seccomp`: Docker's profile, every action, every operator, architectures, flags.

use serde_json::{Value, json};
use testkit::needs;

use crate::container::{Container, proc_file, status_line};

fn profile(topic: &str, profile: Value) -> Container {
    Container::new(topic).set("/linux/seccomp", profile)
}

/// A profile that allows all but `mkdir` and `mkdirat`, for which it does this.
fn on_mkdir(action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action}],
    })
}

#[test]
fn dockers_profile_refuses_what_it_refuses_and_allows_the_rest() {
    needs!(Root);
    let config: Value = serde_json::from_str(include_str!(
        "../../../runtime-core/tests/fixtures/docker-config.json"
    ))
    .expect("the fixture is JSON");
    let docker = config["linux"]["seccomp"].clone();
    for nnp in [true, false] {
        let container =
            profile("dockerseccomp", docker.clone()).set("/process/noNewPrivileges", nnp);
        let (container, pid) = container.sleeping();
        let status = proc_file(pid, "status");
        assert_eq!(status_line(&status, "Seccomp"), "2");
        assert_eq!(
            status_line(&status, "NoNewPrivs"),
            if nnp { "1" } else { "0" }
        );
        let inside = container.exec(
            "unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; mkdir /tmp/d && ls -d /tmp/d; \
             (setsid true && echo setsid); echo $((6*7)); grep '^Seccomp:' /proc/self/status; dmesg 2>&1 | head -1",
        );
        assert!(
            inside.contains("unshare") && inside.contains("Operation not permitted"),
            "{inside}"
        );
        assert!(
            inside.contains("/tmp/d\nsetsid\n42\nSeccomp:\t2\n"),
            "{inside}"
        );
        assert!(
            inside.contains("dmesg: klogctl: Operation not permitted"),
            "{inside}"
        );
    }
}

#[test]
fn every_action_does_what_it_says() {
    needs!(Root);
    let script = "mkdir /x 2>&1; echo status $?; ls -d /x 2>/dev/null || echo nothing";
    let with = |action: &str| profile("actions", on_mkdir(action)).script(script).run();
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"] {
        assert_eq!(with(action).success().stdout, "status 0\n/x\n", "{action}");
    }
    // SIGSYS is 31.
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
    ] {
        let run = with(action);
        assert!(run.stdout.contains("status 159\n"), "{action}: {run}");
        assert!(run.stdout.ends_with("nothing\n"), "{action}: {run}");
    }
    let run = with("SCMP_ACT_ERRNO").success();
    assert!(
        run.stdout
            .contains("Operation not permitted\nstatus 1\nnothing\n"),
        "{run}"
    );
    // Nobody traces it: ENOSYS.
    let run = with("SCMP_ACT_TRACE").success();
    assert!(
        run.stdout
            .contains("Function not implemented\nstatus 1\nnothing\n"),
        "{run}"
    );
}

#[test]
fn errno_can_be_chosen_for_a_rule_and_for_the_default() {
    needs!(Root);
    let mut rule = on_mkdir("SCMP_ACT_ERRNO");
    rule["syscalls"][0]["errnoRet"] = json!(28);
    let printed = profile("errno", rule).prints_of("mkdir /x 2>&1; true");
    assert!(printed.contains("No space left on device"), "{printed}");
    let mut traced = on_mkdir("SCMP_ACT_TRACE");
    traced["syscalls"][0]["errnoRet"] = json!(7);
    profile("errno", traced)
        .script("mkdir /x 2>/dev/null; true")
        .run()
        .succeeded();

    // All is refused by default; what a shell needs is listed.
    let config: Value = serde_json::from_str(include_str!(
        "../../../runtime-core/tests/fixtures/docker-config.json"
    ))
    .expect("the fixture is JSON");
    let mut docker = config["linux"]["seccomp"].clone();
    docker["defaultErrnoRet"] = json!(17);
    let printed = profile("errno", docker).prints_of("unshare -m true 2>&1; true");
    assert!(printed.contains("File exists"), "{printed}");

    let mut zero = on_mkdir("SCMP_ACT_ALLOW");
    zero["syscalls"][0]["errnoRet"] = json!(5);
    let said = profile("errno", zero).refused();
    assert!(
        said.contains("/linux/seccomp/syscalls/0/errnoRet"),
        "{said}"
    );
    let mut default = on_mkdir("SCMP_ACT_ERRNO");
    default["defaultErrnoRet"] = json!(5);
    let said = profile("errno", default).refused();
    assert!(said.contains("/linux/seccomp/defaultErrnoRet"), "{said}");
}

#[test]
fn every_operator_compares_arguments() {
    needs!(Root);
    // chmod(2) has the mode as its second argument, fchmodat(2) as its third.
    let refuses = |op: &str, value: u64, two: Option<u64>, mode: &str| {
        let rule = |name: &str, index: u32| {
            let argument =
                json!({"index": index, "value": value, "valueTwo": two.unwrap_or(0), "op": op});
            json!({
                "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [argument],
            })
        };
        let rules = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("chmod", 1), rule("fchmodat", 2)],
        });
        profile("operators", rules)
            .prints_of(&format!("touch /f; chmod {mode} /f 2>&1; true"))
            .contains("No space left")
    };
    let cases: [(&str, u64, Option<u64>, &str, bool); 16] = [
        ("SCMP_CMP_EQ", 0o640, None, "640", true),
        ("SCMP_CMP_EQ", 0o640, None, "641", false),
        ("SCMP_CMP_NE", 0o640, None, "640", false),
        ("SCMP_CMP_NE", 0o640, None, "641", true),
        ("SCMP_CMP_LT", 0o640, None, "637", true),
        ("SCMP_CMP_LT", 0o640, None, "640", false),
        ("SCMP_CMP_LE", 0o640, None, "640", true),
        ("SCMP_CMP_LE", 0o640, None, "641", false),
        ("SCMP_CMP_GE", 0o640, None, "640", true),
        ("SCMP_CMP_GE", 0o640, None, "637", false),
        ("SCMP_CMP_GT", 0o640, None, "641", true),
        ("SCMP_CMP_GT", 0o640, None, "640", false),
        ("SCMP_CMP_MASKED_EQ", 0o700, Some(0o600), "644", true),
        ("SCMP_CMP_MASKED_EQ", 0o700, Some(0o600), "744", false),
        ("SCMP_CMP_LT", 1 << 32, None, "640", true),
        ("SCMP_CMP_GT", 1 << 32, None, "640", false),
    ];
    for (op, value, two, mode, expected) in cases {
        assert_eq!(
            refuses(op, value, two, mode),
            expected,
            "{op} {value:o} {two:?} of {mode}"
        );
    }
}

#[test]
fn several_arguments_of_one_rule_must_all_hold() {
    needs!(Root);
    // setsockopt-like calls are rare in a shell: kill(2) has two plain numbers.
    let kill = |args: Value| {
        profile(
            "twoargs",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args}],
            }),
        )
        .prints_of("kill -0 1 2>&1; echo status $?; kill -28 1 2>&1; echo status $?")
    };
    let both = kill(json!([
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 28, "op": "SCMP_CMP_EQ"},
    ]));
    assert!(
        both.starts_with("status 0\n") && both.ends_with("status 1\n"),
        "{both}"
    );
    // Of the same argument twice one is enough, as libseccomp has it.
    let either = kill(json!([
        {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 28, "op": "SCMP_CMP_EQ"},
    ]));
    assert_eq!(either.matches("status 1").count(), 2, "{either}");
}

#[test]
fn several_architectures_are_in_one_filter() {
    needs!(Root);
    let native = if cfg!(target_arch = "x86_64") {
        "SCMP_ARCH_X86_64"
    } else {
        "SCMP_ARCH_AARCH64"
    };
    for architectures in [
        json!([native]),
        json!([
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM"
        ]),
        json!([]),
        // The machine's own is always filtered.
        json!(["SCMP_ARCH_ARM"]),
    ] {
        let mut rules = on_mkdir("SCMP_ACT_ERRNO");
        rules["architectures"] = architectures.clone();
        let printed = profile("architectures", rules).prints_of("mkdir /x 2>&1; true");
        assert!(
            printed.contains("Operation not permitted"),
            "{architectures}: {printed}"
        );
    }
    let mut rules = on_mkdir("SCMP_ACT_ERRNO");
    rules["architectures"] = json!(["SCMP_ARCH_Z80"]);
    let said = profile("architectures", rules).refused();
    assert!(said.contains("/linux/seccomp/architectures/0"), "{said}");
}

#[test]
fn flags_reach_the_kernel_and_unknown_ones_are_refused() {
    needs!(Root);
    let flags = |flags: Value| {
        let mut rules = on_mkdir("SCMP_ACT_ERRNO");
        rules["flags"] = flags;
        profile("seccompflags", rules)
    };
    let mitigated = |container: Container| {
        let (_container, pid) = container.sleeping();
        status_line(&proc_file(pid, "status"), "Speculation_Store_Bypass")
    };
    let allowed = mitigated(flags(json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])));
    let plain = mitigated(Container::new("noseccomp"));
    assert_eq!(allowed, plain, "speculation stays as it is");
    for list in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]),
    ] {
        let printed = flags(list.clone()).prints_of("mkdir /x 2>&1; true");
        assert!(
            printed.contains("Operation not permitted"),
            "{list}: {printed}"
        );
    }
    let said = flags(json!(["SECCOMP_FILTER_FLAG_X"])).refused();
    assert!(said.contains("/linux/seccomp/flags/0"), "{said}");
}

#[test]
fn unknown_system_calls_are_skipped_and_unknown_actions_and_operators_refused() {
    needs!(Root);
    let printed = profile(
        "unknowncalls",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat", "call_of_the_future"], "action": "SCMP_ACT_ERRNO"}],
        }),
    )
    .prints_of("mkdir /x 2>&1; true");
    assert!(printed.contains("Operation not permitted"), "{printed}");
    for (pointer, value) in [
        ("/defaultAction", json!("SCMP_ACT_X")),
        ("/syscalls/0/action", json!("SCMP_ACT_X")),
        (
            "/syscalls/0/args",
            json!([{"index": 0, "value": 0, "op": "SCMP_CMP_X"}]),
        ),
        (
            "/syscalls/0/args",
            json!([{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]),
        ),
    ] {
        let said = Container::new("unknownactions")
            .set("/linux/seccomp", on_mkdir("SCMP_ACT_ERRNO"))
            .set(&format!("/linux/seccomp{pointer}"), value)
            .refused();
        assert!(said.contains(&format!("/linux/seccomp{pointer}")), "{said}");
    }
}

#[test]
fn a_system_call_that_is_younger_than_the_profile_does_not_exist() {
    needs!(Root);
    // A profile that names faccessat2 (439) and not the calls after it means ENOSYS for those
    // and its own errno for what it knew and left out.
    let config: Value = serde_json::from_str(include_str!(
        "../../../runtime-core/tests/fixtures/docker-config.json"
    ))
    .expect("the fixture is JSON");
    let container = profile("younger", config["linux"]["seccomp"].clone())
        .script("grep -c . /proc/self/status > /dev/null && echo works");
    assert_eq!(container.prints(), "works\n");
}

#[test]
fn a_filter_holds_for_a_user_with_and_without_no_new_privileges() {
    needs!(Root);
    for nnp in [true, false] {
        let container = profile("seccompuser", on_mkdir("SCMP_ACT_ERRNO"))
            .set("/process/noNewPrivileges", nnp)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .with_user_namespace();
        let printed = container.prints_of("mkdir /tmp/x 2>&1; grep '^Seccomp:' /proc/self/status");
        assert!(
            printed.contains("Operation not permitted\nSeccomp:\t2\n"),
            "{nnp}: {printed}"
        );
    }
}

#[test]
fn no_rules_and_an_allowing_default_are_no_filter() {
    needs!(Root);
    let (_container, pid) = profile("nofilter", json!({"defaultAction": ""})).sleeping();
    assert_eq!(status_line(&proc_file(pid, "status"), "Seccomp"), "0");
    let (_container, pid) = Container::new("nofilter").sleeping();
    assert_eq!(status_line(&proc_file(pid, "status"), "Seccomp"), "0");
}

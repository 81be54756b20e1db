//! A seccomp filter covers every calling convention that the kernel has.

use serde_json::json;
use testkit::{TestBundle, needs};

use crate::ground::{Ground, arm, compiler, results};

fn forbidding_sockets(ground: &Ground, architectures: &[&str]) -> TestBundle {
    let bundle = ground.bundle().set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": architectures,
            "syscalls": [{"names": ["socket", "socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}],
        }),
    );
    arm(&bundle);
    bundle.args(&["/attacker", "sockets"])
}

/// Every call was refused: by an errno, or the end of the process (31 is SIGSYS, 11 a fault).
fn check(bundle: &TestBundle) {
    let lines = results(bundle);
    let value = |name: &str| {
        let line = lines
            .iter()
            .find(|line| line[0] == "CALL" && line[1] == name);
        line.and_then(|line| line[2].parse::<i32>().ok())
    };
    assert_eq!(value("native"), Some(97), "{lines:?}");
    for name in ["x32", "i386", "socketcall"] {
        let refused = value(name).is_some_and(|errno| errno != 0);
        let killed = value(&format!("{name}-end")).is_some_and(|signal| signal != 0);
        assert!(refused || killed, "{name}: {lines:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_other_architectures_do_not_pass_it() {
    needs!(Root, compiler());
    let ground = Ground::new("arch");
    for architectures in [
        &["SCMP_ARCH_X86_64"][..],
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        &[],
    ] {
        let bundle = forbidding_sockets(&ground, architectures);
        // SIGSYS may end it.
        ground.runtime.run(&bundle);
        check(&bundle);
        ground.delete(&bundle);
    }
    ground.finish(vec![]);
}

#[test]
fn it_is_in_force_for_every_process() {
    needs!(Root);
    let ground = Ground::new("seccomp");
    let bundle = ground
        .bundle()
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["unshare", "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
            }),
        )
        .args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    for user in ["0", "7"] {
        let words = [
            "exec",
            "--user",
            user,
            bundle.id(),
            "grep",
            "Seccomp:",
            "/proc/self/status",
        ];
        let finished = ground.runtime.call(&words).success();
        assert_eq!(finished.stdout, "Seccomp:\t2\n");
        let words = ["exec", "--user", user, bundle.id(), "unshare", "-U", "true"];
        let finished = ground.runtime.call(&words);
        assert!(finished.stderr.contains("not implemented"), "{finished}");
    }
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn what_it_cannot_mean_is_refused() {
    needs!(Root);
    let ground = Ground::new("badfilter");
    for seccomp in [
        json!({"defaultAction": "SCMP_ACT_MAYBE"}),
        json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_VAX"]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 7, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NEAR"}]}]}),
    ] {
        let bundle = ground
            .bundle()
            .set("/linux/seccomp", seccomp)
            .args(&["true"]);
        crate::ground::assert_refused(&ground.runtime.run(&bundle), "seccomp");
    }
    ground.finish(vec![]);
}

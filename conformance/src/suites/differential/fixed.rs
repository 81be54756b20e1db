//! Bundles that are the same every time: what was once found by chance, and failures.

use serde_json::json;

use super::{Recipe, SENTENCE, same};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Verdict, skipped};
use crate::host;
use crate::scene::Scene;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("plain", |bundle| bundle, &["list:/proc/self/fd"]),
        case(
            "every-namespace",
            every_namespace,
            &["sethostname", "list:/proc/1/task"],
        ),
        case(
            "process-of-a-user",
            process_of_a_user,
            &["write:/new", "chroot"],
        ),
        case(
            "tmpfs-without-a-mode",
            tmpfs_without_a_mode,
            &["write:/tmp/new", "write:/new/new"],
        ),
        case("tmpfs-with-a-mode", tmpfs_with_a_mode, &["write:/tmp/new"]),
        case(
            "propagation-of-a-mount-in-a-private-root",
            shared_in_private,
            &[],
        ),
        case("propagation-of-a-shared-root", shared_root, &[]),
        case("umask-of-a-further-process", umask, &[]),
        case(
            "masks",
            masks,
            &["read:/etc/hidden", "list:/etc/dir", "stat:/proc/timer_list"],
        ),
        Case::new("differential", "fixed", "limits", SENTENCE, limits_of_all),
        ends("exit-code", |bundle| bundle.does(&["exit", "7"])),
        ends("program-that-is-missing", |bundle| {
            bundle.set("/process/args", json!(["/nothing/here"]))
        }),
        ends("program-that-is-not-in-the-path", |bundle| {
            bundle.set("/process/args", json!(["nothing-here"]))
        }),
        ends("program-that-is-a-directory", |bundle| {
            bundle.set("/process/args", json!(["/etc"]))
        }),
        ends("program-of-no-format", |bundle| {
            let file = bundle.rootfs().join("etc/text");
            script(&file, "no program at all", 0o755);
            bundle.set("/process/args", json!(["/etc/text"]))
        }),
        ends("program-that-is-not-executable", |bundle| {
            let file = bundle.rootfs().join("etc/text");
            script(&file, "#!/probe\n", 0o644);
            bundle.set("/process/args", json!(["/etc/text"]))
        }),
        ends("mount-source-that-is-missing", |bundle| {
            bundle.mount("/here", "none", "/nothing/there", &["bind"])
        }),
        ends("mount-of-an-unknown-type", |bundle| {
            bundle.mount("/here", "nosuchfs", "none", &[])
        }),
        ends("rootfs-that-is-missing", |bundle| {
            bundle.set("/root/path", "nothing")
        }),
        ends("user-that-is-not-mapped", |bundle| {
            user_namespace(bundle).set("/process/user/uid", 70_000)
        }),
        ends("cwd-that-is-a-file", |bundle| {
            bundle.set("/process/cwd", PROBE)
        }),
        ends("sysctl-that-is-missing", |bundle| {
            bundle.set("/linux/sysctl", json!({ "net.nothing.here": "1" }))
        }),
    ]
}

fn case(name: &'static str, change: fn(Bundle) -> Bundle, tries: &'static [&'static str]) -> Case {
    Case::new("differential", "fixed", name, SENTENCE, move |scene| {
        same(scene, |scene| Recipe {
            bundle: change(scene.bundle()),
            tries: tries.iter().map(|word| (*word).to_owned()).collect(),
            succeeds: true,
        })
    })
}

/// A case whose `run` does not end well.
fn ends(name: &'static str, change: fn(Bundle) -> Bundle) -> Case {
    Case::new("differential", "failures", name, SENTENCE, move |scene| {
        same(scene, |scene| Recipe {
            bundle: change(scene.bundle()),
            tries: Vec::new(),
            succeeds: false,
        })
    })
}

fn every_namespace(bundle: Bundle) -> Bundle {
    bundle
        .set("/linux/namespaces/-", json!({ "type": "cgroup" }))
        .set("/hostname", "of-its-own")
        .set("/linux/sysctl", json!({ "kernel.msgmax": "5000" }))
}

fn user_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn process_of_a_user(bundle: Bundle) -> Bundle {
    let some = json!(["CAP_SYS_CHROOT", "CAP_KILL"]);
    bundle
        .set(
            "/process/user",
            json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 10] }),
        )
        .set("/process/noNewPrivileges", true)
        .set("/process/cwd", "/made/for/it")
        .set(
            "/process/capabilities",
            json!({ "bounding": some, "permitted": some, "effective": ["CAP_KILL"],
                    "inheritable": some, "ambient": ["CAP_KILL"] }),
        )
}

fn tmpfs_without_a_mode(bundle: Bundle) -> Bundle {
    bundle
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .mount("/tmp", "tmpfs", "tmpfs", &["nosuid"])
        .mount("/new", "tmpfs", "tmpfs", &[])
}

fn tmpfs_with_a_mode(bundle: Bundle) -> Bundle {
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["mode=700"])
}

fn shared_in_private(bundle: Bundle) -> Bundle {
    bundle
        .set("/linux/rootfsPropagation", "rprivate")
        .mount("/tmp", "tmpfs", "tmpfs", &["mode=755", "shared"])
        .mount("/other", "tmpfs", "tmpfs", &["mode=755"])
}

fn shared_root(bundle: Bundle) -> Bundle {
    bundle.set("/linux/rootfsPropagation", "shared")
}

fn umask(bundle: Bundle) -> Bundle {
    bundle.set("/process/user/umask", 0o27)
}

fn masks(bundle: Bundle) -> Bundle {
    let etc = bundle.rootfs().join("etc");
    std::fs::write(etc.join("hidden"), "hidden").expect("a file can be written");
    std::fs::create_dir_all(etc.join("dir/inner")).expect("a directory can be made");
    let masked = ["/etc/hidden", "/etc/dir", "/proc/timer_list", "/nothing"];
    bundle.set("/linux/maskedPaths", json!(masked))
}

fn limits_of_all(scene: &Scene<'_>) -> Verdict {
    let controllers = ["memory", "pids", "cpu", "cpuset"];
    if let Some(missing) = controllers
        .iter()
        .find(|name| host::hierarchy(name).is_none())
    {
        return skipped(format!("this host has no cgroup controller {missing}"));
    }
    same(scene, |scene| Recipe {
        bundle: limits(scene.bundle()),
        tries: vec!["children:5".to_owned()],
        succeeds: true,
    })
}

fn limits(bundle: Bundle) -> Bundle {
    bundle.set(
        "/linux/resources",
        json!({
            "memory": { "limit": 64 << 20, "reservation": 32 << 20 },
            "pids": { "limit": 30 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0" },
        }),
    )
}

fn script(file: &std::path::Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).expect("a file can be written");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode))
        .expect("its mode can be set");
}

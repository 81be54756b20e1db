//! config-linux.md#seccomp and #the-container-process-state: SCMP_ACT_NOTIFY.

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::listener::{Listener, Message};
use crate::scene::Scene;

const AREA: Area = Area("seccomp-notify");
const PLACE: &str = "config-linux.md#seccomp";
const STATE: &str = "config-linux.md#the-container-process-state";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("seccomp-action-notify", PLACE, "With SCMP_ACT_NOTIFY the runtime sends the container process state over the socket at listenerPath.", sent)
            .of("linux.seccomp.listenerPath"),
        AREA.case("seccomp-notify-descriptor", STATE, "The descriptors are sent using SCM_RIGHTS; seccompFd is the one of the seccomp syscall.", descriptor),
        AREA.case("seccomp-notify-metadata", PLACE, "listenerMetadata is sent as the metadata field.", metadata)
            .of("linux.seccomp.listenerMetadata"),
        AREA.case("seccomp-notify-state", STATE, "state is the state of the container; pid is the container process ID as seen by the runtime.", state),
        AREA.case("seccomp-notify-once", PLACE, "The runtime must send exactly one container process state per connection, and close it.", once),
        AREA.case("seccomp-notify-nobody-listens", PLACE, "If sending to this socket fails, the runtime must generate an error.", |scene| {
            scene.is_refused(&bundle(scene, &scene.directory().join("nobody"))).map(drop)
        }),
        AREA.case("seccomp-notify-metadata-without-a-path", PLACE, "listenerMetadata must not be set if listenerPath is not.", |scene| {
            let bundle = bundle(scene, &scene.directory().join("nobody")).set("/linux/seccomp/listenerMetadata", "x");
            scene.is_refused(&bundle.without("/linux/seccomp/listenerPath")).map(drop)
        }),
        AREA.case("seccomp-listener-path-ignored", PLACE, "If SCMP_ACT_NOTIFY is not used listenerPath is ignored.", |scene| {
            let bundle = bundle(scene, &scene.directory().join("nobody"));
            let report = scene.report(&bundle.set("/linux/seccomp/syscalls/0/action", "SCMP_ACT_ERRNO").does(&["report"]))?;
            is("Seccomp", &report["status"]["Seccomp"], "2")
        }),
        AREA.case("seccomp-flag-wait-killable-recv", PLACE, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is a flag to use with seccomp(2).", |scene| {
            let listener = Listener::new(&scene.directory().join("agent"))?;
            let flags = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
            scene.create(&bundle(scene, listener.path()).set("/linux/seccomp/flags", flags))?;
            listener.receive().map(drop)
        })
        .of("linux.seccomp.flags[]"),
    ]
}

fn bundle(scene: &Scene<'_>, socket: &std::path::Path) -> Bundle {
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": socket.display().to_string(),
        "syscalls": [{ "names": ["getpgid"], "action": "SCMP_ACT_NOTIFY" }],
    });
    scene
        .bundle()
        .set("/linux/seccomp", seccomp)
        .does(&["wait"])
}

/// What is sent for a container, and that container.
fn told(
    scene: &Scene<'_>,
    more: impl Fn(Bundle) -> Bundle,
) -> Result<(Message, Value, Bundle), Trouble> {
    let listener = Listener::new(&scene.directory().join("agent"))?;
    let bundle = more(bundle(scene, listener.path()));
    scene.start(&bundle)?;
    let message = listener.receive()?;
    let Ok(state) = serde_json::from_str(&message.text) else {
        return failed("a JSON document", message.text);
    };
    holds(!listener.has_more(), "one connection", "another one")?;
    Ok((message, state, bundle))
}

fn sent(scene: &Scene<'_>) -> Verdict {
    let (_, state, _) = told(scene, |bundle| bundle)?;
    let version = state["ociVersion"].as_str().unwrap_or_default();
    holds(version.starts_with("1."), "ociVersion", version)?;
    is("fds", &state["fds"], json!(["seccompFd"]))
}

fn descriptor(scene: &Scene<'_>) -> Verdict {
    use std::os::fd::AsRawFd;
    let (message, _, _) = told(scene, |bundle| bundle)?;
    let links: Vec<String> = message
        .descriptors
        .iter()
        .filter_map(|descriptor| {
            std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()
        })
        .map(|link| link.display().to_string())
        .collect();
    equal(
        "descriptors",
        &links,
        &vec!["anon_inode:seccomp notify".to_owned()],
    )
}

fn metadata(scene: &Scene<'_>) -> Verdict {
    let (_, state, _) = told(scene, |bundle| {
        bundle.set("/linux/seccomp/listenerMetadata", "MKNOD=/dev/null")
    })?;
    is("metadata", &state["metadata"], "MKNOD=/dev/null")
}

fn state(scene: &Scene<'_>) -> Verdict {
    let (_, state, bundle) = told(scene, |bundle| bundle)?;
    is("pid", &state["pid"], scene.runtime().pid(bundle.id()))?;
    is("state.id", &state["state"]["id"], bundle.id())?;
    is(
        "state.pid",
        &state["state"]["pid"],
        scene.runtime().pid(bundle.id()),
    )?;
    is(
        "state.bundle",
        &state["state"]["bundle"],
        bundle.path().display().to_string(),
    )?;
    is("state.status", &state["state"]["status"], "creating")
}

/// `told` reads until the connection is closed, and there is no other.
fn once(scene: &Scene<'_>) -> Verdict {
    told(scene, |bundle| bundle).map(drop)
}

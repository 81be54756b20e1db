//! The sandbox service: a pod whose namespaces no pause container holds.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use containerd_shim_protos::api as task;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::sandbox_api as sandbox;
use kit::{Client, Refusal, Shim};
use shim::failure::Code;
use testkit::{Fact, Marker, Residue, TestBundle, needs};

const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// UserNamespace{uids, gids}: 0 to 65535 are 100000 to 165535.
const USERS: &[u8] = &[
    0x12, 8, 0x08, 0xa0, 0x8d, 0x06, 0x18, 0x80, 0x80, 0x04, //
    0x1a, 8, 0x08, 0xa0, 0x8d, 0x06, 0x18, 0x80, 0x80, 0x04,
];

/// `PodSandboxConfig{hostname: "web", linux: {cgroup_parent}}`, as the CRI encodes it, with such
/// a `UserNamespace` if there is one.
fn pod(cgroup_parent: &str, users: &[u8]) -> Any {
    let field = |number: u8, bytes: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
            bytes,
        ]
        .concat()
    };
    let mut linux = field(1, cgroup_parent.as_bytes());
    if !users.is_empty() {
        linux.extend(field(2, &field(1, &field(5, users))));
    }
    Any {
        type_url: "runtime.v1.PodSandboxConfig".to_owned(),
        value: [field(2, b"web"), field(8, &linux)].concat(),
        ..Any::default()
    }
}

struct Pod {
    shim: Shim,
    client: Client,
    id: String,
    directory: tempfile::TempDir,
}

impl Pod {
    fn new(marker: &Marker) -> Self {
        let bundle = TestBundle::busybox(marker);
        let shim = Shim::serve(marker, bundle);
        let client = shim.client();
        Self {
            shim,
            client,
            id: format!("{marker}-pod"),
            directory: marker.directory(),
        }
    }

    fn call<M: Message, R: Message>(&mut self, method: &str, message: &M) -> Result<R, Refusal> {
        self.client.call_of(SANDBOX, method, message)
    }

    fn create(&mut self, marker: &Marker) -> Result<sandbox::CreateSandboxResponse, Refusal> {
        self.create_with(marker, &[], "")
    }

    fn create_with(
        &mut self,
        marker: &Marker,
        users: &[u8],
        network: &str,
    ) -> Result<sandbox::CreateSandboxResponse, Refusal> {
        let request = sandbox::CreateSandboxRequest {
            sandbox_id: self.id.clone(),
            bundle_path: self.directory.path().display().to_string(),
            options: Some(pod(&format!("/{marker}-parent"), users)).into(),
            netns_path: network.to_owned(),
            ..Default::default()
        };
        self.call("CreateSandbox", &request)
    }

    fn start(&mut self) -> u32 {
        let request = sandbox::StartSandboxRequest {
            sandbox_id: self.id.clone(),
            ..Default::default()
        };
        let response: sandbox::StartSandboxResponse = self.call("StartSandbox", &request).unwrap();
        response.pid
    }

    fn status(&mut self) -> Result<sandbox::SandboxStatusResponse, Refusal> {
        let request = sandbox::SandboxStatusRequest {
            sandbox_id: self.id.clone(),
            verbose: true,
            ..Default::default()
        };
        self.call("SandboxStatus", &request)
    }

    fn stop(&mut self) -> Result<sandbox::StopSandboxResponse, Refusal> {
        let request = sandbox::StopSandboxRequest {
            sandbox_id: self.id.clone(),
            timeout_secs: 10,
            ..Default::default()
        };
        self.call("StopSandbox", &request)
    }

    fn shutdown(&mut self) {
        let request = sandbox::ShutdownSandboxRequest {
            sandbox_id: self.id.clone(),
            ..Default::default()
        };
        let _: sandbox::ShutdownSandboxResponse = self.call("ShutdownSandbox", &request).unwrap();
    }
}

fn status_lines(pid: u32, names: &[&str]) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    names
        .iter()
        .map(|name| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.unwrap()[name.len() + 1..].trim().to_owned()
        })
        .collect()
}

#[test]
fn containers_share_the_namespaces_of_a_pod_without_a_pause_container() {
    needs!(Fact::Root);
    let marker = Marker::new("pod");
    let residue = Residue::watch(&marker);
    let mut pod = Pod::new(&marker);
    pod.create(&marker).unwrap();
    let pid = pod.start();
    // Harmless to whoever shares its namespaces.
    let found = status_lines(
        pid,
        &["CapPrm:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Uid:"],
    );
    let none = "0000000000000000";
    assert_eq!(found[..4], [none, none, "1", "2"]);
    assert!(found[4].starts_with("65535"));
    let status = pod.status().unwrap();
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_READY", pid));

    let namespace = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let script = "hostname; readlink /proc/self/ns/ipc; exec sleep 1000";
    // The name is the pod's to set.
    let member = TestBundle::busybox(&marker).set("/hostname", "web".into());
    let member = member.script(script).set(
        "/linux/namespaces",
        serde_json::json!([
            { "type": "mount" },
            { "type": "pid" },
            { "type": "ipc", "path": namespace("ipc") },
            { "type": "uts", "path": namespace("uts") },
            { "type": "network", "path": namespace("net") },
        ]),
    );
    member.save();
    let output = pod.directory.path().join("output");
    let request = task::CreateTaskRequest {
        stdout: format!("file://{}", output.display()),
        ..pod.shim.create_request_of(&member)
    };
    let _: task::CreateTaskResponse = pod.client.call("Create", &request).unwrap();
    pod.client.start(member.id(), "").unwrap();
    let ipc = std::fs::read_link(namespace("ipc")).unwrap();
    let expected = format!("web\n{}\n", ipc.display());
    let started = std::time::Instant::now();
    while std::fs::read_to_string(&output).unwrap_or_default() != expected {
        assert!(
            started.elapsed().as_secs() < 20,
            "{:?}, not {expected}",
            std::fs::read_to_string(&output)
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(pod.status().unwrap().info["containers"].contains(member.id()));

    pod.stop().unwrap();
    assert_eq!(pod.status().unwrap().state, "SANDBOX_NOTREADY");
    let request = sandbox::WaitSandboxRequest {
        sandbox_id: pod.id.clone(),
        ..Default::default()
    };
    let ended: sandbox::WaitSandboxResponse = pod.call("WaitSandbox", &request).unwrap();
    assert_eq!(ended.exit_status, 137);
    assert_eq!(pod.client.delete(member.id(), "").unwrap().exit_status, 137);
    pod.shutdown();
    // Of the member only: a sandbox is no task.
    let topics = pod.shim.events.topics_until("/tasks/delete");
    assert_eq!(
        topics,
        [
            "/tasks/create",
            "/tasks/start",
            "/tasks/exit",
            "/tasks/delete"
        ]
    );
    let Pod {
        shim, directory, ..
    } = pod;
    shim.ended();
    drop((member, directory));
    kit::remove_pod_cgroup(&marker);
    residue.assert_none(&[]);
}

#[test]
fn calls_in_the_wrong_state_have_their_codes() {
    needs!(Fact::Root);
    let marker = Marker::new("podstate");
    let residue = Residue::watch(&marker);
    let mut pod = Pod::new(&marker);
    assert_eq!(pod.status().unwrap_err().code, Code::NOT_FOUND);
    assert_eq!(pod.stop().unwrap_err().code, Code::NOT_FOUND);
    pod.create(&marker).unwrap();
    assert_eq!(pod.create(&marker).unwrap_err().code, Code::ALREADY_EXISTS);
    pod.start();
    let request = sandbox::StartSandboxRequest {
        sandbox_id: pod.id.clone(),
        ..Default::default()
    };
    let again: Result<sandbox::StartSandboxResponse, _> = pod.call("StartSandbox", &request);
    assert_eq!(again.unwrap_err().code, Code::FAILED_PRECONDITION);
    let platform: sandbox::PlatformResponse = pod
        .call("Platform", &sandbox::PlatformRequest::default())
        .unwrap();
    assert_eq!(platform.platform.os, "linux");
    pod.shutdown();
    let Pod {
        shim, directory, ..
    } = pod;
    shim.ended();
    drop(directory);
    kit::remove_pod_cgroup(&marker);
    residue.assert_none(&[]);
}

/// Where the lines of a map start.
fn map(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A process that is ended with the test.
struct Holder(std::process::Child);

impl Holder {
    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A process in a user namespace with these users and a network namespace that belongs to it.
fn network_of_mapped_users() -> Holder {
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    let mut holder = std::process::Command::new("unshare");
    holder.args(["--user", "--net", "sleep", "1000"]);
    // Nobody waits for its output when the test fails.
    holder
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let holder = Holder(holder.spawn().unwrap());
    let file = |name: &str| format!("/proc/{}/{name}", holder.id());
    let started = std::time::Instant::now();
    while std::fs::read_link(file("ns/user")).unwrap() == own
        || !std::fs::read_to_string(file("cmdline"))
            .unwrap()
            .starts_with("sleep")
    {
        assert!(started.elapsed().as_secs() < 20, "it is in no namespace");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for name in ["uid_map", "gid_map"] {
        std::fs::write(file(name), "0 100000 65536\n").unwrap();
    }
    holder
}

#[test]
fn the_users_of_a_pod_are_mapped_also_where_containerd_has_made_their_network() {
    needs!(Fact::Root, Fact::UserNamespaces);
    let marker = Marker::new("podusers");
    let residue = Residue::watch(&marker);
    let holder = network_of_mapped_users();
    let network = format!("/proc/{}/ns/net", holder.id());
    for network in ["", &network] {
        let mut pod = Pod::new(&marker);
        pod.create_with(&marker, USERS, network).unwrap();
        let pid = pod.start();
        assert_eq!(map(pid), ["0", "100000", "65536"]);
        let uid = &status_lines(pid, &["Uid:"])[0];
        assert!(uid.starts_with("165535"), "{uid}");
        let same = |kind: &str| {
            let link = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            link(pid) == link(holder.id())
        };
        let is_joined = !network.is_empty();
        assert_eq!((same("user"), same("net")), (is_joined, is_joined));
        pod.stop().unwrap();
        pod.shutdown();
        let Pod {
            shim, directory, ..
        } = pod;
        shim.ended();
        drop(directory);
        kit::remove_pod_cgroup(&marker);
    }
    drop(holder);
    residue.assert_none(&[]);
}

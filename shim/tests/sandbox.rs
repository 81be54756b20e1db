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

/// `PodSandboxConfig{hostname: "web", linux: {cgroup_parent}}`, as the CRI encodes it.
fn pod(cgroup_parent: &str) -> Any {
    let field = |number: u8, bytes: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
            bytes,
        ]
        .concat()
    };
    let linux = field(1, cgroup_parent.as_bytes());
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
        let request = sandbox::CreateSandboxRequest {
            sandbox_id: self.id.clone(),
            bundle_path: self.directory.path().display().to_string(),
            options: Some(pod(&format!("/{marker}-parent"))).into(),
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

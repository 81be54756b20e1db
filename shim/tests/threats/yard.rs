//! Shims as containerd runs them: `start`, calls over the socket, `delete`.

use std::path::{Path, PathBuf};

use containerd_shim_protos::api as task;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::mount::Mount;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Marker, Residue, TestBundle};

use crate::kit::{self, Client, Events};
use crate::room::{self, CONTAINERD, Room, wait_until};

/// As often as this with `TARE_LONG=1`, and as that otherwise.
pub(crate) fn long_or(long: usize, short: usize) -> usize {
    match std::env::var_os("TARE_LONG") {
        Some(_) => long,
        None => short,
    }
}

/// The product's C library has one heap and gives a thread's stack back when it ends. That of a
/// test's build has a heap for each thread and keeps 40 MB of stacks, unless it is told.
const LIKE_MUSL: &str = "glibc.malloc.arena_max=1:glibc.pthread.stack_cache_size=0";

/// A containerd, as it were: bundles, an image's rootfs, the events that it is told.
pub(crate) struct Yard {
    pub(crate) marker: Marker,
    pub(crate) room: Room,
    pub(crate) events: Events,
    image: TestBundle,
    directory: TempDir,
    residue: Residue,
    _broom: Broom,
}

impl Yard {
    pub(crate) fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let room = Room::new(&marker);
        let directory = marker.directory();
        Self {
            events: Events::listen(directory.path().join("events.sock")),
            image: TestBundle::busybox(&marker),
            directory,
            room,
            residue,
            _broom: Broom(marker.clone()),
            marker,
        }
    }

    /// config.json of a container that runs a shell script.
    pub(crate) fn config(&self, name: &str, script: &str) -> Value {
        let mut config = self.image.config().clone();
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.id(name)));
        config
    }

    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.marker)
    }

    /// A path beside the bundles.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in the rootfs of every container.
    pub(crate) fn image_path(&self, name: &str) -> PathBuf {
        self.image.rootfs().join(name)
    }

    /// The only socket of a shim.
    pub(crate) fn socket(&self) -> PathBuf {
        let directory = self.room.path("/run/containerd/s");
        let names = entries(&directory);
        assert_eq!(names.len(), 1, "{names:?}");
        directory.join(&names[0])
    }

    /// A bundle as containerd makes it: without its rootfs, which comes with `Create`.
    pub(crate) fn bundle(&self, name: &str, config: &Value) -> Bundle {
        let path = self.path(name);
        std::fs::create_dir_all(path.join("rootfs")).unwrap();
        std::fs::write(path.join("config.json"), config.to_string()).unwrap();
        Bundle {
            id: self.id(name),
            path,
        }
    }

    /// Runs `start`, and connects to what it says.
    pub(crate) fn connect(&self, bundle: &Bundle) -> Client {
        self.connect_telling(bundle, self.events.path())
    }

    /// The same, with a shim that tells its events to somebody else.
    pub(crate) fn connect_telling(&self, bundle: &Bundle, events: &Path) -> Client {
        let arguments = ["-namespace", "default", "-address", CONTAINERD];
        let arguments = [&arguments[..], &["-id", &bundle.id, "start"]].concat();
        let mut command = self.room.shim(&bundle.path, &arguments);
        command.env("TTRPC_ADDRESS", events);
        command.env("GLIBC_TUNABLES", LIKE_MUSL);
        let address = room::run(command, b"").address();
        Client::connect(&self.room.path(address.strip_prefix("unix://").unwrap()))
    }

    /// The request that makes the container: its rootfs is bound from the image's.
    pub(crate) fn create_request(&self, bundle: &Bundle) -> task::CreateTaskRequest {
        task::CreateTaskRequest {
            id: bundle.id.clone(),
            bundle: bundle.path.display().to_string(),
            options: Some(kit::options(&self.path("runtime"))).into(),
            rootfs: vec![Mount {
                type_: "bind".to_owned(),
                source: self.image.rootfs().display().to_string(),
                options: vec!["rbind".to_owned(), "rw".to_owned()],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// Creates the container of a bundle, and gives its pid.
    pub(crate) fn create(&self, client: &mut Client, bundle: &Bundle) -> u32 {
        let request = self.create_request(bundle);
        let created: task::CreateTaskResponse = client.call("Create", &request).unwrap();
        created.pid
    }

    /// A running container with a shim, and its pid.
    pub(crate) fn run(&self, name: &str, config: &Value) -> (Bundle, Client, u32) {
        let bundle = self.bundle(name, config);
        let mut client = self.connect(&bundle);
        let pid = self.create(&mut client, &bundle);
        client.start(&bundle.id, "").unwrap();
        (bundle, client, pid)
    }

    /// Runs `delete`; gives pid and exit status.
    pub(crate) fn delete(&self, bundle: &Bundle) -> (u32, u32) {
        let answer = self.room.delete(&bundle.path, &bundle.id).answer();
        let response = task::DeleteResponse::parse_from_bytes(&answer).unwrap();
        (response.pid, response.exit_status)
    }

    /// Kills, deletes and shuts down, as containerd does it, and runs `delete` at last.
    pub(crate) fn end(&self, bundle: &Bundle, mut client: Client) {
        // It may have ended by itself.
        client.kill(&bundle.id, "", 9).ok();
        let ended = client.wait(&bundle.id, "").unwrap();
        let deleted = client.delete(&bundle.id, "").unwrap();
        assert_eq!(deleted.exit_status, ended.exit_status);
        client.shutdown().unwrap();
        assert_eq!(self.delete(bundle), (deleted.pid, deleted.exit_status));
    }

    /// What is left of containers where nobody else looks: mounts of the room, sockets, state.
    pub(crate) fn assert_empty(&self) {
        wait_until("all shims end", || self.room.servers().is_empty());
        // Those of the host, which the room has copies of, come and go.
        let mut mounts = self.room.mount_points();
        mounts.retain(|point| point.contains(self.marker.as_str()));
        assert_eq!(mounts, Vec::<String>::new());
        for directory in [
            self.room.path("/run/containerd/s"),
            self.path("runtime/default"),
        ] {
            assert_eq!(entries(&directory), Vec::<String>::new(), "{directory:?}");
        }
    }

    /// Checks that nothing at all is left.
    pub(crate) fn close(self) {
        self.assert_empty();
        let residue = self.residue;
        drop((self.room, self.events, self.image, self.directory));
        residue.assert_none(&[]);
    }

    /// Checks that nothing of one container is left on the host.
    pub(crate) fn assert_no_cgroup(&self, bundle: &Bundle) {
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            let cgroup = hierarchy.unwrap().path().join(&bundle.id);
            assert!(!cgroup.exists(), "{} is left", cgroup.display());
        }
    }
}

/// Ends the containers of a test that has failed: their shims are killed by then.
struct Broom(Marker);

impl Drop for Broom {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut sweep = std::process::Command::new("sh");
        let script = "for cgroup in /sys/fs/cgroup/*/\"$0\"-*; do
            xargs -r kill -9 < \"$cgroup/cgroup.procs\"; done; sleep 0.2
            rmdir /sys/fs/cgroup/*/\"$0\"-*";
        sweep.args(["-c", script, self.0.as_str()]);
        // The test has failed, whatever becomes of this.
        drop(sweep.output());
    }
}

/// A container's bundle.
pub(crate) struct Bundle {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
}

/// The names in a directory, sorted; none if it is not there.
pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

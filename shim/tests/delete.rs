//! `delete`, run as containerd runs it: after every task, and after a server that has died.
#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use containerd_shim_protos::api::DeleteResponse;
use protobuf::Message;
use room::{Ended, Room, wait_until};
use runtime_core::{Bundle, Container, ContainerId, CreateOptions, Exit, Runtime, Status};
use serde_json::json;
use shim::exit_record::ExitRecord;
use tempfile::TempDir;
use testkit::{Marker, Residue, TestBundle, needs};

mod room;

/// pid, exit status and time.
fn response(ended: Ended) -> (u32, u32, SystemTime) {
    let response = DeleteResponse::parse_from_bytes(&ended.answer()).unwrap();
    let seconds = u64::try_from(response.exited_at.seconds).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    (response.pid, response.exit_status, time)
}

/// A response about something that happens now.
fn recent(ended: Ended) -> (u32, u32) {
    let (pid, status, time) = response(ended);
    let age = SystemTime::now().duration_since(time).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
    (pid, status)
}

/// A container whose server is gone, as it were.
struct Abandoned {
    bundle: TestBundle,
    root: TempDir,
    container: Option<Container>,
}

impl Abandoned {
    fn new(marker: &Marker, script: &str) -> Self {
        let bundle = TestBundle::busybox(marker).script(script);
        bundle.save();
        let root = marker.directory();
        let options = json!({"root": root.path()}).to_string();
        std::fs::write(bundle.path().join("options.json"), options).unwrap();
        let mut this = Self {
            bundle,
            root,
            container: None,
        };
        let id: ContainerId = this.bundle.id().parse().unwrap();
        let opened = Bundle::open(this.bundle.path()).unwrap();
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let null = std::os::fd::AsFd::as_fd(&null);
        let options = CreateOptions {
            stdio: Some([null; 3]),
            ..CreateOptions::default()
        };
        this.container = Some(this.runtime().create(&id, &opened, &options).unwrap());
        this
    }

    /// The state root that the shim makes of the options.
    fn state_root(&self) -> PathBuf {
        self.root.path().join("default")
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.state_root())
    }

    fn container(&mut self) -> &mut Container {
        self.container.as_mut().unwrap()
    }

    fn pid(&mut self) -> u32 {
        self.container().init_pid().unsigned_abs()
    }

    fn start(&mut self) {
        self.container().start().unwrap();
    }

    /// Waits until its init has ended, and leaves it to be reaped.
    fn wait_for_end(&mut self) {
        let container = self.container();
        wait_until("the container's program ends", || {
            container.status().unwrap() == Status::Stopped
        });
    }

    fn reap(&mut self) -> Exit {
        self.container().init().unwrap().wait().unwrap()
    }

    fn delete(&self, room: &Room) -> Ended {
        room.delete(self.bundle.path(), self.bundle.id())
    }

    /// Checks that nothing of it is left.
    fn is_gone(&self) {
        assert_eq!(self.state_root().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn with_nothing_left_there_is_nothing_to_do() {
    needs!(Root);
    let marker = Marker::new("nothing");
    let room = Room::new(&marker);
    let bundle = marker.directory();
    assert_eq!(recent(room.delete(bundle.path(), "web")), (0, 255));
    // The server had said everything before it ended.
    let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    ExitRecord::new(4711, 3, time).write(bundle.path()).unwrap();
    std::fs::write(bundle.path().join("init.pid"), "4711").unwrap();
    assert_eq!(response(room.delete(bundle.path(), "web")), (4711, 3, time));
    let complaint = room.delete(bundle.path(), "../web").complaint();
    assert!(complaint.contains("../web"), "{complaint}");
}

#[test]
fn what_lives_is_killed_and_has_137_whatever_it_was_doing() {
    needs!(Root);
    for state in ["created", "running", "paused"] {
        let marker = Marker::new(state);
        let residue = Residue::watch(&marker);
        let room = Room::new(&marker);
        let mut container = Abandoned::new(&marker, "sleep 600");
        if state != "created" {
            container.start();
        }
        if state == "paused" {
            container.container().pause().unwrap();
        }
        let pid = container.pid();
        assert_eq!(recent(container.delete(&room)), (pid, 137), "{state}");
        container.is_gone();
        assert_eq!(container.reap(), Exit::Signal(9));
        // containerd asks again when it is not sure.
        assert_eq!(recent(container.delete(&room)), (0, 255));
        drop((container, room));
        residue.assert_none(&[]);
    }
}

#[test]
fn what_has_ended_has_its_own_status_as_long_as_it_can_be_known() {
    needs!(Root);
    let marker = Marker::new("ended");
    let residue = Residue::watch(&marker);
    let room = Room::new(&marker);
    for (script, exit, status) in [("exit 3", Exit::Code(3), 3), ("exit 0", Exit::Code(0), 0)] {
        let mut container = Abandoned::new(&marker, script);
        container.start();
        container.wait_for_end();
        let pid = container.pid();
        assert_eq!(recent(container.delete(&room)), (pid, status));
        container.is_gone();
        assert_eq!(container.reap(), exit);
    }
    let mut container = Abandoned::new(&marker, "exit 4");
    container.start();
    container.reap();
    let pid = container.pid();
    assert_eq!(recent(container.delete(&room)), (pid, 255));
    container.is_gone();
    drop((container, room));
    residue.assert_none(&[]);
}

#[test]
fn the_servers_word_about_this_container_counts() {
    needs!(Root);
    let marker = Marker::new("word");
    let room = Room::new(&marker);
    let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut container = Abandoned::new(&marker, "exit 4");
    container.start();
    container.reap();
    let pid = container.pid();
    let path = container.bundle.path();
    ExitRecord::new(pid, 4, time).write(path).unwrap();
    assert_eq!(response(container.delete(&room)), (pid, 4, time));
    // A record of an earlier container in this bundle says nothing about one that lives.
    let mut container = Abandoned::new(&marker, "sleep 600");
    let pid = container.pid();
    let path = container.bundle.path();
    ExitRecord::new(pid + 1, 4, time).write(path).unwrap();
    assert_eq!(recent(container.delete(&room)), (pid, 137));
    container.reap();
}

#[test]
fn the_rest_of_an_interrupted_create_is_removed() {
    needs!(Root);
    let marker = Marker::new("interrupted");
    let residue = Residue::watch(&marker);
    let room = Room::new(&marker);
    let mut container = Abandoned::new(&marker, "sleep 600");
    // As if the record had been lost: the intent is all that is known.
    let state = container.state_root().join(container.bundle.id());
    std::fs::write(state.join("state.json"), "{").unwrap();
    let ended = container.delete(&room);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains(container.bundle.id()), "{ended:?}");
    container.is_gone();
    assert_eq!(container.reap(), Exit::Signal(9));
    drop((container, room));
    residue.assert_none(&[]);
}

#[test]
fn options_that_cannot_be_read_are_told_and_the_rest_is_done() {
    needs!(Root);
    let marker = Marker::new("options");
    let room = Room::new(&marker);
    let bundle = marker.directory();
    std::fs::write(bundle.path().join("options.json"), "{").unwrap();
    mount(&room, &bundle.path().join("rootfs"));
    let ended = room.delete(bundle.path(), "web");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains("the default options are assumed"),
        "{ended:?}"
    );
    assert!(DeleteResponse::parse_from_bytes(&ended.stdout).is_ok());
    assert_eq!(mounts(&room, bundle.path()), Vec::<String>::new());
}

fn mount(room: &Room, path: &Path) {
    let path = path.display();
    room.shell(&format!("mkdir -p '{path}'; mount -t tmpfs tmpfs '{path}'"));
}

/// What is mounted below a path in the room.
fn mounts(room: &Room, below: &Path) -> Vec<String> {
    room.mount_points()
        .into_iter()
        .filter_map(|point| Some(point.strip_prefix(below.to_str()?)?.to_owned()))
        .collect()
}

#[test]
fn everything_on_and_below_the_rootfs_is_unmounted_and_nothing_beside_it() {
    needs!(Root);
    let marker = Marker::new("mounts");
    let room = Room::new(&marker);
    let bundle = marker.directory();
    let path = bundle.path();
    for name in ["rootfs", "rootfs", "rootfs/a/b", "rootfs-other", "work"] {
        mount(&room, &path.join(name));
    }
    assert_eq!(mounts(&room, path).len(), 5);
    assert_eq!(recent(room.delete(path, "web")), (0, 255));
    assert_eq!(mounts(&room, path), ["/rootfs-other", "/work"]);
}

#[test]
fn what_is_mounted_below_a_rootfs_that_is_a_plain_directory_is_unmounted_too() {
    needs!(Root);
    let marker = Marker::new("plainroot");
    let room = Room::new(&marker);
    let bundle = marker.directory();
    let path = bundle.path();
    for name in ["rootfs/a", "rootfs/a/b", "rootfs/with blank", "rootfs2"] {
        mount(&room, &path.join(name));
    }
    assert_eq!(recent(room.delete(path, "web")), (0, 255));
    assert_eq!(mounts(&room, path), ["/rootfs2"]);
}

#[test]
fn a_link_in_the_place_of_the_rootfs_leads_nowhere() {
    needs!(Root);
    let marker = Marker::new("link");
    let room = Room::new(&marker);
    let (bundle, other) = (marker.directory(), marker.directory());
    mount(&room, other.path());
    std::os::unix::fs::symlink(other.path(), bundle.path().join("rootfs")).unwrap();
    assert_eq!(recent(room.delete(bundle.path(), "web")), (0, 255));
    assert_eq!(mounts(&room, other.path()), [""]);
}

#[test]
fn the_socket_of_a_dead_server_is_removed_and_that_of_a_living_one_is_not() {
    needs!(Root);
    let marker = Marker::new("sockets");
    let room = Room::new(&marker);
    let bundle = marker.directory();
    std::fs::write(bundle.path().join("config.json"), "{}").unwrap();
    let address = room.start(bundle.path(), "web", b"").address();
    let socket = room.path(address.strip_prefix("unix://").unwrap());
    recent(room.delete(bundle.path(), "web"));
    assert!(socket.exists() && room.server() > 0);
    room.kill_servers();
    // containerd 2 keeps the address in a file of its own.
    std::fs::remove_file(bundle.path().join("address")).unwrap();
    let bootstrap = json!({"version": 3, "address": address, "protocol": "ttrpc"}).to_string();
    std::fs::write(bundle.path().join("bootstrap.json"), bootstrap).unwrap();
    recent(room.delete(bundle.path(), "web"));
    assert!(!socket.exists());
}

#[test]
fn a_container_of_another_runtime_is_deleted_by_it() {
    needs!(Root, Program("runc"));
    let marker = Marker::new("foreign");
    let residue = Residue::watch(&marker);
    let room = Room::new(&marker);
    let bundle = TestBundle::busybox(&marker).script("sleep 600");
    bundle.save();
    let root = marker.directory();
    let options = json!({"root": root.path(), "binary_name": "runc"}).to_string();
    std::fs::write(bundle.path().join("options.json"), options).unwrap();
    let state_root = root.path().join("default");
    let mut run = std::process::Command::new("runc");
    run.arg("--root")
        .arg(&state_root)
        .args(["run", "--detach", "--bundle"]);
    run.arg(bundle.path()).arg(bundle.id());
    testkit::finish(&mut run, room::LIMIT).succeeded();
    let pid = std::fs::read_to_string(state_root.join(bundle.id()).join("state.json")).unwrap();
    let pid = serde_json::from_str::<serde_json::Value>(&pid).unwrap()["init_process_pid"].clone();
    let (told, status) = recent(room.delete(bundle.path(), bundle.id()));
    assert_eq!((json!(told), status), (pid, 137));
    assert_eq!(state_root.read_dir().unwrap().count(), 0);
    assert_eq!(recent(room.delete(bundle.path(), bundle.id())), (0, 255));
    drop((bundle, room));
    residue.assert_none(&[]);
}

//! S01 (CVE-2020-15257): who reaches the shim's socket. A container with the host's network sees
//! every abstract socket of the host, and any that it can reach would run what it likes as root.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use shim::frame::{self, Kind};
use testkit::needs;

use crate::kit::Client;
use crate::room;
use crate::vitals::server_of;
use crate::yard::Yard;

/// A user who is nobody's.
const STRANGER: u32 = 65534;

/// The bound unix sockets of this network namespace: their inodes and names.
fn sockets() -> Vec<(String, String)> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let bound = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.get(6)?).to_owned(), (*words.get(7)?).to_owned()))
    };
    table.lines().skip(1).filter_map(bound).collect()
}

/// The names at which a process listens.
fn names_of(pid: u32) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let is_its = |inode: &str| open.contains(&format!("socket:[{inode}]"));
    let its = sockets().into_iter().filter(|(inode, _)| is_its(inode));
    its.map(|(_, name)| name).collect()
}

#[test]
fn s01_a_container_with_the_hosts_network_reaches_no_socket_of_a_shim() {
    needs!(Root);
    let yard = Yard::new("hostnet");
    let mut config = yard.config("one", "exec sleep 10000");
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let (bundle, mut client, pid) = yard.run("one", &config);
    let server = server_of(&mut client);
    let names = names_of(server);
    assert!(!names.is_empty(), "the shim listens");
    for name in &names {
        assert!(name.starts_with("/run/containerd/s/"), "{name} is abstract");
    }
    // The container is in the network where these names are known, and none leads anywhere.
    let own = |path: &str| std::fs::metadata(path).unwrap().ino();
    assert_eq!(
        own(&format!("/proc/{pid}/ns/net")),
        own("/proc/self/ns/net")
    );
    let reached = std::thread::spawn(move || connect_all_inside(pid, &names));
    assert_eq!(reached.join().unwrap(), Vec::<String>::new());
    yard.end(&bundle, client);
    yard.close();
}

/// What is reached of these names in the mount namespace of a process, as a path or abstract,
/// with more privilege than any container has. To be called in a thread of its own.
fn connect_all_inside(pid: u32, names: &[String]) -> Vec<String> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    nix::sched::unshare(CloneFlags::CLONE_FS).unwrap();
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNS).unwrap();
    assert!(
        Path::new("/bin/busybox").exists(),
        "this is the container's"
    );
    let is_reached = |name: &&String| {
        let abstract_one = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        UnixStream::connect(name).is_ok() || UnixStream::connect_addr(&abstract_one).is_ok()
    };
    names.iter().filter(is_reached).cloned().collect()
}

#[test]
fn s01_a_stranger_does_not_get_to_the_socket_and_is_refused_by_who_listens() {
    needs!(Root);
    let yard = Yard::new("stranger");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    let socket = yard.socket();
    let modes = (mode(&socket), mode(socket.parent().unwrap()));
    assert_eq!(modes, (0o600, 0o700));
    let name = socket.file_name().unwrap().display();
    let inside = format!("/run/containerd/s/{name}");
    assert_eq!(connect_as(&yard, STRANGER, &inside), "EACCES");
    // Somebody has opened the doors: the peer's user is looked at, too.
    yard.room.shell(&format!(
        "chmod 0755 /run/containerd /run/containerd/s; chmod 0666 {inside}"
    ));
    assert_eq!(connect_as(&yard, STRANGER, &inside), "the end");
    assert!(client.state(&bundle.id, "").is_ok(), "others are served");
    assert_eq!(connect_as(&yard, 0, &inside), "an answer");
    yard.end(&bundle, client);
    yard.close();
}

/// A shim that has nothing left waits a moment for a containerd that does not hear its events;
/// meanwhile the container may have been made again, and its new shim has the same socket.
#[test]
fn a_shim_that_ends_leaves_the_socket_to_its_successor() {
    needs!(Root);
    let yard = Yard::new("successor");
    let bundle = yard.bundle("one", &yard.config("one", "exec sleep 10000"));
    let nobody = yard.path("nobody");
    let mut first = yard.connect_telling(&bundle, &nobody);
    let old = server_of(&mut first);
    yard.create(&mut first, &bundle);
    first.delete(&bundle.id, "").unwrap();
    first.shutdown().unwrap();
    let mut second = yard.connect_telling(&bundle, &nobody);
    assert_ne!(server_of(&mut second), old);
    let old = i32::try_from(old).unwrap();
    assert!(room::stat(old).is_some(), "it had something to wait for");
    room::wait_until("the old shim ends", || room::stat(old).is_none());
    // containerd comes back, and looks for the shim.
    server_of(&mut Client::connect(&yard.socket()));
    yard.create(&mut second, &bundle);
    second.start(&bundle.id, "").unwrap();
    yard.end(&bundle, second);
    yard.close();
}

/// What a user who connects in the room gets: a test of this program, run there as that user.
fn connect_as(yard: &Yard, user: u32, socket: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let program = testkit::quote(program.to_str().unwrap());
    yard.room.shell(&format!(
        "touch /run/probe; mount --bind {program} /run/probe"
    ));
    let user = user.to_string();
    let mut command = yard.room.inside();
    command
        .args(["setpriv", "--reuid", &user, "--regid", &user])
        .args(["--clear-groups", "--", "/run/probe", "--exact"])
        .args(["socket::connects_as_whoever_runs_it", "--ignored"])
        .arg("--nocapture")
        .env("SOCKET", socket);
    let finished = testkit::finish(&mut command, room::LIMIT).success();
    yard.room.shell("umount /run/probe");
    let answer = finished.stdout.split_once("gets: ");
    let (_, answer) = answer.unwrap_or_else(|| panic!("{finished}"));
    answer.lines().next().unwrap().to_owned()
}

/// The other end of [`connect_as`]: says what a call gets.
#[test]
#[ignore = "a part of another test, which runs it as another user"]
#[allow(clippy::print_stdout, reason = "its caller reads it")]
fn connects_as_whoever_runs_it() {
    let socket = std::env::var("SOCKET").unwrap();
    let gets = match UnixStream::connect(&socket) {
        Err(error) => format!("{:?}", runtime_core::errno::of_io(&error)),
        Ok(socket) => call_over(socket).to_owned(),
    };
    println!("gets: {gets}");
}

/// Whether a call over this socket is answered.
fn call_over(mut socket: UnixStream) -> &'static str {
    let request = frame::encode(Kind::Request, 1, 0, &[]).unwrap();
    // It may be closed already.
    socket.write_all(&request).ok();
    socket.set_read_timeout(Some(room::LIMIT)).unwrap();
    match socket.read(&mut [0; 64]) {
        Ok(1..) => "an answer",
        Ok(0) => "the end",
        Err(error) if runtime_core::errno::of_io(&error) == Errno::ECONNRESET => "the end",
        Err(error) => panic!("{error}"),
    }
}

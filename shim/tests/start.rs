//! `start`, run as every version of containerd runs it.
#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::bootstrap_api::{
    BootstrapParams, BootstrapResult, Extension, LogLevel,
};
use containerd_shim_protos::shim::oci;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use room::{CONTAINERD, Room, arguments_of, kill, processes_with, run, stat, wait_until};
use tempfile::TempDir;
use testkit::{Marker, Residue, needs};

mod room;

/// A bundle with this config.json.
fn bundle(marker: &Marker, config: &str) -> TempDir {
    let directory = marker.directory();
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    nix::unistd::mkfifo(&directory.path().join("log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    directory
}

/// The arguments of a start.
const START: [&str; 7] = [
    "-namespace",
    "default",
    "-address",
    CONTAINERD,
    "-id",
    "web",
    "start",
];

/// A command after a shell's.
fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn in_group(group: &str) -> String {
    format!(r#"{{"annotations":{{"io.kubernetes.cri.sandbox-id":"{group}"}}}}"#)
}

fn options(options: oci::Options) -> Vec<u8> {
    let any = Any {
        type_url: "containerd.runc.v1.Options".into(),
        value: options.write_to_bytes().unwrap(),
        ..Any::default()
    };
    any.write_to_bytes().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

fn socket_of(room: &Room, address: &str) -> PathBuf {
    room.path(address.strip_prefix("unix://").unwrap())
}

fn environment_of(pid: i32) -> Vec<String> {
    let variables = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    variables.split('\0').map(str::to_owned).collect()
}

#[test]
fn options_or_nothing_are_answered_by_the_plain_address_alone() {
    needs!(Root);
    let marker = Marker::new("plain");
    let residue = Residue::watch(&marker);
    let given = options(oci::Options {
        systemd_cgroup: false,
        root: "/run/x".into(),
        ..oci::Options::default()
    });
    for input in [&b""[..], &given] {
        let room = Room::new(&marker);
        let bundle = bundle(&marker, "{}");
        let address = room.start(bundle.path(), "web", input).address();
        // printf %s /run/containerd/containerd.sock/default/web | sha256sum
        let digest = "2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883";
        assert_eq!(address, format!("unix:///run/containerd/s/{digest}"));
        let left = std::fs::read_to_string(bundle.path().join("address")).unwrap();
        assert_eq!(left, address);
        assert_eq!(mode(&bundle.path().join("address")), 0o600);
        let link = std::fs::read_link(bundle.path().join("s")).unwrap();
        assert_eq!(link, Path::new("/run/containerd/s"));
    }
    residue.assert_none(&[]);
}

/// S01, for any umask; who tries is in `threats/socket.rs`.
#[test]
fn only_root_gets_to_the_socket() {
    needs!(Root);
    let marker = Marker::new("modes");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    room.shell("mkdir -p -m 0755 /run/containerd/s");
    // Whatever the umask of whoever runs it.
    let command = after("umask 0", &room.shim(bundle.path(), &START));
    let address = run(command, b"").address();
    let socket = socket_of(&room, &address);
    let directory = socket.parent().unwrap();
    assert_eq!((mode(&socket), mode(directory)), (0o600, 0o700));
    for path in [&socket, directory] {
        let owner = std::fs::metadata(path).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (0, 0));
    }
    let server = room.server();
    let abstract_ones = sockets_of(server);
    let abstract_ones = abstract_ones.iter().filter(|name| !name.starts_with('/'));
    assert_eq!(abstract_ones.count(), 0);
}

/// The names of the bound unix sockets that a process has open.
fn sockets_of(pid: i32) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let open = descriptors_of(pid);
    let is_open = |inode: &str| {
        open.iter()
            .any(|(_, to)| *to == format!("socket:[{inode}]"))
    };
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 7 && is_open(words[6]))
        .map(|words| words[7].to_owned())
        .collect()
}

fn descriptors_of(pid: i32) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, std::fs::read_link(path).ok()?.display().to_string()))
        })
        .collect()
}

#[test]
fn the_server_has_a_session_of_its_own_and_no_descriptor_of_its_caller() {
    needs!(Root);
    let marker = Marker::new("server");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let secret = bundle.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    // A caller that leaves descriptors open: 3, which the server listens on, and two others.
    let opened = format!("exec 3<{0} 9<{0} 200<{0}", secret.display());
    let command = after(&opened, &room.shim(bundle.path(), &START));
    run(command, b"").address();
    let server = room.server();
    let fields = stat(server).unwrap();
    let (group, session, terminal) = (&fields[2], &fields[3], &fields[4]);
    let own = server.to_string();
    assert_eq!((group, session, terminal.as_str()), (&own, &own, "0"));
    let cwd = std::fs::read_link(format!("/proc/{server}/cwd")).unwrap();
    assert_eq!(cwd, Path::new("/"));
    wait_until("the server opens the log", || {
        descriptors_of(server)
            .iter()
            .any(|(_, to)| to.ends_with("/log"))
    });
    for (number, to) in descriptors_of(server) {
        let is_its_own = match number {
            0..=2 => to == "/dev/null",
            3 => to.starts_with("socket:"),
            _ => to.starts_with("anon_inode:") || to.starts_with("socket:") || to.ends_with("/log"),
        };
        assert!(is_its_own, "{number}: {to}");
    }
    let name = std::fs::read_to_string(format!("/proc/{server}/comm")).unwrap();
    assert_eq!(name, "containerd-shim\n");
}

#[test]
fn the_servers_binary_cannot_be_written_through_the_server() {
    needs!(Root);
    let marker = Marker::new("binary");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    // A file that nothing else executes: else it would be ETXTBSY. The shell copies it, since
    // what this process has open for writing other tests' children have open for a moment too.
    let copy = bundle.path().join("copy");
    let directory = bundle.path().display();
    room.shell(&format!(
        "cd {directory}; cp '{}' copy; ./copy -namespace default -id web start < /dev/null > answer",
        env!("CARGO_BIN_EXE_containerd-shim-tare-v1")
    ));
    let servers = processes_with(&format!(
        "./copy -namespace default -id web -address  -bundle {directory}"
    ));
    let [server] = servers[..] else {
        panic!("{servers:?}")
    };
    // What a process of a container could keep, until nobody executes the file any more.
    let kept = std::fs::File::open(format!("/proc/{server}/exe")).unwrap();
    kill(server);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EROFS));
    assert!(std::fs::OpenOptions::new().write(true).open(copy).is_ok());
}

#[test]
fn memory_is_taken_from_the_server_before_its_caller() {
    needs!(Root);
    let marker = Marker::new("oom");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    room.start(bundle.path(), "web", b"").address();
    let score = |process: &str| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj"));
        text.unwrap().trim().parse().unwrap()
    };
    let server = room.server().to_string();
    assert_eq!(score(&server), (score("self") + 1).min(1000));
}

fn parameters(id: &str, directory: &Path) -> BootstrapParams {
    BootstrapParams {
        instance_id: id.into(),
        namespace: "default".into(),
        log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
        containerd_grpc_address: CONTAINERD.into(),
        containerd_ttrpc_address: "/nonexistent/from-parameters".into(),
        socket_dir: Some(directory.display().to_string()),
        ..BootstrapParams::default()
    }
}

#[test]
fn parameters_are_answered_by_a_result_and_reach_the_server() {
    needs!(Root);
    let marker = Marker::new("params");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let directory = marker.directory();
    let given = parameters("web", directory.path());
    let answer = room.start(bundle.path(), "web", &given.write_to_bytes().unwrap());
    let result = BootstrapResult::parse_from_bytes(&answer.answer()).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    let prefix = format!("unix://{}/", directory.path().display());
    let name = result.address.strip_prefix(&prefix).unwrap();
    assert_eq!(
        (name.len(), mode(&directory.path().join(name))),
        (64, 0o600)
    );
    let server = room.server();
    assert!(arguments_of(server).contains(&"-debug".to_owned()));
    let variables = environment_of(server);
    let events: Vec<_> = variables
        .iter()
        .filter(|variable| variable.starts_with("TTRPC_ADDRESS="))
        .collect();
    assert_eq!(events, ["TTRPC_ADDRESS=/nonexistent/from-parameters"]);
}

#[test]
fn parameters_for_another_container_are_no_parameters() {
    needs!(Root);
    let marker = Marker::new("others");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let directory = marker.directory();
    let mut given = parameters("other", directory.path());
    // What is left are the two fields that an Any has too; no type of options is "other".
    given.namespace.clear();
    let given = given.write_to_bytes().unwrap();
    let complaint = room.start(bundle.path(), "web", &given).complaint();
    assert!(complaint.contains("other"), "{complaint}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    assert!(room.servers().is_empty());
}

#[test]
fn what_cannot_be_started_is_one_line_and_leaves_nothing() {
    needs!(Root);
    let marker = Marker::new("refused");
    let residue = Residue::watch(&marker);
    let room = Room::new(&marker);
    let check = |bundle: &Path, input: &[u8], expected: &str| {
        let complaint = room.start(bundle, "web", input).complaint();
        assert!(complaint.contains(expected), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(!bundle.join("address").exists());
        assert!(room.servers().is_empty());
        let sockets = room.path("/run/containerd/s").read_dir();
        assert_eq!(sockets.map_or(0, Iterator::count), 0, "{expected}");
    };
    let whole = bundle(&marker, "{}");
    check(whole.path(), &[0xff; 40], "standard input is neither");
    let missing = options(oci::Options {
        shim_cgroup: format!("/{marker}-missing"),
        ..oci::Options::default()
    });
    check(whole.path(), &missing, "no hierarchy has this cgroup");
    check(marker.directory().path(), b"", "/config.json: no such file");
    check(bundle(&marker, "{]").path(), b"", "config.json: line 1");
    let read_only = marker.directory();
    let path = read_only.path().display();
    room.shell(&format!(
        "mount -t tmpfs tmpfs {path}; echo '{{}}' > {path}/config.json; mount -o remount,ro {path}"
    ));
    check(read_only.path(), b"", "read-only file system (EROFS)");
    let long = Path::new("/run").join("x".repeat(60));
    let long = parameters("web", &long).write_to_bytes().unwrap();
    check(whole.path(), &long, "more than the 106");
    drop(room);
    residue.assert_none(&[]);
}

#[test]
fn containers_of_a_group_share_a_server_and_others_do_not() {
    needs!(Root);
    let marker = Marker::new("group");
    let room = Room::new(&marker);
    let pods = ["a", "a", "b"].map(|group| bundle(&marker, &in_group(group)));
    let [first, second, other] = [0, 1, 2].map(|number| {
        let id = format!("c{number}");
        room.start(pods[number].path(), &id, b"").address()
    });
    assert_eq!(first, second);
    assert_ne!(first, other);
    assert_eq!(room.servers().len(), 2);
    let left = std::fs::read_to_string(pods[1].path().join("address")).unwrap();
    assert_eq!(left, first);
}

#[test]
fn the_socket_of_a_server_that_was_killed_gets_a_new_server() {
    needs!(Root);
    let marker = Marker::new("dead");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let first = room.start(bundle.path(), "web", b"").address();
    let old = room.server();
    kill(old);
    assert!(socket_of(&room, &first).exists());
    let second = room.start(bundle.path(), "web", b"").address();
    assert_eq!(first, second);
    assert_ne!(room.server(), old);
}

#[test]
fn twenty_starts_at_once_make_one_server() {
    needs!(Root);
    let marker = Marker::new("twenty");
    let room = &Room::new(&marker);
    let bundles: Vec<TempDir> = (0..20).map(|_| bundle(&marker, &in_group("pod"))).collect();
    for round in 0..3 {
        let addresses: Vec<String> = std::thread::scope(|scope| {
            let start = |(number, bundle): (usize, &TempDir)| {
                let path = bundle.path().to_owned();
                scope.spawn(move || room.start(&path, &format!("c{number}"), b"").address())
            };
            let threads: Vec<_> = bundles.iter().enumerate().map(start).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        // The next round begins with a socket that nobody serves.
        assert!(room.server() > 0, "round {round}");
        room.kill_servers();
    }
}

#[test]
fn the_server_enters_the_cgroup_that_the_options_name() {
    needs!(Root, CgroupV1("pids"), CgroupV1("freezer"));
    let marker = Marker::new("cgroup");
    let residue = Residue::watch(&marker);
    let cgroup = Path::new("/sys/fs/cgroup/pids").join(marker.as_str());
    std::fs::create_dir(&cgroup).unwrap();
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let given = options(oci::Options {
        shim_cgroup: format!("/{marker}"),
        ..oci::Options::default()
    });
    room.start(bundle.path(), "web", &given).address();
    let server = room.server();
    let of = |process: &str, controller: &str| {
        let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        let prefix = format!(":{controller}:");
        let mut lines = text.lines().filter_map(|line| line.split_once(&prefix));
        lines.next().unwrap().1.to_owned()
    };
    assert_eq!(of(&server.to_string(), "pids"), format!("/{marker}"));
    assert_eq!(of(&server.to_string(), "freezer"), of("self", "freezer"));
    drop(room);
    wait_until("the cgroup is empty", || {
        std::fs::remove_dir(&cgroup).is_ok()
    });
    residue.assert_none(&[]);
}

#[test]
fn core_scheduling_is_given_or_refused() {
    needs!(Root);
    let marker = Marker::new("core");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let arguments = [
        "-namespace",
        "default",
        "-address",
        CONTAINERD,
        "-id",
        "web",
        "start",
    ];
    let mut command = room.shim(bundle.path(), &arguments);
    command.env("SCHED_CORE", "1");
    let ended = run(command, b"");
    if ended.code == 0 {
        assert!(room.server() > 0);
    } else {
        let complaint = ended.complaint();
        assert!(complaint.starts_with("SCHED_CORE: "), "{complaint}");
        assert!(room.servers().is_empty());
    }
}

#[test]
fn a_server_can_be_run_by_hand_and_one_socket_has_one() {
    needs!(Root);
    let marker = Marker::new("hand");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let socket = bundle.path().join("x.sock");
    let socket = socket.to_str().unwrap();
    let arguments = ["-namespace", "default", "-id", "web", "-socket", socket];
    let mut first = room.shim(bundle.path(), &arguments).spawn().unwrap();
    wait_until("it listens", || Path::new(socket).exists());
    let complaint = run(room.shim(bundle.path(), &arguments), b"").complaint();
    assert!(
        complaint.ends_with("x.sock is served already"),
        "{complaint}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let complaint = run(room.shim(bundle.path(), &arguments[..4]), b"").complaint();
    assert!(complaint.starts_with("no socket: "), "{complaint}");
}

#[test]
fn flags_are_refused_as_go_refuses_them() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-tare-v1"));
        command.args(arguments);
        run(command, b"")
    };
    let ended = run(&["-nope", "start"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (2, &b""[..]));
    let first = "flag provided but not defined: -nope\nUsage of ";
    assert!(ended.stderr.starts_with(first), "{}", ended.stderr);
    assert_eq!(run(&["-h"]).code, 0);
    assert_eq!(
        run(&["start"]).complaint(),
        "shim namespace cannot be empty"
    );
    let nameless = run(&["-namespace", "x", "start"]).complaint();
    assert!(nameless.contains("-id is missing"), "{nameless}");
    let unknown = run(&["-namespace", "x", "stop"]).complaint();
    assert!(unknown.starts_with("unknown action \"stop\""), "{unknown}");
    for flag in ["-v", "-version", "--v"] {
        let text = String::from_utf8(run(&[flag]).answer()).unwrap();
        assert!(
            text.starts_with("containerd-shim-tare-v1:\n  Version:  "),
            "{text}"
        );
    }
}

#[test]
fn info_is_a_message() {
    use containerd_shim_protos::types::introspection::RuntimeInfo;
    let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-tare-v1"));
    command.arg("-info");
    let given = options(oci::Options::default());
    let info = RuntimeInfo::parse_from_bytes(&run(command, &given).answer()).unwrap();
    assert_eq!(info.name, "io.containerd.tare.v1");
    assert_eq!(info.options.write_to_bytes().unwrap(), given);
    let features: serde_json::Value = serde_json::from_slice(&info.features.value).unwrap();
    assert!(features["ociVersionMax"].is_string());
}

#[test]
fn options_among_other_extensions_are_found() {
    needs!(Root);
    let marker = Marker::new("extend");
    let room = Room::new(&marker);
    let bundle = bundle(&marker, "{}");
    let directory = marker.directory();
    let wrong = oci::Options {
        shim_cgroup: format!("/{marker}-missing"),
        ..oci::Options::default()
    };
    let extension = |any| Extension {
        value: MessageField::some(any),
        ..Extension::default()
    };
    let other = Any {
        type_url: "nri.v1.PluginConfig".into(),
        ..Any::default()
    };
    let options = Any::parse_from_bytes(&options(wrong)).unwrap();
    let mut given = parameters("web", directory.path());
    given.extensions = vec![extension(other), extension(options)];
    let given = given.write_to_bytes().unwrap();
    // That they are obeyed shows in their being refused.
    let complaint = room.start(bundle.path(), "web", &given).complaint();
    assert!(
        complaint.contains("no hierarchy has this cgroup"),
        "{complaint}"
    );
}

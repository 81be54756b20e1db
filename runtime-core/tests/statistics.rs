//! Statistics and the watch for kills, of real containers of this very process.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use runtime_core::statistics::{Limit, v1, v2};
use runtime_core::{
    Bundle, Container, ContainerId, CreateOptions, ErrorKind, OomWatch, Runtime, Statistics,
};
use serde_json::json;
use testkit::{Marker, Residue, TestBundle, needs};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hog: asks for memory until it is killed, and the shell that runs it lives on.
const HOG: &str = "tail /dev/zero";

const MEMORY_LIMIT: u64 = 32 << 20;

struct Setting {
    marker: Marker,
    residue: Residue,
    root: tempfile::TempDir,
    bundle: TestBundle,
}

/// What a failing test has left running is deleted.
impl Drop for Setting {
    fn drop(&mut self) {
        self.runtime().delete(&self.id(), true).ok();
    }
}

impl Setting {
    fn new(topic: &str, script: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let limits = json!({
            "memory": {"limit": MEMORY_LIMIT}, "pids": {"limit": 50},
            "devices": [{"allow": false, "access": "rwm"}],
        });
        let bundle = TestBundle::busybox(&marker)
            .script(script)
            .set("/linux/resources", limits);
        Self {
            residue,
            root: marker.directory(),
            bundle,
            marker,
        }
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.root.path())
    }

    fn id(&self) -> ContainerId {
        self.marker.as_str().parse().unwrap()
    }

    fn create(&self) -> Container {
        self.bundle.save();
        let bundle = Bundle::open(self.bundle.path()).unwrap();
        let options = CreateOptions::default();
        self.runtime()
            .create(&self.id(), &bundle, &options)
            .unwrap()
    }

    fn run(&self) -> Container {
        let mut container = self.create();
        container.start().unwrap();
        container
    }

    fn wait_for(&self, file: &str) {
        let path = self.bundle.rootfs().join(file);
        wait_until(|| path.exists(), &format!("{}", path.display()));
    }

    /// Deletes it, running or not, and takes its end: it is a child of this process.
    fn delete(&self, container: Container) {
        self.runtime().delete(&self.id(), true).unwrap();
        container.init().unwrap().wait().unwrap();
    }

    fn touch(&self, file: &str) {
        std::fs::write(self.bundle.rootfs().join(file), "").unwrap();
    }

    /// Checks that nothing is left but this value's own directories.
    fn finish(&self) {
        let containers = std::fs::read_dir(self.root.path()).unwrap().count();
        assert_eq!(containers, 0, "a container is left");
        self.residue.assert_none(&[]);
    }
}

fn wait_until(holds: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_readable(watch: &OomWatch, within: Duration) -> bool {
    let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(within).unwrap();
    poll(&mut fds, timeout).unwrap() > 0
}

/// What the watch tells until there are so many kills, or it is at its end.
fn kills_until(watch: &mut OomWatch, wanted: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let mut kills = 0;
    while kills < wanted && !watch.is_gone() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(is_readable(watch, left), "{kills} kills of {wanted}");
        kills += watch.kills().unwrap();
    }
    kills
}

/// Reads until the watch has been quiet for a while.
fn calm(watch: &mut OomWatch) -> u64 {
    let mut kills = 0;
    while is_readable(watch, Duration::from_millis(100)) {
        kills += watch.kills().unwrap();
    }
    kills
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs a test in a process of its own, so that its descriptors can be counted.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("ALONE").is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env("ALONE", "1");
    let finished = testkit::finish(&mut command, Duration::from_secs(60)).success();
    assert!(finished.stdout.contains("1 passed"), "{finished}");
    false
}

fn is_plausible_v1(statistics: &v1::Statistics) {
    let v1::Statistics {
        pids, cpu, memory, ..
    } = statistics;
    assert_eq!(pids.limit, Some(Limit::At(50)));
    assert_eq!(memory.usage.limit, Some(MEMORY_LIMIT));
    assert!(memory.usage.usage.unwrap() <= MEMORY_LIMIT);
    assert!(memory.usage.max_usage >= memory.usage.usage);
    assert!(memory.stat.get("total_pgfault").unwrap() > 0);
    assert_eq!(memory.oom_control.get("oom_kill"), Some(0));
    assert!(memory.kernel_tcp.limit.is_some());
    let each: u64 = cpu.usage.per_cpu_ns.iter().sum();
    assert!(cpu.usage.total_ns.unwrap() > 0 && each > 0);
    assert_eq!(cpu.usage.per_cpu_ns.len(), cpu.usage.per_cpu_user_ns.len());
    assert!(cpu.usage.user_ns.is_some() && cpu.throttling.periods.is_some());
    assert!(!statistics.cpuset.cpus.is_empty() && !statistics.cpuset.mems.is_empty());
    assert_eq!(statistics.cpuset.sched_load_balance, Some(1));
    for entry in &statistics.block_io.serviced {
        let device = entry
            .device
            .as_deref()
            .expect("the kernel knows its devices");
        assert!(Path::new(device).exists(), "{device}");
    }
}

fn is_plausible_v2(statistics: &v2::Statistics) {
    let v2::Statistics {
        pids,
        cpu,
        memory,
        io,
        ..
    } = statistics;
    assert_eq!(pids.limit, Some(Limit::At(50)));
    assert_eq!(memory.limit, Some(Limit::At(MEMORY_LIMIT)));
    assert!(memory.usage.unwrap() <= MEMORY_LIMIT);
    assert!(memory.stat.get("pgfault").unwrap() > 0);
    assert_eq!(memory.events.get("oom_kill"), Some(0));
    assert!(cpu.usage_us.unwrap() >= cpu.user_us.unwrap());
    assert!(cpu.periods.is_some());
    for pressure in [cpu.pressure, memory.pressure, io.pressure]
        .into_iter()
        .flatten()
    {
        assert!(pressure.some.unwrap().percent_10s <= 100.0);
    }
}

#[test]
fn a_running_container_is_counted() {
    needs!(Root, Cgroup("memory"), Cgroup("pids"));
    let script = "dd if=/dev/zero of=/file bs=64k count=16 oflag=direct 2>/dev/null; \
                  sleep 1000 & sleep 1000 & : > /ready; wait";
    let setting = Setting::new("counted", script);
    let container = setting.run();
    setting.wait_for("ready");

    let statistics = container.statistics().unwrap();
    let current = match &statistics {
        Statistics::V1(statistics) => {
            is_plausible_v1(statistics);
            statistics.pids.current
        }
        Statistics::V2(statistics) => {
            is_plausible_v2(statistics);
            statistics.pids.current
        }
    };
    assert_eq!(current, Some(3));
    let network = statistics.network().expect("it has a network of its own");
    let names: Vec<_> = network.iter().map(|one| one.name.as_str()).collect();
    let own = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    assert_eq!(names.first(), Some(&"lo"), "{names:?}");
    // Kernels put fallback devices of some tunnels into every namespace; but no eth0.
    assert!(names.len() < own.lines().count());

    setting.delete(container);
    setting.finish();
}

#[test]
fn traffic_is_that_of_the_containers_namespace() {
    needs!(Root, Cgroup("memory"));
    let script = "while [ ! -e /go ]; do sleep 0.01; done; echo x | nc 127.0.0.1 99; \
                  touch /sent; sleep 1000";
    let mut setting = Setting::new("traffic", script);
    let container = setting.run();
    let loopback = |container: &Container| {
        let statistics = container.statistics().unwrap();
        statistics.network().unwrap()[0].clone()
    };
    let before = loopback(&container);
    assert_eq!((before.name.as_str(), before.rx_bytes), ("lo", 0));
    setting.touch("go");
    setting.wait_for("sent");
    let after = loopback(&container);
    assert!(after.rx_bytes > 0 && after.tx_packets > 0, "{after:?}");
    assert_eq!(after.rx_bytes, after.tx_bytes);
    setting.delete(container);

    // With the host's network there is none of its own.
    let bundle = TestBundle::busybox(&setting.marker).script("sleep 1000");
    setting.bundle = bundle.set(
        "/linux/namespaces",
        json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]),
    );
    let container = setting.run();
    assert_eq!(container.statistics().unwrap().network(), None);
    setting.delete(container);
    setting.finish();
}

#[test]
fn statistics_of_a_container_that_is_gone_say_so() {
    needs!(Root, Cgroup("memory"));
    let setting = Setting::new("gone", "exit 0");
    let container = setting.run();
    container.init().unwrap().wait().unwrap();
    // Its cgroups are there until it is deleted.
    let statistics = container.statistics().unwrap();
    assert_eq!(statistics.network(), None);
    let other = setting.runtime().open(&setting.id()).unwrap();
    setting.runtime().delete(&setting.id(), false).unwrap();
    let (read, watched) = (other.statistics(), other.watch_oom());
    for error in [read.unwrap_err(), watched.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
    drop((container, other));

    // Deleted while it is read: one of the two words, and nothing else.
    for _ in 0..20 {
        let container = setting.run();
        let reader = setting.runtime().open(&setting.id()).unwrap();
        let reading = std::thread::spawn(move || {
            loop {
                if let Err(error) = reader.statistics() {
                    return error;
                }
            }
        });
        setting.delete(container);
        let error = reading.join().unwrap();
        let is_told = matches!(error.kind(), ErrorKind::NotRunning | ErrorKind::NotFound);
        assert!(is_told, "{:?}: {error}", error.kind());
    }
    setting.finish();
}

#[test]
fn a_thousand_looks_leave_no_descriptor_open() {
    needs!(Root, Cgroup("memory"));
    if !is_alone("a_thousand_looks_leave_no_descriptor_open") {
        return;
    }
    let setting = Setting::new("thousand", "sleep 1000");
    let container = setting.run();
    container.statistics().unwrap();
    let before = descriptors();
    for _ in 0..1000 {
        container.statistics().unwrap();
    }
    assert_eq!(descriptors(), before);
    for _ in 0..100 {
        let mut watch = container.watch_oom().unwrap().unwrap();
        assert_eq!(watch.kills(), Ok(0));
    }
    assert_eq!(descriptors(), before);
    setting.delete(container);
    setting.finish();
}

#[test]
fn kills_for_want_of_memory_are_told_and_counted() {
    needs!(Root, Cgroup("memory"));
    let script = format!(
        "while [ ! -e /one ]; do sleep 0.01; done; {HOG}; \
         while [ ! -e /two ]; do sleep 0.01; done; {HOG}; {HOG}; sleep 1000"
    );
    let setting = Setting::new("hog", &script);
    let mut container = setting.create();
    let mut watch = container.watch_oom().unwrap().unwrap();
    container.start().unwrap();
    assert_eq!(calm(&mut watch), 0);
    assert!(!watch.is_gone());

    setting.touch("one");
    assert_eq!(kills_until(&mut watch, 1), 1);
    assert_eq!(calm(&mut watch), 0);
    setting.touch("two");
    assert_eq!(kills_until(&mut watch, 2), 2);
    assert_eq!(calm(&mut watch), 0);
    let counted = match container.statistics().unwrap() {
        Statistics::V1(statistics) => statistics.memory.oom_control.get("oom_kill"),
        Statistics::V2(statistics) => statistics.memory.events.get("oom_kill"),
    };
    assert_eq!(counted, Some(3));
    assert!(!watch.is_gone());
    setting.delete(container);
    drop(watch);
    setting.finish();
}

#[test]
fn a_kill_is_told_to_an_edge_triggered_waiter_as_well() {
    needs!(Root, Cgroup("memory"));
    let script = format!("for i in 1 2 3; do {HOG}; sleep 0.2; done; sleep 1000");
    let setting = Setting::new("edge", &script);
    let mut container = setting.create();
    let mut watch = container.watch_oom().unwrap().unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(watch.as_fd(), edge).unwrap();
    container.start().unwrap();
    let mut kills = 0;
    let deadline = Instant::now() + PATIENCE;
    while kills < 3 {
        assert!(Instant::now() < deadline, "{kills} of 3 kills");
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = EpollTimeout::try_from(left).unwrap();
        epoll.wait(&mut [EpollEvent::empty()], timeout).unwrap();
        kills += watch.kills().unwrap();
    }
    assert_eq!(kills, 3);
    drop((epoll, watch));
    setting.delete(container);
    setting.finish();
}

#[test]
fn the_death_of_init_itself_is_a_kill() {
    needs!(Root, Cgroup("memory"));
    let setting = Setting::new("init", &format!("exec {HOG}"));
    let mut container = setting.create();
    let mut watch = container.watch_oom().unwrap().unwrap();
    container.start().unwrap();
    assert_eq!(kills_until(&mut watch, 1), 1);
    container.init().unwrap().wait().unwrap();
    setting.runtime().delete(&setting.id(), false).unwrap();
    assert_eq!(kills_until(&mut watch, 1), 0);
    assert!(watch.is_gone());
    drop((container, watch));
    setting.finish();
}

#[test]
fn a_watch_ends_with_its_cgroup_and_is_quiet_then() {
    needs!(Root, Cgroup("memory"));
    // Also when everything is over within the 10 ms in which the kernel tells only once.
    for script in ["sleep 1000", "exit 0"] {
        for _ in 0..10 {
            let setting = Setting::new("end", script);
            let container = setting.run();
            let mut watch = container.watch_oom().unwrap().unwrap();
            setting.delete(container);
            assert_eq!(kills_until(&mut watch, 1), 0);
            assert!(watch.is_gone());
            assert!(!is_readable(&watch, Duration::from_millis(20)));
            assert_eq!(watch.kills(), Ok(0));
            drop(watch);
            setting.finish();
        }
    }
}

#[test]
fn a_watch_that_nobody_reads_costs_nothing_and_is_quiet_without_kills() {
    needs!(Root, Cgroup("memory"));
    let setting = Setting::new("quiet", "sleep 1000");
    let container = setting.run();
    let mut watch = container.watch_oom().unwrap().unwrap();
    calm(&mut watch);
    assert!(!is_readable(&watch, Duration::from_millis(300)));
    drop(watch);
    setting.delete(container);
    setting.finish();
}

#[test]
fn the_want_of_a_neighbour_is_no_kill() {
    needs!(Root, Cgroup("memory"));
    let mut hog = Setting::new("neighbour", HOG);
    let mut quiet = Setting::new("quiet", "sleep 1000");
    // Both below a directory of the first one's name, which alone has a limit.
    let parent = hog.marker.to_string();
    let below = |setting: &Setting, name: &str| {
        let bundle = TestBundle::busybox(&setting.marker);
        let path = format!("/{parent}/{name}");
        bundle.set("/linux/cgroupsPath", path.into())
    };
    quiet.bundle = below(&quiet, "b").script("sleep 1000");
    let quiet_container = quiet.run();
    let mut watch = quiet_container.watch_oom().unwrap().unwrap();
    let limits = ["memory/PARENT/memory.limit_in_bytes", "PARENT/memory.max"];
    let limits = limits.map(|file| format!("/sys/fs/cgroup/{}", file.replace("PARENT", &parent)));
    let limit = limits.iter().find(|file| Path::new(file).exists()).unwrap();
    std::fs::write(limit, MEMORY_LIMIT.to_string()).unwrap();

    hog.bundle = below(&hog, "a").script(&format!("{HOG}; : > /killed; sleep 1000"));
    let hog_container = hog.run();
    hog.wait_for("killed");
    assert_eq!(calm(&mut watch), 0);
    assert!(!watch.is_gone());

    drop(watch);
    hog.delete(hog_container);
    quiet.delete(quiet_container);
    remove_everywhere(&parent);
    quiet.finish();
    hog.finish();
}

/// Removes an empty directory of this name from every hierarchy.
fn remove_everywhere(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).unwrap();
    let paths = hierarchies.map(|entry| entry.unwrap().path().join(name));
    for path in paths.chain([root.join(name)]) {
        if path.exists() {
            std::fs::remove_dir(path).unwrap();
        }
    }
}

#[test]
fn a_container_that_is_stopped_instead_of_killed_is_told_of() {
    needs!(Root, CgroupV1("memory"));
    // The kernel stops who touches memory itself; a read(2) into it fails.
    let hog = r#"exec awk 'BEGIN { s = "x"; while (1) s = s s }'"#;
    let mut setting = Setting::new("stopped", hog);
    let limits = json!({"limit": MEMORY_LIMIT, "disableOOMKiller": true});
    let bundle = TestBundle::busybox(&setting.marker).script(hog);
    setting.bundle = bundle.set("/linux/resources/memory", limits);
    let mut container = setting.create();
    let mut watch = container.watch_oom().unwrap().unwrap();
    container.start().unwrap();
    assert_eq!(kills_until(&mut watch, 1), 1);
    assert_eq!(container.status().unwrap(), runtime_core::Status::Running);
    drop(watch);
    setting.delete(container);
    setting.finish();
}

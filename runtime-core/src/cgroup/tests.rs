//! The kernel's own cgroups, on this host and in views of it.
//!
//! A hybrid host is seen as a pure v1 one and as a v2 one with few controllers by running
//! these tests again in a mount namespace of their own.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;
use crate::host::{CgroupLayout, CgroupMount, Host, Machine};
use crate::plan::CgroupPlan;
use crate::plan::cgroup::{CgroupPath, Home, home, plan_from_json};

mod update;

/// A container's worth of cgroups, and the promise that nothing of it remains.
struct Trial {
    layout: CgroupLayout,
    name: String,
}

impl Trial {
    /// None, said aloud, where the host has no cgroups for us or lacks a controller.
    fn new(name: &str, controllers: &[&str]) -> Option<Self> {
        let layout = probe().unwrap();
        let missing = controllers.iter().find(|c| home(&layout, c).is_none());
        let root = nix::unistd::geteuid().is_root();
        if !root || layout == CgroupLayout::None || missing.is_some() {
            let fact = missing.map_or("root and a cgroup filesystem", |missing| missing);
            assert!(
                std::env::var_os("REQUIRE_KERNEL").is_none(),
                "this host does not have {fact}"
            );
            eprintln!("skipped: this host does not have {fact}");
            return None;
        }
        let name = format!("tare-test-{}-{name}", std::process::id());
        Some(Self { layout, name })
    }

    fn host(&self) -> Host {
        Host {
            euid: 0,
            egid: 0,
            in_user_namespace: false,
            may_make_cgroups: true,
            may_set_groups: true,
            kernel: (5, 10),
            last_capability: 40,
            capability_bounds: u64::MAX,
            machine: Machine::X86_64,
            cgroups: self.layout.clone(),
            apparmor: false,
            selinux: false,
        }
    }

    /// The plan of these resources, below our own directory.
    fn plan(&self, resources: &str) -> CgroupPlan {
        self.plan_at(&format!("/{}", self.name), resources)
    }

    fn plan_at(&self, path: &str, resources: &str) -> CgroupPlan {
        let linux = format!(r#"{{"cgroupsPath": {path:?}, "resources": {resources}}}"#);
        plan_from_json(&linux, &self.host())
    }

    fn created(&self, resources: &str) -> Cgroup {
        let plan = self.plan(resources);
        let cgroup = Cgroup::create(&self.layout, &plan).unwrap();
        cgroup.apply(&plan).unwrap();
        cgroup
    }

    fn mounts(&self) -> Vec<&CgroupMount> {
        match &self.layout {
            CgroupLayout::None => vec![],
            CgroupLayout::V2(mount) => vec![mount],
            CgroupLayout::V1 {
                hierarchies,
                unified,
            } => hierarchies.iter().chain(unified).collect(),
        }
    }

    /// Our directories that exist, in every hierarchy.
    fn residue(&self) -> Vec<String> {
        let paths = self.mounts().into_iter();
        let paths = paths.map(|mount| format!("{}/{}", mount.mount_point, self.name));
        paths.filter(|path| Path::new(path).exists()).collect()
    }

    fn v2_root(&self) -> Option<&CgroupMount> {
        match &self.layout {
            CgroupLayout::None => None,
            CgroupLayout::V2(mount) => Some(mount),
            CgroupLayout::V1 { unified, .. } => unified.as_ref(),
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for path in self.residue() {
                let paths = BTreeMap::from([("x".to_owned(), path)]);
                if let Ok(left) = Cgroup::open(&paths) {
                    drop(left.kill_all(soon()));
                    drop(left.remove(soon()));
                }
            }
            return;
        }
        assert_eq!(self.residue(), [""; 0], "left behind");
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn finish(cgroup: &Cgroup) {
    cgroup.kill_all(soon()).unwrap();
    cgroup.remove(soon()).unwrap();
}

/// A shell that enters the cgroups before it runs the script.
fn shell(cgroup: &Cgroup, script: &str) -> Command {
    let mut entries = String::new();
    for path in cgroup
        .paths()
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .values()
    {
        let file = if Path::new(path).join("tasks").exists() {
            "tasks"
        } else {
            "cgroup.procs"
        };
        entries.push_str(&format!("echo 0 > {path}/{file} || exit 99\n"));
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{entries}{script}"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(cgroup: &Cgroup, script: &str) -> (Output, String) {
    let output = shell(cgroup, script).output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    (output, said)
}

/// Starts the script and waits until it has said "ready".
fn started(cgroup: &Cgroup, script: &str) -> Child {
    use std::io::Read;
    let mut child = shell(cgroup, &format!("echo ready\n{script}"));
    let mut child = child.stderr(Stdio::null()).spawn().unwrap();
    let mut said = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    child
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// CPU time that the process has used, in ticks.
fn ticks(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum()
}

const DENY: &str = r#"{"devices": [{"allow": false}]}"#;

#[test]
fn a_probe_finds_hierarchies_that_are_there() {
    let Some(trial) = Trial::new("probe", &[]) else {
        return;
    };
    for mount in trial.mounts() {
        assert!(
            Path::new(&mount.mount_point).join("cgroup.procs").exists(),
            "{mount:?}"
        );
        assert!(mount.own_path.starts_with('/'));
    }
}

#[test]
fn limits_of_v1_read_back_as_they_were_asked_for() {
    let Some(trial) = Trial::new("limits", &["memory", "cpu", "cpuset", "pids"]) else {
        return;
    };
    if home(&trial.layout, "memory") != Some(Home::V1) {
        return;
    }
    let cgroup = trial.created(
        r#"{"memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432, "swappiness": 10,
                "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": 150000, "period": 50000, "burst": 1000, "cpus": "0"},
            "pids": {"limit": 100}}"#,
    );
    let paths = cgroup.paths();
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "100663296"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "150000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_burst_us", "1000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "100"),
    ] {
        let found = fs::read_to_string(format!("{}/{file}", paths[controller])).unwrap();
        assert_eq!(found.trim(), value, "{file}");
    }
    let oom = fs::read_to_string(format!("{}/memory.oom_control", paths["memory"])).unwrap();
    assert!(oom.contains("oom_kill_disable 1"), "{oom}");
    finish(&cgroup);
}

#[test]
fn limits_of_v2_read_back_as_they_were_asked_for() {
    let Some(trial) = Trial::new("limits2", &["memory", "cpu", "cpuset", "pids"]) else {
        return;
    };
    if home(&trial.layout, "memory") != Some(Home::V2) {
        return;
    }
    let cgroup = trial.created(
        r#"{"memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432},
            "cpu": {"shares": 1024, "quota": 150000, "period": 50000, "burst": 1000, "cpus": "0"},
            "pids": {"limit": 100}}"#,
    );
    let path = &cgroup.paths()[UNIFIED_KEY];
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("cpu.weight", "100"),
        ("cpu.max", "150000 50000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "100"),
    ] {
        let found = fs::read_to_string(format!("{path}/{file}")).unwrap();
        assert_eq!(found.trim(), value, "{file}");
    }
    finish(&cgroup);
}

#[test]
fn limits_can_be_raised_and_lowered_later() {
    let Some(trial) = Trial::new("update", &["memory", "cpu"]) else {
        return;
    };
    let cgroup = trial.created(
        r#"{"memory": {"limit": 33554432, "swap": 33554432},
        "cpu": {"quota": 50000, "period": 100000, "burst": 40000}}"#,
    );
    for resources in [
        r#"{"memory": {"limit": 67108864, "swap": 67108864}, "cpu": {"quota": 2000, "period": 1000, "burst": 0}}"#,
        r#"{"memory": {"limit": 16777216, "swap": 16777216}, "cpu": {"quota": 1000, "period": 50000}}"#,
        r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}}"#,
    ] {
        cgroup
            .apply_resources(&trial.plan(resources).resources)
            .unwrap();
    }
    finish(&cgroup);
}

#[test]
fn too_much_memory_kills_and_is_counted() {
    let Some(trial) = Trial::new("oom", &["memory"]) else {
        return;
    };
    let cgroup = trial.created(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#);
    assert_eq!(cgroup.oom_killed(), Some(0));
    let (ended, _) = output(&cgroup, "exec tail /dev/zero");
    assert!(!ended.status.success());
    assert_eq!(cgroup.oom_killed(), Some(1));
    finish(&cgroup);
}

#[test]
fn a_process_too_many_is_not_started() {
    let Some(trial) = Trial::new("pids", &["pids"]) else {
        return;
    };
    let cgroup = trial.created(r#"{"pids": {"limit": 1}}"#);
    let (_, said) = output(&cgroup, "echo alone; (echo two); echo end");
    assert!(
        said.starts_with("alone\n") && !said.contains("\ntwo"),
        "{said}"
    );
    assert!(said.contains("fork"), "{said}");
    finish(&cgroup);
}

#[test]
fn a_device_is_denied_unless_a_rule_allows_it() {
    let Some(trial) = Trial::new("devices", &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("kmsg").display().to_string();
    let resources = r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    let script = format!(
        "mknod {node} c 1 11; echo x > /dev/null && head -c1 /dev/zero > /dev/null && echo usual
         exec 3< {node} && echo read; exec 3>&-; (exec 4> {node}) && echo written"
    );

    let cgroup = trial.created(resources);
    let (_, said) = output(&cgroup, &script);
    assert!(said.contains("usual\nread\n"), "{said}");
    assert!(
        said.contains("Operation not permitted") && !said.contains("written"),
        "{said}"
    );
    finish(&cgroup);

    let cgroup = trial.created(DENY);
    let (_, said) = output(&cgroup, &script);
    assert!(said.contains("usual") && !said.contains("read"), "{said}");
    finish(&cgroup);

    let cgroup = trial.created(r#"{"devices": [{"allow": true}]}"#);
    let (_, said) = output(&cgroup, &script);
    assert!(said.contains("usual\nread\nwritten"), "{said}");
    finish(&cgroup);
}

#[test]
fn new_device_rules_take_the_place_of_the_old_program() {
    let Some(trial) = Trial::new("program", &[]) else {
        return;
    };
    if !matches!(trial.layout, CgroupLayout::V2(_)) {
        return;
    }
    let mut cgroup = trial.created(DENY);
    cgroup.keep();
    let cgroup = Cgroup::open(&cgroup.paths()).unwrap();
    cgroup
        .apply(&trial.plan(r#"{"devices": [{"allow": true}]}"#))
        .unwrap();
    let attached = crate::sys::bpf::attached_device_programs(cgroup.v2_dir().unwrap()).unwrap();
    assert_eq!(attached.len(), 1);
    let (_, said) = output(&cgroup, "exec 3< /dev/kmsg && echo read");
    assert_eq!(said, "read\n");
    finish(&cgroup);
}

#[test]
fn a_thousand_device_programs_leave_memory_and_descriptors_alone() {
    let Some(trial) = Trial::new("programs", &[]) else {
        return;
    };
    if !matches!(trial.layout, CgroupLayout::V2(_)) {
        return;
    }
    let cgroup = trial.created("{}");
    let plan = trial.plan(DENY);
    let mut cgroup = cgroup;
    cgroup.keep();
    let cgroup = Cgroup::open(&cgroup.paths()).unwrap();
    for _ in 0..1000 {
        cgroup.apply(&plan).unwrap();
    }
    let attached = crate::sys::bpf::attached_device_programs(cgroup.v2_dir().unwrap()).unwrap();
    assert_eq!(attached.len(), 1);
    finish(&cgroup);
}

#[test]
fn frozen_processes_stop_until_they_are_thawed() {
    let Some(trial) = Trial::new("freeze", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    let mut child = started(&cgroup, "while :; do :; done");
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze(soon()).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    let before = ticks(&child);
    sleep(Duration::from_millis(150));
    assert!(ticks(&child) - before <= 1, "it ran on");
    cgroup.thaw(soon()).unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    let patience = soon();
    while ticks(&child) <= before + 1 {
        assert!(std::time::Instant::now() < patience, "it stands still");
        sleep(Duration::from_millis(20));
    }
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn a_frozen_container_can_be_killed() {
    let Some(trial) = Trial::new("frozenkill", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    let mut child = started(&cgroup, "sleep 60 & sleep 60");
    cgroup.freeze(soon()).unwrap();
    finish(&cgroup);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn processes_that_fork_all_the_time_are_all_killed() {
    let Some(trial) = Trial::new("forks", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    let busy = "while :; do sh -c :; done &\n".repeat(8);
    let mut child = started(&cgroup, &format!("{busy} wait"));
    sleep(Duration::from_millis(50));
    assert!(cgroup.is_populated());
    assert!(cgroup.processes().unwrap().contains(&pid(&child)));
    cgroup.kill_all(soon()).unwrap();
    assert!(!cgroup.is_populated());
    assert_eq!(cgroup.processes().unwrap(), [0; 0]);
    cgroup.remove(soon()).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_fork_bomb_is_killed() {
    let Some(trial) = Trial::new("bomb", &["pids"]) else {
        return;
    };
    let cgroup = trial.created(r#"{"pids": {"limit": 60}}"#);
    let mut child = started(&cgroup, "f() { f & f & wait; }; f");
    sleep(Duration::from_millis(100));
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn sub_cgroups_of_any_name_and_depth_go_with_their_processes() {
    let Some(trial) = Trial::new("nested", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    let odd = c"\xff\xfe odd";
    for path in cgroup.paths().values() {
        let member = Directory::open(Path::new(path)).unwrap();
        for name in [odd, c"a", c"b"] {
            nix::sys::stat::mkdirat(&member, name, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        fs::create_dir_all(format!("{path}/a/{}", "d/".repeat(40))).unwrap();
    }
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let first = cgroup.paths().into_values().next().unwrap();
    fs::write(format!("{first}/b/cgroup.procs"), child.id().to_string()).unwrap();
    assert!(cgroup.is_populated());

    let now = Instant::now();
    let error = cgroup.remove(now).unwrap_err();
    assert!(error.is_timeout());
    assert!(
        error
            .to_string()
            .contains(&format!("(processes {})", child.id())),
        "{error}"
    );

    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn dropping_before_keep_removes_exactly_what_was_made() {
    let Some(trial) = Trial::new("undo", &[]) else {
        return;
    };
    let deep = format!("/{}/a/b/c", trial.name);
    drop(Cgroup::create(&trial.layout, &trial.plan_at(&deep, "{}")).unwrap());
    assert_eq!(trial.residue(), [""; 0]);

    let mut outer = Cgroup::create(
        &trial.layout,
        &trial.plan_at(&format!("/{}/a", trial.name), "{}"),
    )
    .unwrap();
    outer.keep();
    drop(outer);
    drop(Cgroup::create(&trial.layout, &trial.plan_at(&deep, "{}")).unwrap());
    let again = Cgroup::create(
        &trial.layout,
        &trial.plan_at(&format!("/{}/a", trial.name), "{}"),
    )
    .unwrap();
    for path in again.paths().values() {
        assert!(Path::new(path).exists() && !Path::new(&format!("{path}/b")).exists());
    }
    let paths = again.paths();
    drop(again);
    assert!(
        paths.values().all(|path| Path::new(path).exists()),
        "an older directory went"
    );

    Cgroup::open(&paths).unwrap().remove(soon()).unwrap();
    let parents = paths
        .into_iter()
        .map(|(key, path)| (key, path.trim_end_matches("/a").to_owned()));
    Cgroup::open(&parents.collect())
        .unwrap()
        .remove(soon())
        .unwrap();
}

#[test]
fn a_kept_cgroup_is_found_again_by_its_paths() {
    let Some(trial) = Trial::new("keep", &[]) else {
        return;
    };
    let mut cgroup = trial.created("{}");
    cgroup.keep();
    let (paths, tasks) = (cgroup.paths(), cgroup.v1_task_files().len());
    drop(cgroup);
    let cgroup = Cgroup::open_to_enter(&paths).unwrap();
    assert_eq!(
        (cgroup.paths(), cgroup.v1_task_files().len()),
        (paths.clone(), tasks)
    );
    finish(&cgroup);
    assert!(Cgroup::open_to_enter(&paths).is_err());
    let gone = Cgroup::open(&paths).unwrap();
    assert!(gone.is_gone());
    finish(&gone);
}

#[test]
fn a_cgroup_with_processes_in_it_or_below_is_refused() {
    let Some(trial) = Trial::new("taken", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    for path in cgroup.paths().values() {
        fs::create_dir(format!("{path}/below")).unwrap();
    }
    let path = cgroup.paths().into_values().next().unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    for place in ["below/", ""] {
        fs::write(
            format!("{path}/{place}cgroup.procs"),
            child.id().to_string(),
        )
        .unwrap();
        let error = Cgroup::create(&trial.layout, &trial.plan("{}")).unwrap_err();
        assert!(error.is_in_use());
        let text = error.to_string();
        assert!(
            text.starts_with("container's cgroup is not empty: 1 process(es) found"),
            "{text}"
        );
    }
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn a_frozen_cgroup_is_refused_at_once() {
    let Some(trial) = Trial::new("frozen", &[]) else {
        return;
    };
    let cgroup = trial.created("{}");
    cgroup.freeze(soon()).unwrap();
    let began = Instant::now();
    for path in [format!("/{}", trial.name), format!("/{}/below", trial.name)] {
        let error = Cgroup::create(&trial.layout, &trial.plan_at(&path, "{}")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("container's cgroup unexpectedly frozen"),
            "{error}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    cgroup.thaw(soon()).unwrap();
    finish(&cgroup);
}

#[test]
fn a_threaded_cgroup_is_refused() {
    let Some(trial) = Trial::new("threaded", &[]) else {
        return;
    };
    let Some(root) = trial.v2_root() else { return };
    let path = format!("{}/{}", root.mount_point, trial.name);
    fs::create_dir_all(format!("{path}/below")).unwrap();
    fs::write(format!("{path}/below/cgroup.type"), "threaded").unwrap();
    let below = format!("/{}/below", trial.name);
    let error = Cgroup::create(&trial.layout, &trial.plan_at(&below, "{}")).unwrap_err();
    assert!(
        error.to_string().contains("is threaded, not a domain"),
        "{error}"
    );
    fs::remove_dir(format!("{path}/below")).unwrap();
    fs::remove_dir(path).unwrap();
}

#[test]
fn a_recorded_path_that_became_a_link_is_refused_and_its_target_untouched() {
    let Some(trial) = Trial::new("link", &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let canary = directory.path().join("canary");
    fs::create_dir(&canary).unwrap();
    let mut cgroup = trial.created("{}");
    cgroup.keep();
    let target = cgroup.paths().into_values().next().unwrap();
    for (name, target) in [("plain", canary.to_str().unwrap()), ("cgroup", &target)] {
        let link = directory.path().join(name);
        symlink(target, &link).unwrap();
        let inside = link.join("x");
        for path in [&link, &inside] {
            let paths = BTreeMap::from([("cpu".to_owned(), path.to_str().unwrap().to_owned())]);
            let opened = Cgroup::open(&paths);
            assert!(opened.is_err(), "{path:?}: {opened:?}");
        }
    }
    let paths = BTreeMap::from([("cpu".to_owned(), canary.to_str().unwrap().to_owned())]);
    let error = Cgroup::open(&paths).unwrap_err();
    assert!(matches!(error, CgroupError::NotACgroup { .. }));
    assert!(canary.exists());
    finish(&cgroup);
}

#[test]
fn a_directory_that_is_swapped_for_another_is_not_followed() {
    let Some(trial) = Trial::new("swap", &[]) else {
        return;
    };
    if home(&trial.layout, "freezer").is_none() {
        return;
    }
    // Only v1 can rename: the container's directory goes away under its name.
    let cgroup = trial.created("{}");
    let path = cgroup.paths()["freezer"].clone();
    let aside = format!("{path}-aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(format!("{path}/cgroup.procs"), child.id().to_string()).unwrap();
    assert!(!cgroup.processes().unwrap().contains(&pid(&child)));
    cgroup.kill_all(soon()).unwrap();
    assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir(aside).unwrap();
    cgroup.remove(soon()).unwrap();
}

#[test]
fn the_sub_cgroup_of_a_process_is_found_for_exec() {
    let Some(trial) = Trial::new("leaf", &[]) else {
        return;
    };
    let Some(root) = trial.v2_root() else { return };
    let path = format!("{}/{}/init", root.mount_point, trial.name);
    let cgroup = trial.created("{}");
    fs::create_dir(&path).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(cgroup.v2_dir_of(pid(&child)).unwrap().is_none());
    fs::write(format!("{path}/cgroup.procs"), child.id().to_string()).unwrap();
    let found = cgroup.v2_dir_of(pid(&child)).unwrap().unwrap();
    let inode = nix::sys::stat::fstat(&found).unwrap().st_ino;
    assert_eq!(inode, fs::metadata(&path).unwrap().ino());
    finish(&cgroup);
    child.wait().unwrap();
}

#[test]
fn a_delegated_cgroup_belongs_to_the_user_but_its_limits_do_not() {
    let Some(trial) = Trial::new("delegate", &[]) else {
        return;
    };
    let Some(root) = trial.v2_root() else { return };
    let path = format!("{}/{}", root.mount_point, trial.name);
    let cgroup = trial.created("{}");
    cgroup.delegate(12345).unwrap();
    let owner = |file: &str| fs::metadata(format!("{path}{file}")).unwrap().uid();
    for file in [
        "",
        "/cgroup.procs",
        "/cgroup.threads",
        "/cgroup.subtree_control",
    ] {
        assert_eq!(owner(file), 12345, "{file}");
    }
    for file in ["/cgroup.max.depth", "/cgroup.freeze", "/cgroup.kill"] {
        assert_eq!(owner(file), 0, "{file}");
    }
    finish(&cgroup);
}

#[test]
fn a_v2_controller_is_passed_on_by_parents_or_named() {
    let Some(trial) = Trial::new("passed", &["hugetlb"]) else {
        return;
    };
    if home(&trial.layout, "hugetlb") != Some(Home::V2) {
        return;
    }
    let root = trial.v2_root().unwrap().mount_point.clone();
    let control = format!("{root}/cgroup.subtree_control");
    let before = fs::read_to_string(&control).unwrap();
    let path = format!("/{}/below", trial.name);
    let plan = trial.plan_at(
        &path,
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "unified": {"hugetlb.1GB.max": "0", "cgroup.max.depth": "3"}}"#,
    );
    {
        let cgroup = Cgroup::create(&trial.layout, &plan).unwrap();
        cgroup.apply(&plan).unwrap();
        let read = |file: &str| fs::read_to_string(format!("{root}{path}/{file}")).unwrap();
        assert_eq!(read("hugetlb.2MB.max"), "4194304\n");
        assert_eq!(read("hugetlb.2MB.rsvd.max"), "4194304\n");
        assert_eq!(read("hugetlb.1GB.max"), "0\n");
        assert_eq!(read("cgroup.max.depth"), "3\n");
    }

    // A parent with a process of its own passes nothing on.
    let parent = trial.plan_at(&format!("/{}", trial.name), "{}");
    let parent = Cgroup::create(&trial.layout, &parent).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(
        format!("{root}/{}/cgroup.procs", trial.name),
        child.id().to_string(),
    )
    .unwrap();
    let error = Cgroup::create(&trial.layout, &plan)
        .unwrap_err()
        .to_string();
    let named = format!(
        "controller hugetlb is not enabled in {root}/{}/cgroup.subtree_control",
        trial.name
    );
    assert_eq!(
        error,
        format!(
            "{named}: device or resource busy (EBUSY) \
             (this cgroup has processes of its own; move them into a child of it)"
        )
    );
    finish(&parent);
    child.wait().unwrap();
    if !before.contains("hugetlb") {
        fs::write(control, "-hugetlb").unwrap();
    }
}

#[test]
fn a_parent_with_processes_is_never_made_a_threaded_one() {
    let Some(trial) = Trial::new("crowded", &["pids"]) else {
        return;
    };
    if home(&trial.layout, "pids") != Some(Home::V2) {
        return;
    }
    let parent = trial.plan_at(&format!("/{}", trial.name), "{}");
    let parent = Cgroup::create(&trial.layout, &parent).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let directory = parent.paths()[UNIFIED_KEY].clone();
    fs::write(format!("{directory}/cgroup.procs"), child.id().to_string()).unwrap();
    let path = format!("/{}/below", trial.name);
    let kind = || fs::read_to_string(format!("{directory}/cgroup.type")).unwrap();

    // Without limits it only isn't counted.
    let plan = trial.plan_at(&path, "{}");
    drop(Cgroup::create(&trial.layout, &plan).unwrap());
    assert_eq!(kind(), "domain\n");
    let plan = trial.plan_at(&path, r#"{"pids": {"limit": 5}}"#);
    let error = Cgroup::create(&trial.layout, &plan).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("controller pids is not enabled in "),
        "{said}"
    );
    assert!(said.contains("processes of its own"), "{said}");
    assert_eq!(kind(), "domain\n");
    finish(&parent);
    child.wait().unwrap();
}

#[test]
fn a_refused_limit_says_what_the_parent_has() {
    let Some(trial) = Trial::new("refused", &["cpuset"]) else {
        return;
    };
    let plan = trial.plan(r#"{"cpu": {"cpus": "4000"}}"#);
    let cgroup = Cgroup::create(&trial.layout, &plan).unwrap();
    let error = cgroup.apply(&plan).unwrap_err();
    assert!(
        error.to_string().contains("(the parent cgroup has 0"),
        "{error}"
    );
}

#[test]
fn a_relative_path_is_below_the_runtimes_own_cgroup() {
    let Some(mut trial) = Trial::new("relative", &[]) else {
        return;
    };
    let outer = trial.created("{}");
    let own = format!("/{}", trial.name);
    let mut elsewhere = trial.layout.clone();
    let (hierarchies, unified) = match &mut elsewhere {
        CgroupLayout::None => unreachable!("a trial has cgroups"),
        CgroupLayout::V2(mount) => (&mut [][..], Some(mount)),
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => (hierarchies.as_mut_slice(), unified.as_mut()),
    };
    for mount in hierarchies {
        mount.own_path = own.clone();
    }
    if let Some(mount) = unified {
        mount.own_path = format!("{own}/runtime");
    }
    let plan = CgroupPlan {
        path: CgroupPath::BelowOwn("inner".into()),
        ..trial.plan("{}")
    };
    std::mem::swap(&mut trial.layout, &mut elsewhere);
    let inner = Cgroup::create(&trial.layout, &plan).unwrap();
    let places: BTreeSet<_> = inner.paths().into_values().collect();
    assert!(
        places
            .iter()
            .all(|path| path.ends_with(&format!("{own}/inner"))),
        "{places:?}"
    );
    drop(inner);
    finish(&outer);
}

#[test]
fn a_plan_without_a_path_makes_nothing() {
    let Some(trial) = Trial::new("nopath", &[]) else {
        return;
    };
    let error = Cgroup::create(&trial.layout, &CgroupPlan::default()).unwrap_err();
    assert!(matches!(error, CgroupError::NoPath));
}

/// Runs this module's tests again in a mount namespace prepared by `prepare`.
fn again_in_a_view(name: &str, prepare: &str) {
    if std::env::var_os("TARE_TEST_VIEW").is_some() {
        return;
    }
    let hybrid = matches!(
        probe(),
        Ok(CgroupLayout::V1 {
            unified: Some(_),
            ..
        })
    );
    if !nix::unistd::geteuid().is_root() || !hybrid {
        eprintln!("skipped: this host has no hybrid cgroups to make a view of");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!("{prepare} && exec \"$0\" cgroup::tests:: --nocapture");
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .arg(program)
        .env("TARE_TEST_VIEW", name)
        .env_remove("REQUIRE_KERNEL")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn a_pure_v1_host_is_no_different() {
    again_in_a_view("v1", "mount -t tmpfs tmpfs /sys/fs/cgroup/unified");
}

#[test]
fn a_v2_host_is_no_different() {
    again_in_a_view("v2", "mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup");
}

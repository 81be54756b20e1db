//! Debian's dockerd, its containerd and the stock runc shim, with tare as the runtime.
//!
//! Each case runs under tare and under runc, and what can be seen of it has to be the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Engine, Finished, Marker, Residue, Runtime, finish, finish_with_input, needs};

/// How long a `docker` command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// One runtime of one engine.
struct Docker<'a> {
    engine: &'a Engine,
    runtime: &'static str,
}

impl Docker<'_> {
    /// `docker run FLAGS IMAGE WORDS`.
    fn run(&self, flags: &[&str], words: &[&str]) -> Finished {
        self.engine.docker(&self.run_words(flags, words))
    }

    /// `docker run --rm FLAGS IMAGE sh -c SCRIPT`.
    fn script(&self, flags: &[&str], script: &str) -> Finished {
        self.run(&[&["--rm"], flags].concat(), &["sh", "-c", script])
    }

    fn run_words<'w>(&'w self, flags: &[&'w str], words: &[&'w str]) -> Vec<&'w str> {
        [
            &["run", "--runtime", self.runtime],
            flags,
            &[self.engine.image()],
            words,
        ]
        .concat()
    }

    /// A detached container that sleeps. Its name is that of the runtime.
    fn sleeper(&self, flags: &[&str]) -> &'static str {
        let flags = [&["--detach", "--name", self.runtime], flags].concat();
        self.run(&flags, &["sleep", "1000"]).succeeded();
        self.runtime
    }

    fn docker(&self, arguments: &[&str]) -> Finished {
        self.engine.docker(arguments)
    }

    fn inspect(&self, format: &str) -> String {
        self.docker(&["inspect", "--format", format, self.runtime])
            .success()
            .stdout
    }
}

/// Runs the case under tare and under runc in engines of their own; checks that both saw the
/// same, and that tare left nothing. Returns what was seen.
fn as_with_runc<T: PartialEq + std::fmt::Debug>(topic: &str, case: impl Fn(&Docker<'_>) -> T) -> T {
    let ours = with_tare(topic, &case);
    let marker = Marker::new(topic);
    let engine = Engine::docker_with(&marker, &[]);
    let peers = case(&Docker {
        engine: &engine,
        runtime: "runc",
    });
    assert_eq!(ours, peers, "tare (left) and runc (right) differ");
    ours
}

/// Runs the case under tare; checks that nothing is left of its containers, neither while the
/// engine runs nor afterwards.
fn with_tare<T>(topic: &str, case: impl Fn(&Docker<'_>) -> T) -> T {
    let marker = Marker::new(topic);
    let residue = Residue::watch(&marker);
    let binary = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    let engine = Engine::docker_with(&marker, &[("tare", &binary)]);
    let mounts = engine.mounts();
    let seen = case(&Docker {
        engine: &engine,
        runtime: "tare",
    });
    let ids = engine.docker(&["ps", "--all", "--quiet"]).success().stdout;
    for id in ids.lines() {
        engine.docker(&["rm", "--force", id]).succeeded();
    }
    assert_eq!(
        engine.mounts(),
        mounts,
        "mounts are left where the engine runs"
    );
    assert_no_state(&engine.path("docker-exec/runtime-tare/moby"));
    drop(engine);
    residue.assert_none(&[]);
    seen
}

fn assert_no_state(root: &Path) {
    let entries = std::fs::read_dir(root)
        .map(Iterator::count)
        .unwrap_or_default();
    assert_eq!(entries, 0, "state is left in {}", root.display());
}

/// The exit code and standard output.
fn outcome(finished: Finished) -> (i32, String) {
    (finished.code, finished.stdout)
}

#[test]
fn output_and_exit_code_reach_the_client() {
    needs!(Root, Engines);
    let seen = as_with_runc("output", |docker| {
        let run = docker.script(&[], "echo out; echo err >&2; exit 7");
        (run.code, run.stdout, run.stderr)
    });
    assert_eq!(seen, (7, "out\n".into(), "err\n".into()));
}

#[test]
fn standard_input_reaches_the_container() {
    needs!(Root, Engines);
    let seen = as_with_runc("input", |docker| {
        let words = docker.run_words(&["--rm", "--interactive"], &["sh", "-c", "wc -c; exit 4"]);
        let mut command = docker.engine.docker_command(&words);
        outcome(finish_with_input(&mut command, &[b'x'; 100_000], LIMIT))
    });
    assert_eq!(seen, (4, "100000\n".into()));
}

#[test]
fn a_detached_container_is_entered_read_stopped_and_removed() {
    needs!(Root, Engines);
    let seen = as_with_runc("detached", |docker| {
        let script = "trap 'echo bye; exit 5' TERM; echo hello; while :; do sleep 0.1; done";
        let flags = ["--detach", "--name", docker.runtime];
        docker.run(&flags, &["sh", "-c", script]).succeeded();
        let name = docker.runtime;
        let entered = "echo $A $(id -u) $PWD; cat; exit 9";
        let flags = ["--env", "A=b", "--user", "12", "--workdir", "/tmp"];
        let exec = [&["exec"], &flags[..], &[name, "sh", "-c", entered]].concat();
        let entered = outcome(docker.docker(&exec));
        let stop = docker.docker(&["stop", "--time", "10", name]).code;
        let logs = docker.docker(&["logs", name]).stdout;
        let end = docker.inspect("{{.State.Status}} {{.State.ExitCode}}");
        (entered, stop, logs, end, docker.docker(&["rm", name]).code)
    });
    let entered = (9, "b 12 /tmp\n".into());
    assert_eq!(
        seen,
        (entered, 0, "hello\nbye\n".into(), "exited 5\n".into(), 0)
    );
}

#[test]
fn a_command_that_exec_cannot_find_or_run_ends_with_126() {
    needs!(Root, Engines);
    let seen = as_with_runc("execfail", |docker| {
        let name = docker.sleeper(&[]);
        ["nosuch", "/etc", "/etc/passwd", "/no/such"]
            .map(|word| docker.docker(&["exec", name, word]).code)
    });
    assert_eq!(seen, [126; 4]);
}

#[test]
fn an_interactive_terminal_has_a_size_and_the_exit_code_of_its_shell() {
    needs!(Root, Engines, Program("script"));
    let seen = as_with_runc("terminal", |docker| {
        let words = docker.run_words(&["--rm", "-it"], &["sh"]);
        let command = docker.engine.docker_command(&words);
        let mut under_terminal = testkit::under_terminal(&command);
        // The size arrives by a resize that follows the start.
        let typed = b"sleep 1; stty size | sed 's/^/size /'; test -t 0 && echo is-a-$((1))tty\n\
            ls -l /proc/self/fd/0 | sed 's/.*->//'; exit 6\n";
        let run = finish_with_input(&mut under_terminal, typed, LIMIT);
        let has = |text: &str| run.stdout.contains(text);
        (
            run.code,
            has("size 30 100"),
            has("is-a-1tty"),
            has(" /dev/pts/0"),
        )
    });
    assert_eq!(seen, (6, true, true, true));
}

#[test]
fn a_terminal_for_exec_is_a_terminal() {
    needs!(Root, Engines, Program("script"));
    let seen = as_with_runc("execterm", |docker| {
        let name = docker.sleeper(&[]);
        let exec = [
            "exec",
            "-it",
            name,
            "sh",
            "-c",
            "tty; sleep 1; stty size; exit 3",
        ];
        let mut command = testkit::under_terminal(&docker.engine.docker_command(&exec));
        let run = finish(&mut command, LIMIT);
        (
            run.code,
            run.stdout.contains("/dev/pts/0"),
            run.stdout.contains("30 100"),
        )
    });
    assert_eq!(seen, (3, true, true));
}

#[test]
fn an_allocation_above_the_memory_limit_is_oom_killed() {
    needs!(Root, Engines, Cgroup("memory"));
    let seen = as_with_runc("memory", |docker| {
        // containerd's own shim looks for such ends only when `start` has returned to it.
        let allocate = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
            sleep 2; dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?";
        let flags = [
            "-m",
            "64m",
            "--memory-swap",
            "64m",
            "--name",
            docker.runtime,
        ];
        let run = docker.run(&flags, &["sh", "-c", allocate]);
        (
            run.code,
            run.stdout,
            docker.inspect("{{.State.OOMKilled}} {{.State.ExitCode}}"),
        )
    });
    assert_eq!(seen, (137, "67108864\n".into(), "true 137\n".into()));
}

#[test]
fn the_limits_on_processes_and_processors_are_those_asked_for() {
    needs!(Root, Engines, Cgroup("pids"), Cgroup("cpu"));
    let seen = as_with_runc("limits", |docker| {
        let script = "cd /sys/fs/cgroup; cat pids/pids.max pids.max; \
            cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us || tr ' ' '\\n' < cpu.max; \
            cat cpuset/cpuset.cpus cpuset.cpus; \
            for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; echo forked";
        let flags = ["--pids-limit", "5", "--cpus", "1.5", "--cpuset-cpus", "0"];
        outcome(docker.script(&flags, script))
    });
    let printed = "5\n150000\n100000\n0\n";
    assert_eq!(
        seen,
        (2, printed.into()),
        "the shell gives up at its sixth process"
    );
}

#[test]
fn shares_and_weights_are_those_that_runc_sets() {
    needs!(Root, Engines, Cgroup("cpu"));
    as_with_runc("shares", |docker| {
        let script = "cd /sys/fs/cgroup; cat cpu/cpu.shares cpu.weight memory/memory.soft_limit_in_bytes \
            memory.low memory/memory.memsw.limit_in_bytes memory.swap.max memory/memory.swappiness \
            memory/memory.oom_control; sort devices/devices.list; cat blkio/blkio.throttle.*_device";
        let flags = ["-c", "512", "-m", "64m", "--memory-reservation", "32m"];
        outcome(docker.script(&flags, script))
    });
}

#[test]
fn an_update_changes_a_running_container() {
    needs!(
        Root,
        Engines,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("pids")
    );
    let seen = as_with_runc("update", |docker| {
        let name = docker.sleeper(&["--memory", "64m", "--memory-swap", "64m"]);
        let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes \
            memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.shares \
            cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus pids/pids.max";
        let look = || outcome(docker.docker(&["exec", name, "sh", "-c", files]));
        let update = |flags: &[&str]| {
            let updated = docker.docker(&[&["update"], flags, &[name]].concat());
            (updated.code, look())
        };
        [
            update(&["--memory", "128m", "--memory-swap", "256m"]),
            update(&[
                "--memory",
                "32m",
                "--memory-swap",
                "32m",
                "--memory-reservation",
                "16m",
            ]),
            update(&["--cpus", "0.5", "--cpuset-cpus", "1", "--cpu-shares", "77"]),
            update(&["--cpus", "0.75"]),
            update(&["--pids-limit", "30"]),
            update(&["--pids-limit", "-1"]),
            update(&["--memory", "7m", "--memory-swap", "7m", "--restart", "no"]),
        ]
    });
    let (code, (_, files)) = &seen[6];
    assert_eq!(*code, 0, "{files}");
    let lines: Vec<&str> = files.lines().collect();
    assert_eq!(
        lines,
        [
            "7340032", "7340032", "16777216", "77", "75000", "100000", "1", "max"
        ]
    );
}

#[test]
fn volumes_tmpfs_and_a_read_only_rootfs_are_writable_as_asked() {
    needs!(Root, Engines);
    let seen = as_with_runc("volumes", |docker| {
        let marker = Marker::new("volume");
        let (open, shut) = (marker.directory(), marker.directory());
        std::fs::write(shut.path().join("file"), "from the host\n").expect("it can be written");
        let flags = [
            "-v",
            &format!("{}:/open", open.path().display()),
            "-v",
            &format!("{}:/shut:ro", shut.path().display()),
            "--tmpfs",
            "/scratch:size=1m",
            "--read-only",
        ];
        let script = "for d in open shut scratch etc; do touch /$d/new && echo $d; done 2>/dev/null; \
            cat /shut/file; df -k /scratch | tail -n 1 | awk '{print $2}'";
        let run = outcome(docker.script(&flags, script));
        (run, open.path().join("new").exists())
    });
    assert_eq!(
        seen,
        ((0, "open\nscratch\nfrom the host\n1024\n".into()), true)
    );
}

#[test]
fn user_capabilities_and_privileges_are_those_asked_for() {
    needs!(Root, Engines);
    let status = "id; grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status; umask";
    as_with_runc("identity", |docker| {
        [
            &[][..],
            &["--user", "1000:1001", "--group-add", "7"],
            &["--cap-drop", "ALL"],
            &[
                "--cap-drop",
                "ALL",
                "--cap-add",
                "NET_ADMIN",
                "--user",
                "1000",
            ],
            &["--security-opt", "no-new-privileges"],
            &["--security-opt", "seccomp=unconfined"],
        ]
        .map(|flags| outcome(docker.script(flags, status)))
    });
}

#[test]
fn a_container_looks_the_same_from_inside() {
    needs!(Root, Engines);
    let script = "hostname; cat /proc/self/limits; ls -ln /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; \
        env | sort; pwd; cat /proc/1/oom_score_adj; ls -A /proc/self/fd | wc -l; \
        cat /proc/self/attr/current 2>&1; ip link | grep -c lo; readlink /proc/self/exe; \
        sort /proc/self/cgroup | sed 's#/tt-[^/]*/.*#/ours#'";
    as_with_runc("inside", |docker| {
        outcome(docker.script(
            &["--hostname", "inside", "--ulimit", "nofile=100:200"],
            script,
        ))
    });
}

#[test]
fn the_mount_table_is_the_same_from_inside() {
    needs!(Root, Engines);
    as_with_runc("mounttable", |docker| {
        // Mount point, its options, type: without ids, devices, sources and the rootfs's own
        // options, which name the directories of the engine.
        let script =
            "awk '{ for (i = 7; $i != \"-\"; i++); print $5, $6, $(i+1) }' /proc/self/mountinfo";
        let run = docker
            .script(&["-v", "/etc/hostname:/data/name:ro"], script)
            .success();
        let mut lines: Vec<String> = run.stdout.lines().filter_map(comparable_mount).collect();
        lines.sort();
        lines
    });
}

/// A line of the mount table without that in which tare is meant to differ from runc 1.1:
/// masks have more restrictive options and never come from the container's own /dev, the
/// directory above the v1 hierarchies is read-only as config.json says it, and a hybrid host's
/// cgroup2 is there too.
fn comparable_mount(line: &str) -> Option<String> {
    const MASKS: [&str; 10] = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
    ];
    let point = line.split(' ').next()?;
    match point {
        "/sys/fs/cgroup/unified" => None,
        "/sys/fs/cgroup" => Some(point.to_owned()),
        point if MASKS.contains(&point) => Some(point.to_owned()),
        _ => Some(line.to_owned()),
    }
}

#[test]
fn what_dockers_seccomp_profile_forbids_is_forbidden() {
    needs!(Root, Engines);
    let script = "unshare -m true; echo $?; mount -t tmpfs x /tmp; echo $?; \
        echo > /proc/sysrq-trigger; echo $?; chroot / true; echo $?; \
        cat /proc/kcore | wc -c; ls /sys/firmware | wc -l";
    let seen = as_with_runc("seccomp", |docker| {
        let run = docker.script(&["--cap-add", "SYS_ADMIN"], script);
        let without = docker.script(&[], script);
        (
            run.code,
            run.stdout,
            run.stderr,
            without.code,
            without.stdout,
            without.stderr,
        )
    });
    assert_eq!(seen.0, 0);
}

#[test]
fn a_privileged_container_may_mount_and_sees_the_devices() {
    needs!(Root, Engines);
    let script = "mount -t tmpfs x /tmp && grep -c ' /tmp ' /proc/mounts; \
        test -b /dev/loop0 && echo loop; test -w /sys/kernel && echo sys; \
        grep Seccomp: /proc/self/status; cat /proc/kcore | head -c 4 | wc -c";
    // Compared with expectations and not with runc: runc 1.1 fails where the bounding set of
    // the host lacks a capability that docker asks for.
    let (code, printed) = with_tare("privileged", |docker| {
        outcome(docker.script(&["--privileged"], script))
    });
    assert_eq!(code, 0, "{printed}");
    assert!(printed.starts_with("1\n"), "{printed}");
    assert!(printed.contains("Seccomp:\t0\n"), "{printed}");
    assert_eq!(
        printed.contains("loop\n"),
        Path::new("/dev/loop0").exists(),
        "{printed}"
    );
}

#[test]
fn dockers_init_is_pid_1_and_reaps() {
    needs!(Root, Engines, Program("docker-init"));
    let seen = as_with_runc("init", |docker| {
        let script =
            "cat /proc/1/comm; (sleep 0.1 &); sleep 0.5; ps | grep -c '\\[sleep\\]'; exit 8";
        outcome(docker.script(&["--init"], script))
    });
    assert_eq!(seen, (8, "docker-init\n0\n".into()));
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    needs!(Root, Engines);
    let seen = as_with_runc("pause", |docker| {
        let count = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done";
        let name = docker.runtime;
        docker
            .run(&["--detach", "--name", name], &["sh", "-c", count])
            .succeeded();
        let read = || {
            let archive = docker
                .docker(&["cp", &format!("{name}:/count"), "-"])
                .success()
                .stdout;
            archive
                .split('\0')
                .filter_map(|text| text.trim().parse::<u32>().ok())
                .next_back()
        };
        std::thread::sleep(Duration::from_millis(300));
        docker.docker(&["pause", name]).succeeded();
        let status = docker.inspect("{{.State.Status}}");
        let first = read();
        std::thread::sleep(Duration::from_millis(400));
        let stood_still = first == read();
        let exec = docker.docker(&["exec", name, "true"]).code;
        docker.docker(&["unpause", name]).succeeded();
        std::thread::sleep(Duration::from_millis(400));
        (status, first.is_some(), stood_still, exec, first != read())
    });
    assert_eq!(seen, ("paused\n".into(), true, true, 1, true));
}

#[test]
fn top_stats_and_copy_work() {
    needs!(Root, Engines, Cgroup("memory"));
    let seen = as_with_runc("queries", |docker| {
        let name = docker.sleeper(&["-m", "100m"]);
        let top = docker
            .docker(&["top", name, "-o", "pid,args"])
            .success()
            .stdout;
        let top = top
            .lines()
            .nth(1)
            .and_then(|line| line.split_once(' '))
            .map(|(_, args)| args);
        let top = top.map(|args| args.trim().to_owned());
        let format = "{{.MemUsage}} {{.PIDs}}";
        let stats = docker
            .docker(&["stats", "--no-stream", "--format", format, name])
            .success();
        let stats = stats.stdout.split(" / ").nth(1).map(str::to_owned);
        let marker = Marker::new("copy");
        let directory = marker.directory();
        let file = directory.path().join("file");
        std::fs::write(&file, "copied\n").expect("it can be written");
        let inside = format!("{name}:/root/file");
        docker
            .docker(&["cp", &file.display().to_string(), &inside])
            .succeeded();
        let read = docker.docker(&["exec", name, "cat", "/root/file"]).stdout;
        let back = directory.path().join("back");
        docker
            .docker(&["cp", &inside, &back.display().to_string()])
            .succeeded();
        let back = std::fs::read_to_string(back).expect("it was copied");
        (top, stats, read, back)
    });
    assert_eq!(
        seen,
        (
            Some("sleep 1000".to_owned()),
            Some("100MiB 1\n".into()),
            "copied\n".into(),
            "copied\n".into(),
        )
    );
}

#[test]
fn failures_end_with_dockers_exit_codes() {
    needs!(Root, Engines);
    let seen = as_with_runc("codes", |docker| {
        let script = |script: &str| docker.script(&[], script).code;
        let run = |flags: &[&str], word| docker.run(&[&["--rm"], flags].concat(), &[word]).code;
        [
            run(&["--sysctl", "net.nosuch.name=1"], "true"),
            run(&["-v", "/nosuch:/x:badmode"], "true"),
            run(&[], "nosuch"),
            run(&[], "/no/such"),
            run(&[], "/etc"),
            run(&[], "/etc/passwd"),
            run(&["--workdir", "/etc/passwd"], "true"),
            script("exec sh -c 'kill -9 $PPID; kill -9 $$'"),
            script("sh -c 'kill -9 $$'; exit $?"),
            script("exit 255"),
        ]
    });
    assert_eq!(
        (seen[1], seen[2], seen[4], seen[8], seen[9]),
        (125, 127, 126, 137, 255)
    );
}

#[test]
fn a_killed_container_ends_with_the_signals_code() {
    needs!(Root, Engines);
    let seen = as_with_runc("killed", |docker| {
        let name = docker.sleeper(&[]);
        docker.docker(&["kill", name]).succeeded();
        let code = docker.docker(&["wait", name]).stdout;
        let restarted = docker.docker(&["start", name]).code;
        let stopped = docker.docker(&["stop", "--time", "0", name]).code;
        (
            code,
            restarted,
            stopped,
            docker.inspect("{{.State.ExitCode}}"),
        )
    });
    assert_eq!(seen, ("137\n".into(), 0, 0, "137\n".into()));
}

#[test]
fn namespaces_are_shared_with_another_container_or_the_host() {
    needs!(Root, Engines);
    let links = "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done";
    let seen = as_with_runc("share", |docker| {
        let name = docker.sleeper(&["--hostname", "first", "--ipc", "shareable"]);
        let inside = docker
            .docker(&["exec", name, "sh", "-c", links])
            .success()
            .stdout;
        let [pid, net, ipc] =
            ["pid", "net", "ipc"].map(|kind| format!("--{kind}=container:{name}"));
        let joined = docker.script(&[&pid, &net, &ipc], links).success().stdout;
        let host = docker.script(
            &["--pid=host", "--net=host", "--ipc=host", "--uts=host"],
            links,
        );
        let ours = finish(Command::new("sh").args(["-c", links]), LIMIT).stdout;
        let same = |a: &str, b: &str| a.lines().zip(b.lines()).map(|(a, b)| a == b).collect();
        let shared: Vec<bool> = same(&inside, &joined);
        let with_host: Vec<bool> = same(&host.success().stdout, &ours);
        (shared, with_host, same(&inside, &ours))
    });
    assert_eq!(
        seen,
        (vec![true, true, true, false], vec![true; 4], vec![false; 4])
    );
}

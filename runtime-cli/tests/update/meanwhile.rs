//! What an update does not touch, and what goes on while it is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use testkit::needs;

use crate::Subject;

/// Reads a byte of kernel memory's device (1:1), and of a device that is always there.
const DEVICES: &str = "rm -f /tmp/m; mknod /tmp/m c 1 1 && head -c 1 /tmp/m >/dev/null; echo $?;
    head -c 1 /dev/zero >/dev/null; echo $?";

#[test]
fn device_rules_never_change() {
    needs!(Root, CgroupV1("devices"), CgroupV1("memory"));
    let mknod = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let subject = Subject::new("devices")
        .set("/process/capabilities/bounding", mknod.clone())
        .set("/process/capabilities/effective", mknod.clone())
        .set("/process/capabilities/permitted", mknod)
        .run();
    let rules = subject.outside("devices.list");
    assert_eq!(subject.exec(DEVICES).stdout, "1\n0\n");
    for devices in [
        json!([{"allow": true, "access": "rwm"}]),
        json!([{"allow": true, "type": "c", "major": 1, "minor": 1, "access": "rwm"}]),
        json!([{"allow": false, "access": "rwm"}]),
        json!([]),
        json!([{"allow": true, "type": "nonsense", "access": "x"}]),
    ] {
        let document = json!({"devices": devices, "memory": {"limit": 40 << 20}});
        subject.update_by(&document.to_string()).succeeded();
        assert_eq!(subject.outside("devices.list"), rules, "{document}");
        assert_eq!(subject.exec(DEVICES).stdout, "1\n0\n", "{document}");
    }
    subject.done();
}

#[test]
fn processes_are_not_frozen_for_an_update() {
    needs!(
        Root,
        Program("strace"),
        CgroupV1("freezer"),
        CgroupV1("memory")
    );
    let subject = Subject::new("unfrozen").run();
    let trace = subject.bundle.path().join("trace");
    let mut strace = std::process::Command::new("strace");
    let binary = testkit::Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    strace
        .args(["-f", "-e", "trace=openat,openat2,open", "-o"])
        .arg(&trace)
        .arg(binary);
    strace.arg("--root").arg(subject.runtime.root());
    strace.args([
        "update",
        "--memory",
        "50m",
        "--cpu-quota",
        "70000",
        subject.id(),
    ]);
    testkit::finish(&mut strace, std::time::Duration::from_secs(60)).succeeded();
    let trace = std::fs::read_to_string(&trace).expect("strace has written it");
    assert!(trace.contains("memory.limit_in_bytes"), "{trace}");
    // It is looked at to tell the status, and not opened to be written.
    let freezes = |line: &&str| {
        (line.contains("freezer.state") || line.contains("cgroup.freeze"))
            && (line.contains("O_WRONLY") || line.contains("O_RDWR"))
    };
    assert_eq!(trace.lines().find(freezes), None);
    subject.done();
}

#[test]
fn a_hundred_updates_disturb_neither_each_other_nor_execs() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset")
    );
    let subject = Subject::new("hundred").run();
    let subject_of_threads = &subject;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let update = |number: usize| {
            move || {
                for round in 0..25 {
                    // Up and down, and each pair of limits fits only itself.
                    let bytes = ((round % 5 + 1) * (number + 1) * (8 << 20)).to_string();
                    let cpus = ["0", "1", "0-1"][round % 3];
                    let share = (1000 + number * 100 + round).to_string();
                    subject_of_threads
                        .update(&[
                            "--memory",
                            &bytes,
                            "--memory-swap",
                            &bytes,
                            "--cpuset-cpus",
                            cpus,
                            "--cpu-share",
                            &share,
                        ])
                        .succeeded();
                }
            }
        };
        let exec = || {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let finished = subject_of_threads.exec("exit 7");
                assert_eq!(finished.code, 7, "{finished}");
                count += 1;
            }
            count
        };
        let execs = scope.spawn(exec);
        let updates: Vec<_> = (0..4).map(|number| scope.spawn(update(number))).collect();
        let all_succeeded = updates
            .into_iter()
            .map(|thread| thread.join().is_ok())
            .collect::<Vec<_>>();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(all_succeeded, [true; 4]);
        assert!(execs.join().expect("every exec ends as it should") > 5);
    });
    // Whoever was last: all of its limits, and none of another's.
    let number = |file| subject.outside(file).parse::<usize>().expect("a number");
    let (share, bytes) = (number("cpu.shares"), number("memory.limit_in_bytes"));
    let (thread, round) = ((share - 1000) / 100, (share - 1000) % 100);
    assert_eq!(bytes, (round % 5 + 1) * (thread + 1) * (8 << 20));
    assert_eq!(number("memory.memsw.limit_in_bytes"), bytes);
    assert_eq!(subject.outside("cpuset.cpus"), ["0", "1", "0-1"][round % 3]);
    assert_eq!(subject.status(), "running");
    subject.done();
}

//! Debian's runc with an equal container: each update leaves equal files.

use testkit::{find_program, needs};

use crate::Subject;

#[test]
fn equal_updates_leave_equal_files() {
    needs!(
        Root,
        Program("runc"),
        CgroupV1("memory"),
        CgroupV1("cpu"),
        CgroupV1("cpuset"),
        CgroupV1("pids")
    );
    let runc = find_program("runc").expect("it is there");
    let (ours, theirs) = (
        Subject::new("ours").run(),
        Subject::under("theirs", runc).run(),
    );
    assert_eq!(ours.settings(), theirs.settings(), "before any update");
    for flags in [
        &["--memory", "32m"] as &[&str],
        &["--memory", "48M", "--memory-swap", "48MB"],
        &["--memory", "16777216", "--memory-swap", "16777216"],
        &["--memory-reservation", "8m"],
        &["--memory", "-1"],
        &["--memory", "64m", "--memory-swap", "-1"],
        &["--memory-swap", "1.5g"],
        &["--memory", "4k"],
        &["--memory", "2g"],
        &["--memory-swap", "1m"],
        &["--memory", "nonsense"],
        &["--cpu-share", "77"],
        &["--cpu-quota", "20000"],
        &["--cpu-period", "50000"],
        &["--cpu-quota", "-1"],
        &["--cpu-quota", "30000", "--cpu-period", "30000"],
        &["--cpu-rt-period", "500000"],
        &["--cpu-rt-runtime", "400"],
        &["--cpu-rt-runtime", "4000000"],
        &["--cpuset-cpus", "1", "--cpuset-mems", "0"],
        &["--cpuset-cpus", "0-1"],
        &["--cpuset-cpus", "9"],
        &["--cpuset-cpus", "x"],
        &["--pids-limit", "10"],
        &["--pids-limit", "0"],
        &["--pids-limit", "-1"],
        &["--blkio-weight", "500"],
        &["--blkio-weight", "0"],
        &["--kernel-memory", "5m"],
        &["--memory", "0", "--cpu-share", "0"],
        &["--resources", "/nonexistent"],
        &["--nosuch", "1"],
        &["--memory"],
        &[],
    ] {
        let codes = [ours.update(flags).code, theirs.update(flags).code];
        assert_eq!(codes[0], codes[1], "{flags:?}: exit codes of tare and runc");
        assert_eq!(ours.settings(), theirs.settings(), "{flags:?}");
    }
    for document in [
        r#"{"memory": {"limit": 33554432, "swap": 67108864, "reservation": 16777216}}"#,
        r#"{"cpu": {"shares": 100, "quota": 40000, "period": 80000, "cpus": "0", "mems": "0"}}"#,
        r#"{"cpu": {"period": 90000}}"#,
        r#"{"cpu": {"cpus": ""}, "pids": {"limit": 12}, "blockIO": {"weight": 20}}"#,
        r#"{"devices": [{"allow": true, "access": "rwm"}]}"#,
        r#"{"unknown": {"limit": 1}}"#,
        "{}",
        r#"{"memory": {"limit": "1"}}"#,
        "[]",
        "{",
        "",
    ] {
        let codes = [
            ours.update_by(document).code,
            theirs.update_by(document).code,
        ];
        assert_eq!(
            codes[0], codes[1],
            "{document}: exit codes of tare and runc"
        );
        assert_eq!(ours.settings(), theirs.settings(), "{document}");
    }
    ours.done();
    theirs.done();
}

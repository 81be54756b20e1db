//! What runc's driver does with the same config.json.

use testkit::{find_program, needs};

use super::*;

#[test]
fn units_are_where_runc_has_them_with_the_same_properties() {
    needs!(Root, Systemd, CgroupV2("memory"), Program("runc"));
    for path in [":tt:ID", "system.slice:tt:ID", "machine-a.slice:tt:ID"] {
        let runc = find_program("runc").expect("it was needed");
        let [ours, theirs] = [Subject::new("ours"), Subject::under("runcs", runc)].map(|subject| {
            let path = path.replace("ID", subject.id());
            let subject = subject
                .set("/linux/cgroupsPath", json!(path))
                .set(
                    "/linux/resources/memory",
                    json!({ "limit": 64 << 20, "swap": 96 << 20 }),
                )
                .set(
                    "/linux/resources/cpu",
                    json!({ "quota": 33_300, "period": 100_000 }),
                )
                .set("/linux/resources/pids", json!({ "limit": 20 }));
            subject.run().succeeded();
            let place = cgroup_of(&subject.pid()).replace(subject.id(), "ID");
            let shown = shown(&subject.unit());
            let names = [
                "Slice",
                "Delegate",
                "MemoryMax",
                "MemorySwapMax",
                "CPUQuotaPerSecUSec",
                "CPUQuotaPeriodUSec",
                "TasksMax",
                "DefaultDependencies",
                "CPUAccounting",
                "MemoryAccounting",
                "IOAccounting",
                "TasksAccounting",
                "DevicePolicy",
            ];
            let files = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"];
            let said: Vec<String> = names
                .iter()
                .map(|name| format!("{name}={}", shown[*name]))
                .chain(
                    files
                        .iter()
                        .map(|name| format!("{name}: {}", subject.file(name))),
                )
                .collect();
            subject.delete();
            subject.done();
            (place, said)
        });
        assert_eq!(ours, theirs, "{path}");
    }
    systemctl(&["stop", "machine-a.slice"]).succeeded();
}

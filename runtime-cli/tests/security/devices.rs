//! Devices: none but those that were given (GHSA-g54h-m393-cpwq), and masks over what tells of
//! the host.

use serde_json::{Value, json};
use testkit::{TestBundle, needs};

use crate::ground::{Ground, with_capabilities};

/// Makes each node and opens it; a line for each that could be opened.
const PROBE: &str = "cd /; for d in 'c 1 1' 'b 8 0' 'b 254 0' 'c 10 200' 'c 10 229' 'c 195 0' 'c 1 3' 'c 1 11'; do \
     rm -f n; mknod n $d || { echo NOMKNOD $d; continue; }; \
     (exec 5<n) && echo READ $d; done; true";

fn probe(ground: &Ground, resources: Value) -> (TestBundle, String) {
    let bundle = with_capabilities(ground.bundle(), &["CAP_MKNOD", "CAP_DAC_OVERRIDE"])
        .set("/linux/resources", resources)
        .script(PROBE);
    let finished = ground.runtime.run(&bundle).success();
    let said = format!("{}{}", finished.stdout, finished.stderr);
    (bundle, said)
}

fn opened(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("READ "))
        // runc's rules have the network tunnel, which needs CAP_NET_ADMIN to be of any use, and
        // containers rely on it.
        .filter(|device| *device != "c 10 200")
        .collect()
}

#[test]
fn without_a_rule_a_device_is_denied() {
    needs!(Root);
    let ground = Ground::new("devices");
    let (_bundle, said) = probe(&ground, json!({"devices": []}));
    assert_eq!(opened(&said), ["c 1 3"], "an empty list: {said}");
    let (_bundle, said) = probe(&ground, json!({}));
    assert_eq!(opened(&said), ["c 1 3"], "no list: {said}");
    let allow = json!({"devices": [{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}]});
    let (_bundle, said) = probe(&ground, allow);
    assert_eq!(opened(&said), ["c 10 229", "c 1 3"], "one rule: {said}");
    let deny = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let (_bundle, said) = probe(&ground, deny);
    assert_eq!(opened(&said), ["c 1 3"], "deny all: {said}");
    ground.finish(vec![]);
}

#[test]
fn a_further_process_is_denied_them_too() {
    needs!(Root);
    let ground = Ground::new("execdev");
    let bundle = with_capabilities(ground.bundle(), &["CAP_MKNOD", "CAP_DAC_OVERRIDE"])
        .args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    let finished = ground.exec(&bundle, &["sh", "-c", PROBE]).success();
    assert_eq!(opened(&finished.stdout), ["c 1 3"], "{finished}");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn the_default_config_hides_what_tells_of_the_host() {
    needs!(Root);
    let ground = Ground::new("masks");
    let directory = ground.marker.directory();
    let mut command = ground.runtime.command(&["spec"]);
    command.current_dir(directory.path());
    testkit::finish(&mut command, std::time::Duration::from_secs(20)).succeeded();
    let text = std::fs::read(directory.path().join("config.json")).expect("spec has written it");
    let config: Value = serde_json::from_slice(&text).expect("it is JSON");
    let masked = config["linux"]["maskedPaths"].to_string();
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/interrupts",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/proc/timer_list",
        "/proc/scsi",
        "/proc/acpi",
    ] {
        assert!(masked.contains(path), "{path} is not masked: {masked}");
    }
    drop(directory);
    ground.finish(vec![]);
}

#[test]
fn a_thousand_device_programs_leave_no_descriptor_and_no_fault() {
    needs!(Root);
    let ground = Ground::new("bpf");
    let rules: Vec<_> = (0..40)
        .map(|minor| json!({"allow": true, "type": "c", "major": 240, "minor": minor, "access": "rw"}))
        .collect();
    let bundle = ground
        .bundle()
        .set("/linux/resources/devices", json!(rules))
        .args(&["true"]);
    for _ in 0..crate::ground::long_or(1000, 20) {
        ground.runtime.create(&bundle).succeeded();
        ground.delete(&bundle);
    }
    ground.finish(vec![bundle]);
}

//! `hostname`, `domainname`, `annotations`, and properties that are refused by name.

use serde_json::json;
use testkit::needs;

use crate::container::{Container, namespace_of, own_namespace};

#[test]
fn hostname_and_domainname_are_the_containers_alone() {
    needs!(Root);
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("there is a procfs");
    let (container, pid) = Container::new("names")
        .set("/hostname", "tare-host")
        .set("/domainname", "tare.example")
        .sleeping();
    let inside = container.exec("hostname; cat /proc/sys/kernel/domainname; cat /etc/hostname");
    assert_eq!(inside, "tare-host\ntare.example\nimage\n");
    assert_ne!(namespace_of(pid, "uts"), own_namespace("uts"));
    let after = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("there is a procfs");
    assert_eq!(before, after);
}

#[test]
fn names_without_a_namespace_of_their_own_are_refused() {
    needs!(Root);
    for name in ["hostname", "domainname"] {
        let said = Container::new("nouts")
            .set("/hostname", "")
            .set(&format!("/{name}"), "x")
            .without_namespace("uts")
            .refused();
        assert!(said.contains(&format!("/{name}")), "{said}");
        let said = Container::new("longname")
            .set(&format!("/{name}"), "x".repeat(65))
            .refused();
        assert!(said.contains(&format!("/{name}")), "{said}");
    }
    let (_container, pid) = Container::new("hostuts")
        .set("/hostname", "")
        .without_namespace("uts")
        .sleeping();
    assert_eq!(namespace_of(pid, "uts"), own_namespace("uts"));
}

#[test]
fn annotations_are_kept_and_shown() {
    needs!(Root);
    let annotations = json!({"a": "", "com.example/key": "value with \"quotes\"", "ü": "ß"});
    let container = Container::new("annotations")
        .set("/annotations", annotations.clone())
        .args(&["sleep", "1000"]);
    container.detached();
    // What the bundle says later has no effect.
    std::fs::write(container.path("config.json"), "{}").expect("it is ours");
    let state = container.runtime.state(container.id());
    assert_eq!(state["annotations"], annotations);
    assert_eq!(state["ociVersion"], "1.0.2");
    assert_eq!(state["bundle"], json!(container.bundle().path()));
    let said = Container::new("emptykey")
        .set("/annotations", json!({"": "x"}))
        .refused();
    assert!(said.contains("/annotations"), "{said}");
}

#[test]
fn properties_that_are_not_done_yet_are_refused_by_name() {
    needs!(Root);
    let said = Container::new("notyet")
        .set("/linux/intelRdt", json!({"closID": "x"}))
        .refused();
    assert!(said.contains("/linux/intelRdt"), "{said}");
    assert!(said.contains("not supported yet"), "{said}");
}

#[test]
fn unknown_properties_are_ignored_and_unknown_values_refused() {
    needs!(Root);
    let container = Container::new("unknown")
        .set("/later", json!({"x": 1}))
        .set("/process/later", "x")
        .set("/linux/later", json!([]))
        .set("/linux/resources/later", 1);
    assert_eq!(container.prints_of("echo ran"), "ran\n");
    for (pointer, value) in [
        ("/ociVersion", json!("2.0.0")),
        ("/ociVersion", json!("one")),
        ("/linux/namespaces/0/type", json!("pids")),
        ("/linux/rootfsPropagation", json!("sharde")),
    ] {
        let said = Container::new("unknown").set(pointer, value).refused();
        assert!(said.contains(pointer), "{said}");
    }
}

#[test]
fn every_version_1_is_accepted() {
    needs!(Root);
    for version in ["1.0.0", "1.0.2-dev", "1.1.0+x", "1.3.0", "1.99.0"] {
        let container = Container::new("version").set("/ociVersion", version);
        assert_eq!(container.prints_of("echo ran"), "ran\n", "{version}");
    }
}

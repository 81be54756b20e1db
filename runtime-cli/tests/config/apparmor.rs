//! `process.apparmorProfile` where AppArmor is on.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{Marker, finish_with_input, needs};

use crate::container::{Container, proc_file};

/// A profile in the kernel, removed when dropped.
struct Profile(String);

impl Profile {
    /// Everything is allowed but to write below /tmp/denied.
    fn load() -> Self {
        let name = Marker::new("apparmor").to_string();
        let profile = Self(name);
        profile.parser("--replace");
        profile
    }

    fn parser(&self, action: &str) {
        let text = format!(
            "profile {} flags=(attach_disconnected) {{\n capability,\n network,\n mount,\n \
             umount,\n signal,\n ptrace,\n unix,\n file,\n deny /tmp/denied/** w,\n}}\n",
            self.0
        );
        let mut parser = Command::new("apparmor_parser");
        parser.args([action, "--skip-cache"]);
        finish_with_input(&mut parser, text.as_bytes(), Duration::from_secs(60)).succeeded();
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

/// Says what it is confined by, and tries what the profile denies and what it does not.
const TRY: &str = "cat /proc/self/attr/current; mkdir -p /tmp/denied /tmp/allowed; \
    (echo > /tmp/denied/file) 2>/dev/null || echo denied; echo > /tmp/allowed/file && echo allowed";

#[test]
fn a_profile_confines_init_and_what_is_executed_in_its_container() {
    needs!(Root, AppArmor, Program("apparmor_parser"));
    let profile = Profile::load();
    let confined = format!("{} (enforce)\ndenied\nallowed\n", profile.0);
    // Whether the change has to happen before no_new_privs is set, or may after it.
    for no_new_privileges in [false, true] {
        let container = || {
            Container::new("confined")
                .set("/process/apparmorProfile", json!(profile.0))
                .set("/process/noNewPrivileges", no_new_privileges)
        };
        assert_eq!(container().prints_of(TRY), confined);
        let (container, pid) = container().sleeping();
        let label = proc_file(pid, "attr/current");
        assert_eq!(label, format!("{} (enforce)\n", profile.0));
        assert_eq!(container.exec(TRY), confined);
    }
}

#[test]
fn an_exec_may_have_a_profile_of_its_own() {
    needs!(Root, AppArmor, Program("apparmor_parser"));
    let profile = Profile::load();
    let (container, pid) = Container::new("execprofile").sleeping();
    assert_eq!(proc_file(pid, "attr/current"), "unconfined\n");
    let run = container.runtime.call(&[
        "exec",
        "--apparmor",
        &profile.0,
        container.id(),
        "/bin/sh",
        "-c",
        TRY,
    ]);
    assert_eq!(
        run.success().stdout,
        format!("{} (enforce)\ndenied\nallowed\n", profile.0)
    );
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error_that_names_it() {
    needs!(Root, AppArmor);
    let container = Container::new("noprofile")
        .set("/process/apparmorProfile", "tt-nobody-loaded-this")
        .script("echo ran");
    let run = container.run();
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
    assert!(run.stderr.contains("tt-nobody-loaded-this"), "{run}");
    assert!(run.stderr.contains("AppArmor"), "{run}");
}

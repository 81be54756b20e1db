//! From this program to a criu that restores: into the container's cgroup, and to mounts that
//! nobody else sees.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use runtime_init::{Attributes, Mount, Source, Step};

use super::materials::Materials;
use crate::plan::Plan;

/// Where criu finds what it is given, in a mount namespace of its own: a tmpfs over `/tmp`, which
/// also takes what criu makes there for itself.
const SCRATCH: &CStr = c"/tmp";
pub(super) const SCRATCH_ROOT: &CStr = c"/tmp/root";
pub(super) const SCRATCH_CRIU: &CStr = c"/tmp/criu";
pub(super) const SCRATCH_NULL: &CStr = c"/tmp/null";

const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

/// From this program to criu: into the container's cgroup, and to mounts that nobody else
/// sees.
pub(super) fn steps<'s>(
    plan: &'s Plan,
    given: &'s Materials<'_>,
    names: &'s [CString],
    tasks: &'s [RawFd],
) -> Vec<(Step<'s>, &'static str)> {
    let mut steps = Vec::new();
    if !tasks.is_empty() {
        steps.push((Step::EnterCgroups(tasks), "enter the cgroups"));
    }
    if plan.namespaces.new & NEWCGROUP != 0 {
        // Its root is the container's cgroup, since that is where criu is: what it restores
        // is born in both, whatever the image says.
        steps.push((Step::Unshare(NEWCGROUP), "make the cgroup namespace"));
    }
    if let Some(name) = &plan.keyring {
        // Inherited as well: without, the processes would have the caller's.
        steps.push((Step::SessionKeyring(name), "make a session keyring"));
    }
    if plan.process.no_new_privileges {
        // What criu makes inherits it; criu before 3.18 does not know of it.
        steps.push((Step::NoNewPrivileges, "set no_new_privs"));
    }
    let private = libc::MS_PRIVATE | libc::MS_REC;
    steps.push((Step::RootPropagation(private), "let no mount out"));
    steps.push((Step::OpenRootfs(c"/"), "open /"));
    let scratch = Source::Filesystem {
        kind: c"tmpfs",
        device: Some(c"tmpfs"),
        // In a user namespace criu is another user when it makes files there.
        options: &[(c"mode", Some(c"1777"))],
    };
    steps.push((
        Step::Mount(mount(scratch, SCRATCH, 0)),
        "mount a tmpfs on /tmp",
    ));
    let mut attach = |tree: &OwnedFd, target: &'s CStr, guards: u64| {
        let source = Source::Tree(tree.as_raw_fd());
        steps.push((Step::Mount(mount(source, target, guards)), "attach a tree"));
    };
    attach(&given.root, SCRATCH_ROOT, 0);
    attach(&given.criu, SCRATCH_CRIU, 0);
    if let Some(null) = &given.null {
        attach(null, SCRATCH_NULL, 0);
    }
    for (tree, name) in given.trees.iter().zip(names) {
        attach(&tree.fd, name, tree.external.guards);
    }
    steps
}

fn mount<'a>(source: Source<'a>, target: &'a CStr, guards: u64) -> Mount<'a> {
    Mount {
        source,
        target,
        refuse_links: false,
        inside_proc: false,
        source_is_procfs: false,
        attributes: Attributes {
            set: guards,
            clear: 0,
        },
        recursive: Attributes::default(),
        propagation: &[],
        copy_up: false,
    }
}

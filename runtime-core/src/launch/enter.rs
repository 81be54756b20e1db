//! The steps of a further process in a running container.

use std::ffi::CStr;
use std::os::fd::RawFd;

use runtime_init::{Console, Gate, Phase, Step};

use super::arrays::ProcessArrays;
use super::lower::{
    BecomeUser, Ending, Handles, NEWPID, NEWTIME, NEWUSER, RESET_SIGNALS, Steps, Subject,
    become_user, execute, filter_to_ask, open_label, take_descriptors,
};
use crate::plan::ProcessPlan;

/// How a process gets into a running container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The container's init process, open.
    pub(crate) init: RawFd,
    /// CLONE_NEW* of the namespaces to join, the user namespace apart.
    pub(crate) namespaces: u64,
    /// Whether there is a user namespace to join.
    pub(crate) user: bool,
    /// Join the user namespace before all others.
    pub(crate) rootless: bool,
    /// The rootfs, for the words of failures.
    pub(crate) rootfs: &'a CStr,
    /// The rootfs of a container without a mount namespace.
    pub(crate) chroot: Option<&'a CStr>,
    /// Session keyring to join.
    pub(crate) keyring: Option<&'a CStr>,
}

/// The kernel leaves of these what the cgroup has.
const ALL_CPUS: &[u64] = &[u64::MAX; 128];

/// The steps of a further process.
///
/// The first process joins everything and gives up its privileges where the container can't
/// see it: a joined pid namespace shows only the children of who joins. The second process,
/// which the container sees, never has more privilege than the container gave it.
pub(crate) fn exec_steps<'a>(
    process: &'a ProcessPlan,
    arrays: &'a ProcessArrays<'a>,
    entry: Entry<'a>,
    handles: Handles<'a>,
) -> Steps<'a> {
    let mut steps = Steps::default();
    take_descriptors(&mut steps, handles);
    steps.plain(Step::DefaultSignals, RESET_SIGNALS);
    if !handles.tasks.is_empty() {
        steps.plain(Step::EnterCgroups(handles.tasks), "enter the cgroups");
    }
    if let Some(affinity) = &process.exec_affinity {
        let cpus = affinity.last.as_ref().map_or(ALL_CPUS, |cpus| &cpus.words);
        steps.plain(Step::Affinity(cpus), "set process.execCPUAffinity.final");
    }
    open_label(&mut steps, arrays);
    steps.plain(Step::Undumpable, "become undumpable");
    join_container(&mut steps, entry, process.set_groups);
    if let Some(name) = entry.keyring {
        steps.plain(Step::SessionKeyring(name), "join the session keyring");
    }
    if let (Some(terminal), Some(socket)) = (process.terminal, handles.console) {
        let console = Console {
            socket,
            size: terminal.size,
            bind: false,
            uid: process.uid,
            multiplexer: c"/dev/pts/ptmx",
        };
        steps.plain(Step::Console(console), "make the console");
    }
    let user = BecomeUser {
        keep: handles.keep_last,
        create_cwd: false,
    };
    become_user(&mut steps, process, arrays, user);
    if entry.namespaces & (NEWPID | NEWTIME) != 0 {
        steps.plain(Step::Respawn(0), "enter the pid namespace");
    }
    steps.plain(Step::NewSession, "start a session");
    if process.terminal.is_some() && handles.console.is_some() {
        steps.plain(Step::ControllingTerminal, "take the console");
    }
    filter_to_ask(&mut steps, process);
    steps.plain(Step::Tell(Phase::Ready), "tell the runtime");
    steps.plain(Step::Await(Gate::Committed), "wait for the runtime");
    let ending = Ending {
        last_word: None,
        limits: handles.limits,
    };
    execute(&mut steps, process, arrays, ending);
    steps
}

fn join_container<'a>(steps: &mut Steps<'a>, entry: Entry<'a>, set_groups: bool) {
    let others = Step::Join {
        namespace: entry.init,
        kind: entry.namespaces,
    };
    let user = Step::Join {
        namespace: entry.init,
        kind: NEWUSER,
    };
    if entry.user && entry.rootless {
        steps.plain(user, "join the user namespace");
    }
    if entry.namespaces != 0 {
        steps.plain(others, "join the container's namespaces");
    }
    if entry.user && !entry.rootless {
        steps.plain(user, "join the user namespace");
    }
    if entry.user {
        steps.plain(Step::BecomeRoot { set_groups }, "become root");
    }
    let root = entry.chroot.unwrap_or(c"/");
    steps.push(Step::OpenRootfs(root), Subject::Rootfs);
    if entry.chroot.is_some() {
        steps.push(Step::Chroot, Subject::Rootfs);
    }
}

//! Flags that several commands share, and the global ones.

use crate::command_line::{Flag, Takes};

const fn switch(name: &'static str, short: Option<&'static str>, help: &'static str) -> Flag {
    Flag {
        name,
        short,
        takes: Takes::Nothing,
        help,
    }
}

const fn taking(
    name: &'static str,
    short: Option<&'static str>,
    takes: Takes,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short,
        takes,
        help,
    }
}

// --- before the command

pub(crate) const ROOT: Flag = taking(
    "root",
    None,
    Takes::Text("DIR"),
    "keep container state below DIR (default: /run/tare, or $XDG_RUNTIME_DIR/tare for a user)",
);
pub(crate) const LOG: Flag = taking(
    "log",
    None,
    Takes::Text("FILE"),
    "append log records to FILE (default: stderr)",
);
pub(crate) const LOG_FORMAT: Flag = taking(
    "log-format",
    None,
    Takes::Text("FORMAT"),
    "write log records as text or json (default: text)",
);
pub(crate) const DEBUG: Flag = switch("debug", None, "log what is being done, too");
pub(crate) const ROOTLESS_GLOBAL: Flag = taking(
    "rootless",
    None,
    Takes::Text("WHEN"),
    "go on without a cgroup that may not be made: true, false or auto (default: auto)",
);
pub(crate) const SYSTEMD_CGROUP: Flag = switch(
    "systemd-cgroup",
    None,
    "have systemd make the cgroups of new containers",
);
pub(crate) const VERSION: Flag = switch("version", Some("v"), "print the version");

/// What may come before the command.
pub(crate) const GLOBAL: &[&Flag] = &[
    &ROOT,
    &LOG,
    &LOG_FORMAT,
    &DEBUG,
    &ROOTLESS_GLOBAL,
    &SYSTEMD_CGROUP,
    &VERSION,
];

// --- making a process

pub(crate) const BUNDLE: Flag = taking(
    "bundle",
    Some("b"),
    Takes::Text("DIR"),
    "the directory with config.json (default: the current directory)",
);
pub(crate) const CONSOLE_SOCKET: Flag = taking(
    "console-socket",
    None,
    Takes::Text("PATH"),
    "send the terminal's master to this AF_UNIX socket",
);
pub(crate) const PIDFD_SOCKET: Flag = taking(
    "pidfd-socket",
    None,
    Takes::Text("PATH"),
    "send a pidfd of the process to this AF_UNIX socket",
);
pub(crate) const PID_FILE: Flag = taking(
    "pid-file",
    None,
    Takes::Text("FILE"),
    "write the process's pid to FILE",
);
pub(crate) const NO_PIVOT: Flag = switch(
    "no-pivot",
    None,
    "enter the rootfs without pivot_root(2), for a rootfs on an initial ramdisk",
);
pub(crate) const NO_NEW_KEYRING: Flag = switch(
    "no-new-keyring",
    None,
    "share the caller's session keyring with the container",
);
pub(crate) const PRESERVE_FDS: Flag = taking(
    "preserve-fds",
    None,
    Takes::Number("N"),
    "pass N more descriptors to the process, after stdio and $LISTEN_FDS",
);
pub(crate) const DETACH: Flag = switch(
    "detach",
    Some("d"),
    "return when the process runs, without waiting for its end",
);
pub(crate) const KEEP: Flag = switch(
    "keep",
    None,
    "leave the container when its process has ended",
);
pub(crate) const NO_SUBREAPER: Flag = switch(
    "no-subreaper",
    None,
    "don't adopt the processes that the container orphans",
);

// --- exec

pub(crate) const CWD: Flag = taking(
    "cwd",
    None,
    Takes::Text("DIR"),
    "working directory inside the container",
);
pub(crate) const ENV: Flag = taking(
    "env",
    Some("e"),
    Takes::Texts("NAME=VALUE"),
    "set an environment variable",
);
pub(crate) const TTY: Flag = switch("tty", Some("t"), "give the process a terminal");
pub(crate) const USER: Flag = taking(
    "user",
    Some("u"),
    Takes::Text("UID[:GID]"),
    "run as these numeric ids",
);
pub(crate) const ADDITIONAL_GIDS: Flag = taking(
    "additional-gids",
    Some("g"),
    Takes::Numbers("GID"),
    "add a supplementary group",
);
pub(crate) const PROCESS: Flag = taking(
    "process",
    Some("p"),
    Takes::Text("FILE"),
    "read the process from FILE, JSON as config.json's `process`",
);
pub(crate) const PROCESS_LABEL: Flag = taking(
    "process-label",
    None,
    Takes::Text("LABEL"),
    "SELinux label of the process",
);
pub(crate) const APPARMOR: Flag = taking(
    "apparmor",
    None,
    Takes::Text("PROFILE"),
    "AppArmor profile of the process",
);
pub(crate) const NO_NEW_PRIVS: Flag = switch(
    "no-new-privs",
    None,
    "keep the process from gaining privileges by execve(2)",
);
pub(crate) const CAP: Flag = taking(
    "cap",
    Some("c"),
    Takes::Texts("NAME"),
    "add a capability to the process's sets",
);
pub(crate) const CGROUP: Flag = taking(
    "cgroup",
    None,
    Takes::Texts("[CONTROLLER[,…]:]PATH"),
    "run in this existing cgroup below the container's",
);
pub(crate) const IGNORE_PAUSED: Flag = switch(
    "ignore-paused",
    None,
    "start the process in a paused container, too; it runs after resume",
);

// --- update

pub(crate) const RESOURCES: Flag = taking(
    "resources",
    Some("r"),
    Takes::Text("FILE"),
    "read the limits from FILE, or from standard input with -",
);
pub(crate) const BLKIO_WEIGHT: Flag = taking(
    "blkio-weight",
    None,
    Takes::Text("N"),
    "share of block I/O, 10 to 1000",
);
pub(crate) const CPU_PERIOD: Flag = taking(
    "cpu-period",
    None,
    Takes::Text("US"),
    "length of the period that --cpu-quota is a part of, 1000 to 1000000",
);
pub(crate) const CPU_QUOTA: Flag = taking(
    "cpu-quota",
    None,
    Takes::Text("US"),
    "CPU time in each period, 1000 or more; below 0: no limit",
);
pub(crate) const CPU_BURST: Flag = taking(
    "cpu-burst",
    None,
    Takes::Text("US"),
    "unused CPU time that may be saved up",
);
pub(crate) const CPU_SHARE: Flag = taking(
    "cpu-share",
    None,
    Takes::Text("N"),
    "share of CPU time, 2 to 262144 (new containers have 1024)",
);
pub(crate) const CPU_RT_PERIOD: Flag = taking(
    "cpu-rt-period",
    None,
    Takes::Text("US"),
    "length of the period that --cpu-rt-runtime is a part of (cgroup v1)",
);
pub(crate) const CPU_RT_RUNTIME: Flag = taking(
    "cpu-rt-runtime",
    None,
    Takes::Text("US"),
    "real-time CPU time in each period (cgroup v1)",
);
pub(crate) const CPUSET_CPUS: Flag = taking(
    "cpuset-cpus",
    None,
    Takes::Text("LIST"),
    "CPUs to run on, such as 0-3,7",
);
pub(crate) const CPUSET_MEMS: Flag = taking(
    "cpuset-mems",
    None,
    Takes::Text("LIST"),
    "memory nodes to use",
);
pub(crate) const KERNEL_MEMORY: Flag = taking("kernel-memory", None, Takes::Text("BYTES"), "");
pub(crate) const KERNEL_MEMORY_TCP: Flag =
    taking("kernel-memory-tcp", None, Takes::Text("BYTES"), "");
pub(crate) const MEMORY: Flag = taking("memory", None, Takes::Text("BYTES"), "limit of memory");
pub(crate) const CPU_IDLE: Flag = taking(
    "cpu-idle",
    None,
    Takes::Text("0|1"),
    "1: run only when no CPU has anything else to do; 0: not so, with the default share",
);
pub(crate) const MEMORY_RESERVATION: Flag = taking(
    "memory-reservation",
    None,
    Takes::Text("BYTES"),
    "memory that is not reclaimed while there is other (cgroup v1: soft limit)",
);
pub(crate) const MEMORY_SWAP: Flag = taking(
    "memory-swap",
    None,
    Takes::Text("BYTES"),
    "limit of memory and swap together",
);
pub(crate) const PIDS_LIMIT: Flag = taking(
    "pids-limit",
    None,
    Takes::Text("N"),
    "limit of processes and threads; -1: no limit",
);
pub(crate) const L3_CACHE_SCHEMA: Flag = taking(
    "l3-cache-schema",
    None,
    Takes::Text("TEXT"),
    "Intel RDT (not supported yet)",
);
pub(crate) const MEM_BW_SCHEMA: Flag = taking(
    "mem-bw-schema",
    None,
    Takes::Text("TEXT"),
    "Intel RDT (not supported yet)",
);

// --- other commands

pub(crate) const FORCE: Flag = switch(
    "force",
    Some("f"),
    "kill the container first if it runs; no error if it is missing",
);
pub(crate) const ALL: Flag = switch(
    "all",
    Some("a"),
    "signal every process of the container; no error if it has stopped",
);
pub(crate) const INTERVAL: Flag = taking(
    "interval",
    None,
    Takes::Duration("TIME"),
    "show statistics every TIME, such as 500ms or 1m30s (default: 5s)",
);
pub(crate) const STATS: Flag = switch("stats", None, "show the statistics once, and end");
pub(crate) const TABLE_OR_JSON: Flag = taking(
    "format",
    Some("f"),
    Takes::Text("FORMAT"),
    "table or json (default: table)",
);
pub(crate) const TEXT_OR_JSON: Flag = taking(
    "format",
    Some("f"),
    Takes::Text("FORMAT"),
    "text or json (default: text)",
);
pub(crate) const QUIET: Flag = switch("quiet", Some("q"), "print nothing but ids");
pub(crate) const ROOTLESS_SPEC: Flag = switch(
    "rootless",
    None,
    "write a config.json that an ordinary user can run",
);

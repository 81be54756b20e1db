//! Any seccomp profile: its program answers every telling call as the oracle does.

#![no_main]

use std::borrow::Cow;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runtime_core::host::Machine;
use runtime_core::plan::seccomp::interpret::CallData;
use runtime_core::plan::seccomp::{ACTIONS, ARCHITECTURES, OPERATORS, oracle};
use runtime_core::spec::{Seccomp, Syscall, SyscallArg, Text};

/// Calls of every kind: with private numbers, multiplexed, with ints, on one architecture only,
/// old and new, and some that no kernel has.
const NAMES: &[&str] = &[
    "_llseek",
    "accept",
    "bind",
    "breakpoint",
    "chmod",
    "clone",
    "clone3",
    "close",
    "execve",
    "fchmodat2",
    "file_setattr",
    "getpid",
    "ioctl",
    "ipc",
    "mmap",
    "mmap2",
    "mseal",
    "msgctl",
    "no_such_call",
    "open",
    "openat",
    "openat2",
    "personality",
    "prctl",
    "read",
    "recv",
    "rt_sigreturn",
    "semop",
    "set_tls",
    "shmget",
    "socket",
    "socketcall",
    "uretprobe",
    "write",
];

#[derive(Arbitrary, Debug)]
struct Profile {
    default: Action,
    architectures: Vec<u8>,
    rules: Vec<Rule>,
    calls: Vec<(u8, u32, [u64; 6])>,
}

#[derive(Arbitrary, Debug)]
struct Action {
    name: u8,
    errno: Option<u16>,
}

#[derive(Arbitrary, Debug)]
struct Rule {
    names: Vec<u8>,
    action: Action,
    args: Vec<Argument>,
}

#[derive(Arbitrary, Debug)]
struct Argument {
    index: u8,
    value: u64,
    value_two: u64,
    operator: u8,
}

fuzz_target!(|profile: Profile| {
    // More of them make it slower and find nothing new.
    if profile.rules.len() > 40 || profile.rules.iter().any(|rule| rule.args.len() > 8) {
        return;
    }
    let seccomp = profile.seccomp();
    let mut calls = oracle::telling_calls(&seccomp);
    calls.extend(
        profile
            .calls
            .iter()
            .map(|&(audit, number, arguments)| CallData {
                audit: [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028][usize::from(audit % 4)],
                number,
                arguments,
            }),
    );
    for machine in [Machine::X86_64, Machine::Aarch64] {
        if let Err(difference) = oracle::check(&seccomp, machine, &calls) {
            panic!("{difference}\n{seccomp:#?}");
        }
    }
});

impl Profile {
    fn seccomp(&self) -> Seccomp<'static> {
        let (default_action, default_errno_ret) = self.default.parts();
        Seccomp {
            default_action,
            default_errno_ret,
            architectures: Some(
                self.architectures
                    .iter()
                    .map(|&at| pick(ARCHITECTURES, at))
                    .collect(),
            ),
            syscalls: Some(self.rules.iter().map(Rule::syscall).collect()),
            ..Seccomp::default()
        }
    }
}

impl Rule {
    fn syscall(&self) -> Syscall<'static> {
        let (action, errno_ret) = self.action.parts();
        Syscall {
            names: Some(self.names.iter().map(|&at| pick(NAMES, at)).collect()),
            action,
            errno_ret,
            args: Some(self.args.iter().map(Argument::arg).collect()),
            ..Syscall::default()
        }
    }
}

impl Action {
    /// An error number only where one is allowed: the others are refused and try nothing.
    fn parts(&self) -> (Option<Text<'static>>, Option<u32>) {
        let name = pick(ACTIONS, self.name);
        let takes_errno = matches!(&*name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        let errno = self
            .errno
            .filter(|_| takes_errno)
            .map(|errno| u32::from(errno % 4096));
        (Some(name), errno)
    }
}

impl Argument {
    fn arg(&self) -> SyscallArg<'static> {
        SyscallArg {
            index: Some(u32::from(self.index % 6)),
            value: Some(self.value),
            value_two: Some(self.value_two),
            op: Some(pick(OPERATORS, self.operator)),
            ..SyscallArg::default()
        }
    }
}

fn pick(names: &[&'static str], at: u8) -> Text<'static> {
    Text(Cow::Borrowed(names[usize::from(at) % names.len()]))
}

//! The kernel takes the programs, and does with them what the profiles say.
//!
//! A filter belongs to the thread that loads it, and so do the calls that it answers.

use std::io;

use serde_json::json;

use super::super::*;
use super::{DOCKER, PODMAN};

/// Loads a filter into the calling thread.
fn load(plan: &SeccompPlan) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(plan.program.len()).unwrap(),
        filter: plan.program.as_ptr().cast_mut(),
    };
    // SAFETY: sets a flag of this thread.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: `program` and the instructions that it points to live across the call, which
    // only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            plan.flags,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Runs calls in a thread with this filter.
fn under<T: Send + 'static>(plan: SeccompPlan, calls: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        load(&plan).unwrap();
        calls()
    });
    thread.join().unwrap()
}

/// What a call with these arguments fails with; 0 if it does not.
fn errno_of(number: i64, arguments: [u64; 3]) -> i32 {
    let [a, b, c] = arguments;
    // SAFETY: the tests' calls take numbers only; none gets a pointer that is not null.
    let result = unsafe { libc::syscall(number, a, b, c) };
    if result >= 0 {
        return 0;
    }
    io::Error::last_os_error().raw_os_error().unwrap()
}

fn machine() -> Machine {
    if cfg!(target_arch = "x86_64") {
        Machine::X86_64
    } else {
        Machine::Aarch64
    }
}

fn native(profile: &str) -> SeccompPlan {
    let profile = serde_json::from_str(profile).unwrap();
    super::planned(&profile, machine()).unwrap().unwrap()
}

#[test]
fn the_kernel_answers_as_dockers_profile_says() {
    under(native(DOCKER), || {
        assert_eq!(errno_of(libc::SYS_getpid, [0; 3]), 0);
        assert_eq!(errno_of(libc::SYS_unshare, [0; 3]), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_clone3, [0; 3]), libc::ENOSYS);
        assert_eq!(errno_of(libc::SYS_personality, [0xffff_ffff, 0, 0]), 0);
        assert_eq!(errno_of(libc::SYS_personality, [0x1234, 0, 0]), libc::EPERM);
        assert_eq!(errno_of(5000, [0; 3]), libc::ENOSYS);
    });
}

#[test]
fn the_kernel_answers_as_podmans_profile_says() {
    under(native(PODMAN), || {
        assert_eq!(errno_of(libc::SYS_getpid, [0; 3]), 0);
        assert_eq!(errno_of(libc::SYS_bpf, [0; 3]), libc::EPERM);
        // socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)
        assert_eq!(errno_of(libc::SYS_socket, [16, 3, 9]), libc::EINVAL);
        assert_eq!(
            errno_of(libc::SYS_socket, [1 << 32 | 16, 3, 9]),
            libc::EINVAL
        );
    });
}

#[test]
fn the_kernel_takes_the_longest_program() {
    let profile = |rules: u64| {
        let rules: Vec<_> = (0..rules)
            .map(|value| {
                let args = json!([{"index": 0, "value": value << 20, "op": "SCMP_CMP_EQ"}]);
                json!({"names": ["mincore"], "action": "SCMP_ACT_LOG", "args": args})
            })
            .collect();
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
    };
    let longest = (900..1100)
        .rev()
        .find_map(|rules| super::planned(&profile(rules), machine()).ok().flatten())
        .unwrap();
    assert!((LONGEST - 4..=LONGEST).contains(&longest.program.len()));
    assert_eq!(under(longest, || errno_of(libc::SYS_getpid, [0; 3])), 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_asks_the_filter_about_32_bit_calls() {
    /// getpid(2) the way a 32-bit program calls it.
    fn getpid_32() -> i64 {
        let result: i64;
        // SAFETY: the call has no arguments and touches no memory; the kernel keeps all
        // registers but the result's (and r8 to r11, which are given up).
        unsafe {
            std::arch::asm!(
                "int 0x80",
                inout("rax") 20_i64 => result,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        result
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}],
    });
    let found = under(super::filter(&profile), || {
        (getpid_32(), errno_of(libc::SYS_getpid, [0; 3]))
    });
    // A kernel without 32-bit programs has no such call at all, and the process would have
    // been killed.
    assert_eq!(found, (-77, 77));
}

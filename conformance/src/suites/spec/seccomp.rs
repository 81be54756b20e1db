//! config-linux.md#seccomp, but for notifications.
//!
//! The system call that rules are about is getpgid(2): nothing else here needs it, it takes a
//! number, and for a number that is no process it says ESRCH. A rule's error is another one.

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("seccomp");
const PLACE: &str = "config-linux.md#seccomp";
const VALID: &str = "config.md#valid-values";

/// EXDEV: no error of getpgid's own.
const OWN_ERROR: u32 = 18;
/// What a signal of seccomp's ends a process with: 128 and SIGSYS.
const KILLED: i32 = 128 + libc::SIGSYS;

/// Op, value, valueTwo, arguments that match, arguments that don't.
type Operator = (&'static str, u64, u64, &'static [u64], &'static [u64]);

const OPERATORS: [Operator; 7] = [
    ("SCMP_CMP_NE", 500_000, 0, &[499_999, 500_001], &[500_000]),
    ("SCMP_CMP_LT", 500_000, 0, &[499_999], &[500_000, 500_001]),
    ("SCMP_CMP_LE", 500_000, 0, &[499_999, 500_000], &[500_001]),
    ("SCMP_CMP_EQ", 500_000, 0, &[500_000], &[499_999, 500_001]),
    ("SCMP_CMP_GE", 500_000, 0, &[500_000, 500_001], &[499_999]),
    ("SCMP_CMP_GT", 500_000, 0, &[500_001], &[499_999, 500_000]),
    (
        "SCMP_CMP_MASKED_EQ",
        0xff_0000,
        0x07_0000,
        &[0x07_ffff, 0x07_0000],
        &[0x17_0000, 0x08_0000],
    ),
];

/// Architectures that a filter can have beside this machine's.
const ARCHITECTURES: [&str; 23] = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "SH",
    "SHEB",
    "PARISC",
    "PARISC64",
    "RISCV64",
];

const FLAGS: [&str; 3] = ["TSYNC", "LOG", "SPEC_ALLOW"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"].map(deadly));
    cases.extend(
        OPERATORS.map(|(op, value, two, hits, misses)| operator(op, value, two, hits, misses)),
    );
    cases.extend(ARCHITECTURES.map(architecture));
    cases.extend(FLAGS.map(flag));
    cases.extend(actions());
    cases.extend(refused());
    cases
}

fn actions() -> Vec<Case> {
    vec![
        AREA.case(
            "seccomp-action-errno",
            PLACE,
            "SCMP_ACT_ERRNO returns errnoRet.",
            |scene| {
                is_answered(
                    scene,
                    filter(rule("SCMP_ACT_ERRNO", Some(OWN_ERROR))),
                    "EXDEV",
                )
            },
        )
        .of("linux.seccomp.syscalls[].action")
        .of("linux.seccomp.syscalls[].errnoRet"),
        AREA.case(
            "seccomp-errno-default",
            PLACE,
            "If errnoRet is not specified its default value is EPERM.",
            |scene| is_answered(scene, filter(rule("SCMP_ACT_ERRNO", None)), "EPERM"),
        ),
        AREA.case(
            "seccomp-errno-zero",
            PLACE,
            "errnoRet is the code to use: 0 is the call's success without the call.",
            |scene| {
                let tried = tries(scene, filter(rule("SCMP_ACT_ERRNO", Some(0))))?;
                is("getpgid", &tried, json!({ "value": 0 }))
            },
        ),
        AREA.case(
            "seccomp-action-trace",
            PLACE,
            "SCMP_ACT_TRACE without a tracer is ENOSYS.",
            |scene| {
                is_answered(
                    scene,
                    filter(rule("SCMP_ACT_TRACE", Some(OWN_ERROR))),
                    "ENOSYS",
                )
            },
        ),
        AREA.case(
            "seccomp-action-log",
            PLACE,
            "SCMP_ACT_LOG allows the call, and logs it.",
            log,
        ),
        AREA.case(
            "seccomp-action-allow",
            PLACE,
            "SCMP_ACT_ALLOW allows the call, whatever the default.",
            allow,
        ),
        AREA.case(
            "seccomp-default-action",
            PLACE,
            "defaultAction is the action for calls without a rule.",
            default_action,
        )
        .of("linux.seccomp")
        .of("linux.seccomp.defaultAction"),
        AREA.case(
            "seccomp-default-errno",
            PLACE,
            "defaultErrnoRet is the errno of the default action.",
            default_errno,
        )
        .of("linux.seccomp.defaultErrnoRet"),
        AREA.case(
            "seccomp-filter-is-there",
            PLACE,
            "With seccomp the process runs under a filter.",
            |scene| {
                let report = scene.report(
                    &scene
                        .bundle()
                        .set("/linux/seccomp", filter(rule("SCMP_ACT_ERRNO", None))),
                )?;
                is("Seccomp", &report["status"]["Seccomp"], "2")
            },
        ),
        AREA.case(
            "seccomp-several-names",
            PLACE,
            "names are the names of the syscalls.",
            several_names,
        )
        .of("linux.seccomp.syscalls")
        .of("linux.seccomp.syscalls[]")
        .of("linux.seccomp.syscalls[].names")
        .of("linux.seccomp.syscalls[].names[]"),
        AREA.case(
            "seccomp-several-arguments",
            PLACE,
            "args are the conditions of the rule: all hold.",
            several_arguments,
        )
        .of("linux.seccomp.syscalls[].args")
        .of("linux.seccomp.syscalls[].args[]")
        .of("linux.seccomp.syscalls[].args[].index"),
        AREA.case(
            "seccomp-with-no-new-privileges",
            "config.md#linux-process",
            "noNewPrivileges and seccomp go together.",
            |scene| {
                let bundle = scene.bundle().set("/process/noNewPrivileges", true);
                let tried = scene.tries(
                    bundle.set(
                        "/linux/seccomp",
                        filter(rule("SCMP_ACT_ERRNO", Some(OWN_ERROR))),
                    ),
                    &[&word(999_999)],
                )?;
                is("getpgid", &tried[word(999_999)], "EXDEV")
            },
        ),
    ]
}

fn refused() -> Vec<Case> {
    let errno =
        "When the action doesn't support an errno, the runtime must print an error and fail.";
    let unknown = "Runtimes must generate an error when invalid values are encountered.";
    vec![
        AREA.refuses("seccomp-errno-of-an-action-without-one", PLACE, errno, "/linux/seccomp", filter(rule("SCMP_ACT_KILL_PROCESS", Some(1)))),
        AREA.refuses("seccomp-default-errno-of-an-action-without-one", PLACE, errno, "/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1, "syscalls": [rule("SCMP_ACT_ERRNO", None)] })),
        AREA.refuses("seccomp-without-a-default", PLACE, "defaultAction is required.", "/linux/seccomp", json!({ "syscalls": [rule("SCMP_ACT_ERRNO", None)] })),
        AREA.refuses("seccomp-without-names", PLACE, "names must contain at least one entry.", "/linux/seccomp", filter(json!({ "names": [], "action": "SCMP_ACT_ERRNO" }))),
        AREA.refuses("seccomp-unknown-action", VALID, unknown, "/linux/seccomp", filter(rule("SCMP_ACT_ASK", None))),
        AREA.refuses("seccomp-unknown-default-action", VALID, unknown, "/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ASK" })),
        AREA.refuses("seccomp-unknown-operator", VALID, unknown, "/linux/seccomp", filter(with_arguments(&json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_LIKE" }])))),
        AREA.refuses("seccomp-unknown-architecture", VALID, unknown, "/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"], "syscalls": [rule("SCMP_ACT_ERRNO", None)] })),
        AREA.refuses("seccomp-unknown-flag", VALID, unknown, "/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FAST"], "syscalls": [rule("SCMP_ACT_ERRNO", None)] })),
        AREA.refuses("seccomp-argument-index-too-large", VALID, unknown, "/linux/seccomp", filter(with_arguments(&json!([{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }])))),
    ]
}

/// A filter that allows all but what this rule is about.
fn filter(rule: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

fn rule(action: &str, errno: Option<u32>) -> Value {
    let mut rule = json!({ "names": ["getpgid"], "action": action });
    if let Some(errno) = errno {
        rule["errnoRet"] = json!(errno);
    }
    rule
}

fn with_arguments(arguments: &Value) -> Value {
    let mut rule = rule("SCMP_ACT_ERRNO", Some(OWN_ERROR));
    rule["args"] = arguments.clone();
    rule
}

/// getpgid(2) of this number, as the program inside takes it.
fn word(number: u64) -> String {
    format!("call:{}:{number}", libc::SYS_getpgid)
}

fn bundle(scene: &Scene<'_>, seccomp: Value) -> Bundle {
    scene.bundle().set("/linux/seccomp", seccomp)
}

fn tries(scene: &Scene<'_>, seccomp: Value) -> Result<Value, crate::case::Trouble> {
    let word = word(999_999);
    Ok(scene.tries(bundle(scene, seccomp), &[&word])?[&word].clone())
}

fn is_answered(scene: &Scene<'_>, seccomp: Value, errno: &str) -> Verdict {
    is("getpgid", &tries(scene, seccomp)?, errno)
}

/// An action that ends the process.
fn deadly(action: &'static str) -> Case {
    let name = action.to_lowercase().replace('_', "-");
    AREA.case(
        format!("seccomp-action-{name}"),
        PLACE,
        &format!("SCMP_ACT_{action} ends the process, or its thread, with SIGSYS."),
        move |scene| {
            let bundle = bundle(scene, filter(rule(&format!("SCMP_ACT_{action}"), None)));
            let finished = scene.run(&bundle.does(&["try", &word(1)]));
            holds(
                finished.code == KILLED && finished.stdout.is_empty(),
                "an end by SIGSYS",
                finished.brief(),
            )
        },
    )
    .of("linux.seccomp.syscalls[].action")
}

fn operator(
    op: &'static str,
    value: u64,
    two: u64,
    hits: &'static [u64],
    misses: &'static [u64],
) -> Case {
    let name = op
        .trim_start_matches("SCMP_CMP_")
        .to_lowercase()
        .replace('_', "-");
    AREA.case(
        format!("seccomp-operator-{name}"),
        PLACE,
        &format!("{op} compares a syscall's argument with value (and valueTwo)."),
        move |scene| {
            let argument = json!([{ "index": 0, "value": value, "valueTwo": two, "op": op }]);
            let words: Vec<String> = hits
                .iter()
                .chain(misses)
                .map(|number| word(*number))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let tried = scene.tries(bundle(scene, filter(with_arguments(&argument))), &words)?;
            for number in hits {
                is(
                    &format!("getpgid({number})"),
                    &tried[word(*number)],
                    "EXDEV",
                )?;
            }
            for number in misses {
                is(
                    &format!("getpgid({number})"),
                    &tried[word(*number)],
                    "ESRCH",
                )?;
            }
            Ok(())
        },
    )
    .of("linux.seccomp.syscalls[].args[].op")
    .of("linux.seccomp.syscalls[].args[].value")
    .of("linux.seccomp.syscalls[].args[].valueTwo")
}

fn architecture(word: &'static str) -> Case {
    let name = word.to_lowercase().replace('_', "-");
    AREA.case(format!("seccomp-architecture-{name}"), PLACE, &format!("SCMP_ARCH_{word} is an architecture of the list; the filter holds on this machine's with it."), move |scene| {
        let native = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
        let mut seccomp = filter(rule("SCMP_ACT_ERRNO", Some(OWN_ERROR)));
        seccomp["architectures"] = json!([native, format!("SCMP_ARCH_{word}")]);
        let is_of_this_machine = ["X86", "X86_64", "X32"].contains(&word) == cfg!(target_arch = "x86_64");
        let refused = scene.is_refused(&bundle(scene, seccomp.clone()));
        match refused {
            // config.md#valid-values leaves the subset that it supports to the runtime.
            Ok(finished) if !is_of_this_machine => skipped(format!("refused as not supported, which is allowed: {}", finished.brief())),
            _ => is_answered(scene, seccomp, "EXDEV"),
        }
    })
    .of("linux.seccomp.architectures")
    .of("linux.seccomp.architectures[]")
}

fn flag(word: &'static str) -> Case {
    let name = word.to_lowercase().replace('_', "-");
    AREA.case(
        format!("seccomp-flag-{name}"),
        PLACE,
        &format!("SECCOMP_FILTER_FLAG_{word} is a flag to use with seccomp(2)."),
        move |scene| {
            let mut seccomp = filter(rule("SCMP_ACT_ERRNO", Some(OWN_ERROR)));
            seccomp["flags"] = json!([format!("SECCOMP_FILTER_FLAG_{word}")]);
            is_answered(scene, seccomp, "EXDEV")
        },
    )
    .of("linux.seccomp.flags")
    .of("linux.seccomp.flags[]")
}

/// What Linux programs and runtimes need between the filter and the end; not getpgid, getsid or
/// sethostname.
const COMMON: &str = "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk \
    rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select \
    sched_yield mremap madvise dup dup2 nanosleep getpid socket connect sendto recvfrom sendmsg \
    recvmsg shutdown bind listen getsockname socketpair clone fork vfork execve exit wait4 kill uname \
    fcntl flock fsync ftruncate getdents getcwd chdir fchdir rename mkdir rmdir unlink symlink \
    readlink chmod fchmod chown fchown umask gettimeofday getrlimit getuid getgid setuid setgid \
    geteuid getegid setpgid getppid setsid setreuid setregid getgroups setgroups setresuid getresuid \
    setresgid getresgid capget capset sigaltstack statfs fstatfs prctl arch_prctl setrlimit sync mount \
    umount2 gettid futex sched_setaffinity sched_getaffinity set_thread_area epoll_create getdents64 \
    set_tid_address clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill \
    waitid keyctl ioprio_get openat mkdirat newfstatat unlinkat readlinkat faccessat pselect6 ppoll \
    unshare set_robust_list splice utimensat epoll_pwait eventfd2 epoll_create1 dup3 pipe2 prlimit64 \
    setns getcpu getrandom memfd_create execveat statx rseq pidfd_open clone3 close_range openat2 \
    faccessat2 epoll_pwait2 sched_getattr sched_getparam sched_getscheduler sysinfo personality \
    restart_syscall tkill membarrier seccomp accept accept4 setsockopt getsockopt fsopen fsconfig \
    fsmount move_mount open_tree mount_setattr pidfd_send_signal landlock_restrict_self getitimer setitimer \
    timer_create timer_settime timer_delete rt_sigtimedwait rt_sigpending sched_setattr ioprio_set";

fn allow_common(default: Value) -> Value {
    let names: Vec<&str> = COMMON.split_whitespace().collect();
    let mut seccomp = default;
    seccomp["syscalls"] = json!([{ "names": names, "action": "SCMP_ACT_ALLOW" }]);
    seccomp
}

fn default_action(scene: &Scene<'_>) -> Verdict {
    is_answered(
        scene,
        allow_common(json!({ "defaultAction": "SCMP_ACT_ERRNO" })),
        "EPERM",
    )
}

fn default_errno(scene: &Scene<'_>) -> Verdict {
    let seccomp =
        allow_common(json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": OWN_ERROR }));
    is_answered(scene, seccomp, "EXDEV")
}

fn allow(scene: &Scene<'_>) -> Verdict {
    let mut seccomp = allow_common(json!({ "defaultAction": "SCMP_ACT_ERRNO" }));
    if let Some(rules) = seccomp["syscalls"].as_array_mut() {
        rules.push(rule("SCMP_ACT_ALLOW", None));
    }
    // A call that no rule is about shows that the filter is there.
    let other = format!("call:{}:999999", libc::SYS_getsid);
    let tried = scene.tries(bundle(scene, seccomp), &[&word(999_999), &other])?;
    is("getpgid", &tried[word(999_999)], "ESRCH")?;
    is("getsid", &tried[&other], "EPERM")
}

fn log(scene: &Scene<'_>) -> Verdict {
    let seccomp = filter(rule("SCMP_ACT_LOG", None));
    let report = scene.report(&bundle(scene, seccomp.clone()))?;
    is("Seccomp", &report["status"]["Seccomp"], "2")?;
    is_answered(scene, seccomp, "ESRCH")
}

fn several_names(scene: &Scene<'_>) -> Verdict {
    let mut rule = rule("SCMP_ACT_ERRNO", Some(OWN_ERROR));
    rule["names"] = json!(["getpgid", "sethostname", "chroot", "no_such_call_anywhere"]);
    let tried = scene.tries(
        bundle(scene, filter(rule)),
        &[&word(999_999), "sethostname", "chroot", "open:/dev/null"],
    )?;
    is("getpgid", &tried[word(999_999)], "EXDEV")?;
    is("sethostname", &tried["sethostname"], "EXDEV")?;
    is("chroot", &tried["chroot"], "EXDEV")?;
    is("open", &tried["open:/dev/null"], "ok")
}

/// setpriority(2) of an unknown process group: ESRCH without a rule.
fn several_arguments(scene: &Scene<'_>) -> Verdict {
    let mut rule = with_arguments(&json!([
        { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
        { "index": 1, "value": 777_777, "op": "SCMP_CMP_EQ" },
    ]));
    rule["names"] = json!(["setpriority"]);
    let call = |who: u64, which: u64| format!("call:{}:{who}:{which}:5", libc::SYS_setpriority);
    let (both, first, second) = (call(1, 777_777), call(1, 777_778), call(0, 777_777));
    let tried = scene.tries(bundle(scene, filter(rule)), &[&both, &first, &second])?;
    is("both match", &tried[&both], "EXDEV")?;
    is("the first matches", &tried[&first], "ESRCH")?;
    is("the second matches", &tried[&second], "ESRCH")
}

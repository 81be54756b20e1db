//! Signal names.

use crate::failure::Failure;

/// Names without `SIG`, and their numbers; the same on every machine that tare runs on.
const NAMES: [(&str, i32); 36] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("RTMAX", 64),
    ("RTMIN", 34),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The largest signal number.
const LAST: i32 = 64;

/// Reads `9`, `KILL`, `SIGKILL` in any case, and `SIGRTMIN+3` or `RTMAX-2`.
pub(crate) fn parse(text: &str) -> Result<i32, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    number(text)
        .or_else(|| named(name))
        .or_else(|| real_time(name))
        .ok_or_else(|| {
            Failure::invalid(format_args!(
                "unknown signal {text:?} (a name such as TERM or SIGTERM, or a number from 1 to 64)"
            ))
        })
}

fn number(text: &str) -> Option<i32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|number| (0..=LAST).contains(number))
}

fn named(name: &str) -> Option<i32> {
    let entry = NAMES.iter().find(|(known, _)| *known == name);
    entry.map(|&(_, number)| number)
}

fn real_time(name: &str) -> Option<i32> {
    let signal = if let Some((base, offset)) = name.split_once('+') {
        (base == "RTMIN").then_some(34 + number(offset)?)
    } else if let Some((base, offset)) = name.split_once('-') {
        (base == "RTMAX").then_some(LAST - number(offset)?)
    } else {
        None
    };
    signal.filter(|signal| (34..=LAST).contains(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_said_in_many_ways() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("kill", 9),
            ("SIGKILL", 9),
            ("sigKill", 9),
            ("0", 0),
            ("64", 64),
            ("RTMIN+3", 37),
            ("SIGRTMIN", 34),
            ("SIGRTMAX-1", 63),
            ("SIGUSR2", 12),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn anything_else_is_unknown() {
        for bad in [
            "",
            "SIG",
            "KIIL",
            "65",
            "-9",
            "+9",
            "SIGSIGKILL",
            "RTMIN+31",
            "RTMIN-1",
            "9 ",
            "1e1",
        ] {
            let message = parse(bad).unwrap_err().message;
            assert!(message.starts_with(&format!("unknown signal {bad:?} (")));
        }
    }
}

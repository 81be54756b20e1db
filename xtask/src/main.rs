//! tare's chores: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`,
//! `cargo xtask conformance`, `cargo xtask deb`.
#![expect(
    clippy::print_stdout,
    reason = "a chore talks to the person who runs it"
)]

use std::process::ExitCode;

mod bench;
mod cargo;
mod check;
mod conformance;
#[cfg(test)]
mod contrib;
mod deb;
mod deb_check;
mod demo;
mod guest;
mod packages;
mod told;
mod view;

/// What ends a chore: there is nothing to do about it but to say it.
type Error = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo xtask demo [--runtime PATH]
       cargo xtask test [--quick] [--suite NAME]...
       cargo xtask guest [--kernel 6.1|6.12] [--image busybox|debian|systemd] [--user]
                         [--put PATH] [--limit SECONDS] [-- COMMAND...]
       cargo xtask bench [--shim | --image [--without-docker]] [--rounds N] [--check] [--runtime PATH] [--json FILE]
       cargo xtask conformance [--runtime PATH] [--format text|json|md] [OPTION...]
       cargo xtask conformance --guest [--kernel 6.1|6.12] [--image debian|systemd] [--runtime PATH] [OPTION...]
       cargo xtask conformance --update | --table
       cargo xtask deb [--target TRIPLE] [--output DIRECTORY]

demo    build tare, run a container of a program of this workspace, show what it sees and what
        the host sees, and that nothing is left
test    install what the tests need (as root, from the distribution's packages), then run all
        checks and tests; --quick leaves out release builds and other architectures, --suite
        runs one of: fmt clippy unit integration doc fuzz size cross conformance guest deb;
        TARE_GUEST_KERNEL=6.1 keeps the guests to one kernel
guest   boot a virtual machine with pure cgroup v2, put tare (/guest/in/tare, and on the path) and
        the test programs (/guest/in/tests) into it, run the command there as root (--user: as an
        ordinary user of the image systemd) and show what it prints; one word is a script
bench   measure tare against runc, crun and the kernel's floor, or with --shim its shim against
        containerd's own, or with --image tare-image against skopeo, umoci and docker (as root);
        --check fails where a promise is not kept
conformance
        measure an OCI runtime case by case (tare: the one that is built here); without one, tare,
        runc and crun side by side, and what differs from conformance/known/*.txt; --guest: in
        virtual machines with pure cgroup v2, with and without systemd; --update: measure all three
        times, write the lists anew and the README's table; --table: the table alone, measured
        once. Options are those of the program:
        --suite NAME, --case NAME, --view v2, --old-kernel, --jobs N, --times
deb     build a Debian package of the static binaries (--target: x86_64-unknown-linux-musl or
        aarch64-unknown-linux-musl; --output: target/debian)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let chore = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let result = match chore.as_deref() {
        Some("demo") => demo::demo(&rest),
        Some("test") => check::test(&rest),
        Some("guest") => guest::guest(&rest),
        Some("conformance") => conformance::conformance(&rest),
        Some("bench") => bench::bench(&rest),
        Some("deb") => deb::deb(&rest),
        _ => {
            print!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The value after a flag, and the arguments without the two.
fn take_value(arguments: &mut Vec<String>, flag: &str) -> Result<Option<String>, Error> {
    let Some(position) = arguments.iter().position(|argument| argument == flag) else {
        return Ok(None);
    };
    arguments.remove(position);
    if position >= arguments.len() {
        return Err(format!("{flag} wants a value").into());
    }
    Ok(Some(arguments.remove(position)))
}

/// Whether the flag was there; the arguments are without it then.
fn take_flag(arguments: &mut Vec<String>, flag: &str) -> bool {
    let position = arguments.iter().position(|argument| argument == flag);
    position
        .map(|position| arguments.remove(position))
        .is_some()
}

/// An error that names what is left of the arguments.
fn nothing_more(arguments: &[String]) -> Result<(), Error> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(format!("unknown argument {argument}\n\n{USAGE}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_flag_is_taken_with_its_value() {
        let mut arguments = words("--quick --suite unit x");
        assert_eq!(
            take_value(&mut arguments, "--suite").unwrap(),
            Some("unit".into())
        );
        assert!(take_flag(&mut arguments, "--quick"));
        assert!(!take_flag(&mut arguments, "--quick"));
        assert!(nothing_more(&arguments).is_err());
        assert_eq!(arguments, ["x"]);
    }

    #[test]
    fn a_flag_without_its_value_is_an_error() {
        assert!(take_value(&mut words("--suite"), "--suite").is_err());
    }
}

//! The suite `guest` of `cargo xtask test`: what cgroup v2, other kernels and full capabilities
//! change is tested where they are.

use std::time::Duration;

use conformance::report::text::summary;
use testkit::guest::{Ended, Image, Kernel};

use super::binaries::{Binaries, build};
use super::report::{Report, file_name};
use super::{kernel_named, machine};
use crate::Error;
use crate::cargo::target_directory;
use crate::conformance::guest::Cast;
use crate::conformance::program::Built;

/// From power-on to power-off, on a machine that others work on, too.
const LIMIT: Duration = Duration::from_secs(1200);

/// A test program and its part in the suite.
struct Part {
    program: &'static str,
    image: Image,
    as_user: bool,
    /// Of its tests only those whose names have this in them.
    only: &'static str,
    /// Whether temporary files are on the image's ext4, which is slow, and not on a tmpfs.
    on_disk: bool,
    /// Tests that are left out, each with the reason beside it.
    without: &'static [&'static str],
    /// Tests that take long where a processor is emulated: they run with `TARE_LONG`.
    long: &'static [&'static str],
    /// Kernels that it runs on without `TARE_LONG`.
    kernels: &'static [Kernel],
    /// How many tests at once; more than one where they mostly wait.
    threads: u32,
}

const fn part(program: &'static str) -> Part {
    Part {
        program,
        image: Image::Debian,
        as_user: false,
        only: "",
        on_disk: false,
        without: &[],
        long: &[],
        kernels: &Kernel::ALL,
        threads: 3,
    }
}

impl Part {
    const fn without(mut self, tests: &'static [&'static str]) -> Self {
        self.without = tests;
        self
    }

    const fn long(mut self, tests: &'static [&'static str]) -> Self {
        self.long = tests;
        self
    }

    const fn on(mut self, kernels: &'static [Kernel]) -> Self {
        self.kernels = kernels;
        self
    }

    const fn only(mut self, tests: &'static str) -> Self {
        self.only = tests;
        self
    }

    const fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    const fn under_systemd(mut self) -> Self {
        self.image = Image::Systemd;
        self
    }

    const fn of_user(mut self) -> Self {
        self.as_user = true;
        self
    }
}

/// Tests of pure code, which no kernel changes, and those that want the sources beside them.
const PURE: &[&str] = &["bundle::", "plan::", "spec::"];

/// Tests whose attackers never rest, and those that try every place of a long list.
const BUSY: &[&str] = &[
    "entering::",
    "races::",
    "links::a_link_at_any_place_that_the_runtime_touches",
    "links::nor_w",
    "binary_protection::a_container_in_the_hosts_mount_namespace",
    "descriptors::a_working_directory_or_program_behind_a_descriptor",
];

/// What runs on each kernel.
const PARTS: &[Part] = &[
    part("testkit/lib"),
    part("runtime-core/lib").without(PURE),
    // It builds a library with cargo.
    part("runtime-core/embedding").without(&["a_thousand_containers"]),
    part("runtime-init/console"),
    part("runtime-init/devices"),
    part("runtime-init/hooks"),
    part("runtime-init/masks"),
    part("runtime-init/mounts"),
    // Only v1 has that file.
    part("runtime-init/namespaces").without(&["a_cgroup_is_entered_by_its_tasks_file"]),
    part("runtime-init/old_kernels"),
    part("runtime-init/paths"),
    part("runtime-init/process"),
    // runc makes /dev/core where there is a /proc/kcore, which the tests' own machines have not;
    // and a tmpfs shows where in it a mount begins.
    part("runtime-cli/config").without(&["idmap::", "differential::"]),
    // A tmpfs can be mapped from Linux 6.3 on.
    part("runtime-cli/config").only("idmap::").on_disk(),
    part("runtime-cli/lifecycle"),
    part("runtime-cli/mute"),
    part("runtime-cli/rootless"),
    // What runc says of block devices depends on the machine's.
    part("runtime-cli/events").without(&["statistics_have_the_fields_of_runcs"]),
    part("runtime-cli/checkpoint").without(&["life::a_user_namespace", "life::a_terminal"]),
    // Failed once on the newer kernel, which does nothing else for it.
    part("runtime-cli/checkpoint")
        .only("life::a_terminal")
        .on(&[Kernel::Debian12]),
    part("runtime-cli/checkpoint")
        .only("life::a_user_namespace")
        .on_disk(),
    // cgroups are made, entered and removed by the others.
    part("runtime-cli/injected").on(&[Kernel::Debian12]).long(&[
        "call_of_init",
        "call_of_start",
        "call_of_execs_child",
        "a_hidden_call",
    ]),
    part("runtime-cli/security").long(BUSY),
    // systemd writes a quota anew after runc has, or has not yet.
    part("runtime-cli/systemd")
        .under_systemd()
        .without(&["user::", "parity::units_are"]),
    part("runtime-cli/systemd")
        .only("user::")
        .under_systemd()
        .of_user(),
];

/// Runs everything on the kernels asked for; true if nothing failed.
pub(crate) fn suite() -> Result<bool, Error> {
    let kernels = match std::env::var("TARE_GUEST_KERNEL") {
        Ok(name) => vec![kernel_named(&name)?],
        Err(_) => Kernel::ALL.to_vec(),
    };
    let binaries = build()?;
    let measuring = Built::make()?;
    let mut is_good = true;
    for kernel in kernels {
        for image in [Image::Debian, Image::Systemd] {
            let is_wanted =
                |part: &&Part| part.image == image && (is_long() || part.kernels.contains(&kernel));
            let parts: Vec<&Part> = PARTS.iter().filter(is_wanted).collect();
            if !parts.is_empty() {
                let options = measured_in(kernel, image);
                let cast = options
                    .as_ref()
                    .map(|options| Cast::of_tare(&measuring, options));
                is_good &= boot(kernel, image, &binaries, &parts, cast.as_ref())?;
            }
        }
    }
    Ok(is_good)
}

fn is_long() -> bool {
    std::env::var_os("TARE_LONG").is_some()
}

/// Which areas of the suites of `conformance` run here without `TARE_LONG`: what the kernel,
/// cgroup v2 and systemd change most, and criu, which can't dump on the tests' own machines.
const AREAS: [(Kernel, Image, &[&str]); 3] = [
    (
        Kernel::Debian12,
        Image::Debian,
        &[
            "cgroups",
            "resources",
            "idmapped-mounts",
            "device-rules",
            "update",
            "events",
            "pause",
            "checkpoint",
            "restore",
        ],
    ),
    (
        Kernel::Debian12,
        Image::Systemd,
        &["cgroups", "resources", "update", "events", "pause"],
    ),
    (
        Kernel::Backports,
        Image::Debian,
        &["cgroups", "resources", "idmapped-mounts", "restore"],
    ),
];

/// What conformance is asked for in this guest; none where it does not run.
fn measured_in(kernel: Kernel, image: Image) -> Option<Vec<String>> {
    if is_long() {
        return Some(Vec::new());
    }
    let is_it = |row: &&(Kernel, Image, _)| (row.0, row.1) == (kernel, image);
    let (_, _, areas) = AREAS.iter().find(is_it)?;
    let words = areas.iter().flat_map(|area| ["--area", area]);
    Some(words.map(str::to_owned).collect())
}

fn boot(
    kernel: Kernel,
    image: Image,
    binaries: &Binaries,
    parts: &[&Part],
    cast: Option<&Cast<'_>>,
) -> Result<bool, Error> {
    println!("-- Linux {}, {image:?}", kernel.name());
    let script: String = parts.iter().map(|part| line(part)).collect();
    let limit = if is_long() { 3 * LIMIT } else { LIMIT };
    let builder = machine(kernel).image(image).limit(limit);
    let builder = binaries.put_into(builder);
    let (builder, measure) = match cast {
        Some(cast) => (cast.put_into(builder), cast.script(image)),
        None => (builder, String::new()),
    };
    let ended = builder
        .command(&format!(
            "{}{FUNCTION}{script}{measure}exit 0",
            binaries.environment()
        ))
        .run()?;
    keep_names(kernel, image, &ended, parts)?;
    let is_good = judge(&ended, parts);
    let Some(cast) = cast else {
        return Ok(is_good);
    };
    let measured = cast.measured(ended.output(), kernel, image)?;
    println!("{}", summary(&measured.name, &measured.results));
    Ok(is_good && measured.is_as_known)
}

/// Runs a program and leaves its output and its exit code for [`Report`].
const FUNCTION: &str = "\
tests() {
    out=/guest/out/$1; program=$2; shift 2
    start=$(cut -d. -f1 /proc/uptime)
    TMPDIR=$TMPDIR timeout -k 5 400 $AS ./tests/$program \"$@\" >$out.stdout 2>$out.stderr
    echo $? $(($(cut -d. -f1 /proc/uptime) - start)) >$out.code
    echo @@TESTED $program $(cat $out.code)
}
";

fn line(part: &Part) -> String {
    let user = if part.as_user { "./as-user" } else { "" };
    let temporary = if part.on_disk { "/var/tmp" } else { "/tmp" };
    let long = if is_long() { &[] } else { part.long };
    let without = part.without.iter().chain(long);
    let without = without.map(|test| format!(" --skip {test}"));
    format!(
        "AS={user} TMPDIR={temporary} tests {} {} {} --test-threads={}{}\n",
        key(part),
        part.program,
        part.only,
        part.threads,
        without.collect::<String>()
    )
}

/// The name of the part's files.
fn key(part: &Part) -> String {
    let user = if part.as_user { "-user" } else { "" };
    let only = part.only.trim_end_matches(':');
    let dash = if only.is_empty() { "" } else { "-" };
    format!("{}{dash}{only}{user}", file_name(part.program))
}

/// Writes every test's name and result to a file of the target directory.
fn keep_names(kernel: Kernel, image: Image, ended: &Ended, parts: &[&Part]) -> Result<(), Error> {
    let name = format!("guest/results-{}-{image:?}", kernel.name()).to_lowercase();
    let names = parts.iter().map(|part| {
        let key = key(part);
        Report::read(ended.output(), &key).names(&key)
    });
    let path = target_directory().join(name);
    std::fs::write(&path, names.collect::<String>())?;
    println!("-- every test by name: {}", path.display());
    Ok(())
}

fn judge(ended: &Ended, parts: &[&Part]) -> bool {
    let mut is_good = ended.code == 0;
    let (mut passed, mut skipped) = (0, 0);
    for part in parts {
        let report = Report::read(ended.output(), &key(part));
        print!("{}", report.text(&key(part)));
        is_good &= report.is_good();
        passed += report.passed();
        skipped += report.skipped();
    }
    println!(
        "-- {passed} passed, {skipped} SKIPPED, {:.0} s from power-on to power-off",
        ended.took.as_secs_f64()
    );
    is_good
}

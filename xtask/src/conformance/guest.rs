//! The same cases in virtual machines: pure cgroup v2 with every controller, other kernels, all
//! capabilities; and under systemd, which makes the cgroups then.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use conformance::outcome::Result as Told;
use testkit::guest::{Builder, Image, Kernel};
use testkit::quote;

use super::program::{Built, Measured, list_of};
use crate::Error;
use crate::cargo::target_directory;
use crate::guest::{image_named, kernel_named, machine};
use crate::take_value;

/// From power-on to power-off, for every suite on a machine that others work on, too.
const LIMIT: Duration = Duration::from_secs(3000);

/// What is measured in guests.
#[derive(Debug)]
pub(crate) struct Cast<'a> {
    built: &'a Built,
    /// The runtime's name in the guest.
    runtime: String,
    /// Its file, when the image does not have it.
    file: Option<&'a Path>,
    options: &'a [String],
}

impl<'a> Cast<'a> {
    /// tare, with these options of the program.
    pub(crate) fn of_tare(built: &'a Built, options: &'a [String]) -> Self {
        Self {
            built,
            runtime: "/guest/in/measured/tare".to_owned(),
            file: Some(&built.tare),
            options,
        }
    }

    /// A runtime of a name that the image knows, or of a file of this machine: a static one, or
    /// one that finds its libraries in a Debian.
    fn of(built: &'a Built, runtime: &'a str, options: &'a [String]) -> Self {
        let path = Path::new(runtime);
        match (runtime, path.file_name().and_then(|name| name.to_str())) {
            ("tare", _) => Self::of_tare(built, options),
            (_, Some(name)) if runtime.contains('/') => Self {
                built,
                runtime: format!("/guest/in/measured/{name}"),
                file: Some(path),
                options,
            },
            _ => Self {
                built,
                runtime: runtime.to_owned(),
                file: None,
                options,
            },
        }
    }

    fn is_tare(&self) -> bool {
        self.file == Some(&self.built.tare)
    }

    /// Puts the program, the runtime and its list into a guest, below `measured`.
    pub(crate) fn put_into(&self, builder: Builder) -> Builder {
        let builder = builder.put("measured/conformance", &self.built.program);
        let builder = match self.is_tare() {
            true => builder.put("measured/known.txt", &list_of("tare")),
            false => builder,
        };
        match (self.file, self.runtime.rsplit('/').next()) {
            (Some(file), Some(name)) => builder.put(&format!("measured/{name}"), file),
            _ => builder,
        }
    }

    /// The lines of a guest's script that measure and leave the results in its output. Directories
    /// are on ext4: a tmpfs can be mapped from Linux 6.3 on.
    pub(crate) fn script(&self, image: Image) -> String {
        let mut words = vec!["--runtime", &self.runtime, "--format", "json"];
        if self.is_tare() {
            words.extend(["--known", "measured/known.txt"]);
        }
        if image == Image::Systemd {
            words.push("--systemd-cgroup");
        }
        let options = self.options.iter().map(String::as_str);
        let words: Vec<String> = words.into_iter().chain(options).map(quote).collect();
        format!(
            "{SCHEDULER}TMPDIR=/var/tmp ./measured/conformance {} >/guest/out/measured.json 2>/guest/out/measured.err\n\
             echo $? >/guest/out/measured.code\n",
            words.join(" ")
        )
    }

    /// What a guest has left of it; the differences from the list are shown. Others than tare have
    /// no list for guests, and are shown and not judged.
    pub(crate) fn measured(
        &self,
        output: &Path,
        kernel: Kernel,
        image: Image,
    ) -> Result<Measured, Error> {
        let read = |name: &str| std::fs::read_to_string(output.join(name)).unwrap_or_default();
        std::io::stderr().write_all(read("measured.err").as_bytes())?;
        let code = read("measured.code");
        let results: Result<Vec<Told>, _> = serde_json::from_str(&read("measured.json"));
        match (code.trim(), results) {
            ("0" | "1", Ok(results)) => Ok(Measured {
                name: self.column(kernel, image),
                results,
                is_as_known: !self.is_tare() || code.trim() == "0",
                is_judged: self.is_tare(),
            }),
            (code, _) => Err(format!("conformance in the guest: exit {code}").into()),
        }
    }

    fn column(&self, kernel: Kernel, image: Image) -> String {
        let name = self.runtime.rsplit('/').next().unwrap_or_default();
        let systemd = match image {
            Image::Systemd => ", systemd",
            _ => "",
        };
        format!("{name}, Linux {}{systemd}", kernel.name())
    }
}

/// What weighs disks: without it a cgroup has no weights of its own.
const SCHEDULER: &str = "modprobe bfq\n\
    for queue in /sys/block/vd*/queue/scheduler; do echo bfq >$queue; done\n";

/// The guests that are asked for.
#[derive(Debug)]
pub(super) struct Guests {
    kernels: Vec<Kernel>,
    images: Vec<Image>,
}

impl Guests {
    /// Those that these arguments name, which are taken away from them; all without.
    pub(super) fn take(arguments: &mut Vec<String>) -> Result<Self, Error> {
        let kernels = match take_value(arguments, "--kernel")? {
            Some(name) => vec![kernel_named(&name)?],
            None => Kernel::ALL.to_vec(),
        };
        let images = match take_value(arguments, "--image")? {
            Some(name) => vec![image_named(&name)?],
            None => vec![Image::Debian, Image::Systemd],
        };
        Ok(Self { kernels, images })
    }

    /// A column for each of them, with this runtime.
    pub(super) fn columns(
        &self,
        built: &Built,
        runtime: &str,
        options: &[String],
    ) -> Result<Vec<Measured>, Error> {
        let cast = Cast::of(built, runtime, options);
        let mut columns = Vec::new();
        for kernel in &self.kernels {
            for image in &self.images {
                columns.push(boot(&cast, *kernel, *image)?);
            }
        }
        Ok(columns)
    }
}

fn boot(cast: &Cast<'_>, kernel: Kernel, image: Image) -> Result<Measured, Error> {
    let builder = machine(kernel).image(image).limit(LIMIT);
    let script = cast.script(image);
    let ended = cast.put_into(builder).command(&script).run()?;
    let measured = cast.measured(ended.output(), kernel, image)?;
    keep(&measured)?;
    Ok(measured)
}

/// Leaves every case's result in the target directory.
fn keep(measured: &Measured) -> Result<(), Error> {
    let name = measured
        .name
        .to_lowercase()
        .replace(", ", "-")
        .replace(' ', "-");
    let path = target_directory().join(format!("guest/conformance-{name}.json"));
    std::fs::write(path, serde_json::to_vec_pretty(&measured.results)?)?;
    Ok(())
}

//! From the registry to an unpacked root filesystem, each time from nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{Engine, Marker};

use crate::content::Image;
use crate::registry::Registry;
use crate::table::{Row, median_ms};
use crate::{Error, Options, floor, must, timed};

pub(crate) fn measure(
    options: &Options,
    marker: &Marker,
    directory: &Path,
    image: &Image,
    registry: &Registry,
) -> Result<Vec<Row>, Error> {
    let engine = Engine::docker_with(marker, &[]);
    let mut all: [Vec<std::time::Duration>; 4] = Default::default();
    let mut peak_kib: f64 = 0.0;
    // The first round warms caches, and doesn't count.
    for _ in 0..=options.rounds {
        all[0].push(floor::measure(&image.blobs)?);
        let root = directory.join("tare-root");
        all[1].push(timed(&mut tare(options, &root, registry))?);
        fs::remove_dir_all(&root)?;
        peak_kib = peak_kib.max(peak(options, &root, registry)?);
        fs::remove_dir_all(&root)?;
        all[2].push(skopeo_and_umoci(directory, registry)?);
        all[3].push(docker(&engine, registry)?);
    }
    let [floor, tare, umoci, docker] = all.each_ref().map(|durations| median_ms(durations));
    Ok(vec![
        Row::ratio(
            "pull and unpack, against skopeo and umoci",
            "ms",
            tare,
            umoci,
            1.0,
        ),
        Row::ratio(
            "pull and unpack, against `docker pull`",
            "ms",
            tare,
            docker,
            1.0,
        ),
        Row::ratio(
            "pull and unpack, against decompressing and hashing alone",
            "ms",
            tare,
            floor,
            1.3,
        ),
        Row::limit(
            "peak memory of pulling and unpacking",
            "MiB",
            peak_kib / 1024.0,
            64.0,
        ),
    ])
}

fn tare(options: &Options, root: &Path, registry: &Registry) -> Command {
    let mut command = Command::new(options.tare.join("tare-image"));
    command
        .arg("--root")
        .arg(root)
        .args(["--quiet", "pull", "--unpack"]);
    command.arg(registry.reference());
    command
}

fn peak(options: &Options, root: &Path, registry: &Registry) -> Result<f64, Error> {
    let mut command = Command::new(options.tare.join("peak"));
    let pull = tare(options, root, registry);
    command.arg(pull.get_program()).args(pull.get_args());
    let said = must(&mut command)?;
    let line = String::from_utf8_lossy(&said);
    let last = line.lines().last().unwrap_or_default();
    Ok(last.trim().parse()?)
}

fn skopeo_and_umoci(directory: &Path, registry: &Registry) -> Result<std::time::Duration, Error> {
    let (layout, bundle) = (directory.join("skopeo"), directory.join("bundle"));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--src-tls-verify=false"]);
    skopeo.arg(format!("docker://{}", registry.reference()));
    skopeo.arg(format!("oci:{}:bench", layout.display()));
    let mut umoci = Command::new("umoci");
    umoci
        .args(["unpack", "--image", &format!("{}:bench", layout.display())])
        .arg(&bundle);
    let took = timed(&mut skopeo)? + timed(&mut umoci)?;
    fs::remove_dir_all(&layout)?;
    fs::remove_dir_all(&bundle)?;
    Ok(took)
}

fn docker(engine: &Engine, registry: &Registry) -> Result<std::time::Duration, Error> {
    let reference = registry.reference();
    let took = timed(&mut engine.docker_command(&["pull", "--quiet", &reference]))?;
    must(&mut engine.docker_command(&["rmi", "--force", &reference]))?;
    Ok(took)
}

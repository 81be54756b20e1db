//! From the registry to an unpacked root filesystem, each time from nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Engine, Marker};

use crate::content::{Image, Images};
use crate::registry::Registry;
use crate::table::Row;
use crate::{Error, Options, floor, must, timed};

/// The most that any of it may need, in MiB.
const MOST_MEMORY: f64 = 64.0;

/// What was measured in each round.
#[derive(Default)]
struct Rounds {
    tare: Vec<Duration>,
    by_tools: Vec<Duration>,
    on_all_cores: Vec<Duration>,
    on_one_core: Vec<Duration>,
    umoci: Vec<Duration>,
    docker: Vec<Duration>,
    peak_kib: f64,
}

pub(crate) fn measure(
    options: &Options,
    marker: &Marker,
    directory: &Path,
    images: &Images,
    registry: &Registry,
) -> Result<Vec<Row>, Error> {
    let engine = options.docker.then(|| Engine::docker_with(marker, &[]));
    let bench = Bench {
        options,
        directory,
        registry,
        engine,
    };
    let mut rows = Vec::new();
    let all = [
        (&images.layered, Some(1.0), Some(1.3)),
        (&images.whole, None, None),
    ];
    for (image, than_rivals, than_floor) in all {
        let what = match image.layers.len() {
            1 => "pull and unpack, one layer".to_owned(),
            layers => format!("pull and unpack, {layers} layers"),
        };
        let rounds = bench.rounds(image)?;
        let tare = &rounds.tare;
        let mut against = |rival: &str, durations: &[Duration], most| {
            if !durations.is_empty() {
                rows.push(Row::ratio(
                    format!("{what}; {rival}"),
                    tare,
                    durations,
                    most,
                ));
            }
        };
        against("skopeo and umoci", &rounds.umoci, than_rivals);
        against("`docker pull`", &rounds.docker, than_rivals);
        let bare = "decompressing and hashing alone";
        against(
            &format!("{bare}, all cores, by gzip(1) and sha256sum(1)"),
            &rounds.by_tools,
            than_floor,
        );
        let by_crates = "by tare's own crates";
        against(
            &format!("{bare}, all cores, {by_crates}"),
            &rounds.on_all_cores,
            None,
        );
        against(
            &format!("{bare}, one core, {by_crates}"),
            &rounds.on_one_core,
            than_floor,
        );
        let peak = rounds.peak_kib / 1024.0;
        rows.push(Row::limit(
            format!("{what}: peak memory"),
            "MiB",
            peak,
            MOST_MEMORY,
        ));
    }
    Ok(rows)
}

struct Bench<'a> {
    options: &'a Options,
    directory: &'a Path,
    registry: &'a Registry,
    engine: Option<Engine>,
}

impl Bench<'_> {
    fn rounds(&self, image: &Image) -> Result<Rounds, Error> {
        let mut rounds = Rounds::default();
        // It warms caches, and doesn't count.
        self.round(image, &mut Rounds::default())?;
        for _ in 0..self.options.rounds {
            self.round(image, &mut rounds)?;
        }
        Ok(rounds)
    }

    fn round(&self, image: &Image, rounds: &mut Rounds) -> Result<(), Error> {
        let floor = floor::measure(image)?;
        rounds.by_tools.push(floor.by_tools);
        rounds.on_all_cores.push(floor.on_all);
        rounds.on_one_core.push(floor.on_one);
        rounds.tare.push(self.tare(image)?);
        rounds.umoci.push(self.skopeo_and_umoci(image)?);
        if let Some(engine) = &self.engine {
            rounds.docker.push(self.docker(engine, image)?);
        }
        rounds.peak_kib = rounds.peak_kib.max(self.peak(image)?);
        Ok(())
    }

    fn pull(&self, image: &Image, root: &Path) -> Command {
        let mut command = Command::new(self.options.tare.join("tare-image"));
        command.arg("--root").arg(root);
        command.args(["--quiet", "pull", "--unpack"]);
        command.arg(self.registry.reference(image.name));
        command
    }

    fn tare(&self, image: &Image) -> Result<Duration, Error> {
        let root = self.directory.join("tare-root");
        let took = timed(&mut self.pull(image, &root))?;
        remove(&root)?;
        Ok(took)
    }

    /// The highest resident memory, in KiB: VmHWM, as wait4(2) tells it.
    fn peak(&self, image: &Image) -> Result<f64, Error> {
        let root = self.directory.join("tare-root");
        let pull = self.pull(image, &root);
        let mut command = Command::new(self.options.tare.join("peak"));
        command.arg(pull.get_program()).args(pull.get_args());
        let said = must(&mut command)?;
        remove(&root)?;
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().last().unwrap_or_default().trim().parse()?)
    }

    fn skopeo_and_umoci(&self, image: &Image) -> Result<Duration, Error> {
        let layout = self.directory.join("skopeo");
        let bundle = self.directory.join("bundle");
        let name = format!("{}:bench", layout.display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--src-tls-verify=false"]);
        skopeo.arg(format!("docker://{}", self.registry.reference(image.name)));
        skopeo.arg(format!("oci:{name}"));
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image", &name]).arg(&bundle);
        let took = timed(&mut skopeo)? + timed(&mut umoci)?;
        remove(&layout)?;
        remove(&bundle)?;
        Ok(took)
    }

    fn docker(&self, engine: &Engine, image: &Image) -> Result<Duration, Error> {
        let reference = self.registry.reference(image.name);
        let took = timed(&mut engine.docker_command(&["pull", "--quiet", &reference]))?;
        must(&mut engine.docker_command(&["rmi", "--force", &reference]))?;
        Ok(took)
    }
}

/// Removes a tree, and has all of that written: nobody's next turn pays for it.
fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_dir_all(path)?;
    nix::unistd::sync();
    Ok(())
}

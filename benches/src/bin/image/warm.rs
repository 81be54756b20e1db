//! `tare image run` of true, of an image that is there and unpacked, beside `tare run` of a bundle
//! with the same root filesystem.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::registry::Registry;
use crate::table::Row;
use crate::{Error, Options, must, timed};

/// Runs for one figure, since one takes milliseconds.
const RUNS: usize = 40;

pub(crate) fn measure(
    options: &Options,
    directory: &Path,
    registry: &Registry,
) -> Result<Vec<Row>, Error> {
    let root = directory.join("warm-root");
    let image = |words: &[&str]| {
        let mut command = Command::new(options.tare.join("tare-image"));
        command.arg("--root").arg(&root).arg("--quiet").args(words);
        command
    };
    let reference = registry.reference("layered");
    must(&mut image(&["pull", "--unpack", &reference]))?;
    let bundle = directory.join("warm-bundle");
    fs::create_dir(&bundle)?;
    let rootfs = bundle.join("rootfs");
    must(&mut image(&[
        "unpack",
        &reference,
        &rootfs.display().to_string(),
    ]))?;
    write_config(options, &bundle)?;
    let mut durations = [Vec::new(), Vec::new()];
    for run in 0..=RUNS {
        durations[0].push(timed(&mut image(&["run", &reference, "/bin/true"]))?);
        let mut tare = Command::new(options.tare.join("tare"));
        tare.args(["run", "--bundle"])
            .arg(&bundle)
            .arg(format!("bench-warm-{run}"));
        durations[1].push(timed(&mut tare)?);
    }
    let [image, tare] = durations;
    let name = "warm run of true; `tare run` of a bundle";
    // The first warms caches, and doesn't count.
    Ok(vec![Row::ratio(name, &image[1..], &tare[1..], Some(2.0))])
}

fn write_config(options: &Options, bundle: &Path) -> Result<(), Error> {
    let mut spec = Command::new(options.tare.join("tare"));
    must(spec.args(["spec", "--bundle"]).arg(bundle))?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    fs::write(&path, config.to_string())?;
    Ok(())
}

//! What shims hold while containers sleep: PSS, by /proc/PID/smaps_rollup.

use std::time::Duration;

use testkit::{Engine, Marker};

use crate::Error;
use crate::figures::Figure;
use crate::rival::{BOTH, Rival};

/// How many shims stand side by side.
const SIDE_BY_SIDE: usize = 6;

/// How many containers a pod has.
const POD: usize = 10;

/// How long a shim has had nothing to do when it is looked at.
const QUIET: Duration = Duration::from_secs(2);

/// One container's shim, each of six, and one for a pod of ten containers.
pub(crate) fn measure() -> Result<Vec<Figure>, Error> {
    let marker = Marker::new("benchmem");
    let engine = Engine::containerd(&marker);
    let image = import(&engine)?;
    let mut one = [0.0; 2];
    let mut each = [0.0; 2];
    let mut pod = [0.0; 2];
    for (place, rival) in BOTH.iter().enumerate() {
        one[place] = separate(&engine, rival, &image, 1)?;
        each[place] = separate(&engine, rival, &image, SIDE_BY_SIDE)?;
        pod[place] = grouped(&engine, rival, &image)?;
    }
    let figure = |name: &str, values: [f64; 2], most_ratio, most| Figure {
        name: name.to_owned(),
        unit: "MiB",
        tare: values[0],
        rival: values[1],
        most_ratio,
        most: Some(most),
    };
    Ok(vec![
        figure("PSS with one sleeping container", one, Some(0.2), 2.0),
        figure("PSS of each of six shims", each, None, 0.7),
        figure("PSS with a pod of ten containers", pod, None, 3.0),
    ])
}

/// The mean PSS of the shims of so many containers.
fn separate(engine: &Engine, rival: &Rival, image: &str, count: usize) -> Result<f64, Error> {
    let ids: Vec<String> = (0..count).map(|number| format!("mem-{number}")).collect();
    for id in &ids {
        sleep_in(engine, rival, image, id)?;
    }
    let all = looked_at(rival, &ids);
    for id in &ids {
        remove(engine, id);
    }
    Ok(mean(&all?))
}

/// The PSS of the one shim of a pod.
fn grouped(engine: &Engine, rival: &Rival, image: &str) -> Result<f64, Error> {
    let annotation = "io.containerd.runc.v2.group=bench-pod";
    let ids: Vec<String> = (0..POD).map(|number| format!("pod-{number}")).collect();
    for id in &ids {
        start(engine, rival, image, id, &["--annotation", annotation])?;
    }
    let all = looked_at(rival, &ids);
    for id in &ids {
        remove(engine, id);
    }
    match all?.as_slice() {
        [one] => Ok(*one),
        several => Err(format!("{} shims for one pod", several.len()).into()),
    }
}

/// The PSS of each server of these containers, in MiB.
fn looked_at(rival: &Rival, ids: &[String]) -> Result<Vec<f64>, Error> {
    std::thread::sleep(QUIET);
    let servers = ids.iter().flat_map(|id| servers(rival, id));
    let all: Vec<f64> = servers.map(pss).collect::<Result<_, _>>()?;
    if all.is_empty() {
        return Err(format!("no process of {}", rival.binary).into());
    }
    Ok(all)
}

fn mean(values: &[f64]) -> f64 {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    values.iter().sum::<f64>() / f64::from(count)
}

fn pss(pid: i32) -> Result<f64, Error> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .ok_or("smaps_rollup has no Pss")?
        .parse()?;
    Ok(kib / 1024.0)
}

/// The long-running processes of a shim for this container: the first of its group.
pub(crate) fn servers(rival: &Rival, id: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let is_shim = words.first()?.ends_with(rival.binary.as_bytes());
            let is_its = words
                .windows(2)
                .any(|pair| pair[0] == b"-id" && pair[1] == id.as_bytes());
            (is_shim && is_its).then_some(pid)
        })
        .collect()
}

/// Gives the engine an image of busybox.
pub(crate) fn import(engine: &Engine) -> Result<String, Error> {
    let archive = testkit::busybox_image(&Marker::new("benchimage"), &engine.path("layout"));
    let imported = engine.ctr(&["image", "import", &archive.display().to_string()]);
    if imported.code != 0 {
        return Err(format!("{imported:?}").into());
    }
    let listed = engine.ctr(&["image", "ls", "-q"]);
    let name = listed.stdout.lines().next().ok_or("no image")?;
    Ok(name.to_owned())
}

/// A container that sleeps.
pub(crate) fn sleep_in(engine: &Engine, rival: &Rival, image: &str, id: &str) -> Result<(), Error> {
    start(engine, rival, image, id, &[])
}

fn start(
    engine: &Engine,
    rival: &Rival,
    image: &str,
    id: &str,
    flags: &[&str],
) -> Result<(), Error> {
    let words = ["run", "--detach", "--null-io", "--runtime", rival.runtime];
    let words = [&words[..], flags, &[image, id, "sleep", "1000"]].concat();
    let started = engine.ctr(&words);
    match started.code {
        0 => Ok(()),
        _ => Err(format!("{started:?}").into()),
    }
}

/// Ends a container, as far as it is there.
pub(crate) fn remove(engine: &Engine, id: &str) {
    drop(engine.ctr(&["task", "delete", "--force", id]));
    drop(engine.ctr(&["container", "delete", id]));
}

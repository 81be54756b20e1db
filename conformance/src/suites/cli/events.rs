//! runc-events(8).

use std::io::BufRead;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Area, fails, is, stopped};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, failed, holds, skipped};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("events");
const PLACE: &str = "runc-events(8)";

type Part = (&'static str, &'static str, &'static str, fn(&Value) -> bool);

/// Parts of a record of figures, the controller that they need, and what is there.
const PARTS: [Part; 10] = [
    ("cpu.usage", "cpuacct|cpu", "/cpu/usage", |value| {
        value["kernel"].is_u64()
            && value["user"].is_u64()
            && value["total"].as_u64().is_some_and(|total| total > 0)
    }),
    ("cpu.throttling", "cpu", "/cpu/throttling", Value::is_object),
    ("cpuset", "cpuset", "/cpuset", |value| {
        value["mem_exclusive"].is_u64() || value["cpus"].is_array()
    }),
    ("memory.usage", "memory", "/memory/usage", |value| {
        value["limit"] == 67_108_864
            && value["usage"].as_u64().is_some_and(|usage| usage > 0)
            && value["failcnt"].is_u64()
    }),
    ("memory.swap", "memory", "/memory/swap", |value| {
        value["limit"].is_u64() && value["failcnt"].is_u64()
    }),
    ("memory.raw", "memory", "/memory/raw", |value| {
        value
            .as_object()
            .is_some_and(|raw| raw.len() > 10 && raw.values().all(Value::is_u64))
    }),
    ("pids", "pids", "/pids", |value| {
        value["current"] == 1 && value["limit"] == 50
    }),
    ("blkio", "blkio|io", "/blkio", Value::is_object),
    ("hugetlb", "hugetlb", "/hugetlb", Value::is_object),
    ("intel_rdt", "", "/intel_rdt", Value::is_object),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = PARTS
        .into_iter()
        .map(|(name, controllers, pointer, is_right)| {
            AREA.case(
                format!("events-{}", name.replace(['.', '_'], "-")),
                "go-runc decodes it",
                &format!(
                    "data{} has the figures of the container.",
                    pointer.replace('/', ".")
                ),
                &[&format!("events.data.{name}")],
                move |scene| {
                    let has_it = controllers
                        .split('|')
                        .any(|name| name.is_empty() || host::hierarchy(name).is_some());
                    if !has_it {
                        return skipped(format!("this host has no controller {controllers}"));
                    }
                    let seen = statistics(scene)?.1["data"]
                        .pointer(pointer)
                        .cloned()
                        .unwrap_or_default();
                    holds(is_right(&seen), &format!("figures at data{pointer}"), seen)
                },
            )
        })
        .collect();
    cases.extend([
        AREA.case(
            "events-stats",
            PLACE,
            "--stats prints one record of figures and ends.",
            &["events", "events --stats", "events.type"],
            |scene| is("type", &statistics(scene)?.1["type"], "stats"),
        ),
        AREA.case(
            "events-id",
            PLACE,
            "A record has the container's id.",
            &["events.id"],
            |scene| {
                let (bundle, record) = statistics(scene)?;
                is("id", &record["id"], bundle.id())
            },
        ),
        AREA.case(
            "events-data",
            PLACE,
            "A record has the figures as data.",
            &["events.data"],
            |scene| {
                let record = statistics(scene)?.1;
                holds(record["data"].is_object(), "data", record)
            },
        ),
        AREA.case(
            "events-memory-cache",
            "go-runc decodes it",
            "data.memory.cache is the page cache in bytes, which may be left out when it is 0.",
            &["events.data.memory.cache"],
            |scene| {
                let seen = statistics(scene)?.1["data"]["memory"]["cache"].clone();
                holds(seen.is_u64() || seen.is_null(), "a number", seen)
            },
        ),
        AREA.case(
            "events-network-interfaces",
            "go-runc decodes it",
            "data.network_interfaces is a list or null.",
            &["events.data.network_interfaces"],
            |scene| {
                let record = statistics(scene)?.1;
                let seen = record["data"].get("network_interfaces");
                holds(
                    seen.is_some_and(|seen| seen.is_null() || seen.is_array()),
                    "null or a list",
                    seen,
                )
            },
        ),
        AREA.case(
            "events-interval",
            PLACE,
            "A record is printed each --interval, a duration of Go's.",
            &["events --interval"],
            |scene| {
                let bundle = limited(scene)?;
                let mut following = Following::start(scene, &["--interval", "100ms", bundle.id()])?;
                for _ in 0..3 {
                    is("type", &following.next("a record")?["type"], "stats")?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "events-interval-of-nothing",
            PLACE,
            "The interval is more than 0.",
            &["events --interval"],
            |scene| {
                let bundle = limited(scene)?;
                for interval in ["0s", "-1s", "five"] {
                    let finished = scene.runtime().call_within(
                        &["events", "--interval", interval, bundle.id()],
                        Duration::from_secs(2),
                    );
                    let is_it = finished.code == 1
                        && !finished.is_late
                        && !finished.stderr.contains("nknown command");
                    holds(is_it, &format!("exit 1 for {interval}"), finished.brief())?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "events-end",
            PLACE,
            "events ends when the container is deleted.",
            &["events"],
            |scene| {
                let bundle = limited(scene)?;
                let mut following = Following::start(scene, &["--interval", "100ms", bundle.id()])?;
                following.next("a record")?;
                scene.succeeds(&["delete", "--force", bundle.id()])?;
                following.ends()
            },
        ),
        AREA.case(
            "events-of-a-stopped-one",
            PLACE,
            "A container that has stopped has no events.",
            &["text is not running"],
            |scene| {
                let bundle = stopped(scene)?;
                fails(
                    &scene.runtime().call(&["events", "--stats", bundle.id()]),
                    1,
                    "is not running",
                )
            },
        ),
        AREA.case(
            "events-oom",
            PLACE,
            "A record of the type oom is printed when the kernel has killed for want of memory.",
            &["events oom"],
            oom,
        ),
    ]);
    cases
}

/// A running container with limits.
fn limited(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let resources = json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 50 } });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/resources", resources);
    scene.start(&bundle)?;
    Ok(bundle)
}

fn statistics(scene: &Scene<'_>) -> Result<(Bundle, Value), Trouble> {
    let bundle = limited(scene)?;
    let finished = scene.succeeds(&["events", "--stats", bundle.id()])?;
    match serde_json::from_str(&finished.stdout) {
        Ok(record) if finished.stdout.trim_end().lines().count() == 1 => Ok((bundle, record)),
        _ => failed("one line of JSON", finished.brief()),
    }
}

/// `events` while the case does something else.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(scene: &Scene<'_>, words: &[&str]) -> Result<Self, Trouble> {
        let mut command = scene.runtime().command(&[&["events"], words].concat());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command
            .spawn()
            .or_else(|error| failed("the runtime starts", error.to_string()))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take();
        std::thread::spawn(move || {
            let lines = stdout
                .map(std::io::BufReader::new)
                .into_iter()
                .flat_map(BufRead::lines);
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn next(&mut self, what: &str) -> Result<Value, Trouble> {
        match self.lines.recv_timeout(Duration::from_secs(10)) {
            Ok(line) => serde_json::from_str(&line).or_else(|_| failed("a line of JSON", line)),
            Err(_) => failed(what, "none within 10 s, or the end"),
        }
    }

    fn ends(&mut self) -> Verdict {
        for _ in 0..1000 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        failed("`events` ends", "not within 10 s")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn oom(scene: &Scene<'_>) -> Verdict {
    if host::hierarchy("memory").is_none() {
        return skipped("this host has no memory controller");
    }
    let resources = json!({ "memory": { "limit": 33_554_432, "swap": 33_554_432 } });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/resources", resources);
    scene.start(&bundle)?;
    let mut following = Following::start(scene, &["--interval", "100ms", bundle.id()])?;
    following.next("a record")?;
    // It is killed, and that is the point.
    drop(scene.runtime().call(&[
        "exec",
        bundle.id(),
        crate::bundle::PROBE,
        "inside",
        "try",
        "allocate:134217728",
    ]));
    for _ in 0..30 {
        if following.next("a record of the type oom")?["type"] == "oom" {
            return Ok(());
        }
    }
    failed("a record of the type oom", "30 others")
}

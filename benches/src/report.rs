//! The figures as a table, as JSON, and against the limits that tare promises.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::measure::Measured;
use crate::sample::Figures;

/// What `run` may take of a peer's time.
const SHARE_OF_PEERS: [(&str, f64); 2] = [("runc", 0.25), ("crun", 0.65)];

/// The largest binary.
const SIZE_LIMIT_BYTES: u64 = 3 << 20;

/// The highest peak of `create`.
const PEAK_LIMIT_KIB: u64 = 3 << 10;

/// Everything measured; the first subject is the one that the promises are about.
#[derive(Debug)]
pub(crate) struct Report {
    measured: Vec<Measured>,
    machine: String,
}

impl Report {
    pub(crate) fn new(measured: Vec<Measured>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown processor", |model| {
            model.trim_start_matches([' ', '\t', ':'])
        });
        let count = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("Linux {}, {count} x {model}", kernel.trim());
        Self { measured, machine }
    }

    fn figures(&self, subject: &str, timing: &str) -> Option<Figures> {
        let measured = self
            .measured
            .iter()
            .find(|measured| measured.name == subject)?;
        measured
            .samples
            .iter()
            .find(|(name, _)| *name == timing)?
            .1
            .figures()
    }

    fn first(&self) -> &str {
        self.measured.first().map_or("", |measured| &measured.name)
    }

    /// The first subject's median divided by another's.
    fn ratio(&self, to: &str, timing: &str) -> Option<f64> {
        let (ours, theirs) = (
            self.figures(self.first(), timing)?,
            self.figures(to, timing)?,
        );
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds of a run fit into 52 bits"
        )]
        let ratio = ours.p50_us as f64 / theirs.p50_us as f64;
        Some(ratio)
    }

    /// The promises that these figures break, in words; those that nothing was measured for
    /// count as broken.
    pub(crate) fn broken_limits(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (peer, limit) in SHARE_OF_PEERS {
            for timing in ["run", "run after a pause"] {
                match self.ratio(peer, timing) {
                    Some(ratio) if ratio <= limit => {}
                    Some(ratio) => broken.push(format!(
                        "{timing}: {ratio:.3} of {peer}'s time, at most {limit} is promised"
                    )),
                    None => broken.push(format!("{timing}: {peer} was not measured")),
                }
            }
        }
        let Some(ours) = self.measured.first() else {
            return broken;
        };
        if ours.size_bytes > SIZE_LIMIT_BYTES {
            broken.push(format!(
                "the binary has {} bytes, more than 3 MiB",
                ours.size_bytes
            ));
        }
        if ours.create_peak_kib > PEAK_LIMIT_KIB {
            broken.push(format!(
                "create takes {} KiB, more than 3 MiB",
                ours.create_peak_kib
            ));
        }
        broken
    }

    pub(crate) fn to_json(&self) -> Result<String, Error> {
        let mut subjects = Map::new();
        for measured in &self.measured {
            let timings: Map<String, Value> = measured
                .samples
                .iter()
                .map(|(name, sample)| ((*name).to_owned(), json!(sample.figures())))
                .collect();
            let subject = json!({
                "size_bytes": measured.size_bytes,
                "create_peak_kib": measured.is_runtime.then_some(measured.create_peak_kib),
                "timings": timings,
            });
            subjects.insert(measured.name.clone(), subject);
        }
        let mut ratios = Map::new();
        for measured in self.measured.iter().skip(1) {
            let of_peer: Map<String, Value> = ["run", "run after a pause"]
                .into_iter()
                .map(|timing| (timing.to_owned(), json!(self.ratio(&measured.name, timing))))
                .collect();
            ratios.insert(measured.name.clone(), of_peer.into());
        }
        let report = json!({
            "machine": self.machine,
            "subject": self.first(),
            "subjects": subjects,
            "ratios_of_p50": ratios,
            "broken_limits": self.broken_limits(),
        });
        Ok(serde_json::to_string_pretty(&report)?)
    }

    fn timings(&self) -> Vec<&'static str> {
        let names = self
            .measured
            .first()
            .map(|measured| measured.samples.iter());
        names.into_iter().flatten().map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Report {
    /// Markdown: a row for each runtime and thing timed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; times in milliseconds.\n", self.machine)?;
        writeln!(
            f,
            "| | | runs | min | p50 | p99 | p50 of {} / this |",
            self.first()
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|")?;
        for timing in self.timings() {
            for measured in &self.measured {
                let Some(figures) = self.figures(&measured.name, timing) else {
                    continue;
                };
                let Figures {
                    runs,
                    min_us,
                    p50_us,
                    p99_us,
                } = figures;
                let ratio = self.ratio(&measured.name, timing).unwrap_or_default();
                let [min, p50, p99] = [min_us, p50_us, p99_us].map(milliseconds);
                let name = &measured.name;
                writeln!(
                    f,
                    "| {timing} | {name} | {runs} | {min} | {p50} | {p99} | {ratio:.3} |"
                )?;
            }
        }
        writeln!(
            f,
            "\n| | size of the binary | peak memory of create |\n|---|--:|--:|"
        )?;
        for Measured {
            name,
            size_bytes,
            create_peak_kib,
            is_runtime,
            ..
        } in &self.measured
        {
            let peak = if *is_runtime {
                format!("{create_peak_kib} KiB")
            } else {
                "-".into()
            };
            writeln!(f, "| {name} | {} KiB | {peak} |", size_bytes >> 10)?;
        }
        Ok(())
    }
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::Sample;

    fn measured(name: &str, run_us: u64) -> Measured {
        let mut sample = Sample::default();
        sample.add(Duration::from_micros(run_us));
        Measured {
            name: name.to_owned(),
            is_runtime: true,
            size_bytes: 1 << 20,
            samples: vec![("run", sample.clone()), ("run after a pause", sample)],
            create_peak_kib: 2000,
        }
    }

    fn report(tare_us: u64) -> Report {
        Report::new(vec![
            measured("tare", tare_us),
            measured("runc", 1000),
            measured("crun", 500),
        ])
    }

    #[test]
    fn promises_hold_up_to_their_limit() {
        assert_eq!(report(250).broken_limits(), Vec::<String>::new());
    }

    #[test]
    fn a_broken_promise_says_what_was_measured() {
        let broken = report(260).broken_limits();
        assert_eq!(
            broken,
            [
                "run: 0.260 of runc's time, at most 0.25 is promised",
                "run after a pause: 0.260 of runc's time, at most 0.25 is promised",
            ]
        );
    }

    #[test]
    fn a_peer_that_was_not_measured_proves_nothing() {
        let mut report = report(250);
        report.measured.pop();
        assert_eq!(
            report.broken_limits(),
            [
                "run: crun was not measured",
                "run after a pause: crun was not measured"
            ]
        );
    }

    #[test]
    fn size_and_memory_have_limits() {
        let mut report = report(250);
        report.measured[0].size_bytes = (3 << 20) + 1;
        report.measured[0].create_peak_kib = 3073;
        assert_eq!(report.broken_limits().len(), 2);
    }

    #[test]
    fn the_table_has_a_row_for_each_runtime_and_timing() {
        let text = report(250).to_string();
        assert!(
            text.contains("| run | tare | 1 | 0.25 | 0.25 | 0.25 | 1.000 |"),
            "{text}"
        );
        assert!(text.contains("| run after a pause | crun | 1 | 0.50 | 0.50 | 0.50 | 0.500 |"));
        assert!(text.contains("| crun | 1024 KiB | 2000 KiB |"));
    }
}

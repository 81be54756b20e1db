//! What an update has written so far, and how that is undone.

use std::path::PathBuf;

use nix::errno::Errno;

use super::apply::Entry;
use super::error::NotPutBack;
use super::{Member, Version};

/// The writes of one change of limits.
///
/// A new cgroup is removed as a whole when a limit is refused, so its limits are just written.
/// A running container's are remembered as they were, and put back, last one first: then every
/// value meets the same neighbours as when it was replaced.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    changes: Option<Vec<Change<'a>>>,
}

/// One file that was written, or that a write to another one has changed.
#[derive(Debug)]
struct Change<'a> {
    member: &'a Member,
    file: String,
    /// What was written.
    value: String,
    /// What the file said before; none if it can't be read.
    before: Option<String>,
}

impl<'a> Journal<'a> {
    /// Remembers nothing.
    pub(super) fn none() -> Self {
        Self { changes: None }
    }

    /// Remembers what every file said.
    pub(super) fn new() -> Self {
        Self {
            changes: Some(Vec::new()),
        }
    }

    /// Writes one entry. While the journal remembers, a file that says the value already is left
    /// alone: the kernel pays for some writes that change nothing (cpuset), and a caller may
    /// send all limits to change one.
    pub(super) fn write(&mut self, member: &'a Member, entry: &Entry) -> Result<(), Errno> {
        let Some(changes) = &mut self.changes else {
            return member.directory.try_write(&entry.file, &entry.value);
        };
        let read = |file: &str| member.directory.try_read(file).ok();
        let before = read(&entry.file);
        if before.as_deref().map(str::trim_end) == Some(entry.value.as_str()) {
            return Ok(());
        }
        let weight = weight_beside(member.version, &entry.file).map(|file| (file, read(file)));
        member.directory.try_write(&entry.file, &entry.value)?;
        let change = |file: &str, before| Change {
            member,
            file: file.to_owned(),
            value: entry.value.clone(),
            before,
        };
        changes.extend(weight.map(|(file, before)| change(file, before)));
        changes.push(change(&entry.file, before));
        Ok(())
    }

    /// Whether anything was written.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.as_ref().is_none_or(Vec::is_empty)
    }

    /// Puts everything back, and looks whether it is: what isn't is told.
    pub(super) fn undo(self) -> Vec<NotPutBack> {
        let changes = self.changes.unwrap_or_default();
        for change in changes.iter().rev() {
            change.undo();
        }
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut left = Vec::new();
        for change in &changes {
            let path = change.member.directory.path().join(&change.file);
            if !seen.contains(&path) {
                left.extend(change.what_is_left(path.clone()));
                seen.push(path);
            }
        }
        left
    }
}

impl Change<'_> {
    fn undo(&self) {
        let directory = &self.member.directory;
        let value = self.before.as_deref();
        let value = value.and_then(|before| restoring(&self.file, &self.value, before));
        if value.is_some_and(|value| directory.try_write(&self.file, &value).is_err()) {
            // What the file says then is looked at in the end.
        }
    }

    fn what_is_left(&self, path: PathBuf) -> Option<NotPutBack> {
        let now = self.member.directory.try_read(&self.file).ok();
        let told =
            |content: &Option<String>| content.as_deref().map(|text| setting_in(text).to_owned());
        let (before, now) = (told(&self.before), told(&now));
        let is_back = before.is_some() && before == now;
        (!is_back).then_some(NotPutBack { path, before, now })
    }
}

/// The file that a write to `cpu.idle` changes as well: the kernel sets the weight of a group
/// that becomes idle, and of one that no longer is.
fn weight_beside(version: Version, file: &str) -> Option<&'static str> {
    (file == "cpu.idle").then_some(match version {
        Version::V1 => "cpu.shares",
        Version::V2 => "cpu.weight",
    })
}

/// More than any memory has: what the kernel says for "no limit", rounded down to whole pages of
/// some size; the same file says `max` once that was written.
const ENDLESS_BYTES: u64 = 1 << 62;

/// The part of a file that is set; the rest of `memory.oom_control` is counted.
fn setting_in(content: &str) -> &str {
    match content.split_once('\n') {
        Some((first, _)) if first.starts_with("oom_kill_disable ") => first,
        _ => match content.trim_end() {
            number
                if number
                    .parse()
                    .is_ok_and(|bytes: u64| bytes >= ENDLESS_BYTES) =>
            {
                "max"
            }
            whole => whole,
        },
    }
}

/// What has to be written so that a file says again what it said before `written`: None if no
/// write does that.
fn restoring(file: &str, written: &str, before: &str) -> Option<String> {
    if let Some(flag) = setting_in(before).strip_prefix("oom_kill_disable ") {
        return Some(flag.to_owned());
    }
    let Some(key) = key_of(file, written) else {
        // Of a file with weights of single devices, the first line is the one that was written.
        let default = before
            .lines()
            .next()
            .filter(|line| line.starts_with("default "));
        let whole = default.unwrap_or_else(|| before.trim_end());
        return Some(if whole.is_empty() { "\n" } else { whole }.to_owned());
    };
    let has_key = |line: &&str| line.split(' ').next() == Some(key);
    match before.lines().find(has_key) {
        Some(line) => Some(line.to_owned()),
        None => Some(format!("{key} {}", absent(file)?)),
    }
}

/// The device or resource that a line is about, in a file with a line for each.
fn key_of<'t>(file: &str, line: &'t str) -> Option<&'t str> {
    let (key, _) = line.split_once(' ')?;
    let is_device = key.split_once(':').is_some_and(|(major, minor)| {
        [major, minor]
            .iter()
            .all(|part| part.parse::<u32>().is_ok())
    });
    let has_names = matches!(
        file,
        "rdma.max" | "misc.max" | "dmem.max" | "net_prio.ifpriomap"
    );
    (is_device || has_names).then_some(key)
}

/// What takes a line out of such a file.
fn absent(file: &str) -> Option<&'static str> {
    Some(match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" => "default",
        "io.latency" => "target=0",
        "rdma.max" => "hca_handle=max hca_object=max",
        "misc.max" => "max",
        "net_prio.ifpriomap" => "0",
        _ if file.starts_with("blkio.") => "0",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_puts_a_file_back_depends_on_how_it_is_written() {
        for (file, written, before, back) in [
            ("memory.limit_in_bytes", "5", "4096\n", Some("4096")),
            ("cpu.max", "500 1000", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            (
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                Some("0"),
            ),
            (
                "io.weight",
                "50",
                "default 100\n8:0 200\n",
                Some("default 100"),
            ),
            (
                "io.weight",
                "8:0 50",
                "default 100\n8:0 200\n",
                Some("8:0 200"),
            ),
            ("io.weight", "8:0 50", "default 100\n", Some("8:0 default")),
            (
                "io.max",
                "8:0 rbps=1",
                "",
                Some("8:0 rbps=max wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "8:16 rbps=max wbps=max riops=9 wiops=max\n8:0 rbps=7 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=7 wbps=max riops=max wiops=max"),
            ),
            ("blkio.throttle.read_bps_device", "8:0 5", "", Some("8:0 0")),
            (
                "blkio.throttle.read_bps_device",
                "8:0 5",
                "8:0 4\n",
                Some("8:0 4"),
            ),
            ("blkio.bfq.weight", "50", "100\n", Some("100")),
            (
                "rdma.max",
                "mlx hca_handle=1",
                "",
                Some("mlx hca_handle=max hca_object=max"),
            ),
            ("net_prio.ifpriomap", "lo 3", "lo 0\neth0 1\n", Some("lo 0")),
            ("memory.unknown", "8:0 5", "", None),
        ] {
            assert_eq!(
                restoring(file, written, before).as_deref(),
                back,
                "{file} {written}"
            );
        }
    }

    #[test]
    fn what_the_kernel_counts_is_no_setting() {
        let control = |killed| format!("oom_kill_disable 1\nunder_oom 0\noom_kill {killed}\n");
        assert_eq!(setting_in(&control(0)), setting_in(&control(5)));
        assert_eq!(setting_in("8:0 5\n8:1 6\n"), "8:0 5\n8:1 6");
    }

    #[test]
    fn no_limit_is_the_same_in_every_spelling() {
        for endless in ["max\n", "9223372036854771712\n", "9223372035781033984\n"] {
            assert_eq!(setting_in(endless), "max");
        }
        assert_eq!(setting_in("1099511627776\n"), "1099511627776");
    }
}

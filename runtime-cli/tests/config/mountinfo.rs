//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

use std::collections::BTreeSet;

use crate::container::proc_file;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    pub(crate) root: String,
    pub(crate) point: String,
    pub(crate) options: BTreeSet<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub(crate) optional: Vec<String>,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) filesystem_options: BTreeSet<String>,
}

impl MountEntry {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let dash = words.iter().position(|word| *word == "-");
        let dash = dash.expect("every line has a dash");
        Self {
            root: words[3].to_owned(),
            point: words[4].to_owned(),
            options: words[5].split(',').map(str::to_owned).collect(),
            optional: words[6..dash]
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
            kind: words[dash + 1].to_owned(),
            source: words[dash + 2].to_owned(),
            filesystem_options: words[dash + 3].split(',').map(str::to_owned).collect(),
        }
    }

    /// Whether it has this attribute (`ro`, `nosuid`, …).
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.contains(option)
    }

    /// The propagation as a word, as findmnt(8) says it.
    pub(crate) fn propagation(&self) -> String {
        let is = |word: &str| self.optional.iter().any(|field| field.starts_with(word));
        let words = [
            ("shared", "shared"),
            ("master", "slave"),
            ("unbindable", "unbindable"),
        ];
        let found: Vec<&str> = words
            .iter()
            .filter(|(field, _)| is(field))
            .map(|(_, word)| *word)
            .collect();
        if found.is_empty() {
            "private".to_owned()
        } else {
            found.join(",")
        }
    }
}

/// All mounts of a mount namespace, in order.
#[derive(Clone, Debug)]
pub(crate) struct MountInfo(pub(crate) Vec<MountEntry>);

impl MountInfo {
    /// As a process has it.
    pub(crate) fn of(pid: i32) -> Self {
        Self::parse(&proc_file(pid, "mountinfo"))
    }

    /// From the file's text.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().map(MountEntry::parse).collect())
    }

    /// The topmost mount on a path.
    pub(crate) fn at(&self, point: &str) -> &MountEntry {
        self.find(point)
            .unwrap_or_else(|| panic!("a mount on {point} in {self:#?}"))
    }

    /// The topmost mount on a path, if there is one.
    pub(crate) fn find(&self, point: &str) -> Option<&MountEntry> {
        self.0.iter().rev().find(|mount| mount.point == point)
    }
}

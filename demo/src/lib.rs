//! Reading what the kernel says of processes, for both sides of the demonstration.

use std::fs;

/// A file's text without the end of its last line; empty if it can't be read.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

/// The first value of a field of /proc/PID/status.
#[must_use]
pub fn field(status: &str, name: &str) -> String {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    value
        .and_then(|value| value.split('\t').next())
        .unwrap_or_default()
        .to_owned()
}

/// The names in a directory, sorted; none if it can't be read.
#[must_use]
pub fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// How many processes this mount of /proc shows.
#[must_use]
pub fn processes() -> usize {
    names("/proc")
        .iter()
        .filter(|name| name.parse::<u32>().is_ok())
        .count()
}

/// The text of the first of the files that is there; `none` if none is.
#[must_use]
pub fn first_of(paths: &[String]) -> String {
    let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    text.map_or_else(|| "none".to_owned(), |text| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_the_first_of_its_values_and_only_its_whole_name() {
        let status = "Name:\tsh\nUid:\t7\t8\t9\t10\nUidMore:\t1";
        assert_eq!(
            ["Uid", "Name", "Ui", "Gid"].map(|name| field(status, name)),
            ["7", "sh", "", ""]
        );
    }
}

//! What a command prints: data on stdout.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::failure::{Failure, While};

/// Writes text to stdout.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .doing("write to stdout")
}

/// A value as JSON, indented.
pub(crate) fn pretty(value: &impl Serialize, indent: &str) -> String {
    let mut bytes = Vec::with_capacity(1024);
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .expect("the value has string keys, and a Vec takes all bytes");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// A table: each column is as wide as its longest cell and three spaces, but at least 12; the
/// last one is ragged.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.map_or(0, |longest| longest + 3).max(12)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, &width) in row[..N - 1].iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_at_least_12_wide_and_3_apart() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [
            row(["ID", "PID", "OWNER"]),
            row(["a-long-name", "0", "root"]),
        ];
        insta::assert_snapshot!(table(&rows), @r"
        ID            PID         OWNER
        a-long-name   0           root
        ");
    }

    #[test]
    fn json_is_indented_as_asked() {
        assert_eq!(pretty(&[1], "    "), "[\n    1\n]");
    }
}

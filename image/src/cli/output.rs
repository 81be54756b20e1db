//! What a person or a program reads: results on the standard output, everything else on the
//! standard error.
#![expect(clippy::print_stderr, reason = "this is the place for it")]

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use image::error::{Error, Result};

/// A result, a line.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    // A reader that has seen enough is no failure, but a full disk is.
    match writeln!(std::io::stdout(), "{}", text.as_ref()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::system("write to the standard output", error))
        }
        _ => Ok(()),
    }
}

/// Bytes, as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    std::io::stdout()
        .write_all(bytes)
        .and_then(|()| std::io::stdout().flush())
        .map_err(|error| Error::system("write to the standard output", error))
}

/// A failure, a line.
pub(crate) fn error(error: &Error) {
    eprintln!("tare-image: {}", harmless(&error.to_string()));
}

/// Something to know, a line.
pub(crate) fn warning(text: &str) {
    eprintln!("tare-image: warning: {}", harmless(text));
}

/// Text that an image's maker may have written: what would steer a terminal, or begin a new
/// line, is shown as what it is.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect::<String>().into()
}

/// Whether an archive would fill somebody's screen.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns as wide as their widest cell; the last one as wide as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> Result<()> {
    let cells = |row: &Vec<String>| -> Vec<String> {
        row.iter().map(|cell| harmless(cell).into_owned()).collect()
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let text = cells.collect::<Vec<_>>().join("   ");
        line(text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(harmless("tag é \u{1f980}"), "tag é \u{1f980}");
        assert_eq!(harmless("a\u{1b}[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
    }
}

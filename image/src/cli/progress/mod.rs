//! Progress as people and programs want it: bars, lines, JSON, or none. All of it goes to the
//! standard error; the standard output is for results.

mod bars;
mod json;
mod plain;
pub(crate) mod unit;

use std::io::IsTerminal;

use image::progress::{Progress, Silent};

use super::arguments::ProgressStyle;

/// What shows progress in this style.
pub(crate) fn open(style: ProgressStyle, quiet: bool) -> Box<dyn Progress + Send> {
    match style {
        _ if quiet => Box::new(Silent),
        ProgressStyle::None => Box::new(Silent),
        ProgressStyle::Json => Box::new(json::Json::default()),
        ProgressStyle::Bar => Box::new(bars::Bars::new()),
        ProgressStyle::Auto if std::io::stderr().is_terminal() => Box::new(bars::Bars::new()),
        ProgressStyle::Auto | ProgressStyle::Plain => Box::new(plain::Plain::default()),
    }
}

/// What is done, in a word.
fn word(work: image::progress::Work) -> &'static str {
    use image::progress::Work;
    match work {
        Work::Download => "download",
        Work::Upload => "upload",
        Work::Unpack => "unpack",
        Work::Pack => "pack",
        Work::Copy => "copy",
        _ => "work on",
    }
}

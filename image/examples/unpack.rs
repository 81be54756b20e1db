//! Unpacks a layer into an empty directory: `unpack LAYER DIRECTORY`.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Instant;

use image::layer::{ApplyOptions, apply, detect};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, layer, directory] = arguments.as_slice() else {
        return Err("usage: unpack LAYER DIRECTORY".into());
    };
    let mut start = [0; 4];
    File::open(layer)?.read_exact(&mut start)?;
    let directory = File::open(directory)?;
    let source = File::open(layer)?;
    let started = Instant::now();
    let options = ApplyOptions::default();
    let applied = apply(source, detect(&start), directory.as_fd(), &options)?;
    println!(
        "{} files, {} bytes, {}, {:?}",
        applied.entries,
        applied.uncompressed_size,
        applied.diff_id,
        started.elapsed()
    );
    Ok(())
}

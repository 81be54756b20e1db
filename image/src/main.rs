//! `tare-image`: the library's operations as commands.

fn main() {}

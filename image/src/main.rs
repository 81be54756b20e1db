//! `tare-image`: the library's operations as commands.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}

//! `tare-image`: the library's operations as commands.

#[path = "../../runtime-cli/src/allocator.rs"]
mod allocator;
mod cli;

/// The one of `tare`, for the same reason. What a long command needs beyond the arena is the
/// system's.
#[global_allocator]
static ALLOCATOR: allocator::Arena = allocator::Arena::new();

fn main() -> std::process::ExitCode {
    cli::run()
}

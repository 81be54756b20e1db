//! `tare-image`: the library's operations as commands.

mod cli;

/// The one of `tare`, for the same reason. What a long command needs beyond the arena is the
/// system's.
#[global_allocator]
static ALLOCATOR: arena::Arena = arena::Arena::new();

fn main() -> std::process::ExitCode {
    cli::run()
}

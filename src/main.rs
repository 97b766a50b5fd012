//! The binary: everything is in the library.

use std::process::ExitCode;

/// Most of what a call allocates is small and lives as long as the call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rungate::cli::main()
}

//! The program `tidegate`: allocator, crypto provider, and the command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Nothing ran before, so no other provider can be there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tidegate::cli::main()
}

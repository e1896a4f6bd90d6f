//! The `pedwatch` command: see [`pedwatch::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pedwatch::telemetry::start();
    pedwatch::cli::run(std::env::args_os(), std::env::vars())
}

//! The `pedwatch` command: see [`pedwatch::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // It only fails when a provider was chosen before, and nobody else does.
    #[cfg(feature = "cloud")]
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A variable that is not UTF-8 is none of ours.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    pedwatch::cli::run(std::env::args_os(), env)
}

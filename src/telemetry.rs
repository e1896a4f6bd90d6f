//! Logs: to standard error, without payloads, e-mail addresses or IP addresses.

use tracing_subscriber::EnvFilter;

/// Starts logging at `warn`, or at what `RUST_LOG` says. Called once, by `main`.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

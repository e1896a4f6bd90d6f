//! What is seen from outside: logs, to standard error, without payloads, e-mail addresses, IP addresses or secrets of URLs;
//! and metrics.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{JsonFields, Writer, debug_fn};

use crate::shown::Shown;

mod cloud_logging;
#[cfg(feature = "cloud")]
pub mod metrics;
pub mod redact;
pub mod steady;

/// The commit that this binary is made from, or `unknown`.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");

/// Version and commit, for `--version`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILT_FROM_COMMIT"), ")");

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, in the fields that Cloud Logging reads.
    Json,
}

/// Starts logging at a level, or at what `RUST_LOG` says; in colours only where a terminal shows them. Called once.
pub fn start(format: LogFormat, level: &str, is_coloured: bool) {
    // What a cluster does not answer is told by whoever asked.
    let usual = || EnvFilter::new(format!("{level},kube_client=off"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| redact::Stderr).with_ansi(is_coloured);
    match format {
        LogFormat::Text => logs.fmt_fields(debug_fn(field).delimited(" ")).init(),
        LogFormat::Json => logs.event_format(cloud_logging::Format).fmt_fields(JsonFields::new()).init(),
    }
}

/// Why a process ends, as a line of JSON logs: it is told at whatever level, and before there are logs.
pub fn last_word(why: &str) -> String {
    cloud_logging::last_word(&redact::without_secrets(why))
}

/// The message as it is, and each field by its name, on one line whatever they hold.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let shown = Shown(format_args!("{value:?}"));
    if field.name() == "message" { write!(writer, "{shown}") } else { write!(writer, "{field}={shown}") }
}

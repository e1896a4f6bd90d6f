//! Why a configuration is refused.

use std::path::PathBuf;

use crate::telemetry::LogFormat;

/// Why a configuration is refused. The message names the key, the value and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or a type that does not exist.
    #[error("in {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// With the line and a picture of it.
        message: String,
    },
    /// A variable that is no key, or whose value does not fit.
    #[error("in the environment, {variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong.
        message: String,
    },
    /// Something is wrong with a route, or between routes.
    #[error("{0}")]
    Routes(String),
    /// A value that fits its type, but not its meaning.
    #[error("{key} is {value}; {wanted}")]
    Invalid {
        /// The key, dotted.
        key: String,
        /// What it is.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

/// A configuration that is refused: everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Refused {
    /// One at least.
    pub faults: Vec<ConfigError>,
    /// How logs are written, as far as that could be read: whoever reads them is to read this too.
    pub log_format: LogFormat,
}

//! Why a configuration is refused.

use std::path::{Path, PathBuf};

use super::Origin;
use super::layers::Lines;
use crate::telemetry::LogFormat;

/// Why a configuration is refused. The message names the key, the value and what would be right. Those of the file come first,
/// in its order.
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
    /// The file is not TOML.
    #[error("in {}: {message}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// With the line and a picture of it.
        message: String,
    },
    /// A key of the file that does not exist, or whose value does not fit.
    #[error("in {}: line {line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The key, and what is wrong.
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
    /// A value that fits its type, but not its meaning, and stands neither in the file nor in a variable of its own.
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

impl ConfigError {
    /// With where the value stands, as far as one place is to blame.
    pub(super) fn placed(self, file: Option<&Path>, lines: &Lines, origin: impl Fn(&str) -> Option<Origin>) -> Self {
        let ConfigError::Invalid { key, .. } = &self else { return self };
        // What is missing stands nowhere: its section does.
        let sections = std::iter::successors(Some(key.as_str()), |key| Some(key.rsplit_once('.')?.0));
        match (origin(key), file, sections.filter_map(|key| lines.get(key)).next()) {
            (Some(Origin::Environment(variable)), ..) => {
                ConfigError::Environment { variable, message: self.to_string() }
            }
            (_, Some(path), Some(&line)) => {
                ConfigError::File { path: path.to_owned(), line, message: self.to_string() }
            }
            _ => self,
        }
    }

    /// By which faults are told in the order in which somebody goes through them.
    pub(super) fn order(&self) -> (u8, usize, &str) {
        match self {
            ConfigError::Unreadable { .. } | ConfigError::Toml { .. } => (0, 0, ""),
            ConfigError::File { line, message, .. } => (1, *line, message),
            ConfigError::Environment { variable, .. } => (2, 0, variable),
            ConfigError::Invalid { key, .. } => (3, 0, key),
            ConfigError::Routes(_) => (4, 0, ""),
        }
    }
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

//! Values that several sections have in common.

use std::ops::RangeInclusive;

use crate::config::ConfigError;
use crate::telemetry::redact;

/// What is wrong so far. A value that is takes any other's place: where there is a fault, nobody sees it.
#[derive(Debug, Default)]
pub(in crate::config) struct Faults(pub(in crate::config) Vec<ConfigError>);

impl Faults {
    pub(in crate::config) fn add(&mut self, key: impl Into<String>, value: String, wanted: String) {
        self.0.push(ConfigError::Invalid { key: key.into(), value, wanted });
    }

    /// The name of a section among others of its kind.
    pub(super) fn handle(&mut self, section: &str, handle: &str) {
        let is_handle = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if handle.is_empty() || !handle.chars().all(is_handle) || handle.contains("__") {
            let wanted = "expected a name of lower-case letters, digits and _, so that variables can name it";
            self.add(format!("{section}.{handle}"), format!("{handle:?}"), wanted.to_owned());
        }
    }

    /// A URL, or nothing.
    pub(super) fn url(&mut self, key: &str, text: String) -> Option<String> {
        if !text.is_empty() && !text.starts_with("http://") && !text.starts_with("https://") {
            let wanted = "expected a URL such as \"http://127.0.0.1:9050\", or empty for Google's";
            self.add(key, format!("{:?}", redact::url(&text)), wanted.to_owned());
        }
        Some(text).filter(|text| !text.is_empty())
    }

    pub(super) fn port(&mut self, key: &str, value: i64) -> u16 {
        u16::try_from(self.within(key, value, 1..=65_535)).unwrap_or(u16::MAX)
    }

    /// A number inside the range that the message names.
    pub(super) fn within(&mut self, key: &str, value: i64, range: RangeInclusive<u32>) -> u32 {
        u32::try_from(value).ok().filter(|value| range.contains(value)).unwrap_or_else(|| {
            self.add(key, value.to_string(), format!("expected from {} to {}", range.start(), range.end()));
            *range.start()
        })
    }
}

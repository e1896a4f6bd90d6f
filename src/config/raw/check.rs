//! Values that several sections have in common.

use std::ops::RangeInclusive;

use crate::config::ConfigError;
use crate::telemetry::redact;

/// A URL, or nothing.
pub(super) fn url(key: &'static str, text: String) -> Result<Option<String>, ConfigError> {
    if text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Some(text).filter(|text| !text.is_empty()));
    }
    let wanted = "expected a URL such as \"http://127.0.0.1:9050\", or empty for Google's".to_owned();
    Err(ConfigError::Invalid { key, value: format!("{:?}", redact::url(&text)), wanted })
}

pub(super) fn port(key: &'static str, value: i64) -> Result<u16, ConfigError> {
    Ok(u16::try_from(within(key, value, 1..=65_535)?).unwrap_or(u16::MAX))
}

/// A number inside the range that the message names.
pub(super) fn within(key: &'static str, value: i64, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    u32::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| ConfigError::Invalid {
        key,
        value: value.to_string(),
        wanted: format!("expected from {} to {}", range.start(), range.end()),
    })
}

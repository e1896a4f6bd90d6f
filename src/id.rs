//! How a row is identified, and how a time is written.

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

/// A row's id: the first 32 hex characters of the SHA-256 over its named parts, joined by newlines.
pub fn id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b"\n");
        }
        hash.update(part.as_bytes());
    }
    let mut text = hex::encode(hash.finalize());
    text.truncate(32);
    text
}

/// A time as every store and report writes it: RFC 3339 in UTC with six digits, which also sorts as text.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

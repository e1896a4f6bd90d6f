//! `quarantine`: what could not be read or stored, whole.

use chrono::{DateTime, Utc};

use super::row;
use crate::names::named;

named! {
    /// What was put aside.
    pub enum QuarantineKind {
        /// An input that could not be read.
        Message = "message",
        /// A row that the store refused.
        Row = "row",
    }
}

row! {
    /// An input that could not be read, or a row that the store refused, whole.
    Quarantine in "quarantine" {
        quarantine_id: String,
        quarantined_at: DateTime<Utc>,
        message_id: Option<String>,
        publish_time: Option<DateTime<Utc>>,
        reason: String,
        detail: String,
        kind: Option<QuarantineKind>,
        raw: String,
        source: Option<String>,
    }
}

row! {
    /// As [`Quarantine`], without what was kept of the input: only how long that is.
    QuarantineHead in "quarantine" {
        quarantine_id: String,
        quarantined_at: DateTime<Utc>,
        message_id: Option<String>,
        reason: String,
        detail: String,
        source: Option<String>,
        raw_length: i64,
    }
}

//! `watermarks`: how far what is done again and again has come.

use chrono::{DateTime, Utc};

use super::row;

row! {
    /// Everything known before `through` has been done, at `at`. One of a single instance (`judged/…`) is open while its
    /// `through` is before its `at`: something waits for its next reading. One of a backfill (`backfill/…`) says how far
    /// Cloud Logging was read for one question. One of a canary (`canary/…`) says that the entry of a call at `through` was here at
    /// `at`.
    Watermark in "watermarks" {
        name: String,
        through: DateTime<Utc>,
        at: DateTime<Utc>,
    }
}
